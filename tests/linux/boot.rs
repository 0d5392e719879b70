//! What Linux finds in the machine it boots in, and the ways to boot it.

use std::fs::{self, File};
use std::io::Write;
use std::process::Stdio;

use uuid::Uuid;
use vmm::boot::Protocol;
use vmm::spec::{Boot, Spec};
use vmm::{Exit, Shell};

use crate::common::host::Guest;
use crate::common::store::Store;
use crate::guest::{Machine, cmdline, said};

pub fn guest_finds_its_devices(store: &Store) {
    let mut machine = Machine::clone(store, "equipped", 2);
    let uuid = store.inspect("equipped")["vm"]["uuid"].as_str().expect("it has one").to_owned();
    let said = machine.boot(
        "say $(cat /sys/class/dmi/id/product_uuid); \
         grep -q virtio_rng /sys/class/misc/hw_random/rng_available; \
         head -c 16 /dev/hwrng > /tmp/r; say $(wc -c < /tmp/r) random bytes; \
         cd /sys/block/vda; say $(cat size) sectors; say $(cat queue/write_cache); \
         say blocks of $(cat queue/logical_block_size) in $(cat queue/physical_block_size); \
         say queues $(ls mq); \
         [ $(cat queue/discard_max_bytes) != 0 ]; [ $(cat queue/write_zeroes_max_bytes) != 0 ]",
    );
    let disk = ["49152 sectors", "write back", "blocks of 512 in 4096", "queues 0 1"];
    assert_eq!(said[..2], [&uuid, "16 random bytes"]);
    assert_eq!(said[2..], disk);
}

pub fn bzimage_boots(store: &Store) {
    let mut packed = Machine::clone_with(store, "packed", &Guest::prepare().bzimage);
    assert_eq!(packed.boot("say here"), ["here"]);
}

/// The command line leaves the protocol to the kernel's file; a spec may say it.
pub fn kernel_boots_by_pvh(store: &Store) {
    let guest = Guest::prepare();
    let spec = Spec {
        name: "pvh".into(),
        uuid: Uuid::new_v4(),
        cpus: 2,
        memory_mib: 192,
        boot: Boot {
            kernel: guest.vmlinux,
            initrd: Some(guest.initrd),
            cmdline: cmdline("say $(nproc)"),
            protocol: Some(Protocol::Pvh),
        },
        disks: vec![],
    };
    let path = store.folder().join("pvh.log");
    let log = File::options().append(true).create(true).open(&path).expect("a log");
    let exit = vmm::run(&spec, Shell { log: Some(log), ..Shell::default() });
    let console = fs::read_to_string(path).expect("a console is text");
    assert_eq!(exit.expect("it runs"), Exit::Poweroff, "{console}");
    assert_eq!(said(&console), ["2"], "{console}");
}

pub fn console_reaches_a_shell(store: &Store) {
    let mut machine = Machine::clone(store, "typed", 1);
    machine.start("say up; sh");
    machine.says("up");
    let mut console = store.command(["console", "typed"]);
    let mut console = console.stdin(Stdio::piped()).spawn().expect("offshoot starts");
    let mut keys = console.stdin.take().expect("it is piped");
    keys.write_all(b"echo guest: $((6 * 7))\nexit\n").expect("it reads");
    assert_eq!(said(&machine.ends(0)), ["up", "42"]);
    drop(keys);
    assert!(console.wait().expect("it ends with its machine").success());
}
