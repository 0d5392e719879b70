//! The bytes to look at, and windows on them.

use std::cell::Cell;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

/// All the bytes that may be read in one search: a hostile filesystem cannot make it longer.
const BUDGET: u64 = 4 << 30;

/// A disk, read only.
pub trait Disk {
    /// Bytes there are.
    fn size(&self) -> u64;

    /// Fills `buf` from byte `at` on.
    ///
    /// # Errors
    /// It ends before, or cannot be read.
    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()>;
}

/// A file with the size it had when it was opened.
pub struct DiskFile {
    file: std::fs::File,
    size: u64,
}

impl DiskFile {
    /// Takes a file that holds a disk.
    ///
    /// # Errors
    /// Its size cannot be told.
    pub fn new(file: std::fs::File) -> io::Result<DiskFile> {
        let size = file.metadata()?.len();
        Ok(DiskFile { file, size })
    }
}

impl Disk for DiskFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, at)
    }
}

impl Disk for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let bytes = usize::try_from(at).ok().and_then(|at| self.get(at..));
        let bytes = bytes.and_then(|bytes| bytes.get(..buf.len()));
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A part of a disk. Nothing outside of it is ever read through it.
#[derive(Clone)]
pub(crate) struct Window {
    disk: Rc<dyn Disk>,
    start: u64,
    len: u64,
    /// Bytes that may still be read, by all windows on this disk together.
    budget: Rc<Cell<u64>>,
}

impl Window {
    /// All of a disk.
    pub fn whole(disk: Rc<dyn Disk>) -> Window {
        Window { len: disk.size(), disk, start: 0, budget: Rc::new(Cell::new(BUDGET)) }
    }

    /// A part of this one; `None` where it does not lie inside.
    pub fn part(&self, start: u64, len: u64) -> Option<Window> {
        let inside = start.checked_add(len)? <= self.len;
        let start = self.start.checked_add(start)?;
        inside.then(|| Window { start, len, ..self.clone() })
    }

    /// Bytes in it.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buf` from byte `at` of the window on.
    pub fn read(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let len = buf.len() as u64;
        let end = at.checked_add(len).filter(|end| *end <= self.len);
        if end.is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let left = self.budget.get().checked_sub(len);
        self.budget.set(left.ok_or_else(|| io::Error::other("it goes on without end"))?);
        self.disk.read_exact_at(buf, self.start + at)
    }

    /// `N` bytes from byte `at` of the window on.
    pub fn bytes<const N: usize>(&self, at: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read(&mut bytes, at)?;
        Ok(bytes)
    }

    /// `len` bytes from byte `at` of the window on. `len` is the caller's to bound.
    pub fn vec(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read(&mut bytes, at)?;
        Ok(bytes)
    }
}
