//! An ordinary distribution's disk image: nothing is said of its kernel, and people log in.

use crate::common::store::Store;
use crate::user::{User, debian};

pub fn debian_image_boots_to_a_login_and_clones_keep_apart(store: &Store) {
    let [mut one, mut two] = ["plain-1", "plain-2"].map(|name| {
        store.ok(["clone", debian(store), name, "--memory", "384M"]);
        User::start(store, name, "debian")
    });
    one.log_in();
    two.log_in();
    one.runs("echo root on $(findmnt -no SOURCE,FSTYPE /)", "root on /dev/vda1 ext4");
    one.runs("touch own-1; echo one has $(ls)", "one has own-1\r");
    two.runs("touch own-2; echo two has $(ls)", "two has own-2\r");
    one.powers_off();
    two.powers_off();
}
