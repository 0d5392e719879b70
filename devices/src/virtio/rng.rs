//! The entropy device (spec 5.4): one queue of buffers, to be filled with random bytes.

use rustix::rand::{GetRandomFlags, getrandom};

use super::chain::Chain;
use super::queue::Queue;
use super::worker::{self, Stop};
use super::{Active, DeviceKind, Error, GuestMemory, Result, VirtioDevice};

/// At most this much of a request is filled, as the spec allows: a guest must not keep the host
/// computing with one descriptor.
const LIMIT: usize = 1024;

/// A source of random bytes for the guest: the host's getrandom.
#[derive(Debug, Default)]
pub struct Device;

impl VirtioDevice for Device {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Entropy
    }

    fn name(&self) -> &str {
        "virtio-rng"
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &[64]
    }

    fn config(&self) -> &[u8] {
        &[]
    }

    fn serve(&mut self, queues: &mut [Queue], guest: &Active, stop: &Stop) -> Result<()> {
        for queue in queues {
            worker::serve_each(queue, guest, stop, |chain| fill(&guest.memory, chain))?;
        }
        Ok(())
    }
}

/// Fills the chain's writable bytes and returns how many it filled.
fn fill(memory: &GuestMemory, chain: &Chain) -> Result<u32> {
    let mut bytes = [0; LIMIT];
    let len = usize::try_from(chain.writable().len()).map_or(LIMIT, |len| len.min(LIMIT));
    let bytes = &mut bytes[..len];
    // Up to 256 bytes come whole; of more, a signal may cut off the end.
    let len = getrandom(&mut *bytes, GetRandomFlags::empty())
        .map_err(|error| Error::Entropy(error.into()))?;
    let written = chain.writable().write(memory, &bytes[..len])?;
    Ok(u32::try_from(written).expect("at most LIMIT"))
}

#[cfg(test)]
mod tests;
