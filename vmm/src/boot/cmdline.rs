//! The kernel command line: the user's words, behind what the machine adds.

use std::fmt::Write as _;

use vm_memory::{Bytes, GuestAddress};

use super::{Result as BootResult, Window};
use crate::layout;
use crate::memory::GuestMemory;

/// Why a command line cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the variants and their numbers mean")]
pub enum Error {
    #[error("it has a NUL byte at {at}, where the kernel would end it")]
    Nul { at: usize },
    #[error(
        "it has {len} bytes, {added} of them added for devices; this kernel takes at most {limit}"
    )]
    TooLong { len: usize, added: usize, limit: usize },
}

/// Whether the user's words turn ACPI off.
pub(super) fn turns_acpi_off(user: &str) -> bool {
    user.split_ascii_whitespace().take_while(|word| *word != "--").any(|word| word == "acpi=off")
}

/// The user's words, preceded by a description of these devices.
///
/// Preceded, because words after `--` are for init. The format is that of Linux's
/// `virtio_mmio.device=` (drivers/virtio/virtio_mmio.c): size, base, interrupt line.
pub(super) fn compose(user: &str, devices: &[Window], limit: u32) -> Result<String, Error> {
    if let Some(at) = user.bytes().position(|byte| byte == 0) {
        return Err(Error::Nul { at });
    }
    let mut line = String::new();
    for Window { base, size, gsi } in devices {
        let kib = size >> 10;
        write!(line, "virtio_mmio.device={kib}K@{base:#x}:{gsi} ").expect("Strings take any text");
    }
    let added = line.len();
    line.push_str(user);
    let room = usize::try_from(layout::CMDLINE.end - layout::CMDLINE.start).unwrap_or(usize::MAX);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(room - 1);
    if line.len() > limit {
        return Err(Error::TooLong { len: line.len(), added, limit });
    }
    Ok(line)
}

/// Puts the line where the kernel is told to look.
pub(super) fn write(line: &str, memory: &GuestMemory) -> BootResult<()> {
    let mut bytes = line.as_bytes().to_vec();
    bytes.push(0);
    memory
        .write_slice(&bytes, GuestAddress(layout::CMDLINE.start))
        .map_err(|source| super::Error::Write { what: "the command line", source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows() -> Vec<Window> {
        (0..2).filter_map(layout::virtio_window).collect()
    }

    #[test]
    fn devices_come_first_so_that_init_gets_its_own_words() {
        assert_eq!(
            compose("console=ttyS0 -- single", &windows(), 2047).unwrap(),
            "virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0xd0001000:6 \
             console=ttyS0 -- single"
        );
        assert_eq!(compose("quiet", &[], 2047).unwrap(), "quiet");
    }

    #[test]
    fn too_long_says_how_long_and_what_was_added() {
        assert_eq!(compose(&"a".repeat(2047), &[], 2047).unwrap().len(), 2047);
        let error = compose(&"a".repeat(2000), &windows(), 2047).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it has 2070 bytes, 70 of them added for devices; this kernel takes at most 2047"
        );
    }

    #[test]
    fn no_kernel_gets_more_than_there_is_room_for() {
        let error = compose(&"a".repeat(65536), &[], u32::MAX).unwrap_err();
        assert_eq!(error, Error::TooLong { len: 65536, added: 0, limit: 65535 });
    }

    #[test]
    fn a_nul_is_refused_with_its_place() {
        let error = compose("quiet\0init=/bin/sh", &[], 2047).unwrap_err();
        assert_eq!(error.to_string(), "it has a NUL byte at 5, where the kernel would end it");
    }

    #[test]
    fn acpi_is_off_only_by_a_word_of_the_kernels_own() {
        assert!(turns_acpi_off("console=ttyS0 acpi=off"));
        assert!(!turns_acpi_off("acpi=force notacpi=off acpi=office -- acpi=off"));
    }
}
