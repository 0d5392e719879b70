//! Interrupt lines as devices see them.

use std::io;

/// An edge-triggered interrupt line.
pub trait Irq: Send + Sync {
    /// Raises the line once.
    ///
    /// # Errors
    /// The interrupt could not be delivered.
    fn raise(&self) -> io::Result<()>;
}
