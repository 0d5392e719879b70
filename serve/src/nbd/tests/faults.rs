//! A host's disk that fails or dawdles, as clients learn of it.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blockdev::Stack;
use blockdev::io::mem::{Call, Fault, MemStorage};

use super::{Served, pattern};
use crate::nbd::testing::Mode;
use crate::nbd::testing::numbers::{command, command_flag};

const EIO: u32 = 5;
const ENOSPC: u32 = 28;
const ESHUTDOWN: u32 = 108;

/// A served disk, and the storages of its base and its delta.
fn served() -> (Served, Arc<MemStorage>, Arc<MemStorage>) {
    served_of(2 << 20)
}

/// The same with a disk of `size` bytes.
fn served_of(size: u64) -> (Served, Arc<MemStorage>, Arc<MemStorage>) {
    let mut storages = None;
    let served = Served::on(size, false, |spec| {
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
    for times in 0..3 {
        assert_eq!(served.full.load(Ordering::Relaxed), times);
        delta.fail(0, Fault::Errno(libc::ENOSPC));
        assert_eq!(client.write(0, &[7; 4096]).unwrap(), Err(ENOSPC));
        assert_eq!(client.read(0, 4096).unwrap().unwrap(), pattern(4096));
    }
    assert_eq!(client.write(0, &[7; 4096]).unwrap(), Ok(()));
    assert_eq!(client.flush().unwrap(), Ok(()));
    assert_eq!(client.read(0, 4096).unwrap(), Ok(vec![7; 4096]));
    assert_eq!(served.full.load(Ordering::Relaxed), 3);
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

/// Has `cut_off` happen while the third of 16 MiB of zeroes is written; whether the twelfth was
/// written all the same, and what the client was told.
fn fill(
    cut_off: impl FnOnce(&Served, UnixStream) -> Box<dyn FnOnce() + Send>,
) -> (bool, Option<u32>) {
    let (mut served, _, delta) = served_of(16 << 20);
    let mut client = served.client(Mode::Structured);
    let written = Arc::new(AtomicBool::new(false));
    let data = (delta.contents().0 - (16 << 20)) / 512;
    let piece = |number: u64| Call::Write(data + number * 2048, data + number * 2048 + 1);
    let cut_off = cut_off(&served, client.stream.try_clone().unwrap());
    delta.trap(piece(3), 0, move || {
        cut_off();
        Ok(())
    });
    let canary = Arc::clone(&written);
    delta.trap(piece(12), 0, move || {
        canary.store(true, Ordering::Release);
        Ok(())
    });
    client.send(command::WRITE_ZEROES, command_flag::NO_HOLE, 0, 16 << 20, &[]).unwrap();
    let told = client.receive(0).ok().and_then(|answer| answer.result.err());
    served.end();
    (written.load(Ordering::Acquire), told)
}

#[test]
fn zeroes_that_take_room_are_written_no_further_for_a_client_that_is_gone() {
    let (written, _) = fill(|_, client| Box::new(move || client.shutdown(Shutdown::Both).unwrap()));
    assert!(!written, "nobody waits for them");
}

#[test]
fn the_end_of_the_server_does_not_wait_for_zeroes_that_take_room() {
    let (written, told) = fill(|served, mut client| {
        let stop = served.stop.try_clone().unwrap();
        Box::new(move || {
            rustix::io::write(&stop, &1u64.to_ne_bytes()).unwrap();
            // Until the server listens no more.
            while client.write(&[]).is_ok() {
                std::thread::yield_now();
            }
        })
    });
    assert_eq!((written, told), (false, Some(ESHUTDOWN)));
}
