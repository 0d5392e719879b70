//! Addresses to devices, for ports and for MMIO alike.

/// A device the guest reaches by address.
pub trait BusDevice: Send {
    /// Fills `data` from the registers at `offset` in the device's range.
    fn read(&mut self, offset: u64, data: &mut [u8]);
    /// Writes `data` to the registers at `offset`; says what the machine must do now.
    fn write(&mut self, offset: u64, data: &[u8]) -> Effect;
}

/// What a register write asks of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    #[default]
    None,
    /// Reset the machine.
    Reset,
    /// Power off.
    Shutdown,
    /// End the VM with this status.
    Exit(u8),
}
