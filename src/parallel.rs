//! One thing done to many, a bounded number of them at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Enough to keep every core busy while others wait for their disks.
pub fn at_once() -> usize {
    thread::available_parallelism().map_or(8, |cores| (4 * cores.get()).max(8))
}

/// Does something to each item, [`at_once`] of them at a time; the results are in the items' order.
pub fn each<T: Sync, R: Send>(items: &[T], act: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return done };
            done.push((index, act(item)));
        }
    };
    let mut done = thread::scope(|scope| {
        let others = at_once().min(items.len()).saturating_sub(1);
        // Where no thread can be had, this one does the work.
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let workers: Vec<_> = (0..others).filter_map(spawn).collect();
        let mut done = work();
        for worker in workers {
            done.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_by_key(|&(index, _)| index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let items: Vec<u32> = (0..1000).collect();
        assert_eq!(each(&items, |n| n * 2), items.iter().map(|n| n * 2).collect::<Vec<_>>());
        assert!(each(&[0_u32; 0], |n| *n).is_empty());
    }

    #[test]
    fn items_are_worked_on_side_by_side() {
        // Each waits for all others, so one after the other would never end.
        let all = Barrier::new(8);
        each(&[(); 8], |()| all.wait());
    }
}
