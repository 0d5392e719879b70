//! The guest's memory, as a front end shares it.
//!
//! A front end that makes a file shorter after it has shared it gets us killed (SIGBUS); it is the
//! same user's, and the disk is as after any kill.

use std::fs::File;
use std::io;

use devices::virtio::GuestMemory;
use vhost::vhost_user::message::VhostUserMemoryRegion;
use vm_memory::{FileOffset, GuestAddress, GuestRegionMmap, MmapRegion};

/// Memory, and where in the front end's own address space it is: vring addresses are its.
#[derive(Debug)]
pub struct Memory {
    /// As the guest sees it.
    pub guest: GuestMemory,
    regions: Vec<Region>,
}

#[derive(Clone, Copy, Debug)]
struct Region {
    front_end: u64,
    guest: u64,
    len: u64,
}

impl Memory {
    /// Maps what has been shared.
    ///
    /// # Errors
    /// Regions overlap or are longer than their files.
    pub fn map(table: &[VhostUserMemoryRegion], files: Vec<File>) -> io::Result<Memory> {
        let mapped = table.iter().zip(files).map(|(region, file)| map(region, file));
        let mapped = mapped.collect::<io::Result<Vec<_>>>()?;
        let guest = GuestMemory::from_regions(mapped).map_err(io::Error::other)?;
        let regions = table.iter().map(|region| Region {
            front_end: region.user_addr,
            guest: region.guest_phys_addr,
            len: region.memory_size,
        });
        Ok(Memory { guest, regions: regions.collect() })
    }

    /// The guest's address of a front end's.
    pub fn translate(&self, front_end: u64) -> Option<u64> {
        self.regions.iter().find_map(|region| {
            let offset = front_end.checked_sub(region.front_end)?;
            (offset < region.len).then(|| region.guest.checked_add(offset))?
        })
    }
}

fn map(region: &VhostUserMemoryRegion, file: File) -> io::Result<GuestRegionMmap> {
    let end = region.mmap_offset.checked_add(region.memory_size);
    let there = file.metadata()?.len();
    if region.memory_size == 0 || end.is_none_or(|end| end > there) {
        return Err(io::Error::other(format!("memory is longer than its file of {there} bytes")));
    }
    let len = usize::try_from(region.memory_size).map_err(io::Error::other)?;
    let offset = FileOffset::new(file, region.mmap_offset);
    let mapped = MmapRegion::from_file(offset, len).map_err(io::Error::other)?;
    GuestRegionMmap::new(mapped, GuestAddress(region.guest_phys_addr))
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
