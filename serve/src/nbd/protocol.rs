//! The protocol's numbers, as
//! <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>, section "Values", has
//! them. Everything on the wire is big-endian.

/// Of the server's first bytes: `NBDMAGIC`.
pub const MAGIC: u64 = 0x4e42_444d_4147_4943;
/// Of newstyle negotiation, and of each option: `IHAVEOPT`.
pub const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// Of each answer to an option.
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// Of each request.
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
/// Of a simple reply.
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// Of a chunk of a structured reply.
pub const CHUNK_MAGIC: u32 = 0x668e_33ef;

/// `NBD_FLAG_*` and `NBD_FLAG_C_*` of the first bytes: the same bits in both directions.
pub mod handshake_flag {
    /// Options are answered.
    pub const FIXED_NEWSTYLE: u16 = 1 << 0;
    /// No 124 zeroes after `EXPORT_NAME`.
    pub const NO_ZEROES: u16 = 1 << 1;
}

/// `NBD_OPT_*`.
pub mod option {
    /// Begin with the export of this name; without an answer when there is none.
    pub const EXPORT_NAME: u32 = 1;
    /// Leave.
    pub const ABORT: u32 = 2;
    /// Which exports are there?
    pub const LIST: u32 = 3;
    /// What is this export like?
    pub const INFO: u32 = 6;
    /// Begin with this export.
    pub const GO: u32 = 7;
    /// Answer in chunks.
    pub const STRUCTURED_REPLY: u32 = 8;
    /// Which kinds of block status are there?
    pub const LIST_META_CONTEXT: u32 = 9;
    /// Of these kinds I want to know.
    pub const SET_META_CONTEXT: u32 = 10;
}

/// `NBD_REP_*`.
pub mod option_reply {
    /// Done.
    pub const ACK: u32 = 1;
    /// An export's name.
    pub const SERVER: u32 = 2;
    /// A fact about an export.
    pub const INFO: u32 = 3;
    /// A kind of block status.
    pub const META_CONTEXT: u32 = 4;
    /// No such option here.
    pub const ERR_UNSUP: u32 = 1 << 31 | 1;
    /// The option makes no sense.
    pub const ERR_INVALID: u32 = 1 << 31 | 3;
    /// No such export.
    pub const ERR_UNKNOWN: u32 = 1 << 31 | 6;
}

/// `NBD_INFO_*`.
pub mod info {
    /// Size and transmission flags.
    pub const EXPORT: u16 = 0;
    /// The name.
    pub const NAME: u16 = 1;
    /// A text for people.
    pub const DESCRIPTION: u16 = 2;
    /// Sizes of requests.
    pub const BLOCK_SIZE: u16 = 3;
}

/// `NBD_FLAG_*` of an export.
pub mod transmission_flag {
    /// There are flags.
    pub const HAS_FLAGS: u16 = 1 << 0;
    /// Writes are refused.
    pub const READ_ONLY: u16 = 1 << 1;
    /// FLUSH is there.
    pub const SEND_FLUSH: u16 = 1 << 2;
    /// FUA is there.
    pub const SEND_FUA: u16 = 1 << 3;
    /// TRIM is there.
    pub const SEND_TRIM: u16 = 1 << 5;
    /// `WRITE_ZEROES` is there.
    pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
    /// Reads may ask for one chunk.
    pub const SEND_DF: u16 = 1 << 7;
    /// A flush on one connection is for the writes of all.
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
    /// Zeroing may be asked to be fast or not to be.
    pub const SEND_FAST_ZERO: u16 = 1 << 11;
}

/// `NBD_CMD_*`.
pub mod command {
    /// Read.
    pub const READ: u16 = 0;
    /// Write; data follow.
    pub const WRITE: u16 = 1;
    /// Leave.
    pub const DISC: u16 = 2;
    /// Make durable.
    pub const FLUSH: u16 = 3;
    /// The range is needed no more.
    pub const TRIM: u16 = 4;
    /// Write zeroes.
    pub const WRITE_ZEROES: u16 = 6;
    /// Which parts are what?
    pub const BLOCK_STATUS: u16 = 7;
}

/// `NBD_CMD_FLAG_*`.
pub mod command_flag {
    /// Durable before the answer.
    pub const FUA: u16 = 1 << 0;
    /// Zeroes shall take their room.
    pub const NO_HOLE: u16 = 1 << 1;
    /// One chunk.
    pub const DF: u16 = 1 << 2;
    /// One extent.
    pub const REQ_ONE: u16 = 1 << 3;
    /// Zero fast or not at all.
    pub const FAST_ZERO: u16 = 1 << 4;
}

/// `NBD_REPLY_TYPE_*`.
pub mod chunk {
    /// Nothing but the end.
    pub const NONE: u16 = 0;
    /// Bytes read.
    pub const OFFSET_DATA: u16 = 1;
    /// Extents.
    pub const BLOCK_STATUS: u16 = 5;
    /// An error.
    pub const ERROR: u16 = 1 << 15 | 1;
    /// The flag of a reply's last chunk.
    pub const FLAG_DONE: u16 = 1;
}

/// `NBD_STATE_*` of `base:allocation`.
pub mod state {
    /// Takes no room.
    pub const HOLE: u32 = 1 << 0;
    /// Reads as zeroes.
    pub const ZERO: u32 = 1 << 1;
}

/// The one kind of block status there is here.
pub const ALLOCATION: &str = "base:allocation";
/// Its number in `BLOCK_STATUS` replies.
pub const ALLOCATION_ID: u32 = 1;

/// The longest name or query (section "Values": strings).
pub const LONGEST_STRING: usize = 4096;

/// The least a request may cover, and what its offset is a multiple of.
pub const LEAST_BLOCK: u32 = 512;
/// What requests had better be multiples of.
pub const PREFERRED_BLOCK: u32 = 4096;
/// The most bytes of data in one request or reply.
pub const LARGEST_PAYLOAD: u32 = 32 << 20;
