//! Small sound images, made by hand: those of other programs are larger than a fuzzer likes.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, ZlibEncoder};

/// What is in a cluster or grain, other than where another byte is.
const DATA: u8 = 5;
const COPIED: u64 = 1 << 63;
const PACKED: u64 = 1 << 62;

/// qcow2 images by name.
pub(crate) fn qcow2() -> Vec<(&'static str, Vec<u8>)> {
    // The last bit of an entry means zeroes in version 3 alone.
    let plain =
        |version, last| Image { version, ..Image::new(9) }.encode(&[COPIED | 3 << 9, 0, last]);
    let deflated = deflate(&[DATA; 512]);
    let frame = zstd::bulk::compress(&[DATA; 512], 3).unwrap();
    let packed = |zstd, bytes: &[u8]| {
        let image = Image { zstd, ..Image::new(9) };
        // Two frames in one of the file's sectors; the second may go on into the next.
        let half = [bytes, &vec![0; 256 - bytes.len()]].concat();
        let entries = [PACKED | 3 << 9, 0, PACKED | ((3 << 9) + 256) | (1 << 61)];
        [image.tables(&entries), half.repeat(2)].concat()
    };
    let extended = Image { extended: true, ..Image::new(14) };
    let halves = extended.encode(&[COPIED | 3 << 14, 0x0000_0002_0000_0001]);
    let backed = Image { backing: true, ..Image::new(9) }.encode(&[0, COPIED | 3 << 9]);
    vec![
        ("version-2", plain(2, 0)),
        ("version-3", plain(3, 1)),
        ("deflate", packed(false, &deflated)),
        ("zstd", packed(true, &frame)),
        ("subclusters", halves[..(3 << 14) + 512].to_vec()),
        ("backed", backed),
    ]
}

/// A qcow2 image of three clusters of tables and one of data.
struct Image {
    version: u32,
    cluster_bits: u32,
    zstd: bool,
    extended: bool,
    backing: bool,
}

impl Image {
    fn new(cluster_bits: u32) -> Image {
        Image { version: 3, cluster_bits, zstd: false, extended: false, backing: false }
    }

    fn encode(&self, entries: &[u64]) -> Vec<u8> {
        [self.tables(entries), vec![DATA; 1 << self.cluster_bits]].concat()
    }

    /// Header, an L1 table with one entry, and the L2 table with these.
    fn tables(&self, entries: &[u64]) -> Vec<u8> {
        let cluster = 1_usize << self.cluster_bits;
        let l1 = COPIED | 2 << self.cluster_bits;
        let mut bytes = self.header();
        bytes.resize(cluster, 0);
        bytes.extend(l1.to_be_bytes());
        bytes.resize(2 * cluster, 0);
        entries.iter().for_each(|entry| bytes.extend(entry.to_be_bytes()));
        bytes.resize(3 * cluster, 0);
        bytes
    }

    fn header(&self) -> Vec<u8> {
        let cluster = 1_u64 << self.cluster_bits;
        let features = u64::from(self.zstd) << 3 | u64::from(self.extended) << 4;
        let (name, len) = if self.backing { (200_u64, 4_u32) } else { (0, 0) };
        let mut bytes = b"QFI\xfb".to_vec();
        let mut put = |field: &[u8]| bytes.extend_from_slice(field);
        put(&self.version.to_be_bytes());
        put(&name.to_be_bytes());
        put(&len.to_be_bytes());
        put(&self.cluster_bits.to_be_bytes());
        put(&(3 * cluster + 512).to_be_bytes());
        put(&[0, 0, 0, 0, 0, 0, 0, 1]);
        put(&cluster.to_be_bytes());
        put(&[0; 24]); // nobody reads the counts
        put(&features.to_be_bytes());
        put(&[0; 16]);
        put(&4_u32.to_be_bytes());
        put(&112_u32.to_be_bytes());
        put(&[u8::from(self.zstd), 0, 0, 0, 0, 0, 0, 0]);
        if self.backing {
            put(&0xe279_2aca_u32.to_be_bytes());
            put(&3_u32.to_be_bytes());
            put(b"raw\0\0\0\0\0");
        }
        bytes.resize(200, 0);
        bytes.extend(b"base");
        bytes
    }
}

/// vmdks by name.
pub(crate) fn vmdk() -> Vec<(&'static str, Vec<u8>)> {
    let grain = [DATA; 4096];
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(&grain).unwrap();
    let zlib = zlib.finish().unwrap();
    let len = u32::try_from(zlib.len()).unwrap();
    let marked = [&0_u64.to_le_bytes()[..], &len.to_le_bytes(), &zlib].concat();
    let stream = sparse("streamOptimized", 0x3_0001, "", &[8, 0, 0], &marked);
    let parent = "parentFileNameHint=\"base.vmdk\"\n";
    vec![
        ("sparse", sparse("monolithicSparse", 0b101, "", &[8, 1, 0], &grain)),
        ("child", sparse("monolithicSparse", 1, parent, &[0, 8, 0], &grain)),
        ("footer", at_end(&stream)),
        ("stream", stream),
    ]
}

/// Header, descriptor, a directory of one table, that table, and a grain at sector 8.
fn sparse(kind: &str, flags: u32, parent: &str, entries: &[u32], grain: &[u8]) -> Vec<u8> {
    let cid = if parent.is_empty() { "ffffffff" } else { "12345678" };
    let text = format!(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID={cid}\n{parent}createType=\"{kind}\"\n\
         RW 17 SPARSE \"x.vmdk\"\n"
    );
    let mut bytes = b"KDMV\x01\0\0\0".to_vec();
    bytes.extend(flags.to_le_bytes());
    for number in [17_u64, 8, 1, 1] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(512_u32.to_le_bytes());
    for number in [0_u64, 2, 8] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(b"\0\n \r\n");
    bytes.extend([u8::from(flags >> 16 & 1 == 1), 0]);
    bytes.resize(512, 0);
    bytes.extend(text.as_bytes());
    bytes.resize(1024, 0);
    bytes.extend(3_u32.to_le_bytes());
    bytes.resize(1536, 0);
    entries.iter().for_each(|entry| bytes.extend(entry.to_le_bytes()));
    bytes.resize(8 * 512, 0);
    bytes.extend(grain);
    bytes
}

/// The same with its header at the end, as a stream has it.
fn at_end(stream: &[u8]) -> Vec<u8> {
    let mut bytes = stream.to_vec();
    bytes[56..64].fill(0xff);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes.extend(&stream[..512]);
    bytes.resize(bytes.len() + 512, 0);
    bytes
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
