//! The heap: RAM from the end of the program upwards, given out once and never taken back. A
//! guest runs for seconds; what it allocates in a loop it allocates before the loop.
#![allow(unsafe_code, reason = "a heap, and memory that devices write")]

use alloc::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::{ptr, slice};

core::arch::global_asm!(include_str!("bytes.s"));

unsafe extern "C" {
    /// From link.ld: the first page after the program.
    static heap_start: u8;
}

#[global_allocator]
static HEAP: Heap = Heap { next: AtomicUsize::new(0), end: AtomicUsize::new(0) };

struct Heap {
    next: AtomicUsize,
    end: AtomicUsize,
}

/// Where the heap starts: the first page after the program.
pub fn start() -> usize {
    (&raw const heap_start).expose_provenance()
}

/// Opens the heap, which ends where the RAM that holds the program ends: at `ram_end`.
pub fn open(ram_end: usize) {
    HEAP.next.store(start(), Ordering::Relaxed);
    HEAP.end.store(ram_end, Ordering::Relaxed);
}

/// Bytes of heap not yet given out.
pub fn left() -> usize {
    HEAP.end.load(Ordering::Relaxed).saturating_sub(HEAP.next.load(Ordering::Relaxed))
}

// SAFETY: each allocation is a range of its own between the program and the end of RAM, because
// `next` only grows, atomically.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mask = layout.align() - 1;
        let place = |next: usize| ((next + mask) & !mask).checked_add(layout.size());
        let end = self.end.load(Ordering::Relaxed);
        let taken = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
            place(next).filter(|&after| after <= end)
        });
        match taken {
            Ok(next) => ptr::with_exposed_provenance_mut((next + mask) & !mask),
            Err(_) => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, _place: *mut u8, _layout: Layout) {}
}

/// An array that a device reads and writes too: at one place, each access done as written.
pub struct Shared<T> {
    start: *mut T,
    length: usize,
}

// SAFETY: what it points to belongs to it alone, for good.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T: Copy> Shared<T> {
    /// An array of `length` times `value`, page-aligned.
    pub fn new(length: usize, value: T) -> Shared<T> {
        let shared = Shared::uninitialized(length);
        (0..length).for_each(|index| shared.set(index, value));
        shared
    }

    fn uninitialized(length: usize) -> Shared<T> {
        let size = size_of::<T>() * length;
        let layout = Layout::from_size_align(size, 4096).expect("sizes here are small");
        // SAFETY: no caller asks for nothing.
        let start = unsafe { alloc::alloc::alloc(layout) }.cast::<T>();
        if start.is_null() {
            alloc::alloc::handle_alloc_error(layout);
        }
        Shared { start, length }
    }

    /// Its address, the same for the program and for devices.
    pub fn address(&self) -> u64 {
        self.start.expose_provenance() as u64
    }

    /// The address of an element.
    pub fn address_of(&self, index: usize) -> u64 {
        self.place(index).expose_provenance() as u64
    }

    pub fn get(&self, index: usize) -> T {
        // SAFETY: the element is in the array, and of a type whose every value is good.
        unsafe { self.place(index).read_volatile() }
    }

    pub fn set(&self, index: usize, value: T) {
        // SAFETY: the element is in the array.
        unsafe { self.place(index).write_volatile(value) }
    }

    fn place(&self, index: usize) -> *mut T {
        assert!(index < self.length);
        self.start.wrapping_add(index)
    }
}

/// Buffers of one size for a device.
pub struct Buffers {
    start: *mut u8,
    size: usize,
    count: usize,
}

// SAFETY: what it points to belongs to it alone, for good.
unsafe impl Send for Buffers {}

impl Buffers {
    pub fn new(count: usize, size: usize) -> Buffers {
        Buffers { start: Shared::<u8>::uninitialized(count * size).start, size, count }
    }

    pub fn address(&self, index: usize) -> u64 {
        self.place(index).expose_provenance() as u64
    }

    /// Writes to each page.
    pub fn touch(&mut self) {
        for offset in (0..self.size * self.count).step_by(4096) {
            // SAFETY: the byte is in the buffers, and of no meaning yet.
            unsafe { self.start.wrapping_add(offset).write_volatile(1) };
        }
    }

    /// The bytes of a buffer.
    ///
    /// # Safety
    /// No device has it.
    pub unsafe fn bytes(&mut self, index: usize) -> &mut [u8] {
        // SAFETY: the buffer is this one's alone: no device has it, and `self` is borrowed.
        unsafe { slice::from_raw_parts_mut(self.place(index), self.size) }
    }

    fn place(&self, index: usize) -> *mut u8 {
        assert!(index < self.count);
        self.start.wrapping_add(index * self.size)
    }
}

/// A CPL3 stack.
#[repr(C, align(4096))]
pub struct Stack(UnsafeCell<[u8; Stack::SIZE]>);

// SAFETY: only the processor that is given the stack uses it.
unsafe impl Sync for Stack {}

impl Stack {
    const SIZE: usize = 32 << 10;

    pub const fn new() -> Stack {
        Stack(UnsafeCell::new([0; Stack::SIZE]))
    }

    /// One past its last byte, where a processor starts to use it.
    pub const fn end(&self) -> *const u8 {
        self.0.get().cast::<u8>().wrapping_add(Stack::SIZE)
    }
}
