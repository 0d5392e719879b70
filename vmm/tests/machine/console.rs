//! The console of a machine that runs: log, clients, and those who do not keep up.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use vmm::Exit;

use crate::support::{Setup, TALK, has_kvm};

#[test]
fn log_and_attached_client_have_every_byte() {
    if !has_kvm() {
        return;
    }
    let mut running = Setup::guest("hello,exit:0").start();
    let mut console = String::new();
    running.console.read_to_string(&mut console).unwrap();
    assert!(console.starts_with("guest: first instruction\n"), "{console}");
    let log = running.setup.path("log");
    running.thread.join().unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(log).unwrap(), console);
}

#[test]
fn client_that_comes_later_sees_what_came_before_and_what_follows_and_may_type() {
    if !has_kvm() {
        return;
    }
    let mut running = Setup::guest("print:early,echo,echo,exit:0").start();
    running.wait_for("early");
    let mut client = UnixStream::connect(running.setup.path("console")).unwrap();
    client.write_all(b"one\n").unwrap();
    running.wait_for("one");
    running.type_in("two\n");
    assert_eq!(running.finish().0, Exit::DebugExit { status: 0 });
    let mut seen = String::new();
    client.read_to_string(&mut seen).unwrap();
    assert!(seen.starts_with("guest: first instruction\n"), "{seen}");
    assert!(seen.contains("one") && seen.contains("two"), "{seen}");
}

#[test]
fn client_that_never_reads_holds_up_nobody() {
    if !has_kvm() {
        return;
    }
    let mut running = Setup::code(TALK).start();
    let idle = UnixStream::connect(running.setup.path("console")).unwrap();
    // More than is kept for it.
    let mut seen = vec![0; 80 << 10];
    running.console.read_exact(&mut seen).unwrap();
    running.control.stop().unwrap();
    assert_eq!(running.finish().0, Exit::Stopped);
    drop(idle);
}

#[test]
fn stop_works_while_the_guest_waits_for_the_attached_client() {
    if !has_kvm() {
        return;
    }
    let running = Setup::code(TALK).start();
    let log = running.setup.path("log");
    // The log ends where the attached client's buffers are full, and somewhat later so does the
    // pipe, and the guest waits.
    let mut len = 0;
    while len < 64 << 10 {
        std::thread::yield_now();
        len = std::fs::metadata(&log).unwrap().len();
    }
    running.control.pause().unwrap();
    running.control.resume().unwrap();
    running.control.stop().unwrap();
    assert_eq!(running.thread.join().unwrap().unwrap(), Exit::Stopped);
}

#[test]
fn guest_runs_on_when_the_attached_client_leaves() {
    if !has_kvm() {
        return;
    }
    let mut running = Setup::guest("print:hello,echo,exit:9").start();
    running.wait_for("hello");
    let mut client = UnixStream::connect(running.setup.path("console")).unwrap();
    drop(running.console);
    client.write_all(b"still there?\n").unwrap();
    let mut seen = String::new();
    client.read_to_string(&mut seen).unwrap();
    assert!(seen.contains("still there?"), "{seen}");
    assert_eq!(running.thread.join().unwrap().unwrap(), Exit::DebugExit { status: 9 });
}
