//! `run`: the guest's status, timeouts, signals, the terminal.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::common::kvm;
use crate::common::store::{Store, both, ends, finish};
use crate::support::{assert_tidy, fails, kernel_file, refuses, text, tiny};

/// `run tiny` with these orders for the guest.
fn run<const N: usize>(store: &Store, orders: &str, more: [&str; N]) -> Command {
    let cmdline = format!("offshoot.do={orders}");
    store.command(["run", "tiny", "--memory", "64M", "--cmdline", &cmdline].into_iter().chain(more))
}

fn names(store: &Store) -> String {
    store.ok(["ls", "-q"])
}

/// Sends a signal once the guest said it was there.
fn signal_when_ready(child: &mut Child, signal: Signal) -> String {
    let mut console = child.stdout.take().expect("piped");
    let mut said = String::new();
    let mut byte = [0];
    while !said.contains("guest: ready") {
        assert_eq!(console.read(&mut byte).expect("readable"), 1, "it ended early: {said}");
        said.push(char::from(byte[0]));
    }
    kill_process(Pid::from_child(child), signal).expect("it is ours");
    console.read_to_string(&mut said).expect("text");
    said
}

#[test]
fn run_prints_the_console_and_ends_with_the_guests_status() {
    if !kvm("run") {
        return;
    }
    let store = tiny();
    let said = ends(9, run(&store, "hello,exit:9", ["--rm"]));
    assert!(said.contains("guest: hello"), "{said}");
    assert_eq!(ends(0, run(&store, "exit:0", [])).lines().count(), 1);
    assert_eq!(names(&store), "tiny-1\n", "without --rm the clone stays");
    assert_tidy(&store);
}

#[test]
fn every_other_end_has_a_status_of_its_own_and_is_explained() {
    if !kvm("run") {
        return;
    }
    let store = tiny();
    let error = fails(121, run(&store, "fault", ["--rm"]));
    assert!(error.contains("triple fault"), "{error}");
    let error = fails(120, run(&store, "reboot", ["--rm"]));
    assert!(error.contains("asked for a reset"), "{error}");
}

#[test]
fn what_a_run_wrote_is_there_when_its_clone_starts_again() {
    if !kvm("run and start") {
        return;
    }
    let store = tiny();
    ends(0, run(&store, "demo-first:5,exit:0", []));
    store.ok(["start", "tiny-1", "--cmdline", "offshoot.do=demo-again:5,exit:0"]);
    assert_eq!(store.ok(["wait", "-q", "tiny-1"]), "0\n");
    ends(0, run(&store, "verify-base,exit:0", ["--rm"]));
}

#[test]
fn a_run_that_takes_too_long_ends_with_124() {
    if !kvm("run --timeout") {
        return;
    }
    let store = tiny();
    let error = fails(124, run(&store, "spin", ["--rm", "--timeout", "1s"]));
    assert!(error.contains("its time was up"), "{error}");
    assert_eq!(names(&store), "");
    assert_tidy(&store);
}

#[test]
fn what_fails_before_the_guest_ends_with_125_and_leaves_nothing() {
    if !kvm("run with bad kernels") {
        return;
    }
    let store = tiny();
    refuses(&store, 125, ["run", "nosuch"], "cannot run nosuch: there is no image or VM nosuch");
    refuses(&store, 125, ["run", "tiny", "--kernel", "/missing"], "cannot use /missing");
    let kernel = kernel_file(&store);
    fs::write(&kernel, [0; 4096]).expect("written");
    refuses(&store, 125, ["run", "tiny", "--kernel", text(&kernel)], "it is not a kernel");
    let half = &guest::KERNEL[..guest::KERNEL.len() / 2];
    fs::write(&kernel, half).expect("written");
    refuses(&store, 125, ["run", "tiny", "--kernel", text(&kernel)], text(&kernel));
    let initrd = store.folder().join("initrd");
    File::create(&initrd).expect("a file").set_len(100 << 20).expect("sparse");
    let large = ["run", "tiny", "--memory", "64M", "--initrd", text(&initrd)];
    refuses(&store, 125, large, text(&initrd));
    let long = "x".repeat(40_000);
    refuses(&store, 125, ["run", "tiny", "--cmdline", &long], "command line");
    refuses(&store, 125, ["run", "tiny", "--memory", "1M"], "too small");
    refuses(&store, 125, ["run", "tiny", "--memory", "16T"], "more than this host has");
    assert_eq!(names(&store), "");
    assert_tidy(&store);
}

#[test]
fn a_signal_during_run_stops_the_vm_and_cleans_up() {
    if !kvm("Ctrl-C during run") {
        return;
    }
    let store = tiny();
    for signal in [Signal::INT, Signal::TERM] {
        let mut child = run(&store, "print:ready,spin", ["--rm"]).spawn().expect("it starts");
        signal_when_ready(&mut child, signal);
        assert_eq!(child.wait().expect("it ended").code(), Some(130));
        assert_eq!(names(&store), "");
    }
    let mut child = run(&store, "print:ready,spin", []).spawn().expect("it starts");
    signal_when_ready(&mut child, Signal::INT);
    assert_eq!(child.wait().expect("it ended").code(), Some(130));
    assert_eq!(store.ok(["ps", "-q"]), "", "the clone stays, and does not run");
    assert_eq!(names(&store).lines().count(), 1);
    assert_tidy(&store);
}

#[test]
fn stdin_goes_to_the_guest() {
    if !kvm("run with stdin") {
        return;
    }
    let store = tiny();
    let mut command = run(&store, "echo,exit:0", ["--rm"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("piped").write_all(b"good morning\n").expect("typed");
    let output = child.wait_with_output().expect("it ended");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("good morning"), "{said}");
}

#[test]
fn a_reader_that_goes_away_ends_the_run_silently() {
    if !kvm("run into a closed pipe") {
        return;
    }
    let store = tiny();
    let orders = ["print:line"; 100].join(",") + ",spin";
    let mut child = run(&store, &orders, ["--rm"]).spawn().expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ended");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(names(&store), "");
}

/// A pseudo-terminal: our end, and the one a program has for its terminal.
fn terminal() -> (File, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).expect("granted");
    unlockpt(&ours).expect("unlocked");
    let name = ptsname(&ours, Vec::new()).expect("its name");
    let mut options = File::options();
    let theirs = options.read(true).write(true).open(name.to_str().expect("a path"));
    (ours.into(), theirs.expect("opened"))
}

#[test]
fn a_terminal_is_raw_during_run_and_as_before_after() {
    if !kvm("run on a terminal") {
        return;
    }
    let store = tiny();
    let (mut keys, terminal) = terminal();
    let mut command = run(&store, "print:ready,spin", ["--rm"]);
    command.stdin(terminal.try_clone().expect("a copy"));
    let mut child = command.spawn().expect("it starts");
    let mut console = child.stdout.take().expect("piped");
    let mut said = String::new();
    let mut byte = [0];
    while !said.contains("guest: ready") {
        assert_eq!(console.read(&mut byte).expect("readable"), 1, "it ended early: {said}");
        said.push(char::from(byte[0]));
    }
    let is_raw = || !tcgetattr(&terminal).expect("modes").local_modes.contains(LocalModes::ICANON);
    assert!(is_raw());
    keys.write_all(b"\x03").expect("Ctrl-C goes to the guest");
    keys.write_all(b"\r~.").expect("typed");
    assert_eq!(child.wait().expect("it ended").code(), Some(130));
    assert!(!is_raw());
    assert_eq!(names(&store), "");
}

#[test]
fn many_run_side_by_side() {
    if !kvm("runs side by side") {
        return;
    }
    let store = tiny();
    std::thread::scope(|scope| {
        for seed in 1..=4 {
            let store = &store;
            scope.spawn(move || {
                let orders = format!("demo-first:{seed},exit:0");
                let output = finish(run(store, &orders, ["--rm"]));
                assert!(output.status.success(), "{}", both(&output));
            });
        }
    });
    assert_eq!(names(&store), "");
    assert_tidy(&store);
}
