//! A machine without a processor: the front end of a vhost-user-blk device, and one queue.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{MemfdFlags, memfd_create};
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_bindings::virtio_blk::VIRTIO_BLK_F_FLUSH;
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;

use crate::client::Client;
use crate::queue::Kind;
use crate::report::Result;
use crate::ring::{AVAILABLE, LEN, Request, Ring, SIZE, TABLE, USED};

/// Where the machine claims to have its memory: the device only subtracts it.
const BASE: u64 = 0x7000_0000_0000;

/// A running machine, with so many requests in flight.
pub struct Machine {
    ring: Ring,
    free: Vec<u16>,
    kick: EventFd,
    call: EventFd,
    called: Epoll,
    _frontend: Frontend,
}

impl Machine {
    pub fn start(socket: &Path, depth: usize) -> Result<Machine> {
        let file = File::from(memfd_create("machine", MemfdFlags::CLOEXEC)?);
        file.set_len(LEN)?;
        let mut frontend = Frontend::connect(socket, 1)?;
        negotiate(&mut frontend)?;
        frontend.set_mem_table(&[VhostUserMemoryRegionInfo {
            guest_phys_addr: 0,
            memory_size: LEN,
            userspace_addr: BASE,
            mmap_offset: 0,
            mmap_handle: file.as_raw_fd(),
        }])?;
        let (kick, call) = (EventFd::new(0)?, EventFd::new(0)?);
        set_up_queue(&mut frontend, &kick, &call)?;
        let range = (GuestAddress(0), usize::try_from(LEN)?, Some(FileOffset::new(file, 0)));
        let memory = GuestMemoryMmap::from_ranges_with_files([range])?;
        let free = (0..u16::try_from(depth)?).collect();
        let called = Epoll::new()?;
        let event = EpollEvent::new(EventSet::IN, 0);
        called.ctl(ControlOperation::Add, call.as_raw_fd(), event)?;
        Ok(Machine { ring: Ring::new(memory), free, kick, call, called, _frontend: frontend })
    }

    /// Does `count` requests.
    fn go(&mut self, request: Request, count: u64, at: &mut dyn FnMut(u64) -> u64) -> Result<()> {
        let (mut given, mut left) = (0, count);
        while left > 0 {
            let mut told = false;
            while given < count
                && let Some(slot) = self.free.pop()
            {
                told |= self.ring.offer(slot, request, at(given))?;
                given += 1;
            }
            if told {
                self.kick.write(1)?;
            }
            left -= self.wait()?;
        }
        Ok(())
    }

    /// Takes what was served; at least one.
    fn wait(&mut self) -> Result<u64> {
        loop {
            let before = self.free.len();
            while let Some(slot) = self.ring.take()? {
                self.free.push(slot);
            }
            if self.free.len() > before {
                return Ok((self.free.len() - before) as u64);
            }
            self.ring.arm()?;
            match self.ring.take()? {
                Some(slot) => {
                    self.free.push(slot);
                    return Ok(1);
                }
                None => self.wait_for_call()?,
            }
        }
    }

    fn wait_for_call(&self) -> Result<()> {
        // A device may have made the descriptor it shares one that does not wait.
        self.called.wait(-1, &mut [EpollEvent::default()])?;
        self.call.read()?;
        Ok(())
    }
}

impl Client for Machine {
    fn run(&mut self, kind: Kind, count: u64, at: &mut dyn FnMut(u64) -> u64) -> Result<()> {
        let request = if kind == Kind::Read { Request::Read } else { Request::Write };
        self.go(request, count, at)
    }

    fn flush(&mut self) -> Result<()> {
        self.go(Request::Flush, 1, &mut |_| 0)
    }
}

fn negotiate(frontend: &mut Frontend) -> Result<()> {
    frontend.set_owner()?;
    let protocol = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
    // A device whose driver does not flush has to make each write durable by itself.
    let bits = [VIRTIO_F_VERSION_1, VIRTIO_RING_F_EVENT_IDX, VIRTIO_BLK_F_FLUSH];
    let wanted = bits.into_iter().fold(protocol, |features, bit| features | 1 << bit);
    let features = frontend.get_features()? & wanted;
    if features != wanted {
        return Err(format!("the device has only features {features:#x}").into());
    }
    let offered = frontend.get_protocol_features()?;
    frontend.set_protocol_features(offered & VhostUserProtocolFeatures::CONFIG)?;
    frontend.set_features(features)?;
    Ok(())
}

fn set_up_queue(frontend: &mut Frontend, kick: &EventFd, call: &EventFd) -> Result<()> {
    frontend.set_vring_num(0, SIZE)?;
    frontend.set_vring_base(0, 0)?;
    frontend.set_vring_addr(
        0,
        &VringConfigData {
            queue_max_size: SIZE,
            queue_size: SIZE,
            flags: 0,
            desc_table_addr: BASE + TABLE,
            used_ring_addr: BASE + USED,
            avail_ring_addr: BASE + AVAILABLE,
            log_addr: None,
        },
    )?;
    frontend.set_vring_call(0, call)?;
    frontend.set_vring_kick(0, kick)?;
    frontend.set_vring_enable(0, true)?;
    Ok(())
}
