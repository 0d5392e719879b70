//! The devices of a machine: chips and virtio, over guest memory, without KVM.
//!
//! ```text
//!   vCPU exit ──► Bus ──► BusDevice ──► Effect           registers; the vCPU's own thread
//!                           │
//!                           └ virtio::mmio::Transport    kick (eventfd) ──► worker thread
//!                                     ▲                                        │
//!                                     └── Irq ◄── Interrupt ◄── used ring ◄────┘
//! ```
//!
//! Interrupts leave through the [`Irq`](irq::Irq) trait, disks are `blockdev::Disk`s, so all of
//! this runs, and is tested, on a machine without `/dev/kvm`.

pub mod bus;
pub mod exit;
pub mod i8042;
pub mod irq;
mod limit;
pub mod serial;
pub mod virtio;
