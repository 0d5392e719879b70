//! Machines with disks: what the guest was told is written is there, in this clone and no other.

use std::fs::File;
use std::path::Path;

use blockdev::base::{Base, import};
use blockdev::delta::Parent;
use blockdev::{Engine, StackSpec, delta};
use vmm::Exit;
use vmm::spec::DiskSpec;

use crate::support::{Setup, has_kvm};

const SIZE: u64 = 4 << 20;

/// A base in `dir` that the guest knows the content of.
pub fn base(dir: &Path) -> Base {
    let (raw, path) = (dir.join("raw"), dir.join("base"));
    guest::write_base(&mut File::create(&raw).unwrap(), SIZE).unwrap();
    let identity = import(&raw, &path, &mut |_, _| {}).unwrap();
    Base { path, identity }
}

/// A disk with a new delta over `base`.
pub fn clone(base: &Base, delta: &Path) -> DiskSpec {
    delta::create(delta, SIZE, &Parent::base(&base.identity).unwrap()).unwrap();
    let stack = StackSpec {
        base: Some(base.clone()),
        delta: Some(delta.to_owned()),
        ..StackSpec::default()
    };
    DiskSpec { id: "clone".into(), stack, queues: None, engine: Engine::Auto }
}

/// Runs `orders` with `disk`; the guest must find everything as it should be.
fn run(disk: &DiskSpec, cpus: u16, orders: &str) {
    let mut setup = Setup::guest(orders);
    setup.spec.cpus = cpus;
    setup.spec.disks = vec![disk.clone()];
    let (exit, console) = setup.run();
    assert_eq!(exit, Exit::DebugExit { status: 0 }, "{orders}: {console}");
}

#[test]
fn clones_have_their_own_writes_and_the_bases_rest() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let base = base(dir.path());
    let first = clone(&base, &dir.path().join("first"));
    let second = clone(&base, &dir.path().join("second"));
    run(&first, 1, "verify-base,write:7:every=16,flush,verify:7:every=16");
    run(&second, 1, "verify-base,write:9:every=16,flush,verify:9:every=16");
    run(&first, 1, "verify:7:every=16");
    run(&second, 1, "verify:9:every=16");
    let digest = blockdev::base::digest(&base.path, &mut |_, _| {}).unwrap();
    assert_eq!(digest, base.identity.digest);
}

#[test]
fn every_number_of_queues_and_cpus_works_polled_and_by_interrupt() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let base = base(dir.path());
    for (queues, cpus) in [(1, 1), (2, 2), (4, 4), (4, 2)] {
        for mode in ["poll", "irq"] {
            let mut disk = clone(&base, &dir.path().join(format!("{queues}-{cpus}-{mode}")));
            disk.queues = Some(queues);
            let drive = format!("cpus={cpus}:queues={queues}:mode={mode}");
            run(
                &disk,
                cpus,
                &format!("cpus,verify-base:{drive},write:3:{drive},flush,verify:3:{drive}"),
            );
        }
    }
}

#[test]
fn writes_never_flushed_survive_a_reset() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let disk = clone(&base(dir.path()), &dir.path().join("delta"));
    let mut setup = Setup::guest("write:5,reboot");
    setup.spec.disks = vec![disk.clone()];
    assert_eq!(setup.run().0, Exit::Reset);
    run(&disk, 1, "verify:5");
}

#[test]
fn pauses_during_disk_traffic_lose_nothing() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let disk = clone(&base(dir.path()), &dir.path().join("delta"));
    let rounds = "write:1,verify:1,write:2,verify:2,".repeat(8);
    let mut setup = Setup::guest(&format!("cpus,print:ready,{rounds}flush,exit:0"));
    setup.spec.cpus = 2;
    setup.spec.disks = vec![disk];
    let mut running = setup.start();
    running.wait_for("ready");
    while running.control.pause().and_then(|()| running.control.resume()).is_ok() {}
    let (exit, console) = running.finish();
    assert_eq!(exit, Exit::DebugExit { status: 0 }, "{console}");
}

#[test]
fn disk_in_use_is_refused_and_named() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let disk = clone(&base(dir.path()), &dir.path().join("delta"));
    let setup = |orders| {
        let mut setup = Setup::guest(orders);
        setup.spec.disks = vec![disk.clone()];
        setup
    };
    let mut first = setup("print:ready,idle").start();
    first.wait_for("ready");
    let error = setup("exit:0").refusal();
    assert_eq!(error.to_string(), "cannot use disk vda");
    first.control.stop().unwrap();
    assert_eq!(first.finish().0, Exit::Stopped);
}

#[test]
fn more_disks_than_lines_are_refused() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let base = base(dir.path());
    let stack = StackSpec { base: Some(base), ..StackSpec::default() };
    let disk = DiskSpec { id: "ro".into(), stack, queues: Some(1), engine: Engine::Sync };
    let mut setup = Setup::guest("devices,exit:0");
    setup.spec.disks = vec![disk.clone(); 15];
    assert_eq!(setup.run().0, Exit::DebugExit { status: 0 });
    let mut setup = Setup::guest("exit:0");
    setup.spec.disks = vec![disk; 16];
    assert!(setup.refusal().to_string().contains("room for 16 virtio devices"));
}
