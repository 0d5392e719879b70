//! Clients that lie, flood, stall and vanish. Each time another client is served on.

use std::io::{Read, Write};

use proptest::prelude::*;

use super::{Served, pattern};
use crate::nbd::testing::numbers::{OPTION_MAGIC, command, option};
use crate::nbd::testing::{Client, Mode, fuzz, parse_anything};
use blockdev::fuzz::driver;

/// That the server serves, and as before.
fn assert_serves(served: &Served) {
    let mut client = served.client(Mode::Structured);
    assert_eq!(client.read(0, 4096).unwrap().unwrap(), pattern(4096));
}

/// That the server hangs up without an answer.
fn assert_hung_up(stream: &mut std::os::unix::net::UnixStream) {
    let mut rest = Vec::new();
    // Reset where it did not read all we sent.
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty(), "it said {rest:?}");
}

#[test]
fn garbage_in_place_of_flags_or_options_ends_the_connection() {
    let served = Served::new(false);
    let mut stream = served.connect();
    stream.read_exact(&mut [0; 18]).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_hung_up(&mut stream);
    let mut client = Client::greeted(served.connect()).unwrap();
    client.stream.write_all(&[0x55; 64]).unwrap();
    assert_hung_up(&mut client.stream);
    assert_serves(&served);
}

#[test]
fn an_option_without_end_ends_the_connection() {
    let served = Served::new(false);
    let mut client = Client::greeted(served.connect()).unwrap();
    let mut message = OPTION_MAGIC.to_be_bytes().to_vec();
    message.extend(option::GO.to_be_bytes());
    message.extend(u32::MAX.to_be_bytes());
    client.stream.write_all(&message).unwrap();
    assert_hung_up(&mut client.stream);
    assert_serves(&served);
}

#[test]
fn garbage_in_place_of_a_request_ends_the_connection() {
    let served = Served::new(false);
    let mut client = served.client(Mode::Structured);
    client.stream.write_all(&[0xee; 28]).unwrap();
    assert_hung_up(&mut client.stream);
    assert_serves(&served);
}

#[test]
fn a_write_of_4_gib_is_refused_at_once_and_takes_no_memory() {
    let served = Served::new(false);
    let mut client = served.client(Mode::Structured);
    client.send(command::WRITE, 0, 0, u32::MAX, &[]).unwrap();
    assert_eq!(client.receive(0).unwrap().result, Err(22));
    // Some of the promised data, and then no more.
    client.stream.write_all(&[7; 100_000]).unwrap();
    drop(client);
    assert_serves(&served);
}

#[test]
fn a_refused_writes_data_are_not_taken_for_requests() {
    let served = Served::new(false);
    let mut client = served.client(Mode::Structured);
    assert_eq!(client.write(1, &[0x25; 300_000]).unwrap(), Err(22));
    assert_eq!(client.read(0, 512).unwrap().unwrap(), pattern(512));
}

#[test]
fn half_a_message_and_then_nothing_changes_nothing() {
    let served = Served::new(false);
    for cut in [1, 27, 28, 29, 2000, 4123] {
        let mut client = served.client(Mode::Simple);
        let mut message = vec![0x25, 0x60, 0x95, 0x13, 0, 0, 0, 1];
        message.extend([0; 8]);
        message.extend([0; 8]);
        message.extend(4096u32.to_be_bytes());
        message.extend([0x77; 4096]);
        client.stream.write_all(&message[..cut]).unwrap();
    }
    assert_serves(&served);
}

#[test]
fn a_flood_of_requests_nobody_reads_the_answers_of_stops_at_a_bound() {
    let served = Served::new(false);
    let mut client = served.client(Mode::Structured);
    client.stream.set_write_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
    let mut sent = 0u64;
    // The server stops reading; then the socket is full.
    while client.send(command::READ, 0, 0, 1 << 20, &[]).is_ok() {
        sent += 1;
        assert!(sent < 1_000_000, "the server reads on and on");
    }
    assert_serves(&served);
    drop(client);
    assert_serves(&served);
}

#[test]
fn a_client_that_vanishes_in_flight_is_forgotten() {
    let served = Served::new(false);
    for _ in 0..20 {
        let mut client = served.client(Mode::Structured);
        for at in 0..50 {
            client.send(command::READ, 0, at * 4096, 1 << 20, &[]).unwrap();
        }
    }
    assert_serves(&served);
}

#[test]
fn a_slow_reader_does_not_hold_up_others_or_the_end() {
    let mut served = Served::new(false);
    let mut slow = served.client(Mode::Structured);
    for _ in 0..32 {
        slow.send(command::READ, 0, 0, 1 << 20, &[]).unwrap();
    }
    assert_serves(&served);
    served.end();
}

#[test]
fn one_client_too_many_is_turned_away() {
    let served = Served::new(false);
    let mut clients: Vec<_> = (0..32).map(|_| served.client(Mode::Simple)).collect();
    let mut stream = served.connect();
    assert_hung_up(&mut stream);
    // One goes, and its thread with it, some time after.
    drop(clients.pop());
    while Client::over(served.connect(), Mode::Simple).is_err() {}
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(
        input in proptest::collection::vec(any::<u8>(), 0..2000),
        step in 1usize..500,
    ) {
        let mut talk = conversation(0);
        talk.extend(&input);
        parse_anything(&input, step);
        parse_anything(&talk, step);
    }

    #[test]
    fn a_flipped_byte_makes_no_parser_panic(at in 0usize..400, value: u8, step in 1usize..100) {
        let mut talk = conversation(8);
        let at = at % talk.len();
        talk[at] = value;
        parse_anything(&talk, step);
    }

    #[test]
    fn however_a_conversation_is_cut_its_requests_are_the_same(step in 1usize..20_000) {
        prop_assert_eq!(parse_anything(&conversation(40), step), 40);
    }
}

#[test]
fn nothing_a_client_says_makes_the_parsers_panic_or_depend_on_how_it_is_cut() {
    let long = std::env::var("OFFSHOOT_TESTS").is_ok_and(|tests| tests == "long");
    driver::drive("nbd", if long { 1_000_000 } else { 20_000 }, fuzz);
}

#[test]
#[ignore = "writes fuzz/corpus again, after the conversation has changed"]
fn the_seeds_are_written_again() {
    let folder = driver::folder("nbd");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, step, requests) in [("greeting", 0, 0), ("talk", 1, 8)] {
        std::fs::write(folder.join(name), [&[step], &conversation(requests)[..]].concat()).unwrap();
    }
}

/// What a client says, with so many requests.
fn conversation(requests: u32) -> Vec<u8> {
    let mut talk = vec![0, 0, 0, 3];
    for (option, body) in [(option::STRUCTURED_REPLY, &[][..]), (option::GO, &[0; 6])] {
        talk.extend(OPTION_MAGIC.to_be_bytes());
        talk.extend(option.to_be_bytes());
        talk.extend((body.len() as u32).to_be_bytes());
        talk.extend(body);
    }
    for number in 0..requests {
        let kind = (number % 4) as u16;
        let kind = if kind == command::DISC { command::WRITE_ZEROES } else { kind };
        let len = number * 512;
        talk.extend([0x25, 0x60, 0x95, 0x13, 0, 0]);
        talk.extend(kind.to_be_bytes());
        talk.extend(u64::from(number).to_be_bytes());
        talk.extend(0u64.to_be_bytes());
        talk.extend(len.to_be_bytes());
        if kind == command::WRITE {
            talk.resize(talk.len() + len as usize, 0x25);
        }
    }
    talk
}
