//! The bytes a kernel or an initrd comes from: a file as it lies there, or what was unpacked of it.
//!
//! Whole images go straight from the file into guest memory; only headers pass through the
//! monitor's own.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use crate::memory::GuestMemory;

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
    pub fn copy_to(
        &self,
        memory: &GuestMemory,
        to: GuestAddress,
        at: u64,
        len: u64,
    ) -> Result<(), GuestMemoryError> {
        let count = usize::try_from(len).map_err(|_| GuestMemoryError::GuestAddressOverflow)?;
        match &self.source {
            Source::File(file) => {
                let mut file = file;
                file.seek(SeekFrom::Start(at)).map_err(GuestMemoryError::IOError)?;
                memory.read_exact_volatile_from(to, &mut file, count)
            }
            Source::Bytes(bytes) => {
                let start = usize::try_from(at).unwrap_or(usize::MAX);
                let mut bytes = bytes.get(start..).unwrap_or_default();
                memory.read_exact_volatile_from(to, &mut bytes, count)
            }
        }
    }
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
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
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
        }
    }

    #[test]
    fn copies_never_pass_the_end_of_the_image_or_of_memory() {
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 8)]).unwrap();
        for image in both(b"0123456789") {
            image.copy_to(&memory, GuestAddress(0), 2, 8).unwrap();
            assert_eq!(memory.read_obj::<[u8; 8]>(GuestAddress(0)).unwrap(), *b"23456789");
            image.copy_to(&memory, GuestAddress(4), 0, 8).unwrap_err();
            image.copy_to(&memory, GuestAddress(0), 4, 8).unwrap_err();
        }
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
