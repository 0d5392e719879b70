//! The device on a real stack of layers, with each engine.

use std::fs;
use std::path::{Path, PathBuf};

use blockdev::base::{self, Base};
use blockdev::delta::Parent;
use blockdev::{Engine, Stack, StackSpec, delta};
use tempfile::TempDir;

use super::*;

const ENGINES: [Engine; 2] = [Engine::Sync, Engine::Auto];

/// A base of `pattern()` and a delta over it.
struct Store {
    dir: TempDir,
    base: Base,
}

impl Store {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let [raw, path] = ["raw", "base"].map(|name| dir.path().join(name));
        fs::write(&raw, pattern()).unwrap();
        let identity = base::import(&raw, &path, &mut |_, _| ()).unwrap();
        Store { dir, base: Base { path, identity } }
    }

    fn delta(&self, name: &str) -> PathBuf {
        let path: &Path = self.dir.path();
        let path = path.join(name);
        delta::create(&path, SIZE as u64, &Parent::base(&self.base.identity).unwrap()).unwrap();
        path
    }

    fn start(&self, delta: Option<&Path>, engine: Engine, queues: u16) -> Driver {
        self.start_on(delta, engine, queues).0
    }

    fn start_on(&self, delta: Option<&Path>, engine: Engine, queues: u16) -> (Driver, Stack) {
        let spec = StackSpec {
            base: Some(self.base.clone()),
            delta: delta.map(Path::to_path_buf),
            ..StackSpec::default()
        };
        let stack = Stack::open(&spec).unwrap();
        let settings = Settings {
            id: "stack".into(),
            size: stack.size(),
            read_only: stack.read_only(),
            queues,
        };
        let disks = stack.clone();
        let open: OpenDisk = Box::new(move || disks.disk(engine));
        (Driver::start(Device::new(settings, open), queues, 64, 0), stack)
    }
}

/// The whole disk, read by the guest.
pub fn contents(driver: &mut Driver) -> Vec<u8> {
    let len = u32::try_from(SIZE).unwrap();
    assert_eq!(ask(driver, IN, 0, &[In(DATA, len)]), (0, len + 1));
    driver.bytes(DATA, SIZE)
}

#[test]
fn what_was_flushed_is_there_at_the_next_start() {
    for engine in ENGINES {
        let store = Store::new();
        let delta = store.delta("delta");
        let mut expected = pattern();

        let mut driver = store.start(Some(&delta), engine, 1);
        assert_eq!(contents(&mut driver), expected);
        driver.put(&[0x5a; 8192], SEAM);
        // A whole block, and one that needs the base's bytes around it.
        assert_eq!(ask(&mut driver, OUT, 8, &[Out(SEAM, 4096)]), (0, 1));
        assert_eq!(ask(&mut driver, OUT, 33, &[Out(SEAM, 100), Out(SEAM + 100, 412)]), (0, 1));
        expected[4096..8192].fill(0x5a);
        expected[33 * 512..34 * 512].fill(0x5a);
        let ranges = put_ranges(&driver, &[(64, 8, 1), (73, 1, 0)]);
        assert_eq!(ask(&mut driver, WRITE_ZEROES, 0, &[ranges]), (0, 1));
        expected[64 * 512..72 * 512].fill(0);
        expected[73 * 512..74 * 512].fill(0);
        assert_eq!(ask(&mut driver, FLUSH, 0, &[]), (0, 1));
        assert_eq!(contents(&mut driver), expected);
        drop(driver);

        let mut driver = store.start(Some(&delta), engine, 1);
        assert!(contents(&mut driver) == expected, "with {engine:?}");
        assert_eq!(fs::read(&store.base.path).unwrap(), pattern(), "the base is as it was");
    }
}

#[test]
fn driver_is_told_when_the_disk_has_grown_and_can_use_the_rest() {
    for engine in ENGINES {
        let store = Store::new();
        let delta = store.delta("delta");
        let (mut driver, stack) = store.start_on(Some(&delta), engine, 1);
        let sectors = SIZE as u64 / 512;
        assert_eq!(ask(&mut driver, OUT, sectors, &[Out(DATA, 512)]), (1, 1), "not there yet");
        stack.grow(2 * SIZE as u64).unwrap();
        let interrupts = driver.irq.count();
        let generation = driver.read(reg::VIRTIO_MMIO_CONFIG_GENERATION);
        driver.transport.refresh();
        assert_eq!(driver.read(reg::VIRTIO_MMIO_CONFIG_GENERATION), generation, "it runs");

        driver.transport.pause();
        driver.transport.refresh();
        driver.transport.resume();
        assert_eq!(driver.irq.count(), interrupts + 1);
        assert_eq!(driver.read(reg::VIRTIO_MMIO_INTERRUPT_STATUS) & 2, 2);
        assert_eq!(driver.read(reg::VIRTIO_MMIO_CONFIG_GENERATION), generation + 1);
        assert_eq!(u64::from(driver.read(reg::VIRTIO_MMIO_CONFIG)), 2 * sectors);
        assert_eq!(ask(&mut driver, OUT, sectors, &[Out(DATA, 512)]), (0, 1));

        driver.transport.pause();
        driver.transport.refresh();
        driver.transport.resume();
        let now = driver.read(reg::VIRTIO_MMIO_CONFIG_GENERATION);
        assert_eq!(now, generation + 1, "nothing changed since");
    }
}

#[test]
fn disk_without_a_delta_is_read_only() {
    for engine in ENGINES {
        let mut driver = Store::new().start(None, engine, 1);
        assert_ne!(driver.offered() & 1 << VIRTIO_BLK_F_RO, 0);
        assert_eq!(contents(&mut driver), pattern());
        assert_eq!(ask(&mut driver, OUT, 0, &[Out(DATA, 512)]), (1, 1));
        assert_eq!(ask(&mut driver, FLUSH, 0, &[]), (0, 1));
    }
}

/// Batches of sub-block writes to neighbouring sectors, from two queues at once, so that they
/// contend for the same blocks, with the device paused between batches and now and then reset.
#[test]
fn queues_that_contend_for_blocks_lose_nothing() {
    for engine in ENGINES {
        let store = Store::new();
        let delta = store.delta("delta");
        let mut driver = store.start(Some(&delta), engine, 2);
        for round in 0..16u8 {
            for queue in [0, 1u8] {
                driver.put(&[round * 2 + queue; 512], DATA + 512 * u64::from(queue));
            }
            for queue in [0, 1usize] {
                let from = Out(DATA + 512 * queue as u64, 512);
                for turn in 0..16u16 {
                    let sector = u64::from(turn) * 2 + queue as u64;
                    offer_on(&mut driver, queue, turn * 3, OUT, sector, &[from]);
                }
            }
            driver.kick(0);
            driver.kick(1);
            for queue in [0, 1] {
                (0..16).for_each(|_| assert_eq!(driver.wait_used(queue).1, 1));
            }
            if round % 4 == 3 {
                driver.transport.pause();
                driver.transport.resume();
            }
            let mut expected = pattern();
            for sector in 0..32 {
                let queue = u8::try_from(sector % 2).unwrap();
                expected[sector * 512..][..512].fill(round * 2 + queue);
            }
            let seen = {
                let len = u32::try_from(SIZE).unwrap();
                offer(&mut driver, 0, IN, 0, &[In(SEAM, len)]);
                driver.kick(0);
                assert_eq!(driver.wait_used(0), (0, len + 1));
                driver.bytes(SEAM, SIZE)
            };
            assert!(seen == expected, "round {round} with {engine:?}");
        }
    }
}

#[test]
fn reset_in_the_middle_of_writes_leaves_each_sector_old_or_new() {
    for engine in ENGINES {
        let store = Store::new();
        let delta = store.delta("delta");
        let mut driver = store.start(Some(&delta), engine, 1);
        driver.put(&[0x5a; 512], DATA);
        for turn in 0..16u16 {
            offer(&mut driver, turn * 3, OUT, turn.into(), &[Out(DATA, 512)]);
        }
        driver.kick(0);
        reset(&mut driver);
        let seen = contents(&mut driver);
        for (sector, (seen, old)) in seen.chunks(512).zip(pattern().chunks(512)).enumerate() {
            let new = sector < 16 && seen.iter().all(|&byte| byte == 0x5a);
            assert!(seen == old || new, "sector {sector} with {engine:?}");
        }
    }
}
