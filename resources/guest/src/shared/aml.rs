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

/// The values of the sleep type for S5: the first two elements of the package `_S5_`.
#[must_use]
pub fn sleep_type_s5(table: &[u8]) -> Option<[u8; 2]> {
    // NameOp, the name, PackageOp, then a package length of 1 byte and the element count.
    let at = positions(table, b"\x08_S5_\x12").next()? + 8;
    let (first, at) = small_integer(table, at)?;
    let (second, _) = small_integer(table, at)?;
    Some([first, second])
}

/// ZeroOp, OneOp, or BytePrefix and a byte; and where the next element is.
fn small_integer(table: &[u8], at: usize) -> Option<(u8, usize)> {
    match *table.get(at)? {
        value @ (0 | 1) => Some((value, at + 1)),
        0x0a => Some((*table.get(at + 1)?, at + 2)),
        _ => None,
    }
}

fn positions(bytes: &[u8], wanted: &[u8]) -> impl Iterator<Item = usize> {
    bytes.windows(wanted.len()).enumerate().filter(move |(_, at)| *at == wanted).map(|(at, _)| at)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
