//! Operations on the layers of a running guest's disk: it notices nothing, and nothing is lost.

use std::path::PathBuf;

use blockdev::delta::{self, create, inspect};
use blockdev::{Engine, ErrorKind, Pace, Stack, StackSpec};
use vmm::Exit;
use vmm::layers::{Operation, Phase};
use vmm::spec::DiskSpec;

use crate::disk::{base, clone};
use crate::support::{Running, Setup, has_kvm};

/// A new delta on the one that `chain` has on top, and the chain with it.
fn grown(chain: &StackSpec, path: PathBuf) -> StackSpec {
    let top = chain.delta.as_ref().unwrap();
    let info = inspect(top).unwrap();
    create(&path, info.size, &info.as_parent()).unwrap();
    let frozen = chain.frozen.iter().chain([top]).cloned().collect();
    StackSpec { frozen, delta: Some(path), ..chain.clone() }
}

/// Lets an operation end well.
fn perform(running: &Running, operation: &Operation) {
    running.control.begin(operation).unwrap();
    let refused = running.control.begin(operation).err();
    loop {
        let status = running.control.progress().unwrap();
        match status.phase {
            Phase::Running => std::thread::yield_now(),
            Phase::Done => break,
            Phase::None | Phase::Failed => panic!("{operation:?}: {status:?}"),
        }
    }
    if let Some(error) = refused {
        assert!(error.to_string().contains("under way"), "{error}");
        assert_eq!(error.kind(), Some(ErrorKind::Busy));
    }
}

/// The number in the last whole line of the guest's that says what it flushed.
fn flushed(console: &str) -> Option<u64> {
    let (whole, _) = console.rsplit_once('\n')?;
    let last = whole.lines().rev().find_map(|line| line.strip_prefix("guest: flushed "))?;
    Some(last.trim().parse().unwrap())
}

fn verify(stack: StackSpec, stamps: u64) {
    let mut setup = Setup::guest(&format!("verify-stamps:{stamps}"));
    setup.spec.disks =
        vec![DiskSpec { id: "clone".into(), stack, queues: None, engine: Engine::Auto }];
    let (exit, console) = setup.run();
    assert_eq!(exit, Exit::DebugExit { status: 0 }, "{console}");
}

#[test]
fn layers_are_changed_under_a_guest_that_writes() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let disk = clone(&base(dir.path()), &dir.path().join("delta-0"));
    let mut chain = disk.stack.clone();
    let mut setup = Setup::guest("stamp");
    setup.spec.disks = vec![disk];
    let mut running = setup.start();
    running.wait_for("flushed 10");
    for layer in 1..4 {
        chain = grown(&chain, dir.path().join(format!("delta-{layer}")));
        running.control.snapshot(chain.delta.as_ref().unwrap()).unwrap();
    }
    running.wait_for("flushed");
    perform(&running, &Operation::Commit { chain: chain.clone() });
    chain.frozen.pop();
    perform(&running, &Operation::Compact {});
    let below = StackSpec { frozen: chain.frozen[..1].to_vec(), delta: None, ..chain.clone() };
    perform(&running, &Operation::Rebase { below: below.clone() });
    chain = StackSpec { delta: chain.delta, ..below };
    perform(&running, &Operation::Flatten {});
    chain = StackSpec { delta: chain.delta, ..StackSpec::default() };
    running.wait_for("flushed");
    running.control.stop().unwrap();
    let (exit, console) = running.finish();
    assert_eq!(exit, Exit::Stopped);
    verify(chain, flushed(&console).expect("it got on"));
}

#[test]
fn an_operation_ends_with_its_machine_and_can_be_begun_again() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let disk = clone(&base(dir.path()), &dir.path().join("delta"));
    let chain = disk.stack.clone();
    let mut setup = Setup::guest("stamp");
    setup.spec.disks = vec![disk];
    let mut running = setup.start();
    running.wait_for("flushed 3");
    running.control.begin(&Operation::Flatten {}).unwrap();
    running.control.break_off().unwrap();
    running.control.stop().unwrap();
    let (exit, console) = running.finish();
    assert_eq!(exit, Exit::Stopped);
    let delta = chain.delta.clone();
    // Broken off or just done: the header says which.
    let kind = inspect(delta.as_ref().unwrap()).unwrap().parent.kind;
    if kind == delta::ParentKind::Base {
        let mut go = |_, _| std::ops::ControlFlow::Continue(());
        Stack::open(&chain).unwrap().flatten(Pace::Full, &mut go).unwrap();
    }
    verify(StackSpec { delta, ..StackSpec::default() }, flushed(&console).unwrap_or(3));
}

#[test]
fn a_machine_without_a_disk_has_no_layers() {
    if !has_kvm() {
        return;
    }
    let mut running = Setup::guest("sleep:30").start();
    running.wait_until_started();
    let refused = running.control.begin(&Operation::Compact {}).unwrap_err();
    assert!(refused.to_string().contains("no disk"), "{refused}");
    assert_eq!(refused.kind(), Some(ErrorKind::Invalid));
    assert_eq!(running.control.progress().unwrap().phase, Phase::None);
    running.control.stop().unwrap();
    running.finish();
}
