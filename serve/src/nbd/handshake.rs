//! Negotiation (proto.md, "Handshake phase", fixed newstyle): from the client's bytes to the terms
//! both sides go on with.
//!
//! ```text
//!   S: greeting, flags         C: flags         C: option, S: replies         ...   transmission
//! ```
//!
//! Values only: no socket, no clock. An option's body is at most [`LONGEST_OPTION`] bytes, so what
//! is kept of a client is bounded.

use super::bytes::{Bytes, text};
use super::export::{Export, Terms};
use super::options::{ExportQuery, MetaQuery, Replies};
use super::protocol::{
    ALLOCATION, ALLOCATION_ID, MAGIC, OPTION_MAGIC, handshake_flag, info, option, option_reply,
};

/// The longest body of an option: two names and some queries.
pub const LONGEST_OPTION: usize = 16 << 10;
/// The longest message of this phase: an option with its header.
pub const LONGEST_MESSAGE: usize = OPTION_HEADER + LONGEST_OPTION;

const OPTION_HEADER: usize = 16;
/// What follows the answer to `EXPORT_NAME` where the client did not decline it.
const PADDING: [u8; 124] = [0; 124];

/// What ends a connection without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Unknown bits in the first flags.
    #[error("its flags {0:#x} are not known")]
    Flags(u32),
    /// What must be an option is none.
    #[error("{0:#x} is not an option's magic number")]
    OptionMagic(u64),
    /// An option without end.
    #[error("option {option} has {len} bytes")]
    OptionLength {
        /// Which option.
        option: u32,
        /// Its length in bytes.
        len: u32,
    },
    /// There is no export of this name, and no way to say so.
    #[error("there is no export of the name it asked for")]
    ExportName,
    /// What must be a request is none.
    #[error("{0:#x} is not a request's magic number")]
    RequestMagic(u32),
}

/// How far the negotiation came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It goes on.
    More,
    /// Transmission begins.
    Transmit(Terms),
    /// The client leaves.
    Abort,
}

/// A client that is being negotiated with.
#[derive(Debug)]
pub struct Handshake<'a> {
    export: &'a Export,
    terms: Terms,
    /// Whether the client's flags have been seen, and it wants the padding.
    padding: Option<bool>,
}

impl<'a> Handshake<'a> {
    /// Nothing has been said yet.
    pub fn new(export: &'a Export) -> Self {
        Handshake { export, terms: Terms::default(), padding: None }
    }

    /// What the server says first.
    pub fn greeting(out: &mut Vec<u8>) {
        let flags = handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES;
        out.extend(MAGIC.to_be_bytes());
        out.extend(OPTION_MAGIC.to_be_bytes());
        out.extend(flags.to_be_bytes());
    }

    /// Takes the message at the start of `input` in and appends the answer to `out`. Returns how
    /// long it was; nothing where it is not all there.
    ///
    /// # Errors
    /// The connection has to end.
    pub fn advance(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<(usize, Progress)>, Violation> {
        match self.padding {
            None => self.flags(input),
            Some(padding) => self.option(input, padding, out),
        }
    }

    fn flags(&mut self, input: &[u8]) -> Result<Option<(usize, Progress)>, Violation> {
        let Some(flags) = Bytes(input).u32() else { return Ok(None) };
        let [fixed, no_zeroes] =
            [handshake_flag::FIXED_NEWSTYLE, handshake_flag::NO_ZEROES].map(u32::from);
        if flags & !(fixed | no_zeroes) != 0 {
            return Err(Violation::Flags(flags));
        }
        self.padding = Some(flags & no_zeroes == 0);
        Ok(Some((4, Progress::More)))
    }

    fn option(
        &mut self,
        input: &[u8],
        padding: bool,
        out: &mut Vec<u8>,
    ) -> Result<Option<(usize, Progress)>, Violation> {
        let mut bytes = Bytes(input);
        let (Some(magic), Some(option), Some(len)) = (bytes.u64(), bytes.u32(), bytes.u32()) else {
            return Ok(None);
        };
        if magic != OPTION_MAGIC {
            return Err(Violation::OptionMagic(magic));
        }
        let length = usize::try_from(len).ok().filter(|&len| len <= LONGEST_OPTION);
        let length = length.ok_or(Violation::OptionLength { option, len })?;
        let Some(body) = bytes.take(length) else { return Ok(None) };
        let progress = match option {
            option::EXPORT_NAME => self.export_name(body, padding, out)?,
            _ => self.answer(option, body, &mut Replies::new(option, out)),
        };
        Ok(Some((OPTION_HEADER + length, progress)))
    }

    /// The one option without a proper answer.
    fn export_name(
        &self,
        body: &[u8],
        padding: bool,
        out: &mut Vec<u8>,
    ) -> Result<Progress, Violation> {
        if !text(body).is_some_and(|name| self.export.is_called(name)) {
            return Err(Violation::ExportName);
        }
        out.extend(self.export.size.to_be_bytes());
        out.extend(self.export.flags(self.terms).to_be_bytes());
        if padding {
            out.extend(PADDING);
        }
        Ok(Progress::Transmit(self.terms))
    }

    fn answer(&mut self, option: u32, body: &[u8], replies: &mut Replies<'_>) -> Progress {
        match option {
            option::ABORT => {
                replies.ack();
                return Progress::Abort;
            }
            option::GO if self.describe(body, replies) => return Progress::Transmit(self.terms),
            option::GO => {}
            option::INFO => {
                self.describe(body, replies);
            }
            option::LIST if body.is_empty() => {
                replies.server(&self.export.name);
                replies.ack();
            }
            option::STRUCTURED_REPLY if body.is_empty() => {
                self.terms.structured = true;
                replies.ack();
            }
            option::LIST | option::STRUCTURED_REPLY => {
                replies.error(option_reply::ERR_INVALID, "this option has no data");
            }
            option::LIST_META_CONTEXT => self.list_contexts(body, replies),
            option::SET_META_CONTEXT => self.set_contexts(body, replies),
            _ => replies.error(option_reply::ERR_UNSUP, "this server does not know the option"),
        }
        Progress::More
    }

    /// `INFO` and `GO`: whether there is such an export.
    fn describe(&self, body: &[u8], replies: &mut Replies<'_>) -> bool {
        let Some(query) = ExportQuery::parse(body) else {
            replies.error(option_reply::ERR_INVALID, "the request for an export makes no sense");
            return false;
        };
        if !self.export.is_called(query.name) {
            replies.error(option_reply::ERR_UNKNOWN, "there is no export of this name");
            return false;
        }
        replies.export(self.export.size, self.export.flags(self.terms));
        replies.block_size();
        if query.wants(info::NAME) {
            replies.info_text(info::NAME, &self.export.name);
        }
        if query.wants(info::DESCRIPTION) {
            replies.info_text(info::DESCRIPTION, &self.export.description);
        }
        replies.ack();
        true
    }

    fn list_contexts(&self, body: &[u8], replies: &mut Replies<'_>) {
        let Some(query) = self.meta_query(body, replies) else { return };
        if query.queries.is_empty() || query.asks_for(&[ALLOCATION, "base:"]) {
            replies.context(0, ALLOCATION);
        }
        replies.ack();
    }

    fn set_contexts(&mut self, body: &[u8], replies: &mut Replies<'_>) {
        self.terms.allocation = false;
        let Some(query) = self.meta_query(body, replies) else { return };
        if query.asks_for(&[ALLOCATION]) {
            self.terms.allocation = true;
            replies.context(ALLOCATION_ID, ALLOCATION);
        }
        replies.ack();
    }

    fn meta_query<'b>(&self, body: &'b [u8], replies: &mut Replies<'_>) -> Option<MetaQuery<'b>> {
        let query = MetaQuery::parse(body).filter(|_| self.terms.structured);
        if query.is_none() {
            let why = "the query makes no sense, or comes before structured replies";
            replies.error(option_reply::ERR_INVALID, why);
        }
        let query = query?;
        if !self.export.is_called(query.export) {
            replies.error(option_reply::ERR_UNKNOWN, "there is no export of this name");
            return None;
        }
        Some(query)
    }
}
