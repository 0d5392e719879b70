//! What these tests share: a store with the tiny guest in it, and commands that must fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::store::{Store, both, finish};

/// What the tiny image's disk is long: whole sectors, but no whole blocks.
pub const BASE_BYTES: u64 = (1 << 20) + 1024;

/// A raw disk image, which the guest's `verify-base` accepts.
pub fn base_file(store: &Store) -> PathBuf {
    let path = store.folder().join("base.raw");
    let mut file = fs::File::create(&path).expect("a file");
    guest::write_base(&mut file, BASE_BYTES).expect("written");
    path
}

/// The tiny guest's kernel.
pub fn kernel_file(store: &Store) -> PathBuf {
    let path = store.folder().join("kernel");
    fs::write(&path, guest::KERNEL).expect("written");
    path
}

/// A store with the image `tiny`: a base, and the tiny guest as its kernel.
pub fn tiny() -> Store {
    let store = Store::new();
    tiny_in(&store);
    store
}

/// Imports the image `tiny` into `store`.
pub fn tiny_in(store: &Store) {
    let (base, kernel) = (base_file(store), kernel_file(store));
    let (base, kernel) = (text(&base), text(&kernel));
    store.ok(["image", "import", base, "--name", "tiny", "--kernel", kernel]);
}

/// A store with a VM `web` that wrote 1 to its first 64 KiB, made a snapshot `s1`, and wrote 2 to
/// the next.
pub fn written() -> Store {
    let store = tiny();
    store.ok(["clone", "tiny", "web", "--memory=64M"]);
    obeys(&store, "web", "write:1:range=0+64k,flush");
    store.ok(["snapshot", "create", "web"]);
    obeys(&store, "web", "write:2:range=64k+64k,flush");
    store
}

/// Starts a VM whose guest does this; it must end well.
#[track_caller]
pub fn obeys(store: &Store, name: &str, orders: &str) {
    store.ok(["start", name, "--cmdline", &format!("offshoot.do={orders}")]);
    assert_eq!(store.ok(["wait", "-q", name]), "0\n", "{}", store.ok(["logs", name]));
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("an ordinary path")
}

/// Runs a command that must end with status `code`, and returns what it said on stderr.
#[track_caller]
pub fn fails(code: i32, command: Command) -> String {
    let words = format!("{:?}", command.get_args().collect::<Vec<_>>());
    let output = finish(command);
    let found = output.status.code();
    assert!(found == Some(code), "{words} ended with {found:?}, not {code}\n{}", both(&output));
    String::from_utf8(output.stderr).expect("text")
}

/// Runs a command that must say `error` and end with `code`.
#[track_caller]
pub fn refuses<const N: usize>(store: &Store, code: i32, args: [&str; N], error: &str) {
    let said = fails(code, store.command(args));
    assert!(said.contains(error), "{args:?} said\n{said}not\n{error}");
}

/// What a command prints as JSON.
#[track_caller]
pub fn json<const N: usize>(store: &Store, args: [&str; N]) -> Value {
    let args = args.into_iter().chain(["--format", "json"]);
    serde_json::from_str(&store.ok(args)).expect("it prints JSON")
}

/// The state of a VM, in the word programs rely on.
pub fn state(store: &Store, name: &str) -> String {
    store.inspect(name)["state"].as_str().expect("a word").to_owned()
}

/// The directory of a VM.
pub fn dir(store: &Store, name: &str) -> PathBuf {
    store.inspect(name)["dir"].as_str().expect("a path").into()
}

/// Nothing half-made is left, and `doctor` agrees.
#[track_caller]
pub fn assert_tidy(store: &Store) {
    let root = store.folder().join("root");
    let left: Vec<_> = fs::read_dir(root.join("tmp")).expect("tmp/").collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    assert_sound(store);
}

/// `doctor` finds nothing wrong with the store.
#[track_caller]
pub fn assert_sound(store: &Store) {
    let output = finish(store.command(["doctor", "--format", "json"]));
    let findings: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    let checks = ["leftover", "vm", "layer", "image", "inventory"];
    let bad: Vec<_> = findings
        .as_array()
        .expect("a list")
        .iter()
        .filter(|f| checks.contains(&f["check"].as_str().expect("a name")) && f["verdict"] != "ok")
        .collect();
    assert!(bad.is_empty(), "doctor found: {bad:?}");
}

/// Whether this process is root, who may mount and change users; says what is left out if not.
/// No failure even where everything must run: people run the tests as themselves.
pub fn root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("NOT TESTED: {test}: only root can set it up");
    }
    root
}

/// A small filesystem of its own, gone with this.
pub struct Tmpfs<'a>(&'a Path);

impl Tmpfs<'_> {
    /// Mounts it, if that is allowed here; says what is left out if not.
    pub fn mount<'a>(at: &'a Path, size: &str) -> Option<Tmpfs<'a>> {
        fs::create_dir_all(at).expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at);
        let mounted = mount.status().is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("NOT TESTED: a full disk: nothing can be mounted here");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "CI can mount");
        }
        mounted.then_some(Tmpfs(at))
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}
