//! The little of ACPI's byte code that a guest without an interpreter needs, found by its bytes.
//! That works where names and resources are constants, as every monitor's are: it does not
//! follow methods, conditions or references.

use alloc::vec::Vec;

use crate::cmdline::Window;

/// The hardware id of a virtio-mmio device.
const VIRTIO_MMIO: &[u8] = b"LNRO0005";
/// How far after its id a device's resources end.
const REACH: usize = 512;
/// Resource descriptors (ACPI 6.5, 6.4.3): tag, then the length of what follows.
const MEMORY32_FIXED: &[u8] = &[0x86, 9, 0];
const EXTENDED_INTERRUPT: u8 = 0x89;
/// What a constant of one byte begins with.
const BYTE_PREFIX: u8 = 0x0a;

/// The virtio-mmio devices a DSDT or SSDT describes.
#[must_use]
pub fn windows(table: &[u8]) -> Vec<Window> {
    let ids: Vec<_> = positions(table, VIRTIO_MMIO).collect();
    let ends = ids.iter().skip(1).copied().chain([table.len()]);
    ids.iter()
        .zip(ends)
        .filter_map(|(&id, end)| window(&table[id..end.min(id.saturating_add(REACH))]))
        .collect()
}

/// The first memory range and interrupt of one device.
fn window(device: &[u8]) -> Option<Window> {
    let memory = positions(device, MEMORY32_FIXED).next()?;
    let base = u32_at(device, memory + 4)?.into();
    // Tag, length of 2 bytes, flags, count of 1, the interrupt's number.
    let gsi = positions(&device[memory..], &[EXTENDED_INTERRUPT]).find_map(|at| {
        let count = *device.get(memory + at + 4)?;
        (count == 1).then(|| u32_at(device, memory + at + 5))?
    })?;
    Some(Window { base, gsi })
}

/// The sleep type for S5: the first element of the package `_S5_`, which is what the first or
/// only power management register takes.
#[must_use]
pub fn sleep_type_s5(table: &[u8]) -> Option<u8> {
    // The name, PackageOp, then a package length of 1 byte and the element count.
    let at = positions(table, b"_S5_\x12").next()? + 7;
    match *table.get(at)? {
        zero_or_one @ (0 | 1) => Some(zero_or_one),
        BYTE_PREFIX => table.get(at + 1).copied(),
        _ => None,
    }
}

fn positions(bytes: &[u8], wanted: &[u8]) -> impl Iterator<Item = usize> {
    bytes.windows(wanted.len()).enumerate().filter(move |(_, at)| *at == wanted).map(|(at, _)| at)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device as compilers write it: names, then a resource template.
    fn device(hid: &[u8], base: u32, gsi: u32) -> Vec<u8> {
        let mut bytes = b"\x5b\x82\x3fVR00\x08_HID\x0d".to_vec();
        bytes.extend(hid);
        bytes.extend(b"\0\x08_CRS\x11\x1a\x0a\x17");
        bytes.extend([0x86, 9, 0, 1]);
        bytes.extend(base.to_le_bytes());
        bytes.extend(0x1000_u32.to_le_bytes());
        bytes.extend([0x89, 6, 0, 3, 1]);
        bytes.extend(gsi.to_le_bytes());
        bytes.extend([0x79, 0]);
        bytes
    }

    #[test]
    fn each_virtio_device_is_found_and_no_other() {
        let table = [
            device(b"LNRO0005", 0xd000_0000, 5),
            device(b"ACPI0013", 0xd100_0000, 9),
            device(b"LNRO0005", 0xd000_1000, 0x2f),
        ]
        .concat();
        let window = |base, gsi| Window { base, gsi };
        assert_eq!(windows(&table), [window(0xd000_0000, 5), window(0xd000_1000, 0x2f)]);
    }

    #[test]
    fn a_device_without_its_resources_is_left_out() {
        let whole = device(b"LNRO0005", 0xd000_0000, 5);
        for length in 0..whole.len() - 2 {
            assert_eq!(windows(&whole[..length]), [], "of {length} bytes");
        }
    }

    #[test]
    fn sleep_types_are_read_in_every_coding() {
        assert_eq!(sleep_type_s5(b"\x08_S5_\x12\x06\x04\x0a\x05\0\0\0"), Some(5));
        assert_eq!(sleep_type_s5(b"\x08\\_S5_\x12\x04\x02\x0a\x05\0"), Some(5));
        assert_eq!(sleep_type_s5(b"\x08_S5_\x12\x04\x02\0\0"), Some(0));
        assert_eq!(sleep_type_s5(b"\x08_S5_\x12\x04\x02\x0a"), None);
        assert_eq!(sleep_type_s5(b"\x08_S4_\x12\x04\x02\0\0"), None);
    }
}
