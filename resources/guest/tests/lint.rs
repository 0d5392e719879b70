//! The kernel is not a crate of the workspace, so `cargo clippy` and `cargo fmt` pass it by.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

const KERNEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kernel/main.rs");

/// Runs a tool of the toolchain; says so loudly where it is not installed, and CI fails.
fn run(tool: &str, arguments: &[&str]) {
    let installed = Command::new(tool).arg("--version").output();
    if !installed.is_ok_and(|output| output.status.success()) {
        eprintln!("NOT TESTED: there is no {tool}");
        assert!(std::env::var_os("CI").is_none(), "CI needs {tool}");
        return;
    }
    let status = Command::new(tool).args(arguments).arg(KERNEL).status().unwrap();
    assert!(status.success(), "{tool} complains");
}

#[test]
fn clippy_finds_nothing_in_the_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("kernel").display().to_string();
    let target = ["--edition", "2024", "--crate-type", "bin", "--crate-name", "guest_kernel"];
    let options = ["--emit", "metadata", "-C", "panic=abort", "-D", "warnings", "-o", &output];
    run("clippy-driver", &[&target[..], &options[..]].concat());
}

#[test]
fn the_kernel_is_formatted() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    run("rustfmt", &["--check", "--edition", "2024", "--config-path", config]);
}
