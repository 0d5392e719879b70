//! What guests with a spec find: the seed as Linux mounts it, the words on the command line; and
//! what becomes of a distribution's machine that is told by them who it is.

use crate::common::store::{Store, succeeds};
use crate::guest::{Machine, said};
use crate::user::{User, debian};

/// Reads the second disk, which must refuse to be written.
const READ_SEED: &str = "say $(findfs LABEL=CIDATA); mount -t vfat -o ro /dev/vdb /mnt; \
    say $(cat /mnt/meta-data); say $(ls /mnt); umount /mnt; \
    say $(cat /sys/class/dmi/id/product_uuid); \
    ! dd if=/dev/zero of=/dev/vdb count=1 2>/dev/null; say read-only";

pub fn guests_learn_who_they_are_from_the_seed_or_the_command_line(store: &Store) {
    let mut seeded = Machine::clone_with_spec(store, "seeded", "[network]");
    let plain = "delivery = \"cmdline\"\nhostname = \"plain-{n:02}\"";
    let mut plain = Machine::clone_with_spec(store, "plain", plain);
    seeded.start(READ_SEED);
    plain.start("say $(hostname)");

    assert_eq!(said(&plain.ends(0)), ["plain-01"]);
    let uuid = store.inspect("seeded")["vm"]["uuid"].as_str().expect("text").to_owned();
    let meta = format!("{{\"instance-id\":\"{uuid}\",\"local-hostname\":\"seeded\"}}");
    let files = "meta-data network-config user-data";
    assert_eq!(said(&seeded.ends(0)), ["/dev/vdb", &meta, files, &uuid, "read-only"]);
}

/// Says what a machine is known by. The quotes keep the echo of what is typed from being an answer.
const WHO: &str = "systemctl start ssh-host-key; cd /etc; echo i''am $(hostname) \
    $(cat machine-id) $(cat /sys/class/dmi/id/product_uuid) $(cut -c13-80 ssh/ssh_host*.pub); cd";

/// What a machine said it is known by: host name, machine-id, UUID, SSH host key.
fn names(store: &Store, name: &str) -> [String; 4] {
    let log = store.ok(["logs", name]);
    // The shell's own words to its terminal come before it, on the same line.
    let (_, answer) = log.split_once("iam ").expect("it said who it is");
    let line = answer.lines().next().expect("there is more");
    let words = line.trim_end().split(' ').map(str::to_owned);
    words.collect::<Vec<_>>().try_into().expect("four words")
}

pub fn debian_clones_differ_in_all_that_names_a_machine(store: &Store) {
    let spec = store.folder().join("seat.toml");
    std::fs::write(&spec, "delivery = \"cmdline\"\nhostname = \"seat-{n:02}\"").expect("written");
    let mut clone =
        store.command(["clone", debian(store), "seat", "-n2", "--memory=384M", "--spec"]);
    clone.arg(spec);
    succeeds(clone);
    let machines = [("seat-1", "seat-01"), ("seat-2", "seat-02")];
    let users = machines.map(|(name, host)| User::start(store, name, host));
    for (mut user, (_, host)) in users.into_iter().zip(machines) {
        user.log_in();
        user.runs(WHO, &format!("iam {host}"));
        user.powers_off();
    }
    let [one, two] = machines.map(|(name, _)| names(store, name));
    for ((name, host), found) in machines.into_iter().zip([&one, &two]) {
        let uuid = store.inspect(name)["vm"]["uuid"].as_str().expect("text").to_owned();
        assert_eq!(found[..3], [host.to_owned(), uuid.replace('-', ""), uuid]);
    }
    assert_ne!(one[3], two[3], "their SSH host keys are the same");
}
