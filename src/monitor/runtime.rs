//! Where a running VM's sockets are: short paths, because a socket's is at most 107 bytes, in a
//! directory that is the user's alone, because whoever can connect owns the VM.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The control socket's name.
pub const CONTROL: &str = "control.sock";
/// The console socket's name.
pub const CONSOLE: &str = "console.sock";

/// Room for `/<id>/control.sock` in a socket's path of 107 bytes.
const LONGEST_BASE: usize = 107 - 16 - CONTROL.len() - 2;

/// Where the sockets of the VM `id` are to be.
pub fn place(id: &str) -> PathBuf {
    base().join(id)
}

/// Makes a directory for sockets, which [`place`] named.
///
/// # Errors
/// It cannot be made, or somebody else could get in.
pub fn create(dir: &Path) -> Result<()> {
    dir.parent().map_or(Ok(()), private)?;
    private(dir)
}

/// Opens a listening socket in place of what an earlier monitor left there.
///
/// # Errors
/// The filesystem refuses.
pub fn listen(path: &Path) -> Result<UnixListener> {
    let bind = || {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        vmm::control::listen(path)
    };
    bind().with_context(|| format!("cannot make the socket {}", path.display()))
}

/// Takes the directory away; what is in it is of use only while the VM runs.
pub fn remove(dir: &Path) {
    if let Err(error) = fs::remove_dir_all(dir) {
        log::debug!("{} is left behind: {error}", dir.display());
    }
}

/// Directories of sockets nobody listens on, of VMs that are not `known`.
pub fn silent_sockets(known: &BTreeSet<String>) -> Vec<PathBuf> {
    let all = fs::read_dir(base()).into_iter().flatten().flatten();
    let strange =
        all.filter(|entry| entry.file_name().to_str().is_some_and(|id| !known.contains(id)));
    let refused = |dir: &PathBuf| {
        let connected = UnixStream::connect(dir.join(CONTROL));
        connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    strange.map(|entry| entry.path()).filter(refused).collect()
}

/// `$XDG_RUNTIME_DIR/offshoot`, or what comes nearest to it.
fn base() -> PathBuf {
    let user = rustix::process::geteuid();
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("offshoot"));
    match given {
        Some(dir) if dir.is_absolute() && dir.as_os_str().len() <= LONGEST_BASE => dir,
        _ if user.is_root() => PathBuf::from("/run/offshoot"),
        _ => std::env::temp_dir().join(format!("offshoot-{}", user.as_raw())),
    }
}

/// Makes a directory only this user can enter, or checks that the one there is such.
fn private(dir: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    let made = builder.create(dir).or_else(|error| match error.kind() {
        // No /run, as in an initial ramdisk.
        io::ErrorKind::NotFound => builder.recursive(true).create(dir),
        _ => Err(error),
    });
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check(dir),
        made => made.with_context(|| format!("cannot create {}", dir.display())),
    }
}

fn check(dir: &Path) -> Result<()> {
    let found = fs::symlink_metadata(dir)?;
    let mine = found.uid() == rustix::process::geteuid().as_raw();
    ensure!(
        found.is_dir() && mine && found.mode() & 0o077 == 0,
        "{} must be a directory of this user with mode 0700",
        dir.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_their_owners_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(CONTROL);
        let _first = listen(&path).expect("a socket");
        // A killed monitor leaves its own behind.
        let _socket = listen(&path).expect("another in its place");
        let mode = fs::metadata(&path).expect("it is there").mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
