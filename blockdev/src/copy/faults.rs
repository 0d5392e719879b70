//! Every call fails, in every way, that taking an image in, writing one out, or packing one makes to
//! the file it writes; and every question to the disk it reads.

use std::fs;
use std::io::{self, Write};
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tempfile::TempDir;

use super::{Raw, Source};
use crate::base::{fill, import_from};
use crate::buffers;
use crate::export::{Existing, Format, export, write};
use crate::io::mem::Fault;
use crate::io::{FileStorage, Storage};
use crate::sealed::{self, Owned, seal};
use crate::testing::{Clone, errno, pattern};
use crate::{Error, Extent, Result};

const FAULTS: [Fault; 4] =
    [Fault::Errno(libc::EIO), Fault::Errno(libc::ENOSPC), Fault::Errno(libc::EINTR), Fault::Short];

fn go(_: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Calls, of which one fails.
#[derive(Debug)]
struct Calls {
    failing: u64,
    fault: Fault,
    made: AtomicU64,
}

impl Calls {
    fn new(failing: u64, fault: Fault) -> Calls {
        Calls { failing, fault, made: AtomicU64::new(0) }
    }

    /// Counts a call; how much of `len` bytes it may do.
    fn call(&self, len: usize) -> io::Result<usize> {
        match (self.made.fetch_add(1, Relaxed) == self.failing, self.fault) {
            (true, Fault::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
            (true, Fault::Short) => Ok(len.div_ceil(2)),
            (false, _) => Ok(len),
        }
    }

    fn were_enough(&self) -> bool {
        self.made.load(Relaxed) > self.failing
    }
}

/// A file to be written.
#[derive(Debug)]
struct Target {
    calls: Calls,
    dir: TempDir,
    file: FileStorage,
}

impl Target {
    fn new(calls: Calls) -> Target {
        let dir = tempfile::tempdir().unwrap();
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(dir.path().join("to"));
        Target { calls, dir, file: FileStorage::new(file.unwrap()) }
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.dir.path().join("to")).unwrap()
    }
}

impl Storage for Target {
    fn len(&self) -> io::Result<u64> {
        self.calls.call(0)?;
        self.file.len()
    }

    fn read_at(&self, into: &buffers::Target<'_>, at: u64) -> io::Result<usize> {
        self.calls.call(0)?;
        self.file.read_at(into, at)
    }

    fn write_at(&self, from: &buffers::Source<'_>, at: u64) -> io::Result<usize> {
        let mut bytes = vec![0; self.calls.call(from.len())?];
        from.copy_to(&mut bytes);
        self.file.write_at(&buffers::Source::from(&bytes[..]), at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.calls.call(0)?;
        self.file.set_len(len)
    }

    fn punch_hole(&self, range: Range<u64>) -> io::Result<()> {
        self.calls.call(0)?;
        self.file.punch_hole(range)
    }

    fn sync(&self) -> io::Result<()> {
        self.calls.call(0)?;
        self.file.sync()
    }

    fn next_data(&self, at: u64) -> io::Result<Option<Range<u64>>> {
        self.calls.call(0)?;
        self.file.next_data(at)
    }
}

/// A stream to be written.
struct Stream {
    calls: Calls,
    bytes: Vec<u8>,
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.write(&bytes[..self.calls.call(bytes.len())?])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.calls.call(0).map(drop)
    }
}

/// A disk to be read.
struct Disk {
    calls: Calls,
    raw: Raw,
}

impl Disk {
    fn ask(&self, at: u64) -> Result<()> {
        self.calls.call(0).map(drop).map_err(Error::read("disk".as_ref(), at))
    }
}

impl Source for Disk {
    fn size(&self) -> u64 {
        self.raw.size()
    }

    fn extent(&mut self, at: u64) -> Result<(Extent, u64)> {
        self.ask(at)?;
        self.raw.extent(at)
    }

    fn read(&mut self, buf: &mut [u8], at: u64) -> Result<()> {
        self.ask(at)?;
        self.raw.read(buf, at)
    }
}

/// An image with holes, longer than what is copied at once, of no whole number of sectors.
fn image(dir: &TempDir) -> Raw {
    let path = dir.path().join("image");
    let file = fs::File::create(&path).unwrap();
    file.set_len((3 << 20) + 100).unwrap();
    for (at, len) in [(0, 5000), (1 << 20, 70_000), ((3 << 20) - 100, 200)] {
        let bytes = pattern(len, 5);
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, at).unwrap();
    }
    Raw::open(&path).unwrap()
}

/// Has `write` write to a file each of whose calls fails once; what comes of it where it goes well
/// is always the same.
fn fail_each_write<E: std::error::Error + 'static>(
    write: impl Fn(&dyn Storage) -> std::result::Result<(), E>,
) {
    let good = Target::new(Calls::new(u64::MAX, Fault::Short));
    write(&good).unwrap();
    let all = good.calls.made.load(Relaxed);
    assert!(all > 3, "{all} calls are too few to say much");
    for (call, fault) in (0..all).flat_map(|call| FAULTS.map(|fault| (call, fault))) {
        let target = Target::new(Calls::new(call, fault));
        match (write(&target), fault) {
            (Ok(()), _) => assert!(target.bytes() == good.bytes(), "{fault:?} in call {call}"),
            (Err(error), Fault::Errno(expected)) => {
                assert!(error.to_string().contains("target"), "{error}");
                assert_eq!(errno(&error), Some(expected), "call {call}");
            }
            (Err(error), Fault::Short) => panic!("short calls are gone on with: {error}"),
        }
    }
}

#[test]
fn any_failing_call_to_an_exported_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    for format in [Format::Raw, Format::Qcow2, Format::PackedQcow2] {
        fail_each_write(|target| {
            write(&mut image(&dir), target, "target".as_ref(), format, &mut go)
        });
    }
}

#[test]
fn any_failing_call_to_an_imported_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    fail_each_write(|target| {
        fill(&mut image(&dir), Some(target), "target".as_ref(), &mut go).map(drop)
    });
}

#[test]
fn any_failing_write_of_a_packed_disk_is_told() {
    let clone = Clone::new(&pattern(100_000, 1), 1 << 20);
    let mut disk = clone.open().disk(crate::Engine::Sync).unwrap();
    // Random bytes, so that it is longer than what is written at once.
    let mut bytes = vec![0; 600_000 / 4096 * 4096];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    crate::testing::write(&mut *disk, 4096, &bytes).unwrap();
    drop(disk);
    let pack = |calls| -> (sealed::Result<()>, Stream) {
        let mut stream = Stream { calls, bytes: Vec::new() };
        let source = Owned::open(&clone.spec).unwrap();
        let packed = seal(&source, b"", &mut stream, "target".as_ref(), &mut |_, _| ());
        (packed.map(drop), stream)
    };
    let (packed, good) = pack(Calls::new(u64::MAX, Fault::Short));
    packed.unwrap();
    let all = good.calls.made.load(Relaxed);
    assert!(all > 3, "{all} calls are too few to say much");
    for (call, fault) in (0..all).flat_map(|call| FAULTS.map(|fault| (call, fault))) {
        match (pack(Calls::new(call, fault)), fault) {
            ((Ok(()), stream), _) => assert!(stream.bytes == good.bytes, "{fault:?} in {call}"),
            ((Err(error), _), Fault::Errno(expected)) => {
                assert!(error.to_string().contains("target"), "{error}");
                assert_eq!(errno(&error), Some(expected), "call {call}");
            }
            ((Err(error), _), Fault::Short) => panic!("short calls are gone on with: {error}"),
        }
    }
}

#[test]
fn a_disk_that_cannot_be_read_leaves_no_image_and_replaces_none() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("to");
    let names = |dir: &Path| fs::read_dir(dir).unwrap().count();
    for call in 0.. {
        let disk = || {
            let calls = Calls::new(call, Fault::Errno(libc::EIO));
            Disk { calls, raw: image(&dir) }
        };
        for format in [Format::Raw, Format::Qcow2] {
            let mut disk = disk();
            fs::write(&to, "precious").unwrap();
            let done = export(&mut disk, &to, format, Existing::Replace, &mut go);
            assert_eq!(done.is_err(), disk.calls.were_enough());
            assert_eq!(fs::read(&to).unwrap() == b"precious", done.is_err());
            assert_eq!(names(dir.path()), 2, "the image, and the one that was there");
        }
        fs::remove_file(&to).unwrap();
        let imported = import_from(Box::new(disk()), &to, &mut go);
        assert_eq!(to.exists(), imported.is_ok());
        let Err(error) = imported else { return };
        assert_eq!(errno(&error), Some(libc::EIO), "{error}");
    }
}
