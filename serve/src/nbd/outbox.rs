//! Replies on their way out, many in one call.

use std::collections::VecDeque;

use blockdev::buffers::Source;

use super::reply::Reply;
use crate::wire::MOST_PIECES;

/// A reply, and what its request took of the budget.
#[derive(Debug)]
pub struct Answer {
    /// What is sent.
    pub reply: Reply,
    /// Bytes to give back when it is.
    pub cost: usize,
}

/// Replies in the order they go out.
#[derive(Debug, Default)]
pub struct Outbox {
    answers: VecDeque<Answer>,
    /// Bytes of the first that are out already.
    sent: usize,
}

impl Outbox {
    /// Appends an answer.
    pub fn push(&mut self, answer: Answer) {
        self.answers.push_back(answer);
    }

    /// Whether nothing is left to send.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// The next bytes to send, as far as one call may reach.
    pub fn pieces(&self) -> Vec<Source<'_>> {
        let mut pieces = Vec::with_capacity(self.answers.len().min(MOST_PIECES) * 2);
        let mut skip = self.sent;
        for Answer { reply, .. } in self.answers.iter().take(MOST_PIECES / 2) {
            let head = reply.head();
            if let Some(head @ [_, ..]) = head.get(skip..) {
                pieces.push(Source::from(head));
            }
            if let Some(data) = &reply.data {
                pieces.push(data.source(skip.saturating_sub(head.len())..data.len()));
            }
            skip = 0;
        }
        pieces
    }

    /// `count` more bytes are out: returns the answers that are done with.
    pub fn sent(&mut self, count: usize) -> impl Iterator<Item = Answer> {
        self.sent += count;
        std::iter::from_fn(|| {
            let len = self.answers.front()?.reply.len();
            self.sent = self.sent.checked_sub(len)?;
            self.answers.pop_front()
        })
    }
}
