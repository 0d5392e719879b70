//! Makes a sealed file's disk: writes what it says to a new delta.

use std::io::Read;
use std::ops::Range;

use super::{ExtentKind, Reader, Result};
use crate::delta::BLOCK;
use crate::{Buffers, Disk, Engine, Error, Op, Stack, Tag};

/// Writes all of `sealed` to `stack`, whose delta is new and whose base is the one the file names,
/// checks the file to its end and makes everything durable. `progress` is told how many bytes of
/// the file have been read.
///
/// # Errors
/// The file is damaged, the disk is of another size, or it cannot be written. What has been
/// written by then is of no use, and the stack is [abandoned](Stack::abandon).
pub fn apply<R: Read>(
    sealed: &mut Reader<R>,
    stack: &Stack,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let size = sealed.header().size;
    if stack.size() != size {
        return Err(Error::Size { size, why: "the delta to write to has another size" }.into());
    }
    let applied = write_all(sealed, stack, progress).and_then(|()| Ok(stack.flush()?));
    applied.inspect_err(|_| stack.abandon())
}

fn write_all<R: Read>(
    sealed: &mut Reader<R>,
    stack: &Stack,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let size = sealed.header().size;
    let mut disk = stack.disk(Engine::Sync)?;
    while let Some(chunk) = sealed.next_chunk()? {
        for (extent, data) in chunk.pieces() {
            let Range { start, end } = extent.blocks();
            let range = start * BLOCK..(end * BLOCK).min(size);
            let op = match extent.kind {
                ExtentKind::Zero => Op::Zero(range),
                ExtentKind::Data => write(&range, data),
            };
            perform(&mut *disk, op)?;
        }
        progress(sealed.position());
    }
    progress(sealed.position());
    Ok(())
}

/// The write of `data`, as far as it lies in `range`.
fn write(range: &Range<u64>, data: &[u8]) -> Op {
    let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let data = data.get(..len).unwrap_or(data);
    Op::Write { at: range.start, from: Buffers::from_vec(data.to_vec()) }
}

/// Does `op`; the synchronous engine has finished when it says so.
fn perform(disk: &mut dyn Disk, op: Op) -> crate::Result<()> {
    let mut done = Vec::new();
    disk.submit(op, Tag(0));
    disk.poll(&mut done)?;
    done.into_iter().try_for_each(|done| done.result)
}
