//! What options say, and how they are answered (proto.md, "Option types", "Option reply types").

use super::bytes::Bytes;
use super::protocol::{
    LARGEST_PAYLOAD, LEAST_BLOCK, OPTION_REPLY_MAGIC, PREFERRED_BLOCK, info, option_reply,
};

/// The body of `INFO` and `GO`.
#[derive(Debug)]
pub struct ExportQuery<'a> {
    /// The export's name.
    pub name: &'a str,
    facts: &'a [u8],
}

impl<'a> ExportQuery<'a> {
    /// Takes the body apart; nothing where it is not just that.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes(body);
        let name = bytes.string()?;
        let count = usize::from(bytes.u16()?);
        let facts = bytes.take(count * 2)?;
        bytes.is_empty().then_some(ExportQuery { name, facts })
    }

    /// Whether it asks for this fact.
    pub fn wants(&self, fact: u16) -> bool {
        self.facts.chunks_exact(2).any(|bytes| bytes == fact.to_be_bytes())
    }
}

/// The body of `LIST_META_CONTEXT` and `SET_META_CONTEXT`.
#[derive(Debug)]
pub struct MetaQuery<'a> {
    /// The export's name.
    pub export: &'a str,
    /// What is looked for; not more strings than the body has room for.
    pub queries: Vec<&'a str>,
}

impl<'a> MetaQuery<'a> {
    /// Takes the body apart; nothing where it is not just that.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes(body);
        let export = bytes.string()?;
        let count = bytes.u32()?;
        let mut queries = Vec::new();
        for _ in 0..count {
            queries.push(bytes.string()?);
        }
        bytes.is_empty().then_some(MetaQuery { export, queries })
    }

    /// Whether one of the queries is one of `names`.
    pub fn asks_for(&self, names: &[&str]) -> bool {
        self.queries.iter().any(|query| names.contains(query))
    }
}

/// Appends answers to one option.
#[derive(Debug)]
pub struct Replies<'a> {
    option: u32,
    out: &'a mut Vec<u8>,
}

impl<'a> Replies<'a> {
    /// Answers to `option` go to `out`.
    pub fn new(option: u32, out: &'a mut Vec<u8>) -> Self {
        Replies { option, out }
    }

    /// The last answer where nothing is wrong.
    pub fn ack(&mut self) {
        self.reply(option_reply::ACK, &[]);
    }

    /// The last answer where something is.
    pub fn error(&mut self, kind: u32, why: &str) {
        self.reply(kind, &[why.as_bytes()]);
    }

    /// The name of an export.
    pub fn server(&mut self, name: &str) {
        self.reply(option_reply::SERVER, &[&len(name), name.as_bytes()]);
    }

    /// The fact every client needs.
    pub fn export(&mut self, size: u64, flags: u16) {
        let kind = info::EXPORT.to_be_bytes();
        self.reply(option_reply::INFO, &[&kind, &size.to_be_bytes(), &flags.to_be_bytes()]);
    }

    /// Sizes of requests.
    pub fn block_size(&mut self) {
        let kind = info::BLOCK_SIZE.to_be_bytes();
        let [least, preferred, largest] =
            [LEAST_BLOCK, PREFERRED_BLOCK, LARGEST_PAYLOAD].map(u32::to_be_bytes);
        self.reply(option_reply::INFO, &[&kind, &least, &preferred, &largest]);
    }

    /// A fact that is a text.
    pub fn info_text(&mut self, kind: u16, text: &str) {
        self.reply(option_reply::INFO, &[&kind.to_be_bytes(), text.as_bytes()]);
    }

    /// A kind of block status and its number.
    pub fn context(&mut self, id: u32, name: &str) {
        self.reply(option_reply::META_CONTEXT, &[&id.to_be_bytes(), name.as_bytes()]);
    }

    fn reply(&mut self, kind: u32, data: &[&[u8]]) {
        let len: usize = data.iter().map(|part| part.len()).sum();
        let len = u32::try_from(len).expect("names and messages are short");
        self.out.extend(OPTION_REPLY_MAGIC.to_be_bytes());
        self.out.extend(self.option.to_be_bytes());
        self.out.extend(kind.to_be_bytes());
        self.out.extend(len.to_be_bytes());
        data.iter().for_each(|part| self.out.extend_from_slice(part));
    }
}

fn len(text: &str) -> [u8; 4] {
    u32::try_from(text.len()).expect("a name is short").to_be_bytes()
}
