//! Identity of clones, and specs: what their guests are told, read back from the seed images with
//! mtools.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::common::kvm;
use crate::common::store::Store;
use crate::support::{assert_tidy, dir, obeys, refuses, text, tiny};

const LAB: &str = r#"
hostname = "lab-{n:02}"
run = ["touch /was-here"]

[network]
addresses = ["10.0.0.{n+10}/24"]
gateways = ["10.0.0.1"]

[[users]]
name = "me"
ssh-keys = ["ssh-ed25519 AAAA me"]
"#;

fn spec_file(store: &Store, spec: &str) -> String {
    let path = store.folder().join("spec.toml");
    fs::write(&path, spec).expect("written");
    text(&path).to_owned()
}

/// A store with `lab-1` and `lab-2`, made of `LAB`.
fn lab() -> Store {
    let store = tiny();
    let spec = spec_file(&store, LAB);
    store.ok(["clone", "tiny", "lab", "-n", "2", "--memory=64M", "--spec", &spec]);
    store
}

fn identity(store: &Store, name: &str) -> Value {
    store.inspect(name)["vm"]["identity"].clone()
}

fn seed(store: &Store, name: &str) -> PathBuf {
    dir(store, name).join("seed")
}

/// A file of a VM's seed; `None` where there are no mtools and need not be.
fn seeded(store: &Store, name: &str, file: &str) -> Option<Value> {
    let mut mtype = Command::new("mtype");
    let Ok(output) = mtype.arg("-i").arg(seed(store, name)).arg(format!("::{file}")).output()
    else {
        eprintln!("NOT TESTED: what is in a seed: there are no mtools");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI has mtools");
        return None;
    };
    let text = String::from_utf8(output.stdout).expect("text");
    let yaml = text.strip_prefix("#cloud-config\n").unwrap_or(&text);
    Some(serde_json::from_str(yaml).expect("JSON, which is YAML"))
}

#[test]
fn every_clone_has_an_address_and_a_host_name_of_its_own() {
    let store = tiny();
    store.ok(["clone", "tiny", "-n", "20"]);
    store.ok(["clone", "tiny-1", "Web_1.a"]);
    let mut macs = BTreeSet::new();
    for name in store.ok(["ls", "-q"]).lines() {
        let identity = identity(&store, name);
        let mac = identity["mac"].as_str().expect("text").to_owned();
        let first = u8::from_str_radix(&mac[..2], 16).expect("hexadecimal");
        assert_eq!(first & 0b11, 0b10, "{mac} is not local and unicast");
        assert!(macs.insert(mac), "{name} has the address of another");
        assert_eq!(identity["uuid"], store.inspect(name)["spec"]["uuid"]);
    }
    assert_eq!(identity(&store, "tiny-7")["hostname"], "tiny-7");
    assert_eq!(identity(&store, "Web_1.a")["hostname"], "web-1-a");
}

#[test]
fn clones_with_a_spec_are_told_who_they_are() {
    let store = lab();
    for (name, host, address) in
        [("lab-1", "lab-01", "10.0.0.11/24"), ("lab-2", "lab-02", "10.0.0.12/24")]
    {
        let identity = identity(&store, name);
        assert_eq!(identity["hostname"], host);
        let Some(meta) = seeded(&store, name, "meta-data") else { return };
        assert_eq!(meta["local-hostname"], host);
        assert_eq!(meta["instance-id"], identity["uuid"]);
        let user = seeded(&store, name, "user-data").expect("mtools");
        assert_eq!(user["users"][0]["name"], "me");
        assert_eq!(user["runcmd"][0], "touch /was-here");
        assert_eq!(user["ssh_deletekeys"], true);
        let network = seeded(&store, name, "network-config").expect("mtools");
        let ethernet = &network["ethernets"]["eth0"];
        assert_eq!(ethernet["match"]["macaddress"], identity["mac"]);
        assert_eq!(ethernet["addresses"][0], address);
    }
    let (one, two) = (identity(&store, "lab-1"), identity(&store, "lab-2"));
    for key in ["uuid", "mac", "hostname"] {
        assert_ne!(one[key], two[key], "{key}");
    }
}

#[test]
fn the_seed_is_the_second_disk_and_read_only() {
    let store = lab();
    let spec = store.inspect("lab-1")["spec"].clone();
    let disks = spec["disks"].as_array().expect("a list");
    assert_eq!(disks.len(), 2);
    let stack = &disks[1]["stack"];
    assert_eq!(stack["base"]["path"], text(&seed(&store, "lab-1")));
    assert_eq!(stack["delta"], Value::Null);
    let cmdline = spec["boot"]["cmdline"].as_str().expect("text");
    let uuid = identity(&store, "lab-1")["uuid"].as_str().expect("text").replace('-', "");
    assert!(cmdline.starts_with(&format!("systemd.machine_id={uuid} console=")), "{cmdline}");
    if kvm("a machine with a seed") {
        obeys(&store, "lab-1", "write:1:range=0+64k,flush");
    }
}

#[test]
fn spec_and_seed_are_their_owners_alone_and_go_with_the_vm() {
    let store = lab();
    let dir = dir(&store, "lab-1");
    for file in ["spec.toml", "seed"] {
        let mode = dir.join(file).metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert_eq!(fs::read_to_string(dir.join("spec.toml")).expect("a spec"), LAB);
    store.ok(["rm", "lab-1", "lab-2"]);
    assert!(!dir.exists());
    assert_tidy(&store);
}

#[test]
fn without_cloud_init_the_command_line_tells_the_guest() {
    let store = tiny();
    let spec = "delivery = \"cmdline\"\n[network]\naddresses = [\"10.0.0.{n}/8\"]\n";
    let spec = spec_file(&store, spec);
    store.ok(["clone", "tiny", "plain", "--spec", &spec, "--cmdline", "mine"]);
    assert!(!seed(&store, "plain").exists());
    let spec = store.inspect("plain")["spec"].clone();
    assert_eq!(spec["disks"].as_array().expect("a list").len(), 1);
    let uuid = identity(&store, "plain")["uuid"].as_str().expect("text").replace('-', "");
    let words = format!(
        "hostname=plain systemd.hostname=plain systemd.machine_id={uuid} \
         ip=10.0.0.1:::255.0.0.0:plain::off mine"
    );
    assert_eq!(spec["boot"]["cmdline"], words);
}

#[test]
fn a_wrong_spec_is_refused_where_it_is_wrong_before_anything_is_made() {
    let store = tiny();
    for (spec, error) in [
        ("hostnam = \"x\"", "line 1, column 1: unknown field `hostnam`"),
        ("\nhostname = 5", "line 2, column 12: invalid type: integer `5`"),
        ("hostname = \"lab-{m}\"", "line 1, column 17: {m} is unknown"),
        ("[[users]]\nname = \"a\"\npassword-hash = \"x\"", "line 3, column 17: this is no hash"),
        ("x = ", "line 1, column 5: "),
    ] {
        let spec = spec_file(&store, spec);
        let cannot = format!("cannot clone tiny: cannot use the spec {spec}: {error}");
        refuses(&store, 2, ["clone", "tiny", "--spec", &spec], &cannot);
        refuses(&store, 125, ["run", "tiny", "--spec", &spec], error);
    }
    let (missing, folder) = (store.folder().join("missing"), store.folder().to_owned());
    refuses(&store, 3, ["clone", "tiny", "--spec", text(&missing)], "cannot use the spec");
    refuses(&store, 1, ["clone", "tiny", "--spec", text(&folder)], "Is a directory");
    assert_eq!(store.ok(["ls", "-q"]), "");
    assert_tidy(&store);
}

#[test]
fn clones_of_one_command_that_would_be_the_same_are_refused() {
    let store = tiny();
    let many = |spec: &str| ["clone", "tiny", "web", "-n", "2", "--spec", spec].map(str::to_owned);
    for (spec, error) in [
        ("hostname = \"web\"", "web-2 would have the host name web, as another clone has"),
        ("[network]\naddresses = [\"10.0.0.1/8\"]", "web-2 would have the address 10.0.0.1"),
        ("[network]\naddresses = [\"10.0.0.{n+254}/8\"]", "cannot make web-2 of the spec: line 2"),
    ] {
        let spec = spec_file(&store, spec);
        let args = many(&spec);
        refuses(&store, 2, std::array::from_fn::<&str, 7, _>(|i| &args[i]), error);
    }
    assert_eq!(store.ok(["ls", "-q"]), "");
    assert_tidy(&store);
}

#[test]
fn numbers_are_those_of_names_that_offshoot_numbered() {
    let store = tiny();
    let spec = spec_file(&store, LAB);
    store.ok(["clone", "tiny", "-n", "2", "--spec", &spec]);
    store.ok(["clone", "tiny", "-n", "2", "--spec", &spec]);
    assert_eq!(identity(&store, "tiny-4")["hostname"], "lab-04");
}

#[test]
fn a_clone_of_a_vm_is_told_who_it_is_itself() {
    let store = lab();
    assert_eq!(store.ok(["clone", "lab-2"]), "lab-2-1\n");
    let identity = identity(&store, "lab-2-1");
    assert_eq!(identity["hostname"], "lab-01");
    if let Some(meta) = seeded(&store, "lab-2-1", "meta-data") {
        assert_eq!(meta["instance-id"], identity["uuid"]);
    }
    let other = spec_file(&store, "hostname = \"other\"");
    store.ok(["clone", "lab-2", "own", "--spec", &other]);
    assert_eq!(self::identity(&store, "own")["hostname"], "other");
}

#[test]
fn a_true_copy_keeps_its_parents_identity() {
    let store = lab();
    store.ok(["clone", "lab-2", "twin", "--keep-identity"]);
    assert_eq!(identity(&store, "twin"), identity(&store, "lab-2"));
    let read = |name| fs::read(seed(&store, name)).expect("a seed");
    assert_eq!(read("twin"), read("lab-2"));
    let (twin, parent) = (store.inspect("twin"), store.inspect("lab-2"));
    assert_eq!(twin["spec"]["uuid"], parent["spec"]["uuid"]);
    assert_ne!(twin["id"], parent["id"]);
    refuses(&store, 2, ["clone", "tiny", "--keep-identity"], "an image has no identity");
    let spec = spec_file(&store, LAB);
    let both = ["clone", "lab-2", "--keep-identity", "--spec", &spec];
    refuses(&store, 2, both, "cannot be used with");
}

#[test]
fn an_identity_stays_through_reset_rename_and_snapshots() {
    let store = lab();
    let (before, path) = (identity(&store, "lab-1"), seed(&store, "lab-1"));
    let bytes = fs::read(&path).expect("a seed");
    store.ok(["snapshot", "create", "lab-1", "s1"]);
    store.ok(["reset", "lab-1"]);
    store.ok(["snapshot", "revert", "lab-1", "s1"]);
    store.ok(["rename", "lab-1", "renamed"]);
    assert_eq!(identity(&store, "renamed"), before);
    assert_eq!(fs::read(&path).expect("a seed"), bytes);
}

#[test]
fn an_exported_disk_comes_back_as_another_machine() {
    let store = lab();
    let file = store.folder().join("lab.sealed");
    store.ok(["export", "lab-1", "-o", text(&file)]);
    store.ok(["attach", text(&file), "--name", "Guest_1"]);
    let (old, new) = (identity(&store, "lab-1"), identity(&store, "Guest_1"));
    assert_ne!(old["uuid"], new["uuid"]);
    assert_ne!(old["mac"], new["mac"]);
    assert_eq!(new["hostname"], "guest-1");
    assert_eq!(store.inspect("Guest_1")["vm"]["custom"], Value::Null);
}

#[test]
fn a_seed_that_is_gone_or_changed_stops_the_start() {
    let store = lab();
    let path = seed(&store, "lab-1");
    let mut bytes = fs::read(&path).expect("a seed");
    *bytes.last_mut().expect("it has bytes") ^= 1;
    fs::write(&path, bytes).expect("written");
    let start = ["start", "lab-1"];
    refuses(&store, 5, start, "cannot start lab-1: the seed");
    refuses(&store, 5, start, "it is not what it was when it was made");
    fs::remove_file(&path).expect("removed");
    refuses(&store, 5, start, "No such file");
    fs::remove_file(dir(&store, "lab-1").join("spec.toml")).expect("removed");
    refuses(&store, 5, ["clone", "lab-1"], "its spec cannot be used");
}
