//! A stack of layers as one disk.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::Base;
use crate::{Disk, Result};

/// What a stack is made of. The store knows format and place of every layer; nothing inside a
/// layer is followed to find another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StackSpec {
    /// The image at the bottom.
    pub base: Base,
    /// The writable layer on top; without one the disk is read-only.
    pub delta: Option<PathBuf>,
}

/// How bytes are moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// io_uring where the host allows it, else synchronous with a line in the log.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// preadv and pwritev, finished inside `submit`.
    Sync,
}

/// Open layers, shared by the disks made from it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stack {}

impl Stack {
    /// Opens and locks every layer and checks that each belongs to the next.
    ///
    /// # Errors
    /// A layer is missing, damaged, locked by another process, or not the one it was.
    pub fn open(spec: &StackSpec) -> Result<Stack> {
        let _ = spec;
        todo!()
    }

    /// The disk's length in bytes, a multiple of 512.
    #[must_use]
    pub fn size(&self) -> u64 {
        todo!()
    }

    /// Whether writes are refused.
    #[must_use]
    pub fn read_only(&self) -> bool {
        todo!()
    }

    /// A disk for one queue, on this stack.
    ///
    /// # Errors
    /// The engine asked for is not to be had.
    pub fn disk(&self, engine: Engine) -> Result<Box<dyn Disk>> {
        let _ = engine;
        todo!()
    }
}
