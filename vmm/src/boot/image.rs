//! The bytes a kernel or an initrd comes from: a file as it lies there, or what was unpacked of it.
//!
//! Whole images go straight from the file into guest memory; only headers pass through the
//! monitor's own.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::memory::{self, GuestMemory};

/// Some bytes of fixed length.
pub(super) struct Image {
    source: Source,
    len: u64,
}

enum Source {
    File(File),
    Bytes(Vec<u8>),
}

impl Image {
    /// Opens a regular file.
    ///
    /// # Errors
    /// The system's; for what is no regular file, one that says so.
    pub fn open(path: &Path) -> io::Result<Image> {
        // Opening a FIFO would wait for a writer.
        let nonblock = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok(Image { source: Source::File(file), len: metadata.len() })
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Reads what there is from `at` on, up to the end of `buf` or of the image.
    pub fn read_at<'b>(&self, buf: &'b mut [u8], at: u64) -> io::Result<&'b [u8]> {
        let left = self.len.saturating_sub(at);
        let len = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let (buf, _) = buf.split_at_mut(len);
        match &self.source {
            Source::File(file) => file.read_exact_at(buf, at)?,
            Source::Bytes(bytes) => {
                // In range where there is anything to read: `len` was cut to what is left.
                let start = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                bytes.get(start..).unwrap_or_default().read_exact(buf)?;
            }
        }
        Ok(buf)
    }

    /// The bytes themselves, where they are not a file's.
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        match self.source {
            Source::File(_) => None,
            Source::Bytes(bytes) => Some(bytes),
        }
    }

    /// A reader over `len` bytes from `at` on.
    pub fn reader(&self, at: u64, len: u64) -> Reader<'_> {
        Reader { image: self, at, end: at.saturating_add(len).min(self.len) }
    }

    /// Copies `len` bytes from `at` on to guest memory at `to`.
    ///
    /// By way of the file behind guest memory: through its mapping, the host would fault every
    /// page in one by one.
    pub fn copy_to(&self, memory: &GuestMemory, to: u64, at: u64, len: u64) -> io::Result<()> {
        let (memfd, offset) = memory::in_file(memory, to, len).ok_or(ErrorKind::InvalidInput)?;
        if at.saturating_add(len) > self.len {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        match &self.source {
            Source::File(file) => send(file, at, memfd, offset, len),
            Source::Bytes(bytes) => {
                let range = usize::try_from(at).ok().zip(usize::try_from(at + len).ok());
                let bytes = range.and_then(|(start, end)| bytes.get(start..end));
                memfd.write_all_at(bytes.ok_or(ErrorKind::UnexpectedEof)?, offset)
            }
        }
    }
}

/// Copies between files without passing through this process.
fn send(from: &File, mut at: u64, mut to: &File, offset: u64, len: u64) -> io::Result<()> {
    to.seek(SeekFrom::Start(offset))?;
    let end = at + len;
    while at < end {
        let left = usize::try_from(end - at).unwrap_or(usize::MAX);
        // It was shortened meanwhile if nothing comes.
        if rustix::fs::sendfile(to, from, Some(&mut at), left)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

impl From<Vec<u8>> for Image {
    fn from(bytes: Vec<u8>) -> Image {
        Image { len: bytes.len() as u64, source: Source::Bytes(bytes) }
    }
}

/// Reads a part of an [`Image`] from its start to its end.
pub(super) struct Reader<'a> {
    image: &'a Image,
    at: u64,
    end: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let len = left.min(buf.len());
        let (buf, _) = buf.split_at_mut(len);
        let read = self.image.read_at(buf, self.at)?.len();
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use vm_memory::{Bytes, GuestAddress};

    fn both(bytes: &[u8]) -> [Image; 2] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        [Image::open(file.path()).unwrap(), Image::from(bytes.to_vec())]
    }

    #[test]
    fn reads_stop_at_the_end() {
        for image in both(b"0123456789") {
            let mut buf = [0; 4];
            assert_eq!(image.read_at(&mut buf, 2).unwrap(), b"2345");
            assert_eq!(image.read_at(&mut buf, 8).unwrap(), b"89");
            assert_eq!(image.read_at(&mut buf, 10).unwrap(), b"");
            assert_eq!(image.read_at(&mut buf, u64::MAX).unwrap(), b"");
        }
    }

    #[test]
    fn a_reader_sees_its_part_only() {
        for image in both(b"0123456789") {
            let read = |at, len| {
                let mut bytes = Vec::new();
                image.reader(at, len).read_to_end(&mut bytes).unwrap();
                bytes
            };
            assert_eq!(read(3, 4), b"3456");
            assert_eq!(read(8, u64::MAX), b"89");
            assert_eq!(read(11, 4), b"");
        }
    }

    #[test]
    fn copies_never_pass_the_end_of_the_image_or_of_memory() {
        let memory = memory::create("test", memory::MIN_MIB).unwrap();
        let end = memory::MIN_MIB << 20;
        for image in both(b"0123456789") {
            image.copy_to(&memory, end - 8, 2, 8).unwrap();
            let copied: [u8; 8] = memory.read_obj(GuestAddress(end - 8)).unwrap();
            assert_eq!(copied, *b"23456789");
            image.copy_to(&memory, end - 4, 0, 8).unwrap_err();
            image.copy_to(&memory, 0, 4, 8).unwrap_err();
            image.copy_to(&memory, u64::MAX, 0, 1).unwrap_err();
            image.copy_to(&memory, 0, u64::MAX, u64::MAX).unwrap_err();
        }
    }

    #[test]
    fn a_file_shortened_after_opening_is_noticed() {
        let memory = memory::create("test", memory::MIN_MIB).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"0123456789").unwrap();
        let image = Image::open(file.path()).unwrap();
        file.as_file().set_len(5).unwrap();
        let error = image.copy_to(&memory, 0, 0, 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).unwrap();
        for path in [dir.path(), &fifo, Path::new("/dev/zero")] {
            let error = Image::open(path).err().unwrap();
            assert_eq!(error.to_string(), "it is not a regular file");
        }
    }
}
