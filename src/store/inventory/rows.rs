//! What the inventory lists: images and VMs.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use uuid::Uuid;

use super::{Inventory, digest, id, maybe_name, maybe_uuid, name, unsigned, uuid};
use crate::store::name::Name;
use crate::store::time::Timestamp;

/// An image's row. The keys are stable.
#[derive(Serialize)]
pub struct ImageRow {
    /// Given at import.
    pub name: Name,
    /// Names its directory.
    pub digest: String,
    /// Its base.
    #[serde(skip)]
    pub base: Uuid,
    /// Of its disk, bytes.
    pub size: u64,
    /// When it was imported.
    pub created: Timestamp,
    /// How many VMs stand on it.
    pub clones: u64,
    /// What people wrote about it.
    pub notes: String,
    /// Whether it is kept from being removed.
    pub protected: bool,
}

/// A VM's row.
pub struct VmRow {
    /// Names its directory.
    pub id: String,
    /// Given when it was cloned.
    pub name: Name,
    /// The name of the image it was made of, unless it needs none.
    pub image: Option<Name>,
    /// The layer its delta stands on, unless that needs none.
    pub parent: Option<Uuid>,
    /// vCPUs.
    pub cpus: u16,
    /// Guest memory, MiB.
    pub memory_mib: u64,
    /// What people wrote about it.
    pub notes: String,
    /// When it was cloned.
    pub created: Timestamp,
    /// `key=value` pairs people gave it.
    pub labels: BTreeMap<String, String>,
    /// Whether it is kept from being removed or taken back.
    pub protected: bool,
}

impl Inventory {
    /// All images, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn images(&self) -> Result<Vec<ImageRow>> {
        let sql = "SELECT image.name, digest, layer.size, image.created, count(vm.id), layer.uuid,
                          image.notes, image.protected
                   FROM image JOIN layer ON layer.id = image.base
                   LEFT JOIN vm ON vm.image = image.id
                   GROUP BY image.id ORDER BY image.name";
        let mut query = self.db.prepare(sql)?;
        let rows = query.query_map([], |row| {
            Ok(ImageRow {
                name: name(row, 0)?,
                digest: digest(row, 1)?,
                size: unsigned(row, 2)?,
                created: Timestamp::from_millis(row.get(3)?),
                clones: unsigned(row, 4)?,
                base: uuid(row, 5)?,
                notes: row.get(6)?,
                protected: row.get(7)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// All VMs, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn vms(&self) -> Result<Vec<VmRow>> {
        let sql = "SELECT vm.id, vm.name, image.name, cpus, memory_mib, vm.notes, vm.created,
                          below.uuid, vm.protected
                   FROM vm LEFT JOIN image ON image.id = vm.image JOIN layer ON layer.id = vm.layer
                   LEFT JOIN layer AS below ON below.id = layer.parent
                   ORDER BY vm.name";
        let mut labels = self.labels()?;
        let mut query = self.db.prepare(sql)?;
        let rows = query.query_map([], |row| {
            let id = id(row, 0)?;
            Ok(VmRow {
                labels: labels.remove(&id).unwrap_or_default(),
                id,
                name: name(row, 1)?,
                image: maybe_name(row, 2)?,
                cpus: row.get(3)?,
                memory_mib: unsigned(row, 4)?,
                notes: row.get(5)?,
                created: Timestamp::from_millis(row.get(6)?),
                parent: maybe_uuid(row, 7)?,
                protected: row.get(8)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(super) fn labels(&self) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        let mut labels: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut query = self.db.prepare("SELECT vm, key, value FROM label")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            labels.entry(row.get(0)?).or_default().insert(row.get(1)?, row.get(2)?);
        }
        Ok(labels)
    }
}
