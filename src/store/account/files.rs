//! The files in the directories of images and VMs. Some have a name in several: the kernel that a
//! promoted VM boots is its image's, and stays when that is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Filesystem and number of a file.
type Inode = (u64, u64);

/// What the files of a directory take on the disk.
pub(super) struct Files(BTreeMap<Inode, u64>);

/// Files with a name in more than one of the directories looked at.
pub(super) struct Common(BTreeSet<Inode>);

impl Files {
    /// Looks. What is not there takes nothing.
    pub fn of(dir: &Path) -> Files {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        // Not the entries' own: a delta's may be a link to where it is.
        let found = entries.filter_map(|entry| entry.path().metadata().ok());
        Files(found.map(|file| ((file.dev(), file.ino()), file.blocks() * 512)).collect())
    }

    /// All of it, bytes.
    pub fn bytes(&self) -> u64 {
        self.0.values().sum()
    }

    /// What no other directory has, bytes.
    pub fn own_bytes(&self, common: &Common) -> u64 {
        sum(self.0.iter().filter(|(inode, _)| !common.0.contains(inode)))
    }

    /// What other directories have, too, and all of `below`, bytes.
    pub fn common_bytes(&self, common: &Common, below: Option<&Files>) -> u64 {
        common.bytes(below.into_iter(), [self].into_iter())
    }
}

impl Common {
    /// Compares all directories.
    pub fn of<'a>(all: impl Iterator<Item = &'a Files>) -> Common {
        let (mut seen, mut common) = (BTreeSet::new(), BTreeSet::new());
        for inode in all.flat_map(|files| files.0.keys()) {
            if !seen.insert(inode) {
                common.insert(*inode);
            }
        }
        Common(common)
    }

    /// All of `whole`, and what `others` have in common with somebody; each file once, bytes.
    pub fn bytes<'a>(
        &self,
        whole: impl Iterator<Item = &'a Files>,
        others: impl Iterator<Item = &'a Files>,
    ) -> u64 {
        let others = others.flat_map(|files| &files.0);
        let others = others.filter(|(inode, _)| self.0.contains(inode));
        let all: BTreeMap<_, _> = whole.flat_map(|files| &files.0).chain(others).collect();
        sum(all.into_iter())
    }
}

fn sum<'a>(files: impl Iterator<Item = (&'a Inode, &'a u64)>) -> u64 {
    files.map(|(_, bytes)| bytes).sum()
}
