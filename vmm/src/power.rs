//! The power registers: sleep and reset as ACPI 6.5 section 4.8.3 has them on hardware-reduced
//! machines, and the event register of the power button.
//!
//! ```text
//! offset 0  sleep control   w: SLP_EN (bit 5) with SLP_TYP (bits 2-4) 5 powers off     r: 0
//! offset 1  sleep status    r: WAK_STS (bit 7), never set: nothing wakes up here
//! offset 2  reset           w: RESET_VALUE resets                                      r: 0
//! offset 3  events          r: what happened since the last read; reading clears it
//! ```
//!
//! The ACPI tables ([`crate::boot`]) tell the guest where these are. The event register is read
//! by the tables' own code when [`crate::layout::POWER_GSI`] is raised: so a press of the button
//! is [`Power::press_button`], then one edge on that line.

use devices::bus::{BusDevice, Effect};

/// Offset of the sleep control register.
pub const SLEEP_CONTROL: u16 = 0;
/// Offset of the sleep status register.
pub const SLEEP_STATUS: u16 = 1;
/// Offset of the reset register.
pub const RESET: u16 = 2;
/// Offset of the event register.
pub const EVENTS: u16 = 3;
/// What resets the machine when written to the reset register.
pub const RESET_VALUE: u8 = 1;
/// The sleep type that powers off.
pub const SLEEP_TYPE_S5: u8 = 5;
/// Event: the power button was pressed.
pub const EVENT_BUTTON: u8 = 1;

const SLEEP_ENABLE: u8 = 1 << 5;
const SLEEP_TYPE_SHIFT: u8 = 2;
const SLEEP_TYPE_MASK: u8 = 7;

/// The registers, at [`crate::layout::POWER_PORTS`].
#[derive(Debug, Default)]
pub struct Power {
    events: u8,
}

impl Power {
    /// Notes a press of the power button for the guest to find. The line is raised by the caller.
    pub fn press_button(&mut self) {
        self.events |= EVENT_BUTTON;
    }
}

impl BusDevice for Power {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let ([value], true) = (data, offset == u64::from(EVENTS)) {
            *value = std::mem::take(&mut self.events);
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        let (&[value], Ok(offset)) = (data, u16::try_from(offset)) else { return Effect::None };
        let sleep_type = (value >> SLEEP_TYPE_SHIFT) & SLEEP_TYPE_MASK;
        let sleeps = value & SLEEP_ENABLE != 0;
        match offset {
            SLEEP_CONTROL if sleeps && sleep_type == SLEEP_TYPE_S5 => Effect::Shutdown,
            RESET if value == RESET_VALUE => Effect::Reset,
            _ => Effect::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_s5_with_the_enable_bit_powers_off() {
        for value in 0..=u8::MAX {
            let off = value & 0x20 != 0 && value & 0x1c == 0x14;
            let effect = Power::default().write(SLEEP_CONTROL.into(), &[value]);
            assert_eq!(effect == Effect::Shutdown, off, "{value:#x}");
        }
    }

    #[test]
    fn only_the_reset_value_resets() {
        assert_eq!(Power::default().write(RESET.into(), &[RESET_VALUE]), Effect::Reset);
        assert_eq!(Power::default().write(RESET.into(), &[0]), Effect::None);
    }

    #[test]
    fn an_event_is_seen_once() {
        let mut power = Power::default();
        let mut read = || {
            let mut value = [0xff];
            power.read(EVENTS.into(), &mut value);
            value[0]
        };
        assert_eq!(read(), 0);
        power.press_button();
        power.press_button();
        let mut read = |offset: u16| {
            let mut value = [0xff];
            power.read(offset.into(), &mut value);
            value[0]
        };
        assert_eq!([read(SLEEP_STATUS), read(SLEEP_CONTROL), read(RESET)], [0; 3]);
        assert_eq!([read(EVENTS), read(EVENTS)], [EVENT_BUTTON, 0]);
    }

    #[test]
    fn accesses_of_other_widths_and_places_do_nothing() {
        let mut power = Power::default();
        power.press_button();
        let mut wide = [0xff; 4];
        power.read(0, &mut wide);
        assert_eq!(wide, [0; 4]);
        assert_eq!(power.write(0, &[0x34, 0, RESET_VALUE, 0]), Effect::None);
        assert_eq!(power.write(u64::MAX, &[0x34]), Effect::None);
        assert_eq!(power.write(0, &[]), Effect::None);
    }
}
