//! Random commands from eight processes at once, some of them killed, and monitors, too. Afterwards
//! nothing that a command reported is lost, and nothing is left lying about.
//!
//! `OFFSHOOT_STRESS_SEED=N` repeats the choices of a run, though not the moments.

mod model;
mod worker;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::common::kvm;
use crate::common::store::{Store, finish};
use crate::delta_dir::assert_accounted;
use crate::support::{assert_tidy, refuses, tiny};
use model::{Dice, Fate, Model};
use worker::Worker;

const WORKERS: u64 = 8;

fn how_long() -> Duration {
    let long = std::env::var("OFFSHOOT_TESTS").is_ok_and(|tests| tests == "long");
    Duration::from_secs(if long { 240 } else { 12 })
}

fn seed() -> u64 {
    let given = std::env::var("OFFSHOOT_STRESS_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    given.unwrap_or(now.as_secs())
}

#[test]
fn commands_and_kills_at_random_lose_nothing_and_leave_nothing() {
    if !kvm("the stress test") {
        return;
    }
    let seed = seed();
    eprintln!("OFFSHOOT_STRESS_SEED={seed}");
    let store = tiny();
    store.ok(["clone", "tiny", "anchor"]);
    fs::create_dir(deltas(&store)).expect("a directory");
    let until = Instant::now() + how_long();
    let models: Vec<Model> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|n| {
                let worker = Worker::new(&store, n, Dice::new(seed, n));
                scope.spawn(move || worker.work(until))
            })
            .collect();
        let mut dice = Dice::new(seed, WORKERS);
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            // No synchronisation: these are the moments at which lightning strikes.
            thread::sleep(Duration::from_millis(dice.below(700)));
            kill_a_monitor(&store, &mut dice);
        }
        workers.into_iter().map(|worker| worker.join().expect("no panic")).collect()
    });
    let told: Vec<_> = models.iter().flat_map(|model| &model.surprises).collect();
    assert!(told.is_empty(), "{} surprises:\n{}", told.len(), told[0]);
    let commands: usize = models.iter().map(|model| model.commands).sum();
    let killed: usize = models.iter().map(|model| model.killed).sum();
    eprintln!("{commands} commands, {killed} of them killed");
    end(&store);
    check(&store, &models);
}

/// Where some of the workers keep their deltas.
fn deltas(store: &Store) -> PathBuf {
    store.folder().join("deltas")
}

/// Ends what runs, and repairs.
fn end(store: &Store) {
    let names = store.ok(["ls", "-q"]);
    for name in names.lines() {
        // Those that do not run say so.
        finish(store.command(["stop", "--force", name]));
    }
    let report = finish(store.command(["doctor", "--fix"]));
    eprintln!("{}", String::from_utf8_lossy(&report.stdout));
    store.ok(["prune"]);
}

fn check(store: &Store, models: &[Model]) {
    assert_tidy(store);
    assert_accounted(store, &deltas(store));
    let again = store.ok(["doctor", "--fix"]);
    assert!(!again.contains("fixed  "), "{again}");
    let names = store.ok(["ls", "-q"]);
    let names: Vec<&str> = names.lines().collect();
    for (name, fate) in models.iter().flat_map(|model| &model.vms) {
        match fate {
            Fate::There(_) => assert!(names.contains(&name.as_str()), "{name} is lost"),
            Fate::Gone => assert!(!names.contains(&name.as_str()), "{name} is back"),
            Fate::Unknown => {}
        }
    }
    refuses(store, 4, ["image", "rm", "tiny"], "stand on it");
    store.ok(["check", "--deep"]);
    for (name, data) in models.iter().flat_map(Model::readable).take(16) {
        let orders = format!("--cmdline=offshoot.do=verify:{data}:range=0+64k,exit:0");
        store.ok(["start", name, &orders]);
        assert_eq!(store.ok(["wait", "-q", name]), "0\n", "{name}: {}", store.ok(["logs", name]));
    }
    assert_eq!(monitors(store), Vec::<i32>::new(), "processes are left");
    let sockets = store.folder().join("offshoot");
    let left: Vec<_> = fs::read_dir(sockets).map(Iterator::collect).unwrap_or_default();
    assert!(left.is_empty(), "sockets are left: {left:?}");
}

/// Kills one of this store's monitors, if there is one.
fn kill_a_monitor(store: &Store, dice: &mut Dice) {
    let monitors = monitors(store);
    let Some(pid) = dice.pick(&monitors).and_then(|&pid| rustix::process::Pid::from_raw(pid))
    else {
        return;
    };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    // Its number may have been another's when it was opened.
    if is_monitor(store, format!("/proc/{}", pid.as_raw_nonzero())) {
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
}

fn monitors(store: &Store) -> Vec<i32> {
    let processes = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    let of_store = processes.filter(|process| is_monitor(store, process.path()));
    of_store.filter_map(|process| process.file_name().to_str()?.parse().ok()).collect()
}

fn is_monitor(store: &Store, process: impl AsRef<Path>) -> bool {
    let command = fs::read(process.as_ref().join("cmdline")).unwrap_or_default();
    let words: Vec<_> = command.split(|&byte| byte == 0).map(String::from_utf8_lossy).collect();
    let vms = store.folder().join("root/vms");
    words.get(1).is_some_and(|word| word == "vmm")
        && words.get(3).is_some_and(|dir| Path::new(dir.as_ref()).starts_with(vms))
}
