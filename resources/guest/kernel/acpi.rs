//! What ACPI's tables say of processors, interrupt controllers, devices and power (ACPI 6.5, 5.2).
#![allow(unsafe_code, reason = "firmware leaves tables where no pointer leads")]

use alloc::vec::Vec;

use crate::aml;
use crate::cmdline::Window;
use crate::handover::{Handover, u32_at, u64_at};

/// Where PCs have the RSDP, and where the monitor did not say.
const RSDP_AREA: core::ops::Range<usize> = 0xe_0000..0x10_0000;
// SAFETY: firmware and monitors leave tables in low memory, and this guest only reads there.
const LOW_MEMORY: Handover = unsafe { Handover::at(0) };
/// Bytes of a table's header.
const HEADER: usize = 36;

/// An I/O APIC: its registers, and its first global system interrupt.
#[derive(Clone, Copy)]
pub struct IoApic {
    pub address: usize,
    pub first_gsi: u32,
}

/// Where PCs have their only one.
const USUAL_IO_APIC: IoApic = IoApic { address: 0xfec0_0000, first_gsi: 0 };

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
    /// Reads the tables from the root pointer on, or from where PCs have it. There may be none.
    pub fn read(rsdp: Option<Handover>) -> Acpi {
        let mut acpi = Acpi::default();
        for table in tables(rsdp) {
            match table.get(..4) {
                Some(b"APIC") => acpi.read_madt(table),
                Some(b"FACP") => acpi.read_fadt(table),
                Some(b"SSDT") => acpi.windows.extend(aml::windows(table)),
                _ => {}
            }
        }
        if acpi.io_apics.is_empty() {
            acpi.io_apics.push(USUAL_IO_APIC);
        }
        acpi
    }

    /// ACPI 6.5, 5.2.12: entries of a type, a length and what that type has.
    fn read_madt(&mut self, table: &[u8]) {
        let mut rest = table.get(HEADER + 8..).unwrap_or_default();
        while let [kind, length, ..] = *rest {
            let (entry, after) = rest.split_at(usize::from(length).clamp(2, rest.len()));
            match kind {
                0 if u32_at(entry, 4) & 1 == 1 => self.cpus.extend(entry.get(3)),
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
        let Some(dsdt) = LOW_MEMORY.follow(dsdt).and_then(table) else { return };
        self.windows.extend(aml::windows(dsdt));
        let Some(sleep_type) = aml::sleep_type_s5(dsdt) else { return };
        self.soft_off = if u32_at(fadt, FLAGS) & HW_REDUCED != 0 {
            let address = u64_at(fadt, SLEEP_CONTROL + 4);
            let register = match fadt.get(SLEEP_CONTROL) {
                Some(0) => Place::Memory(address as usize),
                Some(1) => Place::Port(address as u16),
                _ => return,
            };
            Some(SoftOff::SleepControl { register, value: sleep_type << 2 | 1 << 5 })
        } else {
            let port = u32_at(fadt, PM1A_CNT) as u16;
            Some(SoftOff::Pm1 { port, value: u16::from(sleep_type) << 10 | 1 << 13 })
        };
    }
}

/// The tables that RSDT or XSDT lists.
fn tables(rsdp: Option<Handover>) -> Vec<&'static [u8]> {
    let Some(rsdp) = rsdp.or_else(find_rsdp) else { return Vec::new() };
    let (root, entry) = match rsdp.u8(15) {
        0 => (rsdp.u32(16).into(), 4),
        _ => (rsdp.u64(24), 8),
    };
    let Some(root) = rsdp.follow(root).and_then(table) else { return Vec::new() };
    // Of an entry of 4 bytes, the upper half counts as zero.
    let addresses = root[HEADER..].chunks_exact(entry).map(|entry| u64_at(entry, 0));
    addresses.filter_map(|address| rsdp.follow(address).and_then(table)).collect()
}

fn find_rsdp() -> Option<Handover> {
    RSDP_AREA
        .step_by(16)
        .map(|address| LOW_MEMORY.skip(address))
        .find(|place| place.bytes(8) == b"RSD PTR ")
}

/// The bytes of a table, if its length makes sense.
fn table(start: Handover) -> Option<&'static [u8]> {
    let length = start.u32(4) as usize;
    (HEADER..1 << 20).contains(&length).then(|| start.bytes(length))
}
