//! Serving from its start to its end, and what it keeps out meanwhile.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::common::store::{both, finish};
use crate::support::{SIZE, Server, text, web};

#[test]
fn a_signal_ends_it_orderly_with_all_that_was_written() {
    for signal in [Signal::INT, Signal::TERM] {
        let store = web();
        let server = Server::start(&store, []);
        let mut client = server.client();
        assert_eq!(client.size, SIZE);
        client.write(4096, &[7; 4096]).expect("answered").expect("written");
        let socket = server.socket().to_owned();
        let mode = fs::metadata(&socket).expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(server.end(signal), Some(0));
        assert!(!socket.exists());
        // Nobody flushed it, and yet.
        let server = Server::start(&store, []);
        assert_eq!(server.client().read(4096, 4096).expect("answered"), Ok(vec![7; 4096]));
    }
}

#[test]
fn its_line_says_how_to_connect() {
    let store = web();
    let server = Server::start(&store, []);
    let expected = format!("serving web: nbdinfo \"{}\"\n", server.uri());
    assert_eq!(server.line, expected);
}

#[test]
fn what_is_served_cannot_be_started_served_again_or_removed() {
    let store = web();
    let server = Server::start(&store, []);
    let pid = server.pid().as_raw_nonzero();
    let other = store.folder().join("other");
    let serve = ["disk", "serve", "web", "--nbd", text(&other)];
    for args in [&serve[..], &["rm", "web"]] {
        let output = finish(store.command(args));
        assert_eq!(output.status.code(), Some(4), "{}", both(&output));
    }
    let output = finish(store.command(serve));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("its disk is being served (process {pid})")), "{said}");
    assert!(said.contains("try: offshoot stop web"), "{said}");
    assert!(!other.exists());
    assert_eq!(store.inspect("web")["state"], "serving");
}

#[test]
fn stop_ends_it_and_the_vm_is_as_before() {
    let store = web();
    let server = Server::start(&store, []);
    let mut client = server.client();
    client.write(0, &[7; 512]).expect("answered").expect("written");
    store.ok(["stop", "web"]);
    assert_eq!(store.inspect("web")["state"], "created");
    assert_eq!(store.inspect("web")["delta"]["owned_blocks"], 1);
    assert!(client.flush().is_err(), "the connection is closed");
}

#[test]
fn a_killed_servers_socket_is_replaced_and_anything_else_is_left_alone() {
    let store = web();
    let server = Server::start(&store, []);
    let socket = server.socket().to_owned();
    assert_eq!(server.end(Signal::KILL), None);
    assert!(socket.exists(), "nobody could remove it");
    let server = Server::start(&store, []);
    server.client();
    server.end(Signal::TERM);
    fs::write(&socket, "precious").expect("written");
    let output = finish(store.command(["disk", "serve", "web", "--nbd", text(&socket)]));
    assert_eq!(output.status.code(), Some(4), "{}", both(&output));
    assert_eq!(fs::read(&socket).expect("a file"), b"precious");
    assert_eq!(store.inspect("web")["state"], "created");
}

#[test]
fn read_only_serving_changes_nothing() {
    let store = web();
    let server = Server::start(&store, ["--read-only"]);
    let mut client = server.client();
    assert_eq!(client.write(0, &[7; 4096]).expect("answered"), Err(1));
    assert_eq!(client.flush().expect("answered"), Ok(()));
    assert_eq!(server.end(Signal::TERM), Some(0));
    assert_eq!(store.inspect("web")["delta"]["owned_blocks"], 0);
}
