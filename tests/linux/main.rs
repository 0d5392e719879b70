//! Stock Debian kernels as guests: what a clone's disk holds and keeps, how a machine ends, what
//! it is told of itself.
//!
//! The cases are functions below. They run where KVM runs Linux, see `common::host`; one emulated
//! host, where one is needed, runs all of them, and they share one store.

#[path = "../common/mod.rs"]
mod common;

mod boot;
mod customize;
mod disk;
mod distro;
mod ending;
mod guest;
mod user;

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use common::host;
use common::store::Store;
use libtest_mimic::{Arguments, Trial};

/// A test. It names its machines after itself: the store is everybody's.
type Case = fn(&Store);

/// How tests/run tells them from other tests: it runs them beside those.
const KIND: &str = "linux";

/// Functions with their names.
macro_rules! cases {
    ($($module:ident::$case:ident,)*) => { [$((stringify!($case), $module::$case as Case)),*] };
}

const CASES: [(&str, Case); 14] = cases![
    distro::debian_clones_are_machines_of_their_own_and_work_in_one_outlives_it,
    disk::clones_keep_their_writes_on_one_vcpu,
    disk::clones_keep_their_writes_on_two_vcpus,
    disk::synced_files_survive_a_killed_monitor,
    disk::snapshot_of_a_writing_guest_comes_back_clean_and_a_grown_disk_is_seen,
    disk::trimmed_blocks_are_given_back,
    boot::guest_finds_its_devices,
    boot::bzimage_boots,
    boot::kernel_boots_by_pvh,
    boot::console_reaches_a_shell,
    customize::guests_learn_who_they_are_from_the_seed_or_the_command_line,
    ending::power_button_reaches_the_guest,
    ending::reboot_ends_with_reset,
    ending::panic_ends_with_reset,
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let store = Arc::new(LazyLock::<Store>::new(guest::store));
    let cases = CASES.map(|(name, case)| {
        let store = Arc::clone(&store);
        let trial = Trial::test(name, move || {
            case(&store);
            Ok(())
        });
        trial.with_kind(KIND)
    });
    let cases = cases.into_iter().filter(|case| !arguments.is_filtered_out(case));
    let cases: Vec<_> = cases.collect();
    if arguments.list || cases.is_empty() || host::runs_linux() {
        libtest_mimic::run(&arguments, cases).exit_code()
    } else {
        host::run_again()
    }
}
