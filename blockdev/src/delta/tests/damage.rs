//! What damage, other versions and other people's files are told from each other.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use crate::delta::{Delta, Frozen, Header, MAX_SIZE, inspect, load};
use crate::io::Storage;
use crate::io::mem::{Call, Image, MemStorage};
use crate::testing::{Clone, import, pattern, writable, write};
use crate::{Engine, Error, ErrorKind, Stack, StackSpec};

/// A clone that owns a few blocks, closed.
fn used() -> Clone {
    let clone = Clone::new(&pattern(40_000, 1), 65_536);
    let stack = clone.open();
    let mut disk = stack.disk(Engine::Sync).unwrap();
    for at in [0, 8192, 61_440] {
        write(&mut *disk, at, &[7; 4096]).unwrap();
    }
    clone
}

/// The header and bitmap of `clone`'s delta in memory.
fn in_memory(clone: &Clone) -> (u64, Image) {
    let bytes = fs::read(clone.delta()).unwrap();
    let storage = MemStorage::from_bytes(&bytes[..8192 + 512]);
    (bytes.len() as u64, storage.contents().1)
}

fn load(len: u64, image: Image) -> crate::Result<Delta> {
    Delta::load(Path::new("delta"), Arc::new(MemStorage::new(len, image)))
}

fn flip(image: &mut Image, sector: u64, bit: usize) {
    Arc::make_mut(image.get_mut(&sector).unwrap())[bit / 8] ^= 1 << (bit % 8);
}

#[test]
fn every_flipped_bit_in_header_and_bitmap_is_detected() {
    let (len, image) = in_memory(&used());
    load(len, image.clone()).unwrap();
    for sector in [0, 8, 16] {
        for bit in 0..4096 {
            let mut image = image.clone();
            flip(&mut image, sector, bit);
            let error = load(len, image).unwrap_err();
            let Error::Damaged { at, .. } = &error else { panic!("{sector} {bit}: {error:?}") };
            assert_eq!(*at, sector * 512, "{error}");
            assert_eq!(error.kind(), ErrorKind::Integrity);
        }
    }
}

#[test]
fn a_bit_in_an_empty_bitmap_sector_is_detected() {
    let (len, mut image) = in_memory(&Clone::new(&[1; 4096], 4096));
    image.insert(16, Arc::new([0; 512]));
    for bit in 0..4096 {
        let mut image = image.clone();
        flip(&mut image, 16, bit);
        assert!(matches!(load(len, image), Err(Error::Damaged { at: 8192, .. })));
    }
}

#[test]
fn every_truncation_is_detected() {
    let (full, image) = in_memory(&used());
    let lengths = (0..10_000).chain((10_000..full).step_by(4099)).chain([full - 1]);
    for len in lengths {
        let mut image = image.clone();
        drop(image.split_off(&len.div_ceil(512)));
        let error = load(len, image).unwrap_err();
        assert!(matches!(error, Error::Truncated { .. }), "{len}: {error:?}");
        assert_eq!(error.kind(), ErrorKind::Integrity);
    }
}

#[test]
fn a_header_that_cannot_be_rewritten_any_more_stays_as_it_is() {
    let (len, mut image) = in_memory(&used());
    for sector in [0, 8] {
        let header = Header::decode(&image[&sector]).unwrap();
        let last = Header { generation: u32::MAX.into(), ..header };
        image.insert(sector, Arc::new(last.encode()));
    }
    let storage = Arc::new(MemStorage::new(len, image.clone()));
    let delta = Delta::load(Path::new("delta"), Arc::clone(&storage) as _).unwrap();
    delta.freeze().unwrap_err();
    assert!(storage.contents().1 == image);
}

#[test]
fn a_file_of_8_eib_is_what_its_header_says() {
    let (_, image) = in_memory(&used());
    let longest = i64::MAX as u64;
    load(longest, image.clone()).unwrap();
    assert!(matches!(load(longest, Image::new()), Err(Error::NotADelta { .. })));
    // The largest disk there is, whose bitmap is memory that nobody touches.
    let header = Header::decode(&image[&0]).unwrap();
    let (bitmap_capacity, size) = (header.bitmap_capacity, MAX_SIZE);
    let small = Header { size, bitmap_capacity, ..header.clone() };
    assert!(Header::decode(&small.encode()).is_err(), "its bitmap has no room");
    let largest = Header::new(header.uuid, size, header.parent.clone()).encode();
    let image = Image::from([(0, Arc::new(largest)), (8, Arc::new(largest))]);
    assert_eq!(load(longest, image).unwrap().size(), size);
}

#[test]
fn a_bitmap_sector_of_another_delta_is_not_believed() {
    let (len, mut image) = in_memory(&used());
    let (_, other) = in_memory(&used());
    image.insert(16, Arc::clone(&other[&16]));
    assert!(matches!(load(len, image), Err(Error::Damaged { at: 8192, .. })));
}

/// What opening `spec` says, in one line, and its kind.
fn refusal(spec: &StackSpec) -> (ErrorKind, String) {
    let error = Stack::open(spec).unwrap_err();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    (error.kind(), text)
}

fn assert_names(text: &str, spec: &StackSpec) {
    for path in [spec.delta.as_ref().unwrap(), &spec.base.as_ref().unwrap().path] {
        assert!(text.contains(path.to_str().unwrap()), "{text} does not name {}", path.display());
    }
}

#[test]
fn a_delta_of_another_base_names_both() {
    let clone = used();
    let base = import(&clone.dir, "other", &pattern(40_000, 2));
    let spec = StackSpec { base: Some(base), ..clone.spec.clone() };
    let (kind, text) = refusal(&spec);
    assert_eq!(kind, ErrorKind::Integrity);
    assert_names(&text, &spec);
}

#[test]
fn a_base_that_is_missing_names_both() {
    let clone = used();
    fs::remove_file(&clone.base().path).unwrap();
    let (kind, text) = refusal(&clone.spec);
    assert_eq!(kind, ErrorKind::NotFound);
    assert_names(&text, &clone.spec);
}

#[test]
fn a_base_that_is_shorter_names_both_and_says_so() {
    let clone = used();
    writable(&clone.base().path).set_len(39_999).unwrap();
    let (kind, text) = refusal(&clone.spec);
    assert_eq!(kind, ErrorKind::Integrity);
    assert_names(&text, &clone.spec);
    assert!(text.contains("its size was 40000, now it is 39999"), "{text}");
}

#[test]
fn a_base_that_was_written_to_is_refused() {
    let clone = used();
    fs::write(&clone.base().path, pattern(40_000, 1)).unwrap();
    let (kind, text) = refusal(&clone.spec);
    assert_eq!(kind, ErrorKind::Integrity);
    assert!(text.contains("modification time"), "{text}");
}

#[test]
fn a_base_that_was_replaced_by_a_copy_is_refused() {
    let clone = used();
    let base = &clone.base().path;
    let modified = fs::metadata(base).unwrap().modified().unwrap();
    // The old inode is still taken when the copy gets its own.
    let copy = base.with_extension("copy");
    fs::copy(base, &copy).unwrap();
    writable(&copy).set_modified(modified).unwrap();
    fs::rename(&copy, base).unwrap();
    let (kind, text) = refusal(&clone.spec);
    assert_eq!(kind, ErrorKind::Integrity);
    assert!(text.contains("inode"), "{text}");
}

#[test]
fn files_that_are_no_deltas_are_told_from_damaged_ones() {
    let clone = used();
    let refused = |bytes: &[u8]| {
        fs::write(clone.delta(), bytes).unwrap();
        inspect(&clone.delta()).unwrap_err()
    };
    assert!(matches!(refused(b""), Error::Truncated { .. }));
    assert!(matches!(refused(b"hello"), Error::NotADelta { .. }));
    assert!(matches!(refused(&[0; 100_000]), Error::NotADelta { .. }));
    assert!(matches!(refused(&pattern(100_000, 1)), Error::NotADelta { .. }));
}

#[test]
fn only_regular_files_are_opened_and_nothing_waits() {
    let clone = used();
    let path = clone.dir.path().join("special");
    let spec = StackSpec { delta: Some(path.clone()), ..clone.spec.clone() };
    let open = || Stack::open(&spec).unwrap_err();

    fs::create_dir(&path).unwrap();
    assert!(matches!(open(), Error::Open { .. }), "a directory cannot be written");
    fs::remove_dir(&path).unwrap();

    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, 0o600.into(), 0).unwrap();
    assert!(matches!(open(), Error::NotAFile { .. }));
    fs::remove_file(&path).unwrap();

    symlink(clone.delta(), &path).unwrap();
    assert!(matches!(open(), Error::Open { .. }), "symlinks are not followed");
    fs::remove_file(&path).unwrap();

    symlink("/dev/zero", &path).unwrap();
    let base = crate::base::Base { path, ..clone.base().clone() };
    let error = Stack::open(&crate::testing::over(base, None)).unwrap_err();
    assert!(matches!(error, Error::Open { .. }));
}

#[test]
fn a_huge_sparse_file_is_refused_without_reading_it() {
    let clone = used();
    let file = File::create(clone.delta()).unwrap();
    file.set_len(1 << 40).unwrap();
    assert!(matches!(inspect(&clone.delta()), Err(Error::NotADelta { .. })));
}

/// What reading the header finds when `first` happens before its first copy is read, and `later`
/// when it is looked at again.
fn read_while(
    first: impl FnOnce(&MemStorage, Header) -> io::Result<()> + Send + 'static,
    later: impl FnOnce(&MemStorage, Header) -> io::Result<()> + Send + 'static,
) -> crate::Result<Header> {
    let (len, image) = in_memory(&used());
    let storage = Arc::new(MemStorage::new(len, image));
    let path = Path::new("delta");
    let header = load::header(&*storage, path).unwrap();
    let (again, next) = (Arc::downgrade(&storage), Header { generation: 2, ..header.clone() });
    storage.trap(Call::Read, 0, {
        let (storage, next) = (again.clone(), next.clone());
        move || first(&storage.upgrade().unwrap(), next)
    });
    storage.trap(Call::Read, 2, move || later(&again.upgrade().unwrap(), next));
    load::header(&*storage, path)
}

#[test]
fn a_header_that_is_rewritten_while_it_is_read_is_not_taken_for_damaged() {
    let found = read_while(
        |storage, next| {
            let (mut torn, storage) = ([0; 512], storage as &dyn Storage);
            storage.read_exact_at(&mut torn, 0)?;
            torn[256..].copy_from_slice(&next.encode()[256..]);
            storage.write_all_at(&torn, 0)
        },
        |storage, next| (storage as &dyn Storage).write_all_at(&next.encode(), 0),
    );
    assert_eq!(found.unwrap().generation, 2);
}

#[test]
fn a_delta_that_grows_while_its_header_is_read_is_not_taken_for_cut_off() {
    let found = read_while(
        |storage, next| {
            let next = Header { size: 2 * next.size, ..next };
            storage.set_len(next.file_len())?;
            let storage: &dyn Storage = storage;
            [0, 4096].into_iter().try_for_each(|at| storage.write_all_at(&next.encode(), at))
        },
        |_, _| Ok(()),
    );
    assert_eq!(found.unwrap().size, 131_072);
}

#[test]
fn bits_written_after_the_header_was_read_are_not_taken_for_damaged() {
    let (len, image) = in_memory(&used());
    let storage = Arc::new(MemStorage::new(len, image));
    let reader = Frozen::load(Path::new("delta"), storage.clone()).unwrap();
    let merger = || Delta::load(Path::new("delta"), storage.clone()).unwrap();
    merger().freeze().unwrap();
    let (merger, block) = (merger(), 4096..8192);
    merger.own(&block, &merger.wait_for_permit(&block).unwrap());
    merger.flush().unwrap();
    let mut owned = 0;
    reader.bitmap(0..1, |_, bits| owned = bits[0].count_ones()).unwrap();
    assert_eq!(owned, 4);
}
