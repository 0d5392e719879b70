//! Guest memory: one memfd, mapped shared, filled by the host page by page as the guest touches it.
//!
//! The file's offsets are guest-physical addresses with the gap closed: what lies below the gap
//! comes first, what lies from 4 GiB on follows.

use std::fs::File;
use std::io;

use rustix::fs::{MemfdFlags, memfd_create};
use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, mmap::FromRangesError,
};

use crate::layout;

pub use devices::virtio::GuestMemory;

/// The least a machine can have, in MiB: below, not even the smallest kernels fit.
pub const MIN_MIB: u64 = 4;

/// Why a machine got no memory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Less than [`MIN_MIB`].
    #[error("{mib} MiB of memory is too small for a machine: it needs at least {MIN_MIB} MiB")]
    TooSmall {
        /// What was asked.
        mib: u64,
    },
    /// More than the host could ever give, even with nothing else running.
    #[error("{mib} MiB of memory is more than this host has: it has {host_mib} MiB")]
    MoreThanHost {
        /// What was asked.
        mib: u64,
        /// All memory of the host.
        host_mib: u64,
    },
    /// No file to hold it.
    #[error("cannot create a file of {mib} MiB for guest memory")]
    Create {
        /// What was asked.
        mib: u64,
        /// The system's answer.
        source: io::Error,
    },
    /// The file could not be mapped: most often a limit on address space (`ulimit -v`).
    #[error("cannot map {mib} MiB of guest memory")]
    Map {
        /// What was asked.
        mib: u64,
        /// The system's answer.
        source: FromRangesError,
    },
}

/// Makes `mib` MiB of guest memory, all zeroes and none of it present yet.
///
/// `name` is what `/proc/<pid>/maps` shows for it. More than the host has free is allowed, as
/// guests seldom use all they have; more than the host has is not.
///
/// # Errors
/// [`Error::TooSmall`] and [`Error::MoreThanHost`] before anything is made; else the system's.
pub fn create(name: &str, mib: u64) -> Result<GuestMemory, Error> {
    if mib < MIN_MIB {
        return Err(Error::TooSmall { mib });
    }
    let host_mib = host_mib();
    let ram = mib.checked_mul(1 << 20).filter(|_| mib <= host_mib).and_then(layout::ram);
    let Some(ram) = ram else { return Err(Error::MoreThanHost { mib, host_mib }) };

    let file = memfd(name, mib << 20).map_err(|source| Error::Create { mib, source })?;
    let mut offset = FileOffset::new(file, 0);
    let mut regions = Vec::with_capacity(ram.len());
    for range in ram {
        let len = range.end - range.start;
        let next = FileOffset::from_arc(offset.arc().clone(), offset.start() + len);
        let len = usize::try_from(len).expect("the host has more, so it can address it");
        regions.push((GuestAddress(range.start), len, Some(offset)));
        offset = next;
    }
    GuestMemory::from_ranges_with_files(regions).map_err(|source| Error::Map { mib, source })
}

/// Where the `len` bytes of guest memory at `at` lie in the file behind it.
///
/// `None` where they are not all in one region.
pub(crate) fn in_file(memory: &GuestMemory, at: u64, len: u64) -> Option<(&File, u64)> {
    let region = memory.find_region(GuestAddress(at))?;
    let start = at - region.start_addr().0;
    if len > region.len() - start {
        return None;
    }
    let file = region.file_offset()?;
    Some((file.file(), file.start() + start))
}

fn memfd(name: &str, bytes: u64) -> io::Result<File> {
    // The kernel takes at most 249 bytes and no NUL; the name is only for people.
    let name: String = name.chars().filter(|c| !c.is_control()).take(32).collect();
    let file = File::from(memfd_create(format!("offshoot:{name}"), MemfdFlags::CLOEXEC)?);
    file.set_len(bytes)?;
    Ok(file)
}

fn host_mib() -> u64 {
    let info = rustix::system::sysinfo();
    u64::from(info.mem_unit).saturating_mul(info.totalram) >> 20
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use vm_memory::Bytes;

    #[test]
    fn too_small_says_the_least() {
        let error = create("vm", 3).unwrap_err();
        assert_eq!(
            error.to_string(),
            "3 MiB of memory is too small for a machine: it needs at least 4 MiB"
        );
    }

    #[test]
    fn more_than_the_host_says_what_it_has() {
        for mib in [host_mib() + 1, u64::MAX >> 20, u64::MAX] {
            let error = create("vm", mib).unwrap_err().to_string();
            assert!(error.contains(&format!("{mib} MiB")), "{error}");
            assert!(error.ends_with(&format!("it has {} MiB", host_mib())), "{error}");
        }
    }

    #[test]
    fn nothing_is_present_until_touched() {
        let memory = create("vm", 64).unwrap();
        let file = memory.iter().next().unwrap().file_offset().unwrap().file();
        assert_eq!(file.metadata().unwrap().blocks(), 0);
        memory.write_obj(1u8, GuestAddress(0x10_0000)).unwrap();
        assert!(file.metadata().unwrap().blocks() * 512 <= 2 << 20);
    }

    #[test]
    fn memory_beyond_the_gap_is_at_4_gib_and_follows_in_the_file() {
        if host_mib() <= 3073 {
            eprintln!("NOT TESTED: this host has no 3073 MiB of memory");
            assert!(std::env::var_os("CI").is_none(), "CI needs 3073 MiB of memory");
            return;
        }
        let memory = create("vm", 3073).unwrap();
        assert!(!memory.address_in_range(GuestAddress(layout::GAP.start)));
        assert!(!memory.address_in_range(GuestAddress(layout::GAP.end - 1)));
        assert_eq!(memory.last_addr(), GuestAddress(layout::GAP.end + (1 << 20) - 1));
        let high = memory.find_region(GuestAddress(layout::GAP.end)).unwrap();
        assert_eq!(high.file_offset().unwrap().start(), layout::GAP.start);
        let place = |at, len| in_file(&memory, at, len).map(|(_, offset)| offset);
        assert_eq!(place(layout::GAP.end + 16, 16), Some(layout::GAP.start + 16));
        assert_eq!(place(layout::GAP.start - 16, 16), Some(layout::GAP.start - 16));
        assert_eq!(place(layout::GAP.start - 16, 17), None);
        assert_eq!(place(layout::GAP.end, (1 << 20) + 1), None);
    }

    #[test]
    fn names_of_any_kind_are_accepted() {
        for name in ["", "a\0b", &"ü".repeat(500)] {
            create(name, MIN_MIB).unwrap();
        }
    }
}
