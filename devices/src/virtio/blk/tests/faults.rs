//! Failing files below a real stack: what the guest is told of each, and what it finds afterwards.

use std::ops::Range;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use blockdev::base::{Base, Identity};
use blockdev::delta::{Parent, create_in};
use blockdev::io::Storage;
use blockdev::io::mem::{Fault, MemStorage};
use blockdev::{Engine, Stack};

use super::stack::contents;
use super::*;

const ENOSPC: i32 = rustix::io::Errno::NOSPC.raw_os_error();
const EIO: i32 = rustix::io::Errno::IO.raw_os_error();

/// A disk whose files are in memory, where calls can fail.
struct Rig {
    base: Arc<MemStorage>,
    delta: Arc<MemStorage>,
    spec: Base,
    driver: Driver,
    full: mpsc::Receiver<()>,
    pauses: usize,
}

impl Rig {
    fn new() -> Rig {
        let identity = Identity {
            uuid: uuid::Uuid::new_v4(),
            size: SIZE as u64,
            digest: "5a".repeat(32),
            mtime_ns: 0,
            inode: 0,
        };
        let spec = Base { path: "base".into(), identity };
        let base = Arc::new(MemStorage::from_bytes(&pattern()));
        let delta = Arc::new(MemStorage::default());
        create_in(&*delta, SIZE as u64, &Parent::base(&spec.identity).unwrap()).unwrap();
        let below: Arc<dyn Storage> = base.clone();
        let stack = Stack::from_storages(&spec, below, &[], Some(delta.clone())).unwrap();
        let (sender, full) = mpsc::channel();
        let device = Device::new(settings(), Box::new(move || stack.disk(Engine::Sync)))
            .keeping_what_finds_no_room(Box::new(move |_| sender.send(()).unwrap()));
        let driver = Driver::start(device, 1, 16, 0);
        Rig { base, delta, spec, driver, full, pauses: 0 }
    }

    fn write(&mut self, sector: u64, sectors: u32, byte: u8) -> u8 {
        self.driver.put(&vec![byte; sectors as usize * 512], DATA);
        self.ask(OUT, sector, &[Out(DATA, sectors * 512)])
    }

    fn zero(&mut self, sector: u64, sectors: u32) -> u8 {
        let ranges = put_ranges(&self.driver, &[(sector, sectors, 0)]);
        self.ask(WRITE_ZEROES, 0, &[ranges])
    }

    fn flush(&mut self) -> u8 {
        self.ask(FLUSH, 0, &[])
    }

    /// The whole disk, or the status of reading it.
    fn read(&mut self) -> std::result::Result<Vec<u8>, u8> {
        match self.ask(IN, 0, &[In(DATA, u32::try_from(SIZE).unwrap())]) {
            0 => Ok(self.driver.bytes(DATA, SIZE)),
            status => Err(status),
        }
    }

    /// What a machine started now would read.
    fn reopened(&self) -> Vec<u8> {
        let (len, image) = self.delta.contents();
        let delta: Arc<dyn Storage> = Arc::new(MemStorage::new(len, image));
        let below: Arc<dyn Storage> = self.base.clone();
        let stack = Stack::from_storages(&self.spec, below, &[], Some(delta)).unwrap();
        let device = Device::new(settings(), Box::new(move || stack.disk(Engine::Sync)));
        contents(&mut Driver::start(device, 1, 16, 0))
    }

    /// A request's status; as the host does, pauses and goes on whenever there was no room.
    fn ask(&mut self, kind: u32, sector: u64, data: &[Part]) -> u8 {
        offer(&mut self.driver, 0, kind, sector, data);
        self.driver.kick(0);
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.driver.rings[0].take_used().is_none() {
            assert!(Instant::now() < deadline, "no answer");
            if self.full.try_recv().is_ok() {
                self.pauses += 1;
                self.driver.transport.pause();
                self.driver.transport.resume();
            }
            thread::yield_now();
        }
        status(&self.driver, 0)
    }
}

/// Writes with and without copy-up, zeroing, flushes; the statuses, and what the disk holds where
/// all went well.
fn live(rig: &mut Rig) -> (Vec<u8>, Vec<u8>) {
    let statuses = vec![
        rig.write(3, 2, 1),
        rig.write(16, 8, 2),
        rig.flush(),
        rig.zero(30, 20),
        rig.write(62, 4, 3),
        rig.flush(),
        rig.write(4, 8, 4),
        rig.flush(),
    ];
    let mut expected = pattern();
    for (sectors, byte) in
        [(3..5, 1), (16..24, 2), (30..50, 0), (62..66, 3), (4..12, 4)] as [(Range<usize>, u8); 5]
    {
        expected[sectors.start * 512..sectors.end * 512].fill(byte);
    }
    (statuses, expected)
}

#[test]
fn no_room_at_any_call_costs_the_guest_nothing_but_time() {
    let mut paused = 0;
    for call in 0.. {
        let mut rig = Rig::new();
        rig.delta.fail(call, Fault::Errno(ENOSPC));
        let (statuses, expected) = live(&mut rig);
        if call >= rig.delta.calls() {
            break;
        }
        // A sync or a read has no use for room: what it says then is an error like others.
        if statuses.iter().all(|&status| status == 0) {
            assert!(rig.read().unwrap() == expected, "call {call}");
            assert!(rig.reopened() == expected, "call {call}, after the next start");
            paused += rig.pauses;
        }
    }
    assert!(paused > 8, "{paused} pauses: a write, its copy-up, its bitmap each");
}

#[test]
fn a_read_that_fails_is_an_error_for_that_request_alone() {
    let mut rig = Rig::new();
    rig.base.fail(0, Fault::Errno(EIO));
    assert!(rig.read().is_err());
    assert_eq!(rig.read().unwrap(), pattern());
    assert_eq!((rig.write(0, 8, 1), rig.flush()), (0, 0));
}

#[test]
fn a_write_or_sync_that_fails_is_an_error_for_all_that_follow_while_reads_go_on() {
    // The write itself; the sync of its data, the write of the bitmap, the sync of that.
    for call in 0..4 {
        let mut rig = Rig::new();
        rig.delta.fail(call, Fault::Errno(EIO));
        let statuses = [rig.write(0, 8, 1), rig.flush(), rig.write(8, 8, 1), rig.flush()];
        let first = usize::from(call > 0);
        assert!(statuses[..first].iter().all(|&status| status == 0), "{call}: {statuses:?}");
        assert!(statuses[first..].iter().all(|&status| status == 1), "{call}: {statuses:?}");
        assert!(rig.read().is_ok());
        assert_eq!(rig.pauses, 0);
    }
}

#[test]
fn a_base_that_is_cut_off_under_a_running_guest_is_an_error_where_bytes_are_missing() {
    let mut rig = Rig::new();
    rig.base.set_len(4096).unwrap();
    assert!(rig.read().is_err());
    assert_eq!(rig.ask(IN, 0, &[In(DATA, 4096)]), 0);
    assert_eq!(rig.ask(IN, 8, &[In(DATA, 512)]), 1);
    assert_eq!(rig.write(9, 1, 7), 1, "it cannot be copied up");
    assert_eq!((rig.write(16, 8, 7), rig.flush()), (0, 0));
}
