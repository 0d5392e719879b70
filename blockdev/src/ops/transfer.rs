//! Bytes from one layer's file to another's.

use std::io;
use std::path::Path;

use rustix::fs::copy_file_range;
use rustix::io::Errno;

use crate::io::Storage;

/// Bytes moved through memory at once, where the kernel does not copy.
const BUFFER: usize = 64 << 10;

/// Which file, and where in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct End<'a> {
    pub(super) path: &'a Path,
    pub(super) storage: &'a dyn Storage,
    pub(super) offset: u64,
}

/// Which end was at fault.
#[derive(Debug)]
pub(super) enum Failed {
    /// The one that is read.
    Read(io::Error),
    /// The one that is written.
    Write(io::Error),
}

/// Copies `len` bytes. On one filesystem the kernel does it: XFS and btrfs share the blocks, others
/// copy within the page cache.
///
/// # Errors
/// One end cannot be read, or the other written.
pub(super) fn transfer(from: End<'_>, to: End<'_>, len: u64) -> Result<(), Failed> {
    let mut done = kernel(from, to, len)?;
    let mut buffer = vec![0; BUFFER.min(usize::try_from(len - done).unwrap_or(BUFFER))];
    while done < len {
        let part = usize::try_from(len - done).map_or(BUFFER, |left| left.min(BUFFER));
        let read = from.storage.read_exact_at(&mut buffer[..part], from.offset + done);
        read.map_err(Failed::Read)?;
        let written = to.storage.write_all_at(&buffer[..part], to.offset + done);
        written.map_err(Failed::Write)?;
        done += part as u64;
    }
    Ok(())
}

/// How many bytes from the first on the kernel has copied.
fn kernel(from: End<'_>, to: End<'_>, len: u64) -> Result<u64, Failed> {
    let (Some(source), Some(target)) = (from.storage.fd(), to.storage.fd()) else { return Ok(0) };
    let (mut read, mut written) = (from.offset, to.offset);
    while read < from.offset + len {
        let left = usize::try_from(from.offset + len - read).unwrap_or(usize::MAX);
        match copy_file_range(source, Some(&mut read), target, Some(&mut written), left) {
            Ok(1..) | Err(Errno::INTR) => {}
            Err(error @ (Errno::NOSPC | Errno::DQUOT)) => return Err(Failed::Write(error.into())),
            // The source ends, it is not done for these files, or one of them fails: reading and
            // writing them says which.
            Ok(0) | Err(_) => break,
        }
    }
    Ok(read - from.offset)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::io::FileStorage;
    use crate::io::mem::MemStorage;
    use crate::testing::pattern;

    fn end(storage: &dyn Storage, offset: u64) -> End<'_> {
        End { path: Path::new("file"), storage, offset }
    }

    #[test]
    fn bytes_arrive_between_any_two_kinds_of_storage() {
        let bytes = pattern(300_032, 5);
        let file = || {
            let file = tempfile::tempfile().unwrap();
            file.set_len(400_000).unwrap();
            Box::new(FileStorage::new(file)) as Box<dyn Storage>
        };
        let mem = || Box::new(MemStorage::from_bytes(&[0; 400_384])) as Box<dyn Storage>;
        let both: [&dyn Fn() -> Box<dyn Storage>; 2] = [&file, &mem];
        for (from, to) in both.iter().flat_map(|from| both.iter().map(move |to| (from(), to()))) {
            from.write_all_at(&bytes, 1024).unwrap();
            let (from, target) = (end(&*from, 1536), end(&*to, 512));
            transfer(from, target, 199_680).unwrap();
            let mut found = vec![0; 199_680];
            to.read_exact_at(&mut found, 512).unwrap();
            assert!(found == bytes[512..200_192]);
        }
    }

    #[test]
    fn a_source_that_ends_is_an_error() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.set_len(1000).unwrap();
        let storage = |file: File| FileStorage::new(file);
        let (from, to) = (storage(from), storage(to));
        let failed = transfer(end(&from, 0), end(&to, 0), 4096).unwrap_err();
        let Failed::Read(error) = failed else { panic!("{failed:?}") };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
