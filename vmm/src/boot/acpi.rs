//! ACPI tables: how a stock kernel finds vCPUs, interrupt controller, serial port, virtio devices
//! and power button (ACPI 6.5, hardware-reduced, section 4.1).
//!
//! ```text
//! RSDP ──> XSDT ──> FADT ──> DSDT     \_S5   how to power off
//!               │                     \_SB   C000…  vCPUs
//!               └─> MADT                     COM1   serial port
//!                                            VR00…  virtio-mmio
//!                                            GED    reads the event register on its interrupt,
//!                                            PWRB   and notifies the power button
//! ```

use acpi_tables::aml::{self, Path};
use acpi_tables::fadt::{FADT, FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, AmlSink};
use vm_memory::{Bytes, GuestAddress};

use super::{Error, Result, Window};
use crate::memory::GuestMemory;
use crate::{layout, power};

const OEM: [u8; 6] = *b"OFFSHT";
const OEM_TABLE: [u8; 8] = *b"OFFSHOOT";
const OEM_REVISION: u32 = 1;
/// The header all tables begin with.
const HEADER_LEN: u32 = 36;
/// From 2 on, AML integers have 64 bits.
const DSDT_REVISION: u8 = 2;
/// FADT `IAPC_BOOT_ARCH`: no VGA (2), no MSI (3), no PCIe ASPM (4), no CMOS clock (5).
const BOOT_ARCH: u16 = 0b11_1100;
/// `Notify` value: the button was pressed.
const PRESSED: u8 = 0x80;

/// Writes the tables; returns the address of the RSDP.
pub(super) fn write(cpus: u16, virtio: &[Window], memory: &GuestMemory) -> Result<u64> {
    let what = "ACPI tables";
    let bytes = tables(cpus, virtio);
    let room = layout::ACPI.end - layout::ACPI.start;
    if bytes.len() as u64 > room {
        return Err(Error::TablesTooLong { what, len: bytes.len(), room });
    }
    let at = layout::ACPI.start;
    memory.write_slice(&bytes, GuestAddress(at)).map_err(|source| Error::Write { what, source })?;
    Ok(at)
}

/// All of them as they lie from [`layout::ACPI`] on.
fn tables(cpus: u16, virtio: &[Window]) -> Vec<u8> {
    let mut area = Area(vec![0; Rsdp::len()]);
    let dsdt = area.place(&dsdt(cpus, virtio));
    let fadt = area.place(&fadt(dsdt));
    let madt = area.place(&madt(cpus));
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = area.place(&xsdt);
    let rsdp = bytes(&Rsdp::new(OEM, xsdt));
    area.0.iter_mut().zip(rsdp).for_each(|(to, from)| *to = from);
    area.0
}

/// Tables one after the other, with the RSDP's place at the start.
struct Area(Vec<u8>);

impl Area {
    /// Appends a table; returns its guest-physical address.
    fn place(&mut self, table: &dyn Aml) -> u64 {
        self.0.resize(self.0.len().next_multiple_of(16), 0);
        let at = layout::ACPI.start + self.0.len() as u64;
        table.to_aml_bytes(&mut self.0);
        at
    }
}

fn bytes(aml: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    aml.to_aml_bytes(&mut bytes);
    bytes
}

fn fadt(dsdt: u64) -> FADT {
    let register = |offset: u16| {
        let port = layout::POWER_PORTS.start + offset;
        GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, port.into())
    };
    // The button and sleep flags say: not a fixed-hardware button.
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::Wbinvd)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Headless)
        .flag(Flags::HwReducedAcpi);
    fadt.iapc_boot_arch = BOOT_ARCH.into();
    fadt.reset_reg = register(power::RESET);
    fadt.reset_value = power::RESET_VALUE;
    fadt.sleep_control_reg = register(power::SLEEP_CONTROL);
    fadt.sleep_status_reg = register(power::SLEEP_STATUS);
    fadt.finalize()
}

fn madt(cpus: u16) -> MADT {
    let low = |address: u64| u32::try_from(address).expect("the map puts it below 4 GiB");
    let local = LocalInterruptController::Address(low(layout::LOCAL_APIC.start));
    let mut madt = MADT::new(OEM, OEM_TABLE, OEM_REVISION, local);
    for id in (0..=u8::MAX).take(cpus.into()) {
        madt.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(0, low(layout::IOAPIC.start), 0));
    madt
}

fn dsdt(cpus: u16, virtio: &[Window]) -> Sdt {
    let mut definitions = Vec::new();
    sleep_state(&mut definitions);
    for id in (0..=u8::MAX).take(cpus.into()) {
        processor(id, &mut definitions);
    }
    serial(&mut definitions);
    for (index, window) in (0..=u8::MAX).zip(virtio) {
        virtio_mmio(index, window, &mut definitions);
    }
    power_button(&mut definitions);
    let mut dsdt = Sdt::new(*b"DSDT", HEADER_LEN, DSDT_REVISION, OEM, OEM_TABLE, OEM_REVISION);
    dsdt.append_slice(&definitions);
    dsdt
}

fn sleep_state(sink: &mut dyn AmlSink) {
    let package = aml::Package::new(vec![&power::SLEEP_TYPE_S5, &aml::ZERO]);
    aml::Name::new(Path::new("\\_S5_"), &package).to_aml_bytes(sink);
}

fn processor(id: u8, sink: &mut dyn AmlSink) {
    let hid = aml::Name::new(Path::new("_HID"), &"ACPI0007");
    let uid = aml::Name::new(Path::new("_UID"), &id);
    device(&format!("C{id:03X}"), vec![&hid, &uid], sink);
}

fn serial(sink: &mut dyn AmlSink) {
    let ports = layout::COM1_PORTS;
    let len = u8::try_from(ports.len()).expect("a 16550 has 8 registers");
    let io = aml::IO::new(ports.start, ports.start, 1, len);
    let interrupt = interrupt(layout::COM1_GSI);
    let crs = aml::ResourceTemplate::new(vec![&io, &interrupt]);
    let hid = aml::Name::new(Path::new("_HID"), &aml::EISAName::new("PNP0501"));
    let uid = aml::Name::new(Path::new("_UID"), &aml::ZERO);
    let ddn = aml::Name::new(Path::new("_DDN"), &"COM1");
    let crs = aml::Name::new(Path::new("_CRS"), &crs);
    device("COM1", vec![&hid, &uid, &ddn, &crs], sink);
}

fn virtio_mmio(index: u8, window: &Window, sink: &mut dyn AmlSink) {
    let low = |n: u64| u32::try_from(n).expect("windows lie in the gap, so below 4 GiB");
    let registers = aml::Memory32Fixed::new(true, low(window.base), low(window.size));
    let interrupt = interrupt(window.gsi);
    let crs = aml::ResourceTemplate::new(vec![&registers, &interrupt]);
    let hid = aml::Name::new(Path::new("_HID"), &"LNRO0005");
    let uid = aml::Name::new(Path::new("_UID"), &index);
    let crs = aml::Name::new(Path::new("_CRS"), &crs);
    device(&format!("VR{index:02X}"), vec![&hid, &uid, &crs], sink);
}

/// The button, and the generic event device (section 5.6.9) that learns of its presses.
fn power_button(sink: &mut dyn AmlSink) {
    let hid = aml::Name::new(Path::new("_HID"), &aml::EISAName::new("PNP0C0C"));
    let uid = aml::Name::new(Path::new("_UID"), &aml::ZERO);
    device("PWRB", vec![&hid, &uid], sink);

    let hid = aml::Name::new(Path::new("_HID"), &"ACPI0013");
    let interrupt = interrupt(layout::POWER_GSI);
    let crs = aml::ResourceTemplate::new(vec![&interrupt]);
    let crs = aml::Name::new(Path::new("_CRS"), &crs);
    let port = layout::POWER_PORTS.start + power::EVENTS;
    let space = aml::OpRegionSpace::SystemIO;
    let region = aml::OpRegion::new(Path::new("EVTR"), space, &port, &aml::ONE);
    let field = aml::Field::new(
        Path::new("EVTR"),
        aml::FieldAccessType::Byte,
        aml::FieldLockRule::NoLock,
        aml::FieldUpdateRule::Preserve,
        vec![aml::FieldEntry::Named(*b"EVTS", 8)],
    );
    let (events, button) = (Path::new("EVTS"), Path::new("\\_SB_.PWRB"));
    let pressed = aml::And::new(&aml::ZERO, &events, &power::EVENT_BUTTON);
    let notify = aml::Notify::new(&button, &PRESSED);
    let if_pressed = aml::If::new(&pressed, vec![&notify]);
    let handler = aml::Method::new(Path::new("_EVT"), 1, true, vec![&if_pressed]);
    device("GED_", vec![&hid, &uid, &crs, &region, &field, &handler], sink);
}

fn device(name: &str, children: Vec<&dyn Aml>, sink: &mut dyn AmlSink) {
    aml::Device::new(Path::new(&format!("\\_SB_.{name}")), children).to_aml_bytes(sink);
}

/// An edge-triggered, active-high line of the device's own.
fn interrupt(gsi: u32) -> aml::Interrupt {
    aml::Interrupt::new(true, true, false, false, gsi)
}

#[cfg(test)]
mod tests;
