//! A stack as a source: what its disk reads as now.

use super::{CHUNK, Source};
use crate::{Buffers, Disk, Engine, Extent, Op, Result, Stack, Tag};

/// A disk that nobody writes meanwhile.
struct Flat {
    stack: Stack,
    disk: Box<dyn Disk>,
}

impl Stack {
    /// All of this disk, to be copied. What is written while that goes on is in the copy or not.
    ///
    /// # Errors
    /// The system gives no more descriptors.
    pub fn source(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new(Flat { stack: self.clone(), disk: self.disk(Engine::Sync)? }))
    }
}

impl Source for Flat {
    fn size(&self) -> u64 {
        self.stack.size()
    }

    /// As many runs of one kind as make a good read.
    fn extent(&mut self, at: u64) -> Result<(Extent, u64)> {
        let (extent, mut len) = self.stack.extent(at..self.size())?;
        while len < CHUNK && at + len < self.size() {
            let (next, more) = self.stack.extent(at + len..self.size())?;
            if next != extent {
                break;
            }
            len += more;
        }
        Ok((extent, len))
    }

    fn read(&mut self, buf: &mut [u8], at: u64) -> Result<()> {
        let into = Buffers::from_vec(vec![0; buf.len()]);
        self.disk.submit(Op::Read { at, into }, Tag(at));
        let mut done = Vec::new();
        // The synchronous engine has finished what was submitted.
        self.disk.poll(&mut done)?;
        let done = done.pop().expect("a read is done when it was submitted");
        done.result?;
        if let Some(buffers) = done.buffers {
            buffers.source(0..buf.len()).copy_to(buf);
        }
        Ok(())
    }
}
