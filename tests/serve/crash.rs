//! The server is killed under load; what a client was told is durable is there afterwards.
//!
//! ```text
//!   client: write blocks with a stamp, some in flight ── flush ── remember ── write on ...
//!                                                             kill -9 at any moment
//!   next server: each block has the remembered stamp or a later one, whole
//! ```

use std::thread;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use serve::nbd::testing::Client;
use serve::nbd::testing::numbers::{command, command_flag};

use crate::support::{Server, web};

/// Blocks that are written, of 4 KiB; half of them lie where the image has none.
const BLOCKS: u64 = 8192;
/// Blocks written between two flushes.
const BATCH: usize = 24;
const BLOCK: u32 = 4096;

/// Rounds of an ordinary run and of `tests/run --long`.
fn rounds() -> u64 {
    if std::env::var("OFFSHOOT_TESTS").as_deref() == Ok("long") { 300 } else { 12 }
}

/// What is known of each block.
#[derive(Clone, Copy, Default)]
struct Known {
    /// The stamp that was durable when last flushed; 0 for the image's bytes.
    durable: u64,
    /// The last stamp that was sent.
    sent: u64,
}

#[test]
fn nothing_that_was_flushed_is_lost_when_the_server_is_killed() {
    let store = web();
    let mut known = vec![Known::default(); usize::try_from(BLOCKS).expect("few")];
    let mut load = Load { known: &mut known, stamp: 0, seed: 1, flushes: 0 };
    for round in 0..rounds() {
        let server = Server::start(&store, []);
        load.check(&mut server.client());
        let mut client = server.client();
        let pid = server.pid();
        // From before the first flush to after many of them.
        let life = Duration::from_millis(round * 17 % 97);
        let killer = thread::spawn(move || {
            thread::sleep(life);
            kill_process(pid, Signal::KILL).expect("it is ours");
        });
        load.run(&mut client);
        killer.join().expect("it killed");
        assert_eq!(server.end(Signal::KILL), None);
    }
    assert!(load.flushes > rounds(), "it was killed before anything happened");
    let server = Server::start(&store, []);
    load.check(&mut server.client());
}

/// A client's writes, and its memory of them.
struct Load<'a> {
    known: &'a mut [Known],
    stamp: u64,
    seed: u64,
    flushes: u64,
}

impl Load<'_> {
    /// Writes until the server is gone.
    fn run(&mut self, client: &mut Client) {
        while self.batch(client).is_ok() {}
    }

    fn batch(&mut self, client: &mut Client) -> std::io::Result<()> {
        for step in 0..BATCH {
            let block = self.random() % BLOCKS;
            self.stamp += 1;
            self.known[usize::try_from(block).expect("few")].sent = self.stamp;
            let flags = if step == 7 { command_flag::FUA } else { 0 };
            let (at, bytes) = (block * u64::from(BLOCK), stamped(block, self.stamp));
            client.send(command::WRITE, flags, at, BLOCK, &bytes)?;
        }
        for _ in 0..BATCH {
            client.receive(0)?.result.expect("written");
        }
        let covered: Vec<u64> = self.known.iter().map(|known| known.sent).collect();
        client.flush()?.expect("flushed");
        for (known, sent) in self.known.iter_mut().zip(covered) {
            known.durable = sent;
        }
        self.flushes += 1;
        Ok(())
    }

    /// Checks every block, and goes on from what was found.
    fn check(&mut self, client: &mut Client) {
        for (block, known) in (0..).zip(self.known.iter_mut()) {
            let bytes = client.read(block * u64::from(BLOCK), BLOCK).expect("answered");
            let bytes = bytes.expect("read");
            let (found, _) = bytes.split_first_chunk().expect("a block");
            let stamp = if known.sent == 0 { 0 } else { u64::from_le_bytes(*found) };
            if known.durable == 0 && bytes != stamped(block, stamp) {
                // The image's bytes, which nobody has flushed anything over.
                *known = Known::default();
                continue;
            }
            let allowed = known.durable..=known.sent;
            assert!(allowed.contains(&stamp), "block {block} has {stamp}, not one of {allowed:?}");
            assert!(bytes == stamped(block, stamp), "block {block} is not whole");
            *known = Known { durable: stamp, sent: stamp };
        }
    }

    /// xorshift64, so that a failure can be repeated.
    fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed
    }
}

/// A block's content: its stamp and number, all over.
fn stamped(block: u64, stamp: u64) -> Vec<u8> {
    let word = [stamp.to_le_bytes(), block.to_le_bytes()].concat();
    word.repeat(usize::try_from(BLOCK).expect("small") / word.len())
}
