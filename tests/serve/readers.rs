//! Several who read one disk, and those they keep out or do not.

use std::fs;

use rustix::process::Signal;

use crate::common::store::{Store, both, finish};
use crate::support::{Server, random, text, web};

/// Writes to the disk of `web` through a server that ends.
fn write(store: &Store, at: u64, bytes: &[u8]) {
    let server = Server::start(store, []);
    server.client().write(at, bytes).expect("answered").expect("written");
    assert_eq!(server.end(Signal::TERM), Some(0));
}

fn first_block(server: &Server) -> Vec<u8> {
    server.client().read(0, 4096).expect("answered").expect("read")
}

/// What a command that is refused says.
#[track_caller]
fn refused(store: &Store, args: &[&str]) -> String {
    let output = finish(store.command(args));
    assert_eq!(output.status.code(), Some(4), "{args:?}: {}", both(&output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn several_read_a_disk_at_once_and_nobody_changes_it_meanwhile() {
    let (store, bytes) = (web(), random(4096));
    write(&store, 0, &bytes);
    let servers = ["a", "b", "c"].map(|socket| Server::reader(&store, "web", socket));
    assert!(servers.iter().all(|server| first_block(server) == bytes));
    assert_eq!(store.inspect("web")["state"], "reading");
    let flat = store.folder().join("flat");
    store.ok(["export", "web", "--flat", "-o", text(&flat)]);
    assert!(fs::read(&flat).expect("a disk")[..4096] == bytes);
    let other = store.folder().join("other");
    for args in [
        &["start", "web"][..],
        &["disk", "serve", "web", "--nbd", text(&other)],
        &["snapshot", "create", "web"],
        &["resize", "web", "1G"],
    ] {
        let said = refused(&store, args);
        let pids = servers.each_ref().map(|server| server.pid().as_raw_nonzero().to_string());
        assert!(pids.iter().any(|pid| said.contains(pid)) || said.contains("reading"), "{said}");
    }
    assert!(refused(&store, &["rm", "web"]).contains("it is reading"));
    store.ok(["stop", "web"]);
    assert_eq!(store.inspect("web")["state"], "created");
    write(&store, 0, &[7; 4096]);
}

#[test]
fn a_killed_reader_leaves_the_others_and_then_nothing_behind() {
    let store = web();
    let [first, second] = ["a", "b"].map(|socket| Server::reader(&store, "web", socket));
    let bytes = first_block(&second);
    assert_eq!(first.end(Signal::KILL), None);
    assert_eq!(store.inspect("web")["state"], "reading");
    assert!(first_block(&second) == bytes);
    assert_eq!(second.end(Signal::KILL), None);
    assert_eq!(store.inspect("web")["state"], "created");
    write(&store, 0, &[7; 4096]);
}

#[test]
fn who_writes_keeps_readers_out() {
    let store = web();
    let server = Server::start(&store, []);
    let pid = format!("its disk is being served (process {})", server.pid().as_raw_nonzero());
    let socket = store.folder().join("other");
    let said = refused(&store, &["disk", "serve", "web", "--read-only", "--nbd", text(&socket)]);
    assert!(said.contains(&pid) && said.contains("try: offshoot stop web"), "{said}");
    let said = refused(&store, &["export", "web", "--flat", "-o", text(&socket)]);
    assert!(said.contains(&pid), "{said}");
}

#[test]
fn a_snapshot_is_served_while_its_vm_is_written_to_and_never_changes() {
    let (store, bytes) = (web(), random(4096));
    write(&store, 0, &bytes);
    store.ok(["snapshot", "create", "web", "s1"]);
    let writer = Server::start(&store, []);
    let reader = Server::reader(&store, "web@s1", "reader");
    assert!(reader.line.starts_with("serving web@s1: "), "{}", reader.line);
    writer.client().write(0, &[7; 4096]).expect("answered").expect("written");
    assert_eq!(writer.end(Signal::TERM), Some(0));
    assert!(first_block(&reader) == bytes);
    // Neither can be merged away under who reads it.
    refused(&store, &["commit", "web"]);
    assert!(first_block(&reader) == bytes);
    assert_eq!(reader.end(Signal::TERM), Some(0));
    store.ok(["commit", "web"]);
    let reader = Server::reader(&store, "web@s1", "reader");
    assert!(first_block(&reader) == [7; 4096], "the snapshot is what was committed");
}

#[test]
fn a_snapshot_is_not_served_to_be_written() {
    let store = web();
    store.ok(["snapshot", "create", "web", "s1"]);
    let socket = store.folder().join("socket");
    let output = finish(store.command(["disk", "serve", "web@s1", "--nbd", text(&socket)]));
    assert_eq!(output.status.code(), Some(2), "{}", both(&output));
    assert!(!socket.exists());
}
