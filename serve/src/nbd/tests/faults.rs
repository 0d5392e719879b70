//! A host's disk that fails, as clients learn of it.

use std::sync::Arc;

use blockdev::Stack;
use blockdev::io::mem::{Fault, MemStorage};

use super::{Served, pattern};
use crate::nbd::testing::Mode;
use crate::nbd::testing::numbers::{command, command_flag};

const EIO: u32 = 5;
const ENOSPC: u32 = 28;

/// A served disk, and the storages of its base and its delta.
fn served() -> (Served, Arc<MemStorage>, Arc<MemStorage>) {
    let mut storages = None;
    let served = Served::on(2 << 20, false, |spec| {
        let (base, delta) = (spec.base.as_ref().unwrap(), spec.delta.as_ref().unwrap());
        let [below, above] = [&base.path, delta]
            .map(|path| Arc::new(MemStorage::from_bytes(&std::fs::read(path).unwrap())));
        let stack = Stack::from_storages(base, below.clone(), &[], Some(above.clone())).unwrap();
        storages = Some((below, above));
        stack
    });
    let (below, above) = storages.unwrap();
    (served, below, above)
}

#[test]
fn a_full_disk_is_that_writes_error_alone() {
    let (served, _, delta) = served();
    let mut client = served.client(Mode::Structured);
    for _ in 0..3 {
        delta.fail(0, Fault::Errno(libc::ENOSPC));
        assert_eq!(client.write(0, &[7; 4096]).unwrap(), Err(ENOSPC));
        assert_eq!(client.read(0, 4096).unwrap().unwrap(), pattern(4096));
    }
    assert_eq!(client.write(0, &[7; 4096]).unwrap(), Ok(()));
    assert_eq!(client.flush().unwrap(), Ok(()));
    assert_eq!(client.read(0, 4096).unwrap(), Ok(vec![7; 4096]));
}

#[test]
fn a_durable_write_without_room_for_the_bitmap_is_not_reported_done() {
    let (served, _, delta) = served();
    let mut client = served.client(Mode::Simple);
    // The write, the sync of it, and then the bitmap.
    delta.fail(2, Fault::Errno(libc::ENOSPC));
    client.send(command::WRITE, command_flag::FUA, 0, 4096, &[7; 4096]).unwrap();
    assert_eq!(client.receive(0).unwrap().result, Err(ENOSPC));
    assert_eq!(client.flush().unwrap(), Ok(()));
}

#[test]
fn a_failed_read_is_that_requests_error_alone() {
    let (served, base, _) = served();
    for mode in [Mode::Simple, Mode::Structured] {
        let mut client = served.client(mode);
        base.fail(0, Fault::Errno(libc::EIO));
        assert_eq!(client.read(0, 4096).unwrap(), Err(EIO));
        assert_eq!(client.read(0, 4096).unwrap().unwrap(), pattern(4096));
        assert_eq!(client.write(65536, &[7; 4096]).unwrap(), Ok(()));
        assert_eq!(client.flush().unwrap(), Ok(()));
    }
}

#[test]
fn a_failed_write_or_sync_fails_every_later_change_on_every_connection() {
    for call in [0, 1] {
        let (served, _, delta) = served();
        let mut client = served.client(Mode::Structured);
        delta.fail(call, Fault::Errno(libc::EIO));
        client.send(command::WRITE, command_flag::FUA, 0, 4096, &[7; 4096]).unwrap();
        assert_eq!(client.receive(0).unwrap().result, Err(EIO));
        let mut other = served.client(Mode::Simple);
        assert_eq!(other.write(8192, &[7; 4096]).unwrap(), Err(EIO));
        assert_eq!(other.flush().unwrap(), Err(EIO));
        assert_eq!(other.read(65536, 512).unwrap().unwrap().len(), 512);
    }
}
