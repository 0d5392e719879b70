//! The devices of a machine: chips and virtio, over guest memory, without KVM.

pub mod bus;
pub mod irq;
pub mod virtio;
