//! A second view of the page a vCPU shares with the kernel (`struct kvm_run`), for what the
//! bindings' own view cannot do: another thread may kick the vCPU while it runs.
#![allow(unsafe_code, reason = "the kernel's pages come as raw addresses")]

use std::io;
use std::mem::offset_of;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, Ordering};

use kvm_bindings::kvm_run;
use kvm_ioctls::VcpuFd;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use vm_memory::{Bytes, VolatileMemory, VolatileSlice};

const LEN: usize = size_of::<kvm_run>();

/// One vCPU's shared page.
#[derive(Debug)]
pub struct Page {
    start: NonNull<u8>,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is only reached through
// volatile and atomic accesses.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

/// What KVM says with `KVM_EXIT_INTERNAL_ERROR`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InternalError {
    /// `KVM_INTERNAL_ERROR_*`.
    pub suberror: u32,
    /// Words whose meaning depends on the suberror.
    pub data: Vec<u64>,
}

impl Page {
    /// Maps `cpu`'s page once more.
    pub fn map(cpu: &VcpuFd) -> io::Result<Page> {
        // SAFETY: the descriptor is open as long as `cpu` is borrowed.
        let fd = unsafe { BorrowedFd::borrow_raw(cpu.as_raw_fd()) };
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice disturbs no other.
        let start = unsafe { mmap(ptr::null_mut(), LEN, prot, MapFlags::SHARED, fd, 0) }?;
        Ok(Page { start: NonNull::new(start.cast()).expect("mmap never returns null") })
    }

    /// Makes `KVM_RUN` return at once, now and until [`unkick`](Page::unkick). A vCPU that is in
    /// the guest already needs a signal as well.
    pub fn kick(&self) {
        self.immediate_exit().store(1, Ordering::SeqCst);
    }

    /// Lets the vCPU run again.
    pub fn unkick(&self) {
        self.immediate_exit().store(0, Ordering::SeqCst);
    }

    /// Whether the vCPU was told to leave the guest.
    pub fn kicked(&self) -> bool {
        self.immediate_exit().load(Ordering::SeqCst) != 0
    }

    /// Bytes of one access, while handling a port exit: `rep insb` is several in one exit.
    pub fn port_width(&self) -> usize {
        usize::from(self.read::<u8>(offset_of!(kvm_run, __bindgen_anon_1.io.size)))
    }

    /// What KVM says, while handling an internal error.
    pub fn internal_error(&self) -> InternalError {
        let suberror = self.read(offset_of!(kvm_run, __bindgen_anon_1.internal.suberror));
        let count = self.read::<u32>(offset_of!(kvm_run, __bindgen_anon_1.internal.ndata));
        let data = offset_of!(kvm_run, __bindgen_anon_1.internal.data);
        let words = (0..16).take_while(|index| *index < count);
        let data = words.map(|index| self.read(data + 8 * index as usize)).collect();
        InternalError { suberror, data }
    }

    fn immediate_exit(&self) -> &AtomicU8 {
        let at = offset_of!(kvm_run, immediate_exit);
        // SAFETY: `at` lies within the mapping, which lives as long as `self`.
        let flag = unsafe { self.start.add(at) };
        // SAFETY: mapped as long as `self`; this side only ever reaches the byte atomically.
        unsafe { AtomicU8::from_ptr(flag.as_ptr()) }
    }

    fn read<T: vm_memory::ByteValued>(&self, offset: usize) -> T {
        // SAFETY: the mapping is `LEN` bytes and lives longer than the slice.
        let page = unsafe { VolatileSlice::new(self.start.as_ptr(), LEN) };
        page.as_volatile_slice().read_obj(offset).expect("a field of the struct that was mapped")
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped in `map`, and whoever borrowed from it is gone.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), LEN) };
        debug_assert!(unmapped.is_ok());
    }
}
