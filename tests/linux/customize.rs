//! What guests with a spec find: the seed as Linux mounts it, the words on the command line.

use crate::common::store::Store;
use crate::guest::{Machine, said};

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
