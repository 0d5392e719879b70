//! SMBIOS tables: who this machine is (DMTF DSP0134 version 3.2).
//!
//! ```text
//! anchor "_SM3_" ──> type 0 firmware ─ type 1 system: UUID ─ type 3 chassis: name ─ type 127 end
//! ```

use uuid::Uuid;
use vm_memory::{Bytes, GuestAddress};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{Immutable, IntoBytes, Unaligned};

use super::{Board, Error, Result};
use crate::layout;
use crate::memory::GuestMemory;

const MAKER: &str = "offshoot";
/// Firmware characteristics (type 0): "not supported" (bit 3), and that this is a virtual machine
/// (extension byte 2, bit 4).
const NO_CHARACTERISTICS: u64 = 1 << 3;
const VIRTUAL_MACHINE: u8 = 1 << 4;
const WAKE_UP_POWER_SWITCH: u8 = 6;
const CHASSIS_OTHER: u8 = 1;
const STATE_UNKNOWN: u8 = 2;
/// Longer names are cut: old readers of these tables have short buffers.
const MAX_STRING: usize = 64;

/// Section 5.2.2: the 64-bit entry point.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Anchor {
    magic: [u8; 5],
    checksum: u8,
    length: u8,
    version: [u8; 3],
    entry_revision: u8,
    reserved: u8,
    max_size: U32,
    address: U64,
}

/// Writes anchor and tables.
pub(super) fn write(board: &Board, memory: &GuestMemory) -> Result<()> {
    let what = "SMBIOS tables";
    let structures = structures(board.uuid, board.name);
    let mut bytes = anchor(structures.len()).as_bytes().to_vec();
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    bytes.extend(structures);
    memory
        .write_slice(&bytes, GuestAddress(layout::SMBIOS.start))
        .map_err(|source| Error::Write { what, source })
}

fn anchor(len: usize) -> Anchor {
    let tables = layout::SMBIOS.start + size_of::<Anchor>().next_multiple_of(16) as u64;
    let mut anchor = Anchor {
        magic: *b"_SM3_",
        checksum: 0,
        length: u8::try_from(size_of::<Anchor>()).expect("24"),
        version: [3, 2, 0],
        entry_revision: 1,
        reserved: 0,
        max_size: u32::try_from(len).expect("a few hundred bytes").into(),
        address: tables.into(),
    };
    anchor.checksum = anchor.as_bytes().iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    anchor
}

fn structures(uuid: Uuid, name: &str) -> Vec<u8> {
    let mut tables = Tables::default();
    let firmware = Fields::default()
        .bytes(&[1, 2]) // vendor, version
        .bytes(&[0, 0]) // start segment
        .bytes(&[3, 0]) // release date, ROM size
        .bytes(&NO_CHARACTERISTICS.to_le_bytes())
        .bytes(&[0, VIRTUAL_MACHINE])
        .bytes(&[0xff; 4]) // releases of firmware and controller: unknown
        .bytes(&[0, 0]); // extended ROM size
    tables.add(0, &firmware, &[MAKER, env!("CARGO_PKG_VERSION"), "01/01/2026"]);

    let system = Fields::default()
        .bytes(&[1, 2, 3, 4]) // manufacturer, product, version, serial number
        // Since 2.6 the first three fields are little-endian (section 7.2.1).
        .bytes(&uuid.to_bytes_le())
        .bytes(&[WAKE_UP_POWER_SWITCH, 0, 0]); // SKU, family: none
    let serial = uuid.hyphenated().to_string();
    tables.add(1, &system, &[MAKER, MAKER, env!("CARGO_PKG_VERSION"), &serial]);

    let name = printable(name);
    let chassis = Fields::default()
        .bytes(&[1, CHASSIS_OTHER, 0, 0]) // manufacturer, type, version, serial number
        .bytes(&[if name.is_empty() { 0 } else { 2 }]) // asset tag
        .bytes(&[STATE_UNKNOWN; 4]) // boot-up, power supply, thermal, security
        .bytes(&[0; 4]) // OEM's own
        .bytes(&[0; 5]); // height, power cords, contained elements, SKU
    tables.add(3, &chassis, &[MAKER, &name]);
    tables.add(127, &Fields::default(), &[]);
    tables.bytes
}

/// What every reader of these tables shows as it is.
fn printable(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(MAX_STRING).collect()
}

/// The fixed part of a structure, after its header.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn bytes(mut self, bytes: &[u8]) -> Fields {
        self.0.extend_from_slice(bytes);
        self
    }
}

#[derive(Default)]
struct Tables {
    bytes: Vec<u8>,
    handle: u16,
}

impl Tables {
    /// Appends header, fields and strings (section 6.1). Strings are numbered from 1; empty ones
    /// cannot be said, so they are left out and must come last.
    fn add(&mut self, kind: u8, fields: &Fields, strings: &[&str]) {
        let len = u8::try_from(4 + fields.0.len()).expect("structures are short");
        self.bytes.extend([kind, len]);
        self.bytes.extend(self.handle.to_le_bytes());
        self.bytes.extend(&fields.0);
        let start = self.bytes.len();
        for string in strings.iter().filter(|string| !string.is_empty()) {
            self.bytes.extend(string.as_bytes());
            self.bytes.push(0);
        }
        if self.bytes.len() == start {
            self.bytes.push(0);
        }
        self.bytes.push(0);
        self.handle += 1;
    }
}

#[cfg(test)]
mod tests;
