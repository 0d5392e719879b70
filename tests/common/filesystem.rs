//! The tests of this program once more, with their temporary files on another filesystem.
//!
//! ```text
//!   test program ── unshare, mkfs, mount ──► the same test program, TMPDIR on the filesystem
//!                   in a mount namespace that takes the filesystem with it
//! ```

use std::env;
use std::process::Command;

/// Makes filesystem `$1` in directory `$2`, and runs the rest of the arguments on it.
const SCRIPT: &str = r#"
kind=$1 place=$2
shift 2
mkdir "$place/m"
case $kind in
tmpfs) mount -t tmpfs -o size=512m tmpfs "$place/m" || exit 77 ;;
*)
    truncate -s 512M "$place/image"
    mkfs."$kind" -q "$place/image"
    mount -o loop "$place/image" "$place/m" || exit 77
    ;;
esac
export TMPDIR="$place/m" OFFSHOOT_TEST_HOST="$kind"
exec "$@"
"#;

/// What the script ends with where it may not mount.
const CANNOT_MOUNT: i32 = 77;

/// Runs the tests that `filters` choose, but none of `skip`, on a new filesystem of this `kind`.
///
/// Only root can do that; who is not is told what was not tested. Where everything must run
/// (CI=true) root must be able to.
pub fn run_again_on(kind: &str, filters: &[&str], skip: &[&str]) {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("NOT TESTED: {filters:?} on {kind}: only root can set it up");
    }
    let place = tempfile::Builder::new().prefix("fs").tempdir().expect("a directory");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-euc", SCRIPT, "sh", kind]);
    command.arg(place.path()).arg(env::current_exe().expect("a process has an executable"));
    command.args(filters).args(skip.iter().flat_map(|skip| ["--skip", skip]));
    command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    let output = command.output().expect("util-linux is there");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(CANNOT_MOUNT) {
        eprintln!("NOT TESTED: {filters:?} on {kind}: {said}");
        assert!(env::var("CI").as_deref() != Ok("true"), "CI needs {kind} on a loop device");
        return;
    }
    assert!(output.status.success(), "on {kind}:\n{said}");
    assert!(!said.contains("running 0 tests"), "no test is called {filters:?}");
}

/// The filesystem [`run_again_on`] made for this process, if it did.
pub fn kind() -> Option<String> {
    env::var("OFFSHOOT_TEST_HOST").ok()
}
