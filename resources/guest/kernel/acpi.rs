//! What ACPI's tables say of processors, interrupt controllers, devices and power (ACPI 6.5, 5.2).

use alloc::vec::Vec;
use core::{ptr, slice};

use crate::aml;
use crate::cmdline::Window;

/// Where PCs have the RSDP, and where the monitor did not say.
const RSDP_AREA: core::ops::Range<usize> = 0xe_0000..0x10_0000;
/// Bytes of a table's header.
const HEADER: usize = 36;

/// An I/O APIC: its registers, and its first global system interrupt.
#[derive(Clone, Copy)]
pub struct IoApic {
    pub address: usize,
    pub first_gsi: u32,
}

/// How to power off.
#[derive(Clone, Copy)]
pub enum SoftOff {
    /// Hardware-reduced ACPI: a byte to the sleep control register.
    SleepControl { register: Place, value: u8 },
    /// A word to the PM1a control port.
    Pm1 { port: u16, value: u16 },
}

/// A register's place.
#[derive(Clone, Copy)]
pub enum Place {
    Memory(usize),
    Port(u16),
}

/// What this guest wants to know.
#[derive(Default)]
pub struct Acpi {
    pub windows: Vec<Window>,
    /// The local APIC's id of each usable processor.
    pub cpus: Vec<u8>,
    pub io_apics: Vec<IoApic>,
    pub soft_off: Option<SoftOff>,
}

impl Acpi {
    /// Reads the tables from `rsdp` on, or from where PCs have it if that is 0. There may be none.
    ///
    /// # Safety
    /// `rsdp` is 0 or what the monitor said.
    pub unsafe fn read(rsdp: usize) -> Acpi {
        let mut acpi = Acpi::default();
        // SAFETY: as the caller's.
        for table in unsafe { tables(rsdp) } {
            match &table[..4] {
                b"APIC" => acpi.read_madt(table),
                b"FACP" => acpi.read_fadt(table),
                b"SSDT" => acpi.windows.extend(aml::windows(table)),
                _ => {}
            }
        }
        acpi
    }

    /// ACPI 6.5, 5.2.12: entries of a type, a length and what that type has.
    fn read_madt(&mut self, table: &[u8]) {
        let mut rest = &table[HEADER + 8..];
        while let [kind, length, ..] = *rest {
            let (entry, after) = rest.split_at(usize::from(length).clamp(2, rest.len()));
            match kind {
                0 if u32_at(entry, 4) & 1 == 1 => self.cpus.push(entry[3]),
                1 => self.io_apics.push(IoApic {
                    address: u32_at(entry, 4) as usize,
                    first_gsi: u32_at(entry, 8),
                }),
                _ => {}
            }
            rest = after;
        }
    }

    /// ACPI 6.5, 5.2.9.
    fn read_fadt(&mut self, fadt: &[u8]) {
        const DSDT: usize = 40;
        const PM1A_CNT: usize = 64;
        const FLAGS: usize = 112;
        const X_DSDT: usize = 140;
        const SLEEP_CONTROL: usize = 244;
        const HW_REDUCED: u32 = 1 << 20;
        let dsdt = match u64_at(fadt, X_DSDT) {
            0 => u32_at(fadt, DSDT).into(),
            dsdt => dsdt,
        };
        // SAFETY: the FADT says that a table is there.
        let Some(dsdt) = (unsafe { table(dsdt as usize) }) else { return };
        self.windows.extend(aml::windows(dsdt));
        let Some([type_a, _]) = aml::sleep_type_s5(dsdt) else { return };
        self.soft_off = if u32_at(fadt, FLAGS) & HW_REDUCED != 0 {
            let address = u64_at(fadt, SLEEP_CONTROL + 4);
            let register = match fadt.get(SLEEP_CONTROL) {
                Some(0) => Place::Memory(address as usize),
                Some(1) => Place::Port(address as u16),
                _ => return,
            };
            Some(SoftOff::SleepControl { register, value: type_a << 2 | 1 << 5 })
        } else {
            let port = u32_at(fadt, PM1A_CNT) as u16;
            Some(SoftOff::Pm1 { port, value: u16::from(type_a) << 10 | 1 << 13 })
        };
    }
}

/// The tables that RSDT or XSDT lists.
unsafe fn tables(rsdp: usize) -> Vec<&'static [u8]> {
    // SAFETY: as the caller's; the area is readable.
    let Some(rsdp) = (unsafe { find_rsdp(rsdp) }) else { return Vec::new() };
    let (root, entry) = match rsdp[15] {
        0 => (u32_at(rsdp, 16) as usize, 4),
        _ => (u64_at(rsdp, 24) as usize, 8),
    };
    // SAFETY: the RSDP says that a table is there.
    let Some(root) = (unsafe { table(root) }) else { return Vec::new() };
    root[HEADER..]
        .chunks_exact(entry)
        .map(|entry| if entry.len() == 4 { u32_at(entry, 0).into() } else { u64_at(entry, 0) })
        // SAFETY: the root table says that a table is there.
        .filter_map(|address| unsafe { table(address as usize) })
        .collect()
}

unsafe fn find_rsdp(said: usize) -> Option<&'static [u8]> {
    const SIGNATURE: &[u8] = b"RSD PTR ";
    const LENGTH: usize = 36;
    let candidates = if said == 0 { RSDP_AREA } else { said..said + 1 };
    candidates.step_by(16).find_map(|at| {
        // SAFETY: as the caller's.
        let rsdp = unsafe { bytes(at, LENGTH) };
        rsdp.starts_with(SIGNATURE).then_some(rsdp)
    })
}

/// The table at `address`, if its length makes sense.
unsafe fn table(address: usize) -> Option<&'static [u8]> {
    if address == 0 {
        return None;
    }
    // SAFETY: as the caller's.
    let length = u32_at(unsafe { bytes(address, HEADER) }, 4) as usize;
    // SAFETY: as the caller's.
    (HEADER..1 << 20).contains(&length).then(|| unsafe { bytes(address, length) })
}

/// What the monitor wrote before the start, which nobody changes.
unsafe fn bytes(address: usize, length: usize) -> &'static [u8] {
    // SAFETY: the caller says what is there.
    unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(address), length) }
}

/// A little-endian number; bytes past the end are zero.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    (0..8).rev().fold(0, |word, n| word << 8 | u64::from(*bytes.get(at + n).unwrap_or(&0)))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u64_at(bytes, at) as u32
}
