//! Many threads on one delta.

use std::thread;

use super::cut::Cut;
use super::words::switched_off;
use super::world::{Store, Top, World};
use crate::testing::{run, write};
use crate::{Engine, Op};

#[test]
fn flushes_of_many_threads_make_their_own_writes_durable() {
    let mut world = World::new();
    let stack = world.open().stack.clone();
    thread::scope(|scope| {
        for queue in 0..4u8 {
            let mut disk = stack.disk(Engine::Sync).unwrap();
            scope.spawn(move || {
                for round in 0..50 {
                    // All in the same bitmap sector and two of them in the same block.
                    let at = u64::from(queue) * 2048;
                    write(&mut *disk, at, &[round * 4 + queue; 2048]).unwrap();
                    run(&mut *disk, Op::Flush).unwrap();
                }
            });
        }
    });
    let (start, records) = world.cut();
    let left = Cut::after(&start, &records);
    let files = switched_off(left.keep(&vec![false; left.loose()]));
    let store = Store { bases: &world.bases, files: &files };
    let now = world.ledger().now.clone();
    let found = store.look(&now, now.places.delta, Top::Written).unwrap();
    for queue in 0..4 {
        let last = u32::from_le_bytes([49 * 4 + queue; 4]);
        assert_eq!(found.sectors[usize::from(queue) * 4..][..4], [last; 4]);
    }
}
