//! The exit codes of DESIGN.md, each with its message and what it says to try. What takes more to
//! bring about has a test where its like is: damage in `damage` and `sealed`, full disks in
//! `faults`, `run`'s own 124 and 125 in `run`.

use std::fs;
use std::process::{Command, Stdio};

use crate::common::kvm;
use crate::common::store::Store;
use crate::support::{assert_tidy, fails, root, text, tiny};

/// Each must end with this code, and say the cause and what to try.
#[track_caller]
fn all_fail(store: &Store, code: i32, cause: &str, advice: &str, commands: &[&str]) {
    for words in commands {
        let said = fails(code, store.command(words.split(' ')));
        assert!(said.starts_with("offshoot: ") && said.contains(cause), "{words}: {said}");
        assert!(said.contains(&format!("\ntry: {advice}")), "{words}: {said}");
    }
}

#[test]
fn every_verb_without_its_vm_ends_with_3() {
    let store = tiny();
    let commands = [
        "start nosuch",
        "stop nosuch",
        "restart nosuch",
        "wait nosuch",
        "pause nosuch",
        "resume nosuch",
        "rm nosuch",
        "inspect nosuch",
        "logs nosuch",
        "console nosuch",
        "reset nosuch",
        "flatten nosuch",
        "promote nosuch",
        "commit nosuch",
        "compact nosuch",
        "resize nosuch 1G",
        "rebase nosuch --onto tiny",
        "snapshot create nosuch",
        "snapshot ls nosuch",
        "snapshot revert nosuch s1",
        "snapshot rm nosuch s1",
        "export nosuch -o -",
        "export nosuch -o /nowhere/x",
        "export nosuch@s1 --flat -o /nowhere/x",
        "disk serve nosuch --nbd /nowhere/x",
        "clone nosuch@s1",
    ];
    all_fail(&store, 3, "there is no VM nosuch", "offshoot ls -a", &commands);
    assert_tidy(&store);
}

#[test]
fn every_verb_without_its_image_or_name_ends_with_3() {
    let store = tiny();
    let of_images = [
        "image inspect nosuch",
        "image verify nosuch",
        "image rm nosuch",
        "image export nosuch -o /nowhere/x",
    ];
    all_fail(&store, 3, "there is no image nosuch", "offshoot image ls", &of_images);
    let of_either = [
        "clone nosuch",
        "rename nosuch other",
        "note nosuch",
        "note nosuch text",
        "label nosuch a=b",
        "protect nosuch",
        "df nosuch",
        "tree nosuch",
        "rm --cascade nosuch",
    ];
    all_fail(&store, 3, "there is no image or VM nosuch", "offshoot tree", &of_either);
    store.ok(["clone", "tiny", "web"]);
    let of_snapshots = ["clone web@nosuch", "snapshot revert web nosuch", "snapshot rm web nosuch"];
    let advice = "offshoot snapshot ls web";
    all_fail(&store, 3, "web has no snapshot nosuch", advice, &of_snapshots);
    assert_tidy(&store);
}

#[test]
fn files_that_are_not_there_end_with_3_and_are_named() {
    let store = tiny();
    for words in [
        "image import /nowhere/x --name x",
        "image import /nowhere/x --name x --format qcow2",
        "attach /nowhere/x",
        "clone tiny --spec /nowhere/x",
        "clone tiny --kernel /nowhere/x",
        "lab up -f /nowhere/x",
    ] {
        let said = fails(3, store.command(words.split(' ')));
        assert!(said.contains("/nowhere/x"), "{words}: {said}");
    }
    assert_tidy(&store);
}

#[test]
fn what_is_taken_or_needed_ends_with_4_and_names_who_needs_it() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    store.ok(["snapshot", "create", "web", "s1"]);
    store.ok(["clone", "web@s1", "copy"]);
    let taken = ["clone tiny web", "rename copy web", "clone tiny tiny"];
    for words in taken {
        let said = fails(4, store.command(words.split(' ')));
        assert!(said.contains("is taken by a"), "{words}: {said}");
    }
    let dependents = "these VMs stand on it: copy, web";
    all_fail(&store, 4, dependents, "offshoot rm copy web", &["image rm tiny"]);
    let said = fails(4, store.command(["snapshot", "create", "web", "s1"]));
    assert!(said.contains("it has a snapshot s1 already"), "{said}");
    store.ok(["protect", "web", "tiny"]);
    let protected = ["rm web", "rm -f web", "reset web", "snapshot revert web s1 --force"];
    all_fail(&store, 4, "it is protected", "offshoot protect --off web", &protected);
    assert_tidy(&store);
}

#[test]
fn of_many_dependents_the_first_are_named_and_the_rest_counted() {
    let store = tiny();
    store.ok(["clone", "tiny", "web-{n:04}", "-n", "1000"]);
    let said = fails(4, store.command(["image", "rm", "tiny"]));
    assert!(said.contains("these VMs stand on it: web-0001, web-0002, "), "{said}");
    assert!(said.contains(" and 992 more\n"), "{said}");
    assert!(said.contains("try: offshoot tree tiny lists them, or offshoot rm --cascade tiny\n"));
    assert!(said.len() < 400, "{said}");
}

#[test]
fn a_disk_of_an_impossible_size_ends_with_2() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    for size in ["65T", "8E", "18446744073709551615"] {
        for command in [&["resize", "web", size][..], &["clone", "tiny", "--disk-size", size]] {
            let said = fails(2, store.command(command));
            assert!(said.contains("is too large: 64T is the most"), "{command:?}: {said}");
        }
    }
    let said = fails(2, store.command(["resize", "web", "0", "--force"]));
    assert!(said.contains("at least one sector"), "{said}");
    assert_tidy(&store);
}

#[test]
fn a_running_vm_ends_what_needs_it_stopped_with_4() {
    if !kvm("verbs that need a stopped VM") {
        return;
    }
    let store = tiny();
    let idle = ["--memory=64M", "--cmdline=offshoot.do=idle", "--start"];
    store.ok(["clone", "tiny", "web"].into_iter().chain(idle));
    let socket = format!("disk serve web --nbd {}/x", text(store.folder()));
    let commands = ["rm web", "reset web", &socket, &format!("{socket} --read-only")];
    all_fail(&store, 4, "it is running", "offshoot stop web", &commands);
    let said = fails(4, store.command(["start", "web"]));
    assert!(said.contains("web: it is running (process "), "{said}");
}

/// The command in a mount namespace whose /dev has only what every program needs.
fn without_devices(store: &Store, words: &str) -> Command {
    const PREPARE: &str = "mkdir -p $0 && for n in null random urandom; do \
        touch $0/$n && mount --bind /dev/$n $0/$n || exit 99; done && \
        mount --rbind $0 /dev && exec \"$@\"";
    let offshoot = store.command(words.split(' '));
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", PREPARE]).arg(store.folder().join("dev"));
    command.arg(offshoot.get_program()).args(offshoot.get_args());
    for (name, value) in offshoot.get_envs() {
        value.map(|value| command.env(name, value));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn without_a_kvm_device_what_needs_one_ends_with_7_and_run_with_125() {
    if !root("a host without KVM") {
        return;
    }
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    for (words, code) in [("start web", 7), ("demo", 7), ("run tiny", 125)] {
        let said = fails(code, without_devices(&store, words));
        assert!(said.contains("/dev/kvm does not exist"), "{words}: {said}");
        assert!(said.contains("modprobe kvm-intel"), "{words}: {said}");
    }
    assert_eq!(store.ok(["ls", "-q"]), "web\n");
    assert_tidy(&store);
}

#[test]
fn an_image_of_a_newer_program_is_refused_with_its_version() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    let images = fs::read_dir(store.folder().join("root/images")).expect("images/");
    let image = images.map(|entry| entry.expect("an image").path().join("image.toml")).next();
    let image = image.expect("one");
    let record = fs::read_to_string(&image).expect("text");
    fs::write(&image, record.replace("version = 1", "version = 99")).expect("written");
    let said = fails(5, store.command(["start", "web"]));
    assert!(said.contains("image.toml is of version 99, newer than this program"), "{said}");
    assert!(said.contains("try: a newer offshoot"), "{said}");
}

#[test]
fn a_mistyped_name_is_told_with_the_one_that_was_meant() {
    let store = tiny();
    store.ok(["clone", "tiny", "lab-01"]);
    let of = |words: &str| fails(3, store.command(words.split(' ')));
    assert!(of("start lab01").contains("there is no VM lab01; did you mean lab-01?\n"));
    assert!(of("clone tinny").contains("there is no image or VM tinny; did you mean tiny?\n"));
    assert!(of("image inspect tinny").contains("there is no image tinny; did you mean tiny?\n"));
    assert!(of("image inspect lab-01").contains("lab-01 is a VM, not an image\n"));
}
