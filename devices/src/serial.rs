//! The 16550 serial port.
//!
//! The chip is vm-superio's; this file connects its ends. What the guest sends goes to a writer,
//! byte by byte. What the guest is to receive goes through the chip's FIFO of 64 bytes, with
//! back-pressure: [`Serial::enqueue`] takes what fits, and [`Serial::input_wanted`] becomes
//! readable when the guest has made room.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use vm_superio::serial::SerialEvents;
use vm_superio::{Trigger, serial};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::bus::{BusDevice, Effect};
use crate::irq::Irq;
use crate::limit::LogLimit;

/// Where COM1 is. Its interrupt is 4.
pub const COM1: Range<u64> = 0x3f8..0x400;

const MODEM_CONTROL: u8 = 4;

/// A serial port.
pub struct Serial {
    chip: serial::Serial<Line, Drained, Box<dyn Write + Send>>,
    complaints: LogLimit,
}

impl Serial {
    /// A port that interrupts through `irq` and sends what the guest writes to `output`.
    ///
    /// The writer is called on the vCPU's thread for each byte: it must not block for long. A
    /// byte it refuses is lost to it; the guest does not notice.
    ///
    /// # Errors
    /// The process is out of file descriptors.
    pub fn new(irq: Arc<dyn Irq>, output: Box<dyn Write + Send>) -> io::Result<Self> {
        let drained = Drained(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?);
        let chip = serial::Serial::with_events(Line(irq), drained, output);
        Ok(Serial { chip, complaints: LogLimit::default() })
    }

    /// Gives the guest the first bytes of `input`, as many as the FIFO has room for, and returns
    /// that number. To lose nothing, keep the rest and come back when
    /// [`input_wanted`](Self::input_wanted) says so.
    pub fn enqueue(&mut self, input: &[u8]) -> usize {
        let room = self.chip.fifo_capacity().min(input.len());
        match self.chip.enqueue_raw_bytes(&input[..room]) {
            Ok(taken) => taken,
            // Nothing fits, or the bytes are in the FIFO and only the interrupt failed.
            Err(serial::Error::FullFifo) => 0,
            Err(error) => {
                self.complaints.warn(|| format!("serial: cannot interrupt the guest: {error}"));
                room
            }
        }
    }

    /// An event that fires each time the guest has emptied the FIFO. It is non-blocking; read it
    /// before the next [`enqueue`](Self::enqueue).
    ///
    /// # Errors
    /// The process is out of file descriptors.
    pub fn input_wanted(&self) -> io::Result<EventFd> {
        self.chip.events().0.try_clone()
    }

    fn write_register(&mut self, register: u8, value: u8) {
        if let Err(error) = self.chip.write(register, value) {
            self.complaints.warn(|| format!("serial: {error}"));
        }
        // In loopback mode the chip takes no input and says nothing when it leaves it.
        if register == MODEM_CONTROL {
            self.chip.events().in_buffer_empty();
        }
    }
}

impl BusDevice for Serial {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        for (register, byte) in (offset..).zip(data) {
            *byte = u8::try_from(register).map_or(0xff, |register| self.chip.read(register));
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        for (register, &byte) in (offset..).zip(data) {
            if let Ok(register) = u8::try_from(register) {
                self.write_register(register, byte);
            }
        }
        Effect::None
    }
}

struct Line(Arc<dyn Irq>);

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.raise()
    }
}

/// Tells whoever has input that there is room.
struct Drained(EventFd);

impl SerialEvents for Drained {
    fn buffer_read(&self) {}
    fn out_byte(&self) {}
    fn tx_lost_byte(&self) {}

    fn in_buffer_empty(&self) {
        // A full counter is readable, which is all that is wanted.
        let _ = self.0.write(1);
    }
}

#[cfg(test)]
mod tests;
