//! Whole machines' memory, from files.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use linux_loader::loader::bootparam::{boot_e820_entry, boot_params};
use linux_loader::loader::elf::start_info::{
    hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use tempfile::TempDir;
use vm_memory::{Bytes, GuestAddress};

use super::testing::{ENTRY, ElfFile, bzimage, chain, gzip, memory, setup};
use super::*;
use crate::layout;

/// Files to boot from.
struct Files {
    dir: TempDir,
    boot: spec::Boot,
}

impl Files {
    fn new(kernel: &[u8]) -> Files {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kernel");
        fs::write(&path, kernel).unwrap();
        let cmdline = "console=ttyS0".into();
        Files { boot: spec::Boot { kernel: path, initrd: None, cmdline, protocol: None }, dir }
    }

    fn initrd(mut self, bytes: &[u8]) -> Files {
        let path = self.dir.path().join("initrd");
        fs::write(&path, bytes).unwrap();
        self.boot.initrd = Some(path);
        self
    }

    fn load(&self, memory: &GuestMemory) -> Result<Entry> {
        let windows: Vec<_> = (0..2).filter_map(layout::virtio_window).collect();
        let board = Board { cpus: 2, uuid: Uuid::nil(), name: "web-1", virtio: &windows };
        load(&self.boot, &board, memory)
    }

    /// The message, with the directory's name taken out.
    fn refusal(&self) -> String {
        let error = self.load(&memory()).unwrap_err();
        chain(&error).replace(&format!("{}/", self.dir.path().display()), "")
    }
}

fn with_acpi() -> ElfFile {
    let mut file = ElfFile::new();
    file.contents[8..16].copy_from_slice(b"RSD PTR ");
    file
}

fn cmdline(memory: &GuestMemory) -> String {
    let mut bytes = [0; 256];
    memory.read_slice(&mut bytes, GuestAddress(layout::CMDLINE.start)).unwrap();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8(bytes[..end].to_vec()).unwrap()
}

fn zero_page(memory: &GuestMemory) -> boot_params {
    memory.read_obj(GuestAddress(layout::ZERO_PAGE.start)).unwrap()
}

/// How many virtio devices the tables describe.
fn in_tables(memory: &GuestMemory) -> usize {
    let mut bytes = vec![0; 0x1_0000];
    memory.read_slice(&mut bytes, GuestAddress(layout::ACPI.start)).unwrap();
    bytes.windows(8).filter(|bytes| bytes == b"LNRO0005").count()
}

#[test]
fn an_elf_kernel_gets_a_zero_page_of_our_making() {
    let memory = memory();
    let entry = Files::new(&with_acpi().build()).initrd(b"cpio").load(&memory).unwrap();
    assert_eq!(
        entry,
        Entry { protocol: Protocol::Linux64, rip: ENTRY, params: 0x8000, acpi: true }
    );

    let params = zero_page(&memory);
    let header = params.hdr;
    assert_eq!({ header.boot_flag }, 0xaa55);
    assert_eq!({ header.header }, u32::from_le_bytes(*b"HdrS"));
    assert_eq!({ header.type_of_loader }, 0xff);
    assert_eq!(u64::from(header.cmd_line_ptr), layout::CMDLINE.start);
    assert_eq!(cmdline(&memory), "console=ttyS0");
    assert_eq!(({ header.ramdisk_image }, { header.ramdisk_size }), (0x3f_f000, 4));
    assert_eq!(memory.read_obj::<[u8; 4]>(GuestAddress(0x3f_f000)).unwrap(), *b"cpio");
    assert_eq!({ params.acpi_rsdp_addr }, layout::ACPI.start);
    assert_eq!(params.sentinel, 0);
    let map = params.e820_table;
    let map: Vec<_> = map.iter().take(params.e820_entries.into()).map(e820).collect();
    assert_eq!(map, [(0, 0x9_fc00, 1), (0x9_fc00, 0x6_0400, 2), (0x10_0000, 0x30_0000, 1)]);
}

fn e820(entry: &boot_e820_entry) -> (u64, u64, u32) {
    (entry.addr, entry.size, entry.r#type)
}

#[test]
fn a_bzimages_header_reaches_the_zero_page() {
    let payload = gzip(&with_acpi().build());
    let mut header = setup(&payload);
    (header.version, header.kernel_alignment, header.loadflags) = (0x020d, 0x20_0000, 0x10);
    let memory = memory();
    let entry = Files::new(&bzimage(&header, &payload)).load(&memory).unwrap();
    assert_eq!((entry.protocol, entry.rip), (Protocol::Linux64, ENTRY));
    let found = zero_page(&memory).hdr;
    assert_eq!(({ found.version }, { found.kernel_alignment }), (0x020d, 0x20_0000));
    assert_eq!({ found.loadflags }, 0x11);
    assert_eq!(({ found.ramdisk_image }, { found.ramdisk_size }), (0, 0));
}

#[test]
fn a_pvh_kernel_gets_start_info() {
    let memory = memory();
    let file = Files::new(&with_acpi().with_pvh().build()).initrd(&[7; 5000]);
    let entry = file.load(&memory).unwrap();
    assert_eq!((entry.protocol, entry.rip, entry.params), (Protocol::Pvh, 0x10_0004, 0x9000));
    let info: hvm_start_info = memory.read_obj(GuestAddress(entry.params)).unwrap();
    assert_eq!((info.magic, info.version, info.nr_modules), (0x336e_c578, 1, 1));
    assert_eq!((info.cmdline_paddr, info.rsdp_paddr), (layout::CMDLINE.start, layout::ACPI.start));
    let module: hvm_modlist_entry = memory.read_obj(GuestAddress(info.modlist_paddr)).unwrap();
    assert_eq!((module.paddr, module.size), (0x3f_e000, 5000));
    assert_eq!(info.memmap_entries, 3);
    let last = info.memmap_paddr + 2 * size_of::<hvm_memmap_table_entry>() as u64;
    let last: hvm_memmap_table_entry = memory.read_obj(GuestAddress(last)).unwrap();
    assert_eq!((last.addr, last.size, last.type_), (0x10_0000, 0x30_0000, 1));
}

#[test]
fn without_an_initrd_there_is_no_module() {
    let memory = memory();
    let entry = Files::new(&with_acpi().with_pvh().build()).load(&memory).unwrap();
    let info: hvm_start_info = memory.read_obj(GuestAddress(entry.params)).unwrap();
    assert_eq!((info.nr_modules, info.modlist_paddr), (0, 0));
}

#[test]
fn virtio_devices_are_described_exactly_once() {
    let devices = "virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0xd0001000:6 ";
    for (kernel, words, expected, tables) in [
        (with_acpi(), "quiet", "quiet".to_owned(), 2),
        (with_acpi(), "acpi=off", format!("{devices}acpi=off"), 0),
        (ElfFile::new(), "quiet", format!("{devices}quiet"), 0),
    ] {
        let memory = memory();
        let mut files = Files::new(&kernel.build());
        files.boot.cmdline = words.to_owned();
        let entry = files.load(&memory).unwrap();
        assert_eq!((cmdline(&memory), in_tables(&memory)), (expected, tables));
        assert_eq!(entry.acpi, tables > 0);
        let mp: u32 = memory.read_obj(GuestAddress(layout::MP_TABLE.start)).unwrap();
        assert_eq!(mp == u32::from_le_bytes(*b"_MP_"), !entry.acpi);
    }
}

#[test]
fn only_what_the_protocol_needs_is_written_below_the_kernel() {
    let memory = memory();
    Files::new(&with_acpi().build()).load(&memory).unwrap();
    let mut bytes = vec![0; 0x10_0000];
    memory.read_slice(&mut bytes, GuestAddress(0)).unwrap();
    let pages = bytes.chunks(4096).zip(0..).filter(|(page, _)| page.iter().any(|byte| *byte != 0));
    let pages: Vec<_> = pages.map(|(_, number)| number).collect();
    assert_eq!(pages, [0x8, 0x10, 0xe0, 0xff]);
}

#[test]
fn files_that_are_no_kernel_are_named_with_the_cause() {
    let mut other = ElfFile::new();
    other.header.machine = 183.into();
    let mut small = ElfFile::new();
    small.header.class = 1;
    let mut overlapping = ElfFile::new();
    overlapping.segment(ENTRY, 4, 4);
    let mut outside = ElfFile::new();
    outside.segment(layout::GAP.start, 4, 4);
    let mut large = ElfFile::new();
    large.segment(4 << 20, 4, 4);
    let mut lost = ElfFile::new();
    lost.header.entry = 0x1000.into();
    let elf = ElfFile::new().build();
    let payload = gzip(&elf);
    let mut corrupt = payload.clone();
    corrupt[20] ^= 0xff;
    let image = |payload: &[u8]| bzimage(&setup(payload), payload);

    for (kernel, cause) in [
        (vec![], "it is empty"),
        (b"#!/bin/sh\n".to_vec(), "it is not a kernel: neither an ELF file (vmlinux) nor"),
        (vec![0; 4096], "it is not a kernel"),
        (elf[..100].to_vec(), "it is truncated: its program headers end at byte 120, the file at"),
        (elf[..520].to_vec(), "it is truncated: its segments end at byte 528, the file at 520"),
        (small.build(), "it is a 32-bit kernel"),
        (other.build(), "it is for 64-bit ARM"),
        (overlapping.build(), "its segments overlap at 0x100000"),
        (outside.build(), "its segment 1, 0xc0000000 to 0xc0000004, is not in the memory that"),
        (large.build(), "it needs at least 5 MiB of memory; this machine has 4 MiB"),
        (lost.build(), "its entry 0x1000 is in none of its segments"),
        (image(&payload)[..1100].to_vec(), "it is truncated: its compressed kernel ends at byte"),
        (image(&corrupt), "cannot unpack the kernel inside it: its gzip data is corrupt"),
        (image(&gzip(b"no kernel")), "what it unpacks to cannot be used: it is not an ELF file"),
    ] {
        let message = Files::new(&kernel).refusal();
        assert!(message.starts_with(&format!("cannot load kernel kernel: {cause}")), "{message}");
    }
}

#[test]
fn missing_and_forbidden_files_are_named() {
    let mut files = Files::new(&ElfFile::new().build());
    files.boot.initrd = Some(files.dir.path().join("nowhere"));
    assert_eq!(
        files.refusal(),
        "cannot load initrd nowhere: cannot open it: No such file or directory (os error 2)"
    );
    fs::remove_file(&files.boot.kernel).unwrap();
    assert_eq!(
        files.refusal(),
        "cannot load kernel kernel: cannot open it: No such file or directory (os error 2)"
    );
    fs::create_dir(&files.boot.kernel).unwrap();
    assert_eq!(
        files.refusal(),
        "cannot load kernel kernel: cannot open it: it is not a regular file"
    );
    let locked = Files::new(&ElfFile::new().build());
    fs::set_permissions(&locked.boot.kernel, fs::Permissions::from_mode(0o0)).unwrap();
    if rustix::process::geteuid().is_root() {
        eprintln!("NOT TESTED: root may read files of mode 0");
        return;
    }
    assert!(locked.refusal().ends_with("Permission denied (os error 13)"));
}

#[test]
fn an_initrd_that_does_not_fit_says_how_much_would() {
    // 4 MiB, less the first, less the page of the kernel.
    let room = (3 << 20) - 4096;
    let kernel = ElfFile::new().build();
    Files::new(&kernel).initrd(&vec![1; room]).load(&memory()).unwrap();
    assert_eq!(
        Files::new(&kernel).initrd(&vec![1; room + 1]).refusal(),
        format!(
            "cannot load initrd initrd: it has {} bytes, but the kernel leaves it {room} bytes of \
             guest memory at most; give the machine more memory",
            room + 1
        )
    );
}

#[test]
fn an_empty_initrd_is_refused() {
    let kernel = ElfFile::new().build();
    assert_eq!(Files::new(&kernel).initrd(b"").refusal(), "cannot load initrd initrd: it is empty");
}

#[test]
fn a_bad_command_line_is_refused() {
    let mut files = Files::new(&with_acpi().build());
    files.boot.cmdline = "x".repeat(2048);
    assert_eq!(
        files.refusal(),
        "cannot use the kernel command line: it has 2048 bytes, 0 of them added for devices; this \
         kernel takes at most 2047"
    );
    files.boot.cmdline = "a\0b".into();
    assert_eq!(
        files.refusal(),
        "cannot use the kernel command line: it has a NUL byte at 1, where the kernel would end it"
    );
}

#[test]
fn unpacking_gives_the_elf_file_of_a_bzimage_only() {
    let elf = with_acpi().build();
    assert_eq!(unpack(&Files::new(&elf).boot.kernel).unwrap(), None);
    let payload = gzip(&elf);
    let image = bzimage(&setup(&payload), &payload);
    assert_eq!(unpack(&Files::new(&image).boot.kernel).unwrap(), Some(elf));
    let error = unpack(&Files::new(b"text").boot.kernel).unwrap_err();
    assert!(chain(&error).contains("it is not a kernel"));
}
