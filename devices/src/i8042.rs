//! The keyboard controller, as far as machines without a keyboard need it: the reset line.
//!
//! ```text
//!   0x60  data             reads 0
//!   0x61  system control   reads with the timer-output bit set, so that loops on it end
//!   0x64  status           output buffer full for ever, input buffer never full
//!   0x64  command          0xfe, and 0xf0 to 0xfe with bit 0 clear: pulse the reset line
//! ```
//!
//! Before using a controller Linux empties its output buffer, and takes one that does not run
//! empty in 16 reads for absent (`i8042_flush`): so probing ends in a millisecond instead of
//! waiting out half-second timeouts for a keyboard. Its reboot code waits for room in the input
//! buffer (`kb_wait`), which there always is.

use std::ops::Range;

use crate::bus::{BusDevice, Effect};

/// The ports from data to command.
pub const PORTS: Range<u64> = 0x60..0x65;

const SYSTEM_CONTROL: u64 = 1;
const STATUS_OR_COMMAND: u64 = 4;

const TIMER_OUTPUT: u8 = 1 << 5;
const OUTPUT_FULL: u8 = 1 << 0;

/// The controller; it has no state.
#[derive(Debug, Default)]
pub struct I8042;

impl BusDevice for I8042 {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        for (port, byte) in (offset..).zip(data) {
            *byte = match port {
                SYSTEM_CONTROL => TIMER_OUTPUT,
                STATUS_OR_COMMAND => OUTPUT_FULL,
                _ => 0,
            };
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        match (offset, data) {
            // 0xf0 to 0xff pulse the output lines whose bits are 0; line 0 is the CPU's reset.
            (STATUS_OR_COMMAND, [command]) if command & 0xf1 == 0xf0 => Effect::Reset,
            _ => Effect::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(offset: u64) -> u8 {
        let mut data = [0xaa];
        I8042.read(offset, &mut data);
        data[0]
    }

    #[test]
    fn reset_command_resets_and_no_other_does() {
        assert_eq!(I8042.write(4, &[0xfe]), Effect::Reset);
        for command in [0x20, 0x60, 0xaa, 0xd1, 0xff] {
            assert_eq!(I8042.write(4, &[command]), Effect::None);
        }
        assert_eq!(I8042.write(0, &[0xfe]), Effect::None);
    }

    #[test]
    fn linux_probe_finds_no_controller_and_reboot_does_not_wait() {
        assert!((0..=16).all(|_| read(4) & OUTPUT_FULL != 0 && read(0) == 0));
        assert_eq!(read(4) & 0x02, 0, "kb_wait must see an empty input buffer");
        assert_ne!(read(1) & TIMER_OUTPUT, 0, "timer calibration must not loop");
    }
}
