//! Who a delta is and what it stands on, without its bitmap: what finding a chain takes.

use std::path::Path;

use uuid::Uuid;

use super::format::{Parent, State};
use super::load;
use crate::Result;
use crate::io::FileStorage;
use crate::open::unlocked;

/// The part of a delta's header that joins it to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// This delta's own.
    pub uuid: Uuid,
    /// Its content's number: others pin it with the uuid.
    pub epoch: u64,
    /// What may be done with it.
    pub state: State,
    /// The disk's length in bytes.
    pub size: u64,
    /// What it stands on.
    pub parent: Parent,
}

impl Heading {
    /// This delta as the parent of another one.
    #[must_use]
    pub fn as_parent(&self) -> Parent {
        Parent::delta(self.uuid, self.epoch, self.size)
    }
}

/// Reads the heading of the delta at `path`, without locking it; as quick for any size.
///
/// # Errors
/// It is no delta, is damaged, or is of a newer version.
pub fn heading(path: &Path) -> Result<Heading> {
    let header = load::header(&FileStorage::new(unlocked(path)?), path)?;
    Ok(Heading {
        uuid: header.uuid,
        epoch: header.epoch,
        state: header.state,
        size: header.size,
        parent: header.parent,
    })
}
