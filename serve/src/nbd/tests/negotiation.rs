//! Options, right and wrong.

use std::io::{Read, Write};

use super::{SIZE, Served};
use crate::nbd::testing::numbers::{option, option_reply, transmission_flag};
use crate::nbd::testing::{Client, Mode};

fn kinds(answers: &[(u32, Vec<u8>)]) -> Vec<u32> {
    answers.iter().map(|(kind, _)| *kind).collect()
}

fn export_query(name: &[u8], facts: &[u16]) -> Vec<u8> {
    let mut body = (name.len() as u32).to_be_bytes().to_vec();
    body.extend(name);
    body.extend((facts.len() as u16).to_be_bytes());
    facts.iter().for_each(|fact| body.extend(fact.to_be_bytes()));
    body
}

#[test]
fn go_tells_size_flags_and_block_sizes() {
    let served = Served::new(false);
    let client = served.client(Mode::Structured);
    assert_eq!(client.size, SIZE);
    let expected = transmission_flag::CAN_MULTI_CONN | transmission_flag::SEND_FUA;
    assert_eq!(client.flags & (expected | transmission_flag::READ_ONLY), expected);
    let mut client = Client::greeted(served.connect()).unwrap();
    let answers = client.ask(option::INFO, &export_query(b"web", &[1, 2])).unwrap();
    assert_eq!(kinds(&answers), [3, 3, 3, 3, option_reply::ACK]);
    assert_eq!(answers[1].1, [0, 3, 0, 0, 2, 0, 0, 0, 16, 0, 2, 0, 0, 0]);
    assert_eq!(answers[2].1, b"\0\x01web");
}

#[test]
fn a_read_only_export_says_so() {
    let served = Served::new(true);
    let flags = served.client(Mode::Simple).flags;
    assert_ne!(flags & transmission_flag::READ_ONLY, 0);
    assert_eq!(flags & transmission_flag::SEND_TRIM, 0);
}

#[test]
fn an_export_of_another_name_is_unknown() {
    let served = Served::new(false);
    let mut client = Client::greeted(served.connect()).unwrap();
    let answers = client.ask(option::GO, &export_query(b"db", &[])).unwrap();
    assert_eq!(kinds(&answers), [option_reply::ERR_UNKNOWN]);
    assert_eq!(client.ask(option::LIST, &[]).unwrap()[0].1, b"\0\0\0\x03web");
}

#[test]
fn export_name_begins_with_padding_unless_declined() {
    let served = Served::new(false);
    for (flags, padding) in [(1u32, 124), (3, 0)] {
        let mut stream = served.connect();
        stream.read_exact(&mut [0; 18]).unwrap();
        stream.write_all(&flags.to_be_bytes()).unwrap();
        stream.write_all(b"IHAVEOPT\0\0\0\x01\0\0\0\x03web").unwrap();
        let mut answer = vec![0; 10 + padding];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..8], SIZE.to_be_bytes());
        assert!(answer[10..].iter().all(|byte| *byte == 0));
        stream.write_all(&[0x25, 0x60, 0x95, 0x13, 0, 0, 0, 3]).unwrap();
        stream.write_all(&[7; 8]).unwrap();
        stream.write_all(&[0; 12]).unwrap();
        let mut reply = [0; 16];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(reply, [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7]);
    }
}

#[test]
fn unknown_options_are_answered_and_negotiation_goes_on() {
    let served = Served::new(false);
    let mut client = Client::greeted(served.connect()).unwrap();
    for option in [0, 5, 11, 0xffff_ffff] {
        assert_eq!(kinds(&client.ask(option, b"data").unwrap()), [option_reply::ERR_UNSUP]);
    }
    assert_eq!(kinds(&client.ask(option::STRUCTURED_REPLY, &[]).unwrap()), [option_reply::ACK]);
    assert_eq!(kinds(&client.ask(option::ABORT, &[]).unwrap()), [option_reply::ACK]);
    assert_eq!(client.stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn options_whose_lengths_lie_are_invalid() {
    let served = Served::new(false);
    let mut client = Client::greeted(served.connect()).unwrap();
    let lies: [&[u8]; 5] = [
        b"",
        b"\xff\xff\xff\xff",
        b"\0\0\0\x03web\0\x02\0\x01",
        b"\0\0\0\x03web\0\0more",
        b"\0\0\0\x03w\xffb\0\0",
    ];
    for body in lies {
        assert_eq!(kinds(&client.ask(option::GO, body).unwrap()), [option_reply::ERR_INVALID]);
    }
    client.ask(option::STRUCTURED_REPLY, &[]).unwrap();
    for body in lies {
        let answers = client.ask(option::SET_META_CONTEXT, body).unwrap();
        assert_eq!(kinds(&answers), [option_reply::ERR_INVALID]);
    }
}

#[test]
fn contexts_need_structured_replies_first() {
    let served = Served::new(false);
    let mut client = Client::greeted(served.connect()).unwrap();
    let all = [0; 8];
    let answers = client.ask(option::LIST_META_CONTEXT, &all).unwrap();
    assert_eq!(kinds(&answers), [option_reply::ERR_INVALID]);
    client.ask(option::STRUCTURED_REPLY, &[]).unwrap();
    let answers = client.ask(option::LIST_META_CONTEXT, &all).unwrap();
    assert_eq!(answers[0], (option_reply::META_CONTEXT, b"\0\0\0\0base:allocation".to_vec()));
    let answers = client.ask(option::SET_META_CONTEXT, &all).unwrap();
    assert_eq!(kinds(&answers), [option_reply::ACK]);
}
