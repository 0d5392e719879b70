//! Lines on COM1.
#![allow(unsafe_code, reason = "COM1 is a port")]

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use crate::cpu;

const COM1: u16 = 0x3f8;

/// Held for one line at a time, so that processors do not mix theirs.
static BUSY: AtomicBool = AtomicBool::new(false);

/// Prints a line: `guest: `, then what `println!` would print.
macro_rules! say {
    ($($arg:tt)*) => { $crate::console::line("guest: ", format_args!($($arg)*)) };
}
pub(crate) use say;

/// Makes COM1 take 16 bytes at a time.
pub fn open() {
    // SAFETY: this is COM1's FIFO control register.
    unsafe { cpu::write_port(COM1 + 2, 1) };
}

/// A byte of input, if there is one.
pub fn input() -> Option<u8> {
    // SAFETY: this is COM1's line status.
    let ready = unsafe { cpu::read_port(COM1 + 5) } & 1 != 0;
    // SAFETY: this is COM1's receive buffer.
    ready.then(|| unsafe { cpu::read_port(COM1) })
}

/// Prints `start` and `text` as one line.
pub fn line(start: &str, text: fmt::Arguments) {
    while BUSY.swap(true, Ordering::Acquire) {
        core::hint::spin_loop();
    }
    last_line(start, text);
    BUSY.store(false, Ordering::Release);
}

/// Prints a line without waiting for others, who may never end theirs.
pub fn last_line(start: &str, text: fmt::Arguments) {
    let mut line = Line { bytes: [0; 16], filled: 0 };
    let _ = writeln!(line, "{start}{text}");
    line.flush();
}

/// Bytes on their way, as many as COM1 takes at once.
struct Line {
    bytes: [u8; 16],
    filled: usize,
}

impl Line {
    fn flush(&mut self) {
        cpu::print16(&self.bytes[..self.filled]);
        self.filled = 0;
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.bytes[self.filled] = byte;
            self.filled += 1;
            if self.filled == self.bytes.len() {
                self.flush();
            }
        }
        Ok(())
    }
}
