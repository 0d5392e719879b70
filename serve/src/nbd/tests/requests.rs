//! What each command does.

use std::collections::HashMap;
use std::io::Read;

use super::{BASE, SIZE, Served, pattern};
use crate::nbd::testing::numbers::{LARGEST_PAYLOAD, command, command_flag};
use crate::nbd::testing::{Answer, Client, Mode};

/// Kind, offset and length by cookie.
type Sent = HashMap<u64, (u16, u64, u32)>;

const BOTH: [Mode; 2] = [Mode::Simple, Mode::Structured];
const EPERM: u32 = 1;
const EINVAL: u32 = 22;
const ENOSPC: u32 = 28;
const ENOTSUP: u32 = 95;

#[test]
fn what_is_written_is_read_back_and_the_base_shows_around_it() {
    for mode in BOTH {
        let served = Served::new(false);
        let mut client = served.client(mode);
        assert_eq!(client.write(8192 + 512, &[7; 1024]).unwrap(), Ok(()));
        let mut expected = pattern(BASE);
        expected[8704..9728].fill(7);
        assert_eq!(client.read(0, BASE as u32).unwrap().unwrap(), expected);
        assert_eq!(client.read(SIZE - 512, 512).unwrap(), Ok(vec![0; 512]));
    }
}

#[test]
fn the_largest_write_goes_through() {
    let served = Served::new(false);
    let mut client = served.client(Mode::Structured);
    let data = pattern(LARGEST_PAYLOAD as usize);
    assert_eq!(client.write(4096, &data).unwrap(), Ok(()));
    assert_eq!(client.read(4096, LARGEST_PAYLOAD).unwrap().unwrap(), data);
}

#[test]
fn many_requests_in_flight_are_all_answered() {
    let base = pattern(BASE);
    for mode in BOTH {
        let served = Served::new(false);
        let mut client = served.client(mode);
        let mut sent = Sent::new();
        // Less than the socket holds: nobody reads yet.
        for at in 0..1000u64 {
            let kind = if at % 3 == 0 { command::FLUSH } else { command::READ };
            let (offset, len) = if kind == command::READ { (at * 512, 512) } else { (0, 0) };
            sent.insert(client.send(kind, 0, offset, len, &[]).unwrap(), (kind, offset, len));
        }
        for _ in 0..1000 {
            // Simple replies do not tell how long they are; here all reads are alike.
            let answer = match mode {
                Mode::Structured => client.receive(0).unwrap(),
                Mode::Simple => receive_known(&mut client, &sent),
            };
            let (kind, offset, len) = sent.remove(&answer.cookie).expect("one answer each");
            if kind == command::READ {
                let offset = offset as usize;
                assert_eq!(answer.result.unwrap(), base[offset..offset + len as usize]);
            }
        }
    }
}

fn receive_known(client: &mut Client, sent: &Sent) -> Answer {
    let mut answer = client.receive(0).unwrap();
    let (_, _, len) = sent[&answer.cookie];
    let mut data = vec![0; len as usize];
    client.stream.read_exact(&mut data).unwrap();
    answer.result = answer.result.map(|_| data);
    answer
}

#[test]
fn zeroes_are_read_and_reported_where_they_were_asked_for() {
    let served = Served::new(false);
    let mut client = served.client(Mode::Structured);
    for (flags, hole) in [(0, 3u32), (command_flag::NO_HOLE, 0)] {
        client.write(0, &pattern(3 << 20)).unwrap().unwrap();
        let zeroed = client.call(command::WRITE_ZEROES, flags, 4096, (2 << 20) + 512).unwrap();
        assert_eq!(zeroed, Ok(Vec::new()));
        let mut expected = pattern(3 << 20);
        expected[4096..4096 + (2 << 20) + 512].fill(0);
        assert_eq!(client.read(0, 3 << 20).unwrap().unwrap(), expected);
        let status = client.call(command::BLOCK_STATUS, command_flag::REQ_ONE, 4096, 2 << 20);
        let expected = [(2u32 << 20).to_be_bytes(), hole.to_be_bytes()].concat();
        assert_eq!(status.unwrap(), Ok(expected));
    }
    let slow = command_flag::NO_HOLE | command_flag::FAST_ZERO;
    assert_eq!(client.call(command::WRITE_ZEROES, slow, 0, 512).unwrap(), Err(ENOTSUP));
}

#[test]
fn block_status_covers_the_range_with_neighbours_that_differ() {
    let served = Served::new(false);
    let mut client = served.client(Mode::Structured);
    client.write(8 << 20, &[7; 8192]).unwrap().unwrap();
    let status = client.call(command::BLOCK_STATUS, 0, 0, 16 << 20).unwrap().unwrap();
    let words: Vec<u32> =
        status.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect();
    let (mib, tail) = (1 << 20, (8 << 20) - 8192);
    assert_eq!(words, [mib, 0, 7 * mib, 3, 8192, 0, tail, 3]);
}

#[test]
fn block_status_needs_its_context() {
    let served = Served::new(false);
    let mut client = served.client(Mode::Simple);
    assert_eq!(client.call(command::BLOCK_STATUS, 0, 0, 4096).unwrap(), Err(EINVAL));
}

#[test]
fn trimmed_bytes_read_as_zeroes() {
    let served = Served::new(false);
    let mut client = served.client(Mode::Simple);
    assert_eq!(client.call(command::TRIM, command_flag::FUA, 0, 65536).unwrap(), Ok(Vec::new()));
    assert_eq!(client.read(0, 65536).unwrap(), Ok(vec![0; 65536]));
}

#[test]
fn a_read_only_export_refuses_every_change_and_goes_on() {
    let served = Served::new(true);
    let mut client = served.client(Mode::Structured);
    assert_eq!(client.write(0, &[1; 4096]).unwrap(), Err(EPERM));
    for kind in [command::TRIM, command::WRITE_ZEROES] {
        assert_eq!(client.call(kind, 0, 0, 4096).unwrap(), Err(EPERM));
    }
    assert_eq!(client.flush().unwrap(), Ok(()));
    assert_eq!(client.read(0, 4096).unwrap().unwrap(), pattern(4096));
}

#[test]
fn what_makes_no_sense_is_refused_and_the_next_request_is_served() {
    let served = Served::new(false);
    for mode in BOTH {
        let mut client = served.client(mode);
        let refused = [
            (command::READ, 0, 1, 512, EINVAL),
            (command::READ, 0, 0, 513, EINVAL),
            (command::READ, 0, SIZE, 512, EINVAL),
            (command::READ, 0, u64::MAX - 511, 512, EINVAL),
            (command::READ, 0, 0, LARGEST_PAYLOAD + 512, EINVAL),
            (command::READ, 0, 0, u32::MAX, EINVAL),
            (command::READ, command_flag::NO_HOLE, 0, 512, EINVAL),
            (command::TRIM, 0, SIZE, 512, EINVAL),
            (command::WRITE_ZEROES, 0, SIZE, 512, ENOSPC),
            (command::FLUSH, 1 << 9, 0, 0, EINVAL),
            (5, 0, 0, 512, EINVAL),
            (0xffff, 0, 0, 0, EINVAL),
        ];
        for (kind, flags, offset, len, errno) in refused {
            let answer = client.call(kind, flags, offset, len).unwrap();
            assert_eq!(answer, Err(errno), "{kind} {flags:#x} {offset} {len} in {mode:?}");
        }
        assert_eq!(client.write(SIZE, &[0; 512]).unwrap(), Err(ENOSPC));
        assert_eq!(client.write(0, &[0; 100]).unwrap(), Err(EINVAL));
        assert_eq!(client.read(0, 512).unwrap().unwrap(), pattern(512));
    }
}

#[test]
fn a_flush_on_one_connection_is_for_the_writes_of_all() {
    let mut served = Served::new(false);
    let (mut writer, mut flusher) = (served.client(Mode::Simple), served.client(Mode::Structured));
    assert_eq!(writer.write(2 << 20, &[7; 4096]).unwrap(), Ok(()));
    let before = blockdev::delta::inspect(served.spec.delta.as_ref().unwrap()).unwrap();
    assert_eq!(flusher.flush().unwrap(), Ok(()));
    let after = blockdev::delta::inspect(served.spec.delta.as_ref().unwrap()).unwrap();
    assert_eq!((before.owned_blocks, after.owned_blocks), (0, 1), "what is in the file");
    served.end();
}

#[test]
fn a_durable_write_is_in_the_file_when_it_is_answered() {
    let served = Served::new(false);
    let mut client = served.client(Mode::Structured);
    client.send(command::WRITE, command_flag::FUA, 4096, 4096, &[7; 4096]).unwrap();
    assert_eq!(client.receive(0).unwrap().result, Ok(Vec::new()));
    let found = blockdev::delta::inspect(served.spec.delta.as_ref().unwrap()).unwrap();
    assert_eq!(found.owned_blocks, 1);
}

#[test]
fn what_was_asked_for_before_the_end_is_answered() {
    let mut served = Served::new(false);
    let mut client = served.client(Mode::Structured);
    // More than the server takes at a time.
    let cookies: Vec<u64> = (0..600)
        .map(|at| client.send(command::WRITE, 0, at * 512, 512, &[at as u8; 512]).unwrap())
        .collect();
    served.end();
    let mut answered: Vec<u64> = cookies
        .iter()
        .map(|_| client.receive(0).map(|answer| (answer.cookie, answer.result)).unwrap())
        .map(|(cookie, result)| result.map(|_| cookie).unwrap())
        .collect();
    answered.sort_unstable();
    assert_eq!(answered, cookies);
    assert!(client.receive(0).is_err(), "the connection is closed");
    assert!(!served.socket().exists());
}

#[test]
fn disconnecting_waits_for_what_is_in_flight() {
    let served = Served::new(false);
    let mut client = served.client(Mode::Structured);
    let cookie = client.send(command::WRITE, command_flag::FUA, 0, 4096, &[9; 4096]).unwrap();
    client.send(command::DISC, 0, 0, 0, &[]).unwrap();
    assert_eq!(client.receive(0).unwrap().cookie, cookie);
    assert!(client.receive(0).is_err(), "the connection is closed");
    assert_eq!(served.client(Mode::Simple).read(0, 4096).unwrap(), Ok(vec![9; 4096]));
}
