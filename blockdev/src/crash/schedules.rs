//! The same few threads in many orders: at every lock, atomic, wakeup and call to a storage shuttle
//! decides who goes on (`sync::scheduled`).
//!
//! One half of the orders is random, the other as PCT has it: mostly one thread at a time, with a few
//! changes. Where everybody waits for somebody, that is a failure. What is not tried is what a CPU may
//! do with the order of one thread's own accesses: all are seen in the order they are made.
//!
//! [`parts`] has the locks alone, [`disk`] queues of a machine on a world's files, whose power is cut
//! at the end, [`worker`] such queues that have all of it done; [`bugs`] must all be found.

mod bugs;
mod disk;
mod parts;
mod truth;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind};

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use crate::sync::scheduled::{begin, scheduled};
use crate::testing::long;

/// What the orders are drawn from. A failure prints the order itself.
const SEED: u64 = 1;
/// How many changes of thread PCT puts where it likes.
const CHANGES: usize = 4;
/// Of one order; more is a livelock.
const STEPS: usize = 200_000;

/// Threads that are to do something in any order. Panics where they do not.
type Scenario = fn();

/// Tries a scenario in many orders.
fn explore(scenario: Scenario) {
    let orders = if long() { 20_000 } else { 300 };
    run(scenario, orders, FailurePersistence::Print);
}

/// Whether there is an order among some in which a scenario fails.
fn fails(scenario: Scenario) -> bool {
    let run = || run(scenario, 2000, FailurePersistence::None);
    catch_unwind(AssertUnwindSafe(run)).is_err()
}

/// Half of the orders each.
fn run(scenario: Scenario, orders: usize, failures: FailurePersistence) {
    try_orders(RandomScheduler::new_from_seed(SEED, orders / 2), scenario, failures.clone());
    try_orders(PctScheduler::new_from_seed(SEED, CHANGES, orders / 2), scenario, failures);
}

fn try_orders(orders: impl Scheduler + 'static, scenario: Scenario, failures: FailurePersistence) {
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    config.max_steps = MaxSteps::FailAfter(STEPS);
    config.silence_warnings = true;
    config.failure_persistence = failures;
    scheduled(|| {
        Runner::new(orders, config).run(move || {
            begin();
            scenario();
        })
    });
}
