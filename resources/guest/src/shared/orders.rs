//! What the guest can be ordered to do. grammar.rs reads it from the command line; README.md
//! documents each word.

use alloc::string::String;

use crate::area::Area;
use crate::pattern::{BLOCK, SECTOR};

/// One step: what to do, and for those that use a disk, how and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The word that ordered it.
    pub word: String,
    /// What to do.
    pub order: Order,
    /// How a disk is driven.
    pub io: Io,
    /// Which part of the disk.
    pub area: Area,
}

impl Step {
    /// What the parts do not know of each other.
    ///
    /// # Errors
    /// They contradict each other.
    pub fn check(&self) -> Result<(), String> {
        let cut = self.area.length.is_some_and(|length| !length.is_multiple_of(SECTOR as u64));
        match &self.order {
            Order::Transfer(Transfer::Verify { .. } | Transfer::VerifyZero) => Ok(()),
            Order::Transfer(_) if cut => Err("only what is read may end within a sector".into()),
            Order::Stamp(_) | Order::VerifyStamps { .. }
                if self.io.size < BLOCK as u64 || self.io.cpus > 1 =>
            {
                Err("stamps are blocks of 4096 bytes, written by one processor".into())
            }
            _ => Ok(()),
        }
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Says how it was booted.
    Hello,
    /// Lists the virtio devices.
    Devices,
    /// Brings up every processor.
    Cpus,
    /// Does the same to each part of an area.
    Transfer(Transfer),
    /// Prints what GET_ID answers.
    Id,
    /// Checks that the disk says it is read-only and refuses a write.
    VerifyReadOnly,
    /// Drives the disk as no driver should, then checks that it works after a reset.
    Hostile,
    /// Writes and flushes sequence-numbered blocks.
    Stamp(Stamps),
    /// Checks what `Stamp` left, `last` being the last number it printed.
    VerifyStamps { stamps: Stamps, last: u64 },
    /// Measures.
    Bench(Bench),
    /// Reads so many bytes of entropy.
    Rng { bytes: usize },
    /// Prints a text.
    Print(String),
    /// Reads a line from the console and prints it.
    Echo,
    /// Touches each page of so much memory.
    Touch { bytes: u64 },
    /// Waits, halted.
    Sleep { milliseconds: u64 },
    /// Halts for good.
    Idle,
    /// Never ends and never halts.
    Spin,
    /// Shuts the processor down.
    Fault,
    /// Executes UD2 at CPL0.
    Ud2,
    /// Executes INT3 at CPL0.
    Int3,
    /// Ends with a status.
    Exit(u8),
    /// Powers off by ACPI.
    Poweroff,
    /// Resets.
    Reboot,
}

/// What is done to each part of an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Writes the pattern of `seed`.
    Write { seed: u64 },
    /// Reads and compares with the pattern of `seed`.
    Verify { seed: u64 },
    /// Reads and compares with zeroes.
    VerifyZero,
    /// Writes zeroes, by WRITE_ZEROES.
    Zero { unmap: bool },
    /// Discards.
    Discard,
    /// Flushes the disk, whatever the area.
    Flush,
}

/// How a disk is driven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Io {
    /// Which disk, in the order of their addresses.
    pub disk: usize,
    /// Whether to halt until an interrupt instead of polling.
    pub interrupts: bool,
    /// Processors at work.
    pub cpus: usize,
    /// Request queues, shared out to the processors.
    pub queues: usize,
    /// Requests in flight, on each queue.
    pub depth: usize,
    /// Bytes in a request, a multiple of 512.
    pub size: u64,
}

impl Default for Io {
    fn default() -> Io {
        Io { disk: 0, interrupts: false, cpus: 1, queues: 1, depth: 8, size: 128 << 10 }
    }
}

/// Blocks 0 to `blocks` - 1 written in turn; number n goes to block n % `blocks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamps {
    /// How many numbers.
    pub count: u64,
    /// The first number.
    pub from: u64,
    /// How many blocks there are.
    pub blocks: u64,
}

/// A measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bench {
    /// The order of addresses.
    pub random: bool,
    /// Of a hundred requests, how many read.
    pub reads: u64,
    /// How long.
    pub milliseconds: u64,
    /// The name it was given, for the result.
    pub name: &'static str,
}
