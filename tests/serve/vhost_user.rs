//! A clone as the disk of QEMU's machine: its firmware boots from it, reads and writes.

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::common::store::{Store, both, finish};
use crate::support::{Server, random, run, text};

/// What the boot sector makes QEMU end with when all went well.
const SAME: i32 = 49;

/// A store with a clone `web` of a disk that begins with `boot.s`.
fn bootable() -> (Store, Vec<u8>) {
    let store = Store::new();
    let [object, sector, raw] = ["boot.o", "boot.bin", "raw"].map(|name| store.folder().join(name));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/serve/boot.s");
    run("as", ["--32", source, "-o", text(&object)]);
    run("objcopy", ["-O", "binary", text(&object), text(&sector)]);
    let mut disk = random(8 << 20);
    let sector = fs::read(sector).expect("a boot sector");
    disk[..512].copy_from_slice(&sector);
    fs::write(&raw, &disk).expect("written");
    store.ok(["image", "import", text(&raw), "--name", "base"]);
    store.ok(["clone", "base", "web"]);
    (store, disk)
}

/// Boots a machine from the disk that `server` serves.
#[track_caller]
fn boot(server: &Server) {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-M", "q35,memory-backend=ram", "-accel", "tcg", "-m", "64"])
        .args(["-object", "memory-backend-memfd,id=ram,size=64M,share=on"])
        .args(["-nodefaults", "-display", "none", "-no-reboot"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"])
        .args(["-chardev", &format!("socket,id=disk,path={}", server.socket().display())])
        .args(["-device", "vhost-user-blk-pci,chardev=disk,bootindex=0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = finish(qemu);
    assert_eq!(output.status.code(), Some(SAME), "{}", both(&output));
}

#[test]
fn another_monitors_machine_boots_from_a_clone_and_writes_it() {
    let (store, mut disk) = bootable();
    let server = Server::start_as(&store, "--vhost-user", []);
    // One front end after the other.
    boot(&server);
    boot(&server);
    assert_eq!(server.end(Signal::TERM), Some(0));
    disk.copy_within(8 * 512..16 * 512, 64 * 512);
    let server = Server::start(&store, []);
    let len = u32::try_from(disk.len()).expect("small");
    assert!(server.client().read(0, len).expect("answered").expect("read") == disk);
}
