//! The bytes against docs/delta-format.md, and hostile ones.

use proptest::prelude::*;

use super::*;

fn header() -> Header {
    let parent = Parent {
        kind: ParentKind::Base,
        uuid: Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
        epoch: 0,
        size: 10_000,
        visible: 9_999,
        digest: [0xdd; 32],
    };
    Header::new(Uuid::from_u128(0xa0a1_a2a3_a4a5_a6a7_a8a9_aaab_acad_aeaf), 1 << 20, parent)
}

/// The header's bytes with `bytes` at `at` and a CRC that fits.
fn with(at: usize, bytes: &[u8]) -> SectorBytes {
    let mut sector = header().encode();
    sector[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c::crc32c(&sector[..508]);
    sector[508..].copy_from_slice(&crc.to_le_bytes());
    sector
}

#[test]
fn every_header_field_is_where_the_document_says() {
    let bytes = header().encode();
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!(&bytes[0..8], b"OFFDELTA");
    assert_eq!(bytes[8..16], [1, 0, 0, 0, 0, 0x10, 0, 0], "version and block size");
    assert_eq!((number(16), number(24)), (0, 0), "features");
    assert_eq!((number(32), number(40)), (1, 1 << 20), "generation and size");
    assert_eq!((number(48), number(56), number(64)), (8192, (1 << 20) - 8192, 1 << 20), "areas");
    assert_eq!((bytes[72], bytes[87]), (0xa0, 0xaf), "uuid");
    assert_eq!(number(88), 1, "parent's kind");
    assert_eq!((bytes[96], bytes[111]), (0x01, 0x10), "parent's uuid");
    assert_eq!((number(112), number(120), number(128)), (0, 10_000, 9_999), "parent");
    assert_eq!(bytes[136..168], [0xdd; 32], "digest");
    assert_eq!(bytes[168..508], [0; 340], "epoch, state, child, reserved");
    assert_eq!(bytes[508..], crc32c::crc32c(&bytes[..508]).to_le_bytes());
}

#[test]
fn a_header_is_read_as_it_was_written() {
    assert_eq!(Header::decode(&header().encode()), Ok(header()));
}

#[test]
fn other_versions_and_features_are_newer_not_damaged() {
    for (at, bytes) in
        [(8, 2u32.to_le_bytes()), (16, [4, 0, 0, 0]), (88, 3u32.to_le_bytes()), (176, [4, 0, 0, 0])]
    {
        let result = Header::decode(&with(at, &bytes));
        assert!(matches!(result, Err(Defect::Newer(_))), "{at}: {result:?}");
    }
}

#[test]
fn what_is_not_known_and_not_forbidden_is_kept() {
    for at in [24, 200, 507] {
        let bytes = with(at, &[1]);
        assert_eq!(Header::decode(&bytes).unwrap().encode(), bytes);
    }
}

#[test]
fn state_epoch_and_child_are_where_the_document_says() {
    let child = Uuid::from_u128(u128::MAX / 3);
    let states = [State::Live, State::Frozen, State::Absorbing(child), State::Absorbed(child)];
    for (number, state) in (0..).zip(states) {
        let changed = Header { epoch: 7, state, ..header() };
        let bytes = changed.encode();
        assert_eq!((bytes[168], bytes[176]), (7, number));
        assert_eq!(bytes[184..200] == *child.as_bytes(), number >= 2, "{state:?}");
        assert_eq!(Header::decode(&bytes), Ok(changed));
    }
}

#[test]
fn numbers_that_contradict_each_other_are_damage() {
    let big = i64::MAX as u64;
    let lies: &[(usize, u64)] = &[
        (8, 1 | 8192 << 32),
        (32, 0),
        (32, 1 << 32),
        (32, u64::MAX),
        (40, 0),
        (40, 1000),
        (40, MAX_SIZE + 512),
        (40, u64::MAX - 511),
        (48, 4096),
        (56, 0),
        (56, 511),
        (56, 1 << 20),
        (56, u64::MAX - 511),
        (64, 8192),
        (64, (1 << 20) + 512),
        (64, big - 4095),
        (64, u64::MAX - 4095),
        (120, 9_998),
        (120, big + 1),
        (128, 10_001),
        (168, u64::MAX),
    ];
    for &(at, value) in lies {
        let result = Header::decode(&with(at, &value.to_le_bytes()));
        assert!(matches!(result, Err(Defect::Damaged(_))), "{value:#x} at {at}: {result:?}");
    }
}

#[test]
fn a_new_delta_has_room_to_grow_four_times() {
    for size in [512, 10 << 30, 100 << 30, MAX_SIZE] {
        let header = Header { size, ..Header::new(Uuid::nil(), size, header().parent) };
        let grown = Header { size: size.saturating_mul(ROOM).min(MAX_SIZE), ..header.clone() };
        assert_eq!(Header::decode(&grown.encode()), Ok(grown), "{size}");
        assert!(header.bitmap_capacity / 512 * SECTOR_BLOCKS * BLOCK >= 31 << 30);
    }
}

#[test]
fn a_bitmap_sector_belongs_to_one_place_in_one_delta() {
    let header = header();
    let mut bits = [0; SECTOR_WORDS];
    bits[1] = 1 << 3;
    let bytes = header.encode_sector(5, &bits);
    assert_eq!(bytes[8], 1 << 3, "block 67 is bit 3 of byte 8");
    assert_eq!(bytes[504..508], [1, 0, 0, 0], "generation");
    assert_eq!(header.decode_sector(5, &bytes), Ok(Some(bits)));
    assert!(header.decode_sector(6, &bytes).is_err());
    let other = Header { uuid: Uuid::nil(), ..header.clone() };
    assert!(other.decode_sector(5, &bytes).is_err());
    let newer = Header { generation: 2, ..header.clone() };
    assert_eq!(newer.decode_sector(5, &bytes), Ok(Some(bits)));
    assert!(header.decode_sector(5, &newer.encode_sector(5, &bits)).is_err());
    assert_eq!(header.decode_sector(5, &[0; 512]), Ok(None));
}

#[test]
fn generations_are_compared_to_the_last_there_is() {
    let bits = [1; SECTOR_WORDS];
    let old = header().encode_sector(0, &bits);
    let last = Header { generation: MAX_GENERATION, ..header() };
    assert_eq!(Header::decode(&last.encode()), Ok(last.clone()));
    assert_eq!(last.decode_sector(0, &old), Ok(Some(bits)));
    assert_eq!(last.decode_sector(0, &last.encode_sector(0, &bits)), Ok(Some(bits)));
    assert!(header().decode_sector(0, &last.encode_sector(0, &bits)).is_err());
}

#[test]
fn only_blocks_of_the_disk_are_counted() {
    // 256 blocks: four words.
    let header = header();
    assert_eq!(header.owned_in(0, &[u64::MAX; SECTOR_WORDS]), 256);
    assert_eq!(header.owned_in(1, &[u64::MAX; SECTOR_WORDS]), 0);
    assert_eq!(Header { size: 4097, ..header }.owned_in(0, &[u64::MAX; SECTOR_WORDS]), 2);
}

proptest! {
    /// Whatever a header with a fitting CRC says: refused, or every number adds up.
    #[test]
    fn hostile_headers_are_refused_or_consistent(
        patches in prop::collection::vec((8usize..168, any::<u8>()), 1..4),
    ) {
        let mut bytes = header().encode();
        for (at, value) in patches {
            bytes[at] = value;
        }
        let crc = crc32c::crc32c(&bytes[..508]);
        bytes[508..].copy_from_slice(&crc.to_le_bytes());
        if let Ok(header) = Header::decode(&bytes) {
            prop_assert!(header.bitmap().end <= header.data_offset);
            prop_assert!(header.file_len() <= i64::MAX as u64);
            prop_assert!(header.size <= header.blocks() * BLOCK);
        }
    }

    #[test]
    fn arbitrary_sectors_are_never_believed(bytes in prop::collection::vec(any::<u8>(), 512)) {
        let bytes: SectorBytes = bytes.try_into().unwrap();
        prop_assert_eq!(Header::decode(&bytes), Err(Defect::NotADelta));
        prop_assert!(header().decode_sector(0, &bytes).is_err());
    }
}
