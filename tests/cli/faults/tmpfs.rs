//! A small filesystem of a test's own, with its store on it.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::store::{Store, finish};
use crate::support;

/// A store on a filesystem that has a certain size and can be filled up.
pub struct Small {
    store: Store,
    root: PathBuf,
}

impl Small {
    /// A store with room for `mib` MiB; nothing where this process may not mount.
    pub fn new(test: &str, mib: u32) -> Option<Small> {
        if !support::root(test) {
            return None;
        }
        let store = Store::new();
        let root = store.folder().join("root");
        fs::create_dir(&root).expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=700"), "small"]).arg(&root);
        assert!(mount.status().expect("util-linux is there").success(), "{mount:?}");
        Some(Small { store, root })
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The store's directory, where the filesystem is mounted.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Leaves room for `free` bytes, whole pages, and no more.
    pub fn fill(&self, free: u64) {
        let mut ballast = File::create(self.ballast()).expect("there is room for a name");
        let full = loop {
            if let Err(error) = ballast.write_all(&[0x5a; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        let len = ballast.metadata().expect("it is open").len() / 4096 * 4096;
        ballast.set_len(len.saturating_sub(free)).expect("shorter");
    }

    /// Makes room again.
    pub fn relieve(&self) {
        // Emptied first: a process that another test is just about to start may have it open until
        // its program is loaded, and the room would come back only then.
        File::options().write(true).truncate(true).open(self.ballast()).expect("it was filled");
        fs::remove_file(self.ballast()).expect("it is ours");
    }

    fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Where a test failed. Whatever is left goes with the filesystem.
        let _ = fs::remove_file(self.ballast());
        let names = finish(self.store.command(["ls", "-a", "-q"]));
        for name in String::from_utf8_lossy(&names.stdout).lines() {
            finish(self.store.command(["rm", "-f", name]));
        }
        let mut umount = Command::new("umount");
        let done = umount.arg("--lazy").arg(&self.root).status().expect("util-linux is there");
        assert!(done.success() || std::thread::panicking(), "umount failed");
    }
}
