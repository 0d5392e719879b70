//! What cloud-init makes of clones of an ordinary Debian image.
//!
//! The machine is QEMU's, without KVM: in the emulated host of `tests/linux` cloud-init, which is
//! Python, would take minutes for each boot. It is given what `inspect` says that our own monitor
//! would be: kernel, ramdisk, command line, UUID, the clone's disk through `disk serve`, its seed.

#[path = "../common/mod.rs"]
mod common;
mod guest;

use std::fs;
use std::thread;

use common::host;
use common::store::{Store, succeeds};
use guest::Guest;

/// What cloud-init is to do. The command leaves a line each time it runs.
const LESSON: &str = r#"
hostname = "{name}-host"
run = ["hostname >> /root/runs"]

[[users]]
name = "pupil"
ssh-keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHh3cVBbMzaVBT1Bx8bwcEb3ExkYtgkIjVyHM3rqYyzu desk"]

[[files]]
path = "/etc/lesson"
mode = "0640"
template = true
content = "a lesson for {name}"
"#;

/// Says what a machine is known by, and what was done in it, a line each.
const SAY: &str = "hostname; cat /etc/machine-id /var/lib/cloud/data/instance-id; \
    stat -c '%a %s' /etc/lesson; echo $(cat /etc/lesson); id -un pupil; \
    cut -d' ' -f3 /home/pupil/.ssh/authorized_keys; echo $(cat /root/runs)";
/// Says the SSH host keys it has.
const KEYS: &str = "cut -d' ' -f1,2 /etc/ssh/ssh_host_*_key.pub";

/// A store with the VM `first`, whose spec is `LESSON`.
fn store() -> Store {
    let store = Store::new();
    let mut import = store.command(["image", "import", "--name", "debian"]);
    import.arg(host::debian_image());
    succeeds(import);
    let spec = store.folder().join("lesson.toml");
    fs::write(&spec, LESSON).expect("written");
    let mut clone = store.command(["clone", "debian", "first", "--memory=384M", "--spec"]);
    clone.arg(spec);
    succeeds(clone);
    store
}

/// Boots a VM and checks that it is what the spec says, the command having run in those machines.
/// Returns its SSH host keys.
fn boot(store: &Store, name: &str, ran: &str) -> Vec<String> {
    let mut guest = Guest::start(store, name);
    guest.log_in_after_cloud_init();
    let uuid = store.inspect(name)["vm"]["uuid"].as_str().expect("text").to_owned();
    let (host, lesson) = (format!("{name}-host"), format!("a lesson for {name}"));
    let (id, lines) = (uuid.replace('-', ""), format!("640 {}", lesson.len()));
    let expected = [&host, &id, &uuid, &lines, &lesson, "pupil", "desk", ran];
    assert_eq!(guest.run(SAY), expected);
    let keys = guest.run(KEYS);
    guest.power_off();
    keys
}

#[test]
fn cloud_init_does_what_the_spec_says_once_for_each_clone() {
    let store = store();
    let keys = boot(&store, "first", "first-host");
    // A clone of a machine on which all is done is another machine; that one is still itself.
    store.ok(["clone", "first", "second"]);
    let (again, other) = thread::scope(|scope| {
        let again = scope.spawn(|| boot(&store, "first", "first-host"));
        let other = boot(&store, "second", "first-host second-host");
        (again.join().expect("it boots once more"), other)
    });
    assert_eq!(keys.len(), 3, "an RSA, an ECDSA and an Ed25519 key: {keys:?}");
    assert_eq!(again, keys);
    assert!(other.iter().all(|key| !keys.contains(key)), "{other:?} are those of {keys:?}");
}
