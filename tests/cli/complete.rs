//! What a shell that asks for completions is told.

use crate::common::store::{Store, succeeds};
use crate::support;

/// What fish is offered for the last of `words`, without flags.
fn offered(store: &Store, words: &[&str]) -> Vec<String> {
    let mut command = store.command(["--", "offshoot"]);
    command.args(words).env("OFFSHOOT_COMPLETE", "fish");
    let lines = succeeds(command);
    lines.lines().filter(|line| !line.starts_with("--")).map(str::to_owned).collect()
}

#[test]
fn a_shell_is_offered_the_names_that_fit() {
    let store = support::tiny();
    store.ok(["clone", "tiny", "web", "-n", "2"]);
    store.ok(["snapshot", "create", "web-1", "clean"]);
    assert_eq!(offered(&store, &["start", "w"]), ["web-1", "web-2"]);
    assert_eq!(offered(&store, &["image", "inspect", ""]), ["tiny"]);
    assert_eq!(offered(&store, &["run", "w"]), ["web-1", "web-2", "web-1@clean"]);
    assert_eq!(offered(&store, &["snapshot", "revert", "web-1", ""]), ["clean"]);
    assert_eq!(offered(&store, &["snap"])[0].split('\t').next(), Some("snapshot"));
}

#[test]
fn asking_for_completions_makes_no_store() {
    let store = Store::new();
    assert!(offered(&store, &["start", ""]).is_empty());
    assert!(!store.folder().join("root").exists());
}

#[test]
fn every_shell_gets_a_script() {
    let store = Store::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = store.ok(["completion", shell]);
        assert!(script.contains("OFFSHOOT_COMPLETE"), "{shell}: {script}");
    }
}
