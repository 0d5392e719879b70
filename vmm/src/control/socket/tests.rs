use std::os::unix::fs::PermissionsExt;

use super::*;

struct Fixture {
    _dir: tempfile::TempDir,
    path: std::path::PathBuf,
    server: Server,
    calls: Vec<Call>,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let server = Server::new(Some(listen(&path).unwrap())).unwrap();
        Fixture { _dir: dir, path, server, calls: Vec::new() }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    fn serve(&mut self) {
        let calls = &mut self.calls;
        self.server.serve(|call| {
            let later = matches!(call, Call::Snapshot { .. });
            calls.push(call);
            (!later).then(Response::done)
        });
    }
}

fn received(mut stream: &UnixStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

const PAUSE: &[u8] = b"PATCH /vm HTTP/1.1\r\nContent-Length: 18\r\n\r\n{\"state\":\"Paused\"}";
const STOP: &[u8] = b"PUT /offshoot/stop HTTP/1.1\r\n\r\n";
/// Answered later.
const SNAPSHOT: &[u8] =
    b"PUT /offshoot/snapshot HTTP/1.1\r\nContent-Length: 14\r\n\r\n{\"delta\":\"/d\"}";

#[test]
fn socket_is_its_owners_alone() {
    let fixture = Fixture::new();
    let mode = std::fs::metadata(&fixture.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn path_too_long_for_a_socket_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(listen(&dir.path().join("x".repeat(108))).is_err());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    client.write_all(&[PAUSE, b"GET /nowhere HTTP/1.1\r\n\r\n", STOP].concat()).unwrap();
    fixture.serve();
    assert_eq!(fixture.calls, [Call::Pause, Call::Stop]);
    let answers = received(&client);
    let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["204", "404", "204"]);
}

#[test]
fn request_in_pieces_is_put_together() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    for byte in PAUSE {
        assert!(fixture.calls.is_empty());
        client.write_all(&[*byte]).unwrap();
        fixture.serve();
    }
    assert_eq!(fixture.calls, [Call::Pause]);
    assert!(received(&client).starts_with("HTTP/1.1 204"));
}

#[test]
fn garbage_is_answered_and_the_connection_closed() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    client.write_all(b"\0\0\0\0 nonsense\r\n\r\n").unwrap();
    client.write_all(STOP).unwrap();
    fixture.serve();
    assert!(received(&client).starts_with("HTTP/1.1 400"));
    assert!(fixture.calls.is_empty(), "what follows garbage is not a request");
    assert!(fixture.server.connections.is_empty());
}

#[test]
fn client_that_never_reads_is_not_read_for_ever() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    let flood = b"GET /nowhere HTTP/1.1\r\n\r\n".repeat(1000);
    let mut sent = 0;
    // Ends when both directions are full.
    loop {
        match client.write(&flood) {
            Ok(bytes) => sent += bytes,
            Err(_) => {
                let connection = &fixture.server.connections[0];
                if !connection.output.is_empty() {
                    break;
                }
            }
        }
        fixture.serve();
    }
    let connection = &fixture.server.connections[0];
    assert!(connection.input.len() <= MAX_REQUEST, "of {sent} bytes sent");
}

#[test]
fn silent_clients_do_not_keep_others_out() {
    let mut fixture = Fixture::new();
    let silent: Vec<_> = (0..40).map(|_| fixture.connect()).collect();
    (0..3).for_each(|_| fixture.serve());
    assert_eq!(fixture.server.connections.len(), MAX_CONNECTIONS);
    let mut client = fixture.connect();
    client.write_all(STOP).unwrap();
    fixture.serve();
    assert_eq!(fixture.calls, [Call::Stop]);
    drop(silent);
    fixture.serve();
    assert_eq!(fixture.server.connections.len(), 1);
}

#[test]
fn all_who_come_at_once_are_answered() {
    let mut fixture = Fixture::new();
    let mut waiting = fixture.connect();
    waiting.write_all(SNAPSHOT).unwrap();
    fixture.serve();
    let mut clients: Vec<_> = (0..50).map(|_| fixture.connect()).collect();
    clients.iter_mut().for_each(|client| client.write_all(STOP).unwrap());
    (0..4).for_each(|_| fixture.serve());
    fixture.server.answer(&Response::done());
    for client in clients.iter().chain([&waiting]) {
        assert!(received(client).starts_with("HTTP/1.1 204"));
    }
}

#[test]
fn client_that_asks_and_closes_its_side_gets_its_answer() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    client.write_all(STOP).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    fixture.serve();
    fixture.serve();
    assert!(received(&client).starts_with("HTTP/1.1 204"));
    assert!(fixture.server.connections.is_empty());
}

#[test]
fn an_answer_that_takes_long_holds_nobody_else_up() {
    let mut fixture = Fixture::new();
    let (mut slow, mut quick) = (fixture.connect(), fixture.connect());
    slow.write_all(&[SNAPSHOT, STOP].concat()).unwrap();
    fixture.serve();
    quick.write_all(PAUSE).unwrap();
    fixture.serve();
    assert!(received(&quick).starts_with("HTTP/1.1 204"));
    assert_eq!(received(&slow), "");
    assert_eq!(fixture.calls.len(), 2, "what comes after it waits for it: {:?}", fixture.calls);
    fixture.server.answer(&Response::fault(500, "full"));
    fixture.serve();
    assert_eq!(fixture.calls.last(), Some(&Call::Stop));
    let answers = received(&slow);
    let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["500", "204"]);
}

#[test]
fn a_client_that_closes_its_side_gets_the_answer_that_takes_long() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    client.write_all(SNAPSHOT).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    fixture.serve();
    fixture.serve();
    fixture.server.answer(&Response::done());
    assert!(received(&client).starts_with("HTTP/1.1 204"));
    fixture.serve();
    assert!(fixture.server.connections.is_empty());
}

#[test]
fn an_answer_nobody_waits_for_any_more_is_nobody_elses() {
    let mut fixture = Fixture::new();
    let mut gone = fixture.connect();
    gone.write_all(SNAPSHOT).unwrap();
    fixture.serve();
    drop(gone);
    fixture.serve();
    assert!(fixture.server.connections.is_empty());
    let other = fixture.connect();
    fixture.serve();
    fixture.server.answer(&Response::done());
    assert_eq!(received(&other), "");
}
