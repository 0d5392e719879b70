//! Virtio 1.2 over MMIO.

/// Guest memory, as the whole machine uses it.
pub type GuestMemory = vm_memory::GuestMemoryMmap<()>;
