//! The debug-exit port: the guest writes a byte, and the VM ends with it as its status.

use std::ops::Range;

use crate::bus::{BusDevice, Effect};

/// Where guests expect it, as QEMU's `isa-debug-exit` is usually placed.
pub const PORTS: Range<u64> = 0xf4..0xf5;

/// The port. It has no state, and reads as all ones, as if nothing was there.
#[derive(Debug, Default)]
pub struct DebugExit;

impl BusDevice for DebugExit {
    fn read(&mut self, _offset: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn write(&mut self, _offset: u64, data: &[u8]) -> Effect {
        data.first().map_or(Effect::None, |&status| Effect::Exit(status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_byte_is_the_status() {
        assert_eq!(DebugExit.write(0, &[42]), Effect::Exit(42));
        assert_eq!(DebugExit.write(0, &[0]), Effect::Exit(0));
    }
}
