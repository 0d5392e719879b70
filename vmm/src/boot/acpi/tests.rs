//! Reads the tables as a guest does, and has ACPICA's compiler take them apart.

use std::process::Command;

use super::*;
use crate::boot::testing::{memory, need};
use layout::{MAX_CPUS, MAX_VIRTIO, virtio_window};

struct Tables {
    memory: GuestMemory,
    fadt: Vec<u8>,
    madt: Vec<u8>,
    dsdt: Vec<u8>,
}

fn windows(count: u32) -> Vec<Window> {
    (0..count).map_while(virtio_window).collect()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn table(memory: &GuestMemory, at: u64, signature: &[u8; 4]) -> Vec<u8> {
    let length: u32 = memory.read_obj(GuestAddress(at + 4)).unwrap();
    let mut bytes = vec![0; length as usize];
    memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
    assert_eq!(&bytes[..4], signature);
    assert_eq!(sum(&bytes), 0, "checksum of {signature:?}");
    bytes
}

/// Writes the tables and follows the pointers.
fn find(cpus: u16, virtio: u32) -> Tables {
    let memory = memory();
    let rsdp = write(cpus, &windows(virtio), &memory).unwrap();
    let at = GuestAddress(rsdp);
    let mut rsdp = [0; 36];
    memory.read_slice(&mut rsdp, at).unwrap();
    assert_eq!((&rsdp[..8], rsdp[15]), (&b"RSD PTR "[..], 2));
    assert_eq!((sum(&rsdp[..20]), sum(&rsdp)), (0, 0));
    let xsdt = table(&memory, u64_at(&rsdp, 24), b"XSDT");
    let fadt = table(&memory, u64_at(&xsdt, 36), b"FACP");
    let madt = table(&memory, u64_at(&xsdt, 44), b"APIC");
    let dsdt = table(&memory, u64_at(&fadt, 140), b"DSDT");
    assert_eq!(xsdt.len(), 52);
    Tables { memory, fadt, madt, dsdt }
}

#[test]
fn fadt_has_the_power_registers_and_no_legacy_hardware() {
    let Tables { fadt, .. } = find(1, 1);
    let register = |at: usize| (fadt[at..at + 4].to_vec(), u64_at(&fadt, at + 4));
    let io_byte = vec![1, 8, 0, 1];
    assert_eq!(register(116), (io_byte.clone(), 0x602)); // RESET_REG
    assert_eq!(fadt[128], power::RESET_VALUE);
    assert_eq!(register(244), (io_byte.clone(), 0x600)); // SLEEP_CONTROL_REG
    assert_eq!(register(256), (io_byte, 0x601)); // SLEEP_STATUS_REG
    let flags = u32_at(&fadt, 112);
    assert_eq!(flags, 1 << 0 | 1 << 4 | 1 << 5 | 1 << 10 | 1 << 12 | 1 << 20);
}

#[test]
fn madt_has_every_cpu_and_the_ioapic() {
    for cpus in [1, 2, MAX_CPUS] {
        let Tables { madt, .. } = find(cpus, 1);
        assert_eq!(u32_at(&madt, 36), 0xfee0_0000);
        let (local, io) = madt[44..].split_at(usize::from(cpus) * 8);
        for (entry, id) in local.chunks(8).zip(0u8..) {
            assert_eq!(entry, [0, 8, id, id, 1, 0, 0, 0]);
        }
        assert_eq!(io, [1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
    }
}

#[test]
fn the_largest_board_fits() {
    let Tables { memory, .. } = find(MAX_CPUS, MAX_VIRTIO);
    let beyond: [u8; 16] = memory.read_obj(GuestAddress(layout::SMBIOS.start)).unwrap();
    assert_eq!(beyond, [0; 16]);
}

#[test]
fn devices_are_where_the_map_has_them() {
    let name = "devices_are_where_the_map_has_them";
    if !need(name, "iasl", "acpica-tools") {
        return;
    }
    let asl = disassemble(&find(2, 2).dsdt);
    for expected in [
        r#"Device (\_SB.C000)"#,
        r#"Device (\_SB.C001)"#,
        r#"Device (\_SB.COM1)"#,
        r#"Name (_HID, EisaId ("PNP0501") /* 16550A-compatible COM Serial Port */)"#,
        "0x03F8,             // Range Minimum",
        r#"Device (\_SB.VR01)"#,
        "0xD0001000,         // Address Base",
        r#"Name (_HID, "LNRO0005")"#,
        "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, )",
        "OperationRegion (EVTR, SystemIO, 0x0603, One)",
        "If ((EVTS & One))",
        r#"Notify (\_SB.PWRB, 0x80)"#,
    ] {
        assert!(asl.contains(expected), "no {expected} in\n{asl}");
    }
    // vCPUs have no interrupt; serial port, two virtio devices and the event device have.
    let lines: Vec<_> = asl.lines().map(str::trim).collect();
    for gsi in ["0x00000004,", "0x00000005,", "0x00000006,", "0x00000015,"] {
        assert_eq!(lines.iter().filter(|line| **line == gsi).count(), 1, "{gsi} in\n{asl}");
    }
    assert!(!asl.contains("VR02") && !asl.contains("C002"));
}

/// As ASL; the compiler must then accept that without a warning.
fn disassemble(dsdt: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dsdt.aml"), dsdt).unwrap();
    let run = |args: &[&str]| {
        let output = Command::new("iasl").args(args).current_dir(dir.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "iasl {args:?}:\n{text}");
        text
    };
    run(&["-d", "dsdt.aml"]);
    let compiled = run(&["-p", "again", "dsdt.dsl"]);
    assert!(compiled.contains("0 Errors, 0 Warnings"), "{compiled}");
    std::fs::read_to_string(dir.path().join("dsdt.dsl")).unwrap()
}
