#![allow(clippy::cast_possible_truncation, reason = "small numbers of our own making")]

use super::*;
use crate::boot::testing::memory;

struct Structure {
    kind: u8,
    fields: Vec<u8>,
    strings: Vec<String>,
}

/// Finds the anchor as Linux does, and reads every structure.
fn read(uuid: Uuid, name: &str) -> Vec<Structure> {
    let memory = memory();
    write(&Board { cpus: 1, uuid, name, virtio: &[] }, &memory).unwrap();
    let anchor: [u8; 24] = memory.read_obj(GuestAddress(layout::SMBIOS.start)).unwrap();
    assert_eq!(&anchor[..5], b"_SM3_");
    assert_eq!(anchor.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    assert_eq!((anchor[6], &anchor[7..11]), (24, &[3, 2, 0, 1][..]));
    let len = u32::from_le_bytes(anchor[12..16].try_into().unwrap());
    let at = u64::from_le_bytes(anchor[16..24].try_into().unwrap());
    assert!(at + u64::from(len) <= layout::SMBIOS.end);
    let mut bytes = vec![0; len as usize];
    memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
    parse(&bytes)
}

fn parse(mut bytes: &[u8]) -> Vec<Structure> {
    let mut found = Vec::new();
    while let [kind, len, ..] = *bytes {
        let (fields, rest) = bytes.split_at(len.into());
        let end = rest.windows(2).position(|pair| pair == [0, 0]).unwrap();
        let strings = rest[..end].split(|byte| *byte == 0).filter(|string| !string.is_empty());
        let strings = strings.map(|s| String::from_utf8(s.to_vec()).unwrap()).collect();
        assert_eq!(fields[2..4], (found.len() as u16).to_le_bytes());
        found.push(Structure { kind, fields: fields.to_vec(), strings });
        bytes = &rest[end + 2..];
    }
    found
}

#[test]
fn structures_are_whole_and_end() {
    let found = read(Uuid::nil(), "web-1");
    let kinds: Vec<_> = found.iter().map(|s| (s.kind, s.fields.len())).collect();
    // Lengths of sections 7.1, 7.2, 7.4 and 7.45.
    assert_eq!(kinds, [(0, 0x1a), (1, 0x1b), (3, 0x16), (127, 4)]);
}

#[test]
fn the_uuid_is_encoded_as_since_2_6() {
    let uuid: Uuid = "00112233-4455-6677-8899-aabbccddeeff".parse().unwrap();
    let system = &read(uuid, "web-1")[1];
    assert_eq!(
        system.fields[8..24],
        [
            0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd,
            0xee, 0xff
        ]
    );
    assert_eq!(system.strings[..2], ["offshoot", "offshoot"]);
    assert_eq!(system.strings[3], "00112233-4455-6677-8899-aabbccddeeff");
}

#[test]
fn the_name_is_the_asset_tag() {
    let chassis = |name: &str| {
        let chassis = &read(Uuid::nil(), name)[2];
        (chassis.fields[8], chassis.strings.last().unwrap().clone())
    };
    assert_eq!(chassis("web-1"), (2, "web-1".into()));
    assert_eq!(chassis("a\0b\nü c"), (2, "ab c".into()));
    assert_eq!(chassis(""), (0, "offshoot".into()));
    assert_eq!(chassis(&"x".repeat(500)).1.len(), MAX_STRING);
}
