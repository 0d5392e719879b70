//! The parsers without socket and disk.

use crate::nbd::budget::{Budget, Pool};
use crate::nbd::export::{Export, Terms};
use crate::nbd::handshake::{Handshake, Progress};
use crate::nbd::receiver::Receiver;
use crate::wire;

/// Reads `input` as a client's whole conversation, from the flags on, in pieces of at most `step`
/// bytes, and returns how many requests there were. Must not panic, whatever it is.
pub fn parse_anything(input: &[u8], step: usize) -> usize {
    let export =
        Export { name: "web".into(), description: String::new(), size: 1 << 30, read_only: false };
    let Some((terms, used)) = negotiate(&export, input) else { return 0 };
    requests(&export, terms, input.get(used..).unwrap_or_default(), step.max(1))
}

/// [`parse_anything`] for a fuzzer: `input`'s first byte says how long the pieces are. However it is
/// cut, there are the same requests; returns whether there are any.
///
/// # Panics
/// There is a bug.
pub fn fuzz(input: &[u8]) -> bool {
    let Some((&step, input)) = input.split_first() else { return false };
    let whole = parse_anything(input, usize::MAX);
    assert_eq!(parse_anything(input, usize::from(step) * 16 + 1), whole);
    whole > 0
}

fn negotiate(export: &Export, input: &[u8]) -> Option<(Terms, usize)> {
    let mut handshake = Handshake::new(export);
    let (mut used, mut out) = (0, Vec::new());
    loop {
        out.clear();
        let (count, progress) = handshake.advance(input.get(used..)?, &mut out).ok()??;
        used += count;
        match progress {
            Progress::More => {}
            Progress::Transmit(terms) => return Some((terms, used)),
            Progress::Abort => return None,
        }
    }
}

fn requests(export: &Export, terms: Terms, input: &[u8], step: usize) -> usize {
    let (mut receiver, mut pool, budget) = (Receiver::new(&[]), Pool::default(), Budget::default());
    let mut count = 0;
    for piece in input.chunks(step) {
        let mut left = piece;
        while !left.is_empty() {
            let taken = {
                let room: Vec<_> = receiver.room().collect();
                wire::fill(&room, left)
            };
            receiver.received(taken);
            left = left.get(taken..).unwrap_or_default();
            loop {
                match receiver.next(export, terms, &budget, &mut pool) {
                    Ok(Some(request)) => {
                        count += 1;
                        request.data.into_iter().for_each(|data| pool.give_back(data));
                    }
                    Ok(None) => break,
                    Err(_) => return count,
                }
            }
        }
    }
    count
}
