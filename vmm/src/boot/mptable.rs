//! The MP table: how kernels without ACPI find vCPUs and I/O APIC (Intel's MultiProcessor
//! Specification 1.4, chapter 4).
//!
//! ```text
//! "_MP_" ──> "PCMP" ─ processors ─ ISA bus ─ I/O APIC ─ its lines ─ local lines
//! ```

use vm_memory::{Bytes, GuestAddress};

use super::{Error, Result};
use crate::layout;
use crate::memory::GuestMemory;

const OEM: &[u8; 8] = b"OFFSHOOT";
const PRODUCT: &[u8; 12] = b"OFFSHOOT    ";
const SPEC_1_4: u8 = 4;
/// Bytes of the floating pointer.
const POINTER_LEN: usize = 16;
const TABLE: u64 = layout::MP_TABLE.start + POINTER_LEN as u64;
/// Bytes of the table's header; its checksum is at 7.
const HEADER_LEN: usize = 44;
const CHECKSUM: usize = 7;
/// Versions of APICs as KVM's registers have them.
const LOCAL_APIC_VERSION: u8 = 0x14;
const IOAPIC_VERSION: u8 = 0x11;
const ENABLED: u8 = 1;
const BOOT_CPU: u8 = 2;
/// The I/O APIC has a bus of its own since the Pentium 4, so its id need not differ from CPUs'.
const IOAPIC_ID: u8 = 0;
const ISA_BUS: u8 = 0;
const ALL_LOCAL_APICS: u8 = 0xff;

/// What an entry describes: its first byte.
mod entry {
    pub const PROCESSOR: u8 = 0;
    pub const BUS: u8 = 1;
    pub const IOAPIC: u8 = 2;
    pub const IO_LINE: u8 = 3;
    pub const LOCAL_LINE: u8 = 4;
}

/// Kinds of interrupt on a line.
mod line {
    pub const VECTORED: u8 = 0;
    pub const NMI: u8 = 1;
    /// From the PIC.
    pub const EXTERNAL: u8 = 3;
}

/// Writes pointer and table.
pub(super) fn write(cpus: u16, memory: &GuestMemory) -> Result<()> {
    let bytes = [pointer(), table(cpus)].concat();
    memory
        .write_slice(&bytes, GuestAddress(layout::MP_TABLE.start))
        .map_err(|source| Error::Write { what: "the MP table", source })
}

fn pointer() -> Vec<u8> {
    let mut bytes = b"_MP_".to_vec();
    bytes.extend(low(TABLE).to_le_bytes());
    bytes.extend([1, SPEC_1_4, 0]); // length in paragraphs, version, checksum
    bytes.resize(POINTER_LEN, 0);
    bytes[10] = checksum(&bytes);
    bytes
}

fn table(cpus: u16) -> Vec<u8> {
    let entries = entries(cpus);
    let len = HEADER_LEN + entries.iter().map(Vec::len).sum::<usize>();
    let len = u16::try_from(len).expect("255 vCPUs take some 5 KiB");
    let count = u16::try_from(entries.len()).expect("less than its bytes");
    let mut bytes = b"PCMP".to_vec();
    bytes.extend(len.to_le_bytes());
    bytes.extend([SPEC_1_4, 0]);
    bytes.extend(OEM);
    bytes.extend(PRODUCT);
    bytes.extend([0; 6]); // no table of the OEM's
    bytes.extend(count.to_le_bytes());
    bytes.extend(low(layout::LOCAL_APIC.start).to_le_bytes());
    bytes.resize(HEADER_LEN, 0);
    bytes.extend(entries.concat());
    bytes[CHECKSUM] = checksum(&bytes);
    bytes
}

/// By kind, as the specification wants them.
fn entries(cpus: u16) -> Vec<Vec<u8>> {
    let processors = (0..=u8::MAX).take(cpus.into()).map(processor);
    let bus = [&[entry::BUS, ISA_BUS][..], b"ISA   "].concat();
    let ioapic = [entry::IOAPIC, IOAPIC_ID, IOAPIC_VERSION, ENABLED];
    let ioapic = [ioapic, low(layout::IOAPIC.start).to_le_bytes()].concat();
    // As on an ISA bus: edge-triggered, active-high.
    let lines = (0..=u8::MAX)
        .zip(0..layout::GSIS)
        .map(|(gsi, _)| vec![entry::IO_LINE, line::VECTORED, 0, 0, ISA_BUS, gsi, IOAPIC_ID, gsi]);
    let pic = vec![entry::LOCAL_LINE, line::EXTERNAL, 0, 0, ISA_BUS, 0, ALL_LOCAL_APICS, 0];
    let nmi = vec![entry::LOCAL_LINE, line::NMI, 0, 0, ISA_BUS, 0, ALL_LOCAL_APICS, 1];
    processors.chain([bus, ioapic]).chain(lines).chain([pic, nmi]).collect()
}

fn processor(id: u8) -> Vec<u8> {
    let flags = if id == 0 { ENABLED | BOOT_CPU } else { ENABLED };
    let mut bytes = vec![entry::PROCESSOR, id, LOCAL_APIC_VERSION, flags];
    bytes.resize(20, 0); // signature and features: what CPUID says
    bytes
}

fn low(address: u64) -> u32 {
    u32::try_from(address).expect("the map puts it below 4 GiB")
}

/// What makes the sum of all bytes zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_sub(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::testing::memory;

    /// Follows the pointer; returns the entries by kind.
    fn read(cpus: u16) -> [Vec<Vec<u8>>; 5] {
        let memory = memory();
        write(cpus, &memory).unwrap();
        let mut bytes = vec![0; 0x8000];
        memory.read_slice(&mut bytes, GuestAddress(layout::MP_TABLE.start)).unwrap();
        assert_eq!((&bytes[..4], checksum(&bytes[..16])), (&b"_MP_"[..], 0));
        assert_eq!(bytes[4..8], 0xf_0010_u32.to_le_bytes());
        let table = &bytes[16..];
        assert_eq!(&table[..4], b"PCMP");
        let len = u16::from_le_bytes([table[4], table[5]]);
        assert_eq!(checksum(&table[..len.into()]), 0);
        assert_eq!(table[36..40], 0xfee0_0000_u32.to_le_bytes());
        let mut rest = &table[HEADER_LEN..len.into()];
        let mut found = [const { Vec::new() }; 5];
        for _ in 0..u16::from_le_bytes([table[34], table[35]]) {
            let (entry, after) = rest.split_at(if rest[0] == 0 { 20 } else { 8 });
            found[usize::from(entry[0])].push(entry.to_vec());
            rest = after;
        }
        assert!(rest.is_empty());
        found
    }

    #[test]
    fn every_vcpu_is_there_and_the_first_boots() {
        for cpus in [1, 2, layout::MAX_CPUS] {
            let [processors, ..] = read(cpus);
            assert_eq!(processors.len(), usize::from(cpus));
            for (processor, id) in processors.iter().zip(0u8..) {
                assert_eq!((processor[1], processor[3]), (id, if id == 0 { 3 } else { 1 }));
            }
        }
    }

    #[test]
    fn every_line_of_the_ioapic_is_an_isa_line_of_the_same_number() {
        let [_, buses, ioapics, lines, local] = read(2);
        assert_eq!(buses, [b"\x01\0ISA   ".to_vec()]);
        assert_eq!(ioapics, [[2, 0, 0x11, 1, 0, 0, 0xc0, 0xfe]]);
        assert_eq!(lines.len(), 24);
        assert_eq!(lines[20], [3, 0, 0, 0, 0, 20, 0, 20]);
        assert_eq!(local, [[4, 3, 0, 0, 0, 0, 0xff, 0], [4, 1, 0, 0, 0, 0, 0xff, 1]]);
    }
}
