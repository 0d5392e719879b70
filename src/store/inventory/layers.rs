//! The frozen layers in the inventory, and which layer stands on which.

use anyhow::Result;
use rusqlite::{OptionalExtension, Row};
use uuid::Uuid;

use super::{
    Change, Inventory, digest, maybe_id, maybe_name, maybe_uuid, name, signed, unsigned, uuid,
};
use crate::failure::{self, Failure};
use crate::store::layer;
use crate::store::name::Name;
use crate::store::time::Timestamp;

/// A frozen layer's row.
#[derive(Clone, Debug)]
pub struct LayerRow {
    /// Names its directory.
    pub uuid: Uuid,
    /// What it stands on, unless it needs nothing.
    pub parent: Option<Uuid>,
    /// Of its disk, bytes.
    pub size: u64,
    /// The id of the VM it belongs to, while there is one.
    pub vm: Option<String>,
    /// What that VM is or was called.
    pub origin: Name,
    /// What it is called; nothing where it was frozen for a clone.
    pub name: Option<Name>,
    /// What people wrote about it.
    pub notes: String,
    /// When it was frozen.
    pub created: Timestamp,
}

/// A layer and what it stands on.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The layer.
    pub uuid: Uuid,
    /// What is below; nothing where it needs nothing.
    pub parent: Option<Uuid>,
    /// Of its disk, bytes.
    pub size: u64,
}

const COLUMNS: &str =
    "SELECT layer.uuid, below.uuid, layer.size, snapshot.vm, origin, name, notes, created
     FROM snapshot JOIN layer ON layer.id = snapshot.layer
     LEFT JOIN layer AS below ON below.id = layer.parent";

impl Inventory {
    /// All frozen layers, the oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn layers(&self) -> Result<Vec<LayerRow>> {
        let mut query = self.db.prepare(&format!("{COLUMNS} ORDER BY created, layer.id"))?;
        let rows = query.query_map([], layer_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The snapshot of this name of the VM `vm`.
    ///
    /// # Errors
    /// The database cannot be read. That there is none is `None`.
    pub fn snapshot(&self, vm: &str, name: &Name) -> Result<Option<LayerRow>> {
        let sql = format!("{COLUMNS} WHERE snapshot.vm = ?1 AND name = ?2");
        Ok(self.db.query_row(&sql, (vm, name.as_str()), layer_row).optional()?)
    }

    /// The delta the VM `vm` was last known to have.
    ///
    /// # Errors
    /// There is no such VM, or the database cannot be read.
    pub fn top(&self, vm: &str) -> Result<Uuid> {
        let sql = "SELECT uuid FROM layer JOIN vm ON vm.layer = layer.id WHERE vm.id = ?1";
        Ok(self.db.query_row(sql, [vm], |row| uuid(row, 0))?)
    }

    /// What the delta of the VM `vm` stands on.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn parent(&self, vm: &str) -> Result<Option<Uuid>> {
        let sql = "SELECT below.uuid FROM vm JOIN layer ON layer.id = vm.layer
                   LEFT JOIN layer AS below ON below.id = layer.parent WHERE vm.id = ?1";
        let found = self.db.query_row(sql, [vm], |row| maybe_uuid(row, 0)).optional()?;
        Ok(found.flatten())
    }

    /// The base of the image with this digest.
    ///
    /// # Errors
    /// There is no such image, or the database cannot be read.
    pub fn base(&self, digest: &str) -> Result<Uuid> {
        let sql = "SELECT uuid FROM layer JOIN image ON base = layer.id WHERE digest = ?1";
        Ok(self.db.query_row(sql, [digest], |row| uuid(row, 0))?)
    }

    /// The digest of the image that has this base.
    ///
    /// # Errors
    /// The database cannot be read. That there is none is `None`.
    pub fn image_on(&self, base: Uuid) -> Result<Option<String>> {
        let sql = "SELECT digest FROM image JOIN layer ON layer.id = base WHERE uuid = ?1";
        Ok(self.db.query_row(sql, [base.to_string()], |row| digest(row, 0)).optional()?)
    }
}

impl Change<'_> {
    /// Records a layer, or what it stands on now.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn link(&self, link: Link) -> Result<()> {
        let parent = link.parent.map(|parent| parent.to_string());
        let sql = "INSERT INTO layer (uuid, parent, size)
                   VALUES (?1, (SELECT id FROM layer WHERE uuid = ?2), ?3)
                   ON CONFLICT (uuid) DO UPDATE SET parent = excluded.parent, size = excluded.size";
        self.tx.execute(sql, (link.uuid.to_string(), parent, signed(link.size)?))?;
        Ok(())
    }

    /// Records that a layer is frozen, unless that is known.
    ///
    /// # Errors
    /// Its VM has another snapshot of this name, or the database cannot be written.
    pub fn insert_snapshot(&self, record: &layer::Record) -> Result<()> {
        let sql = "INSERT INTO snapshot (layer, vm, origin, name, notes, created)
                   SELECT layer.id, vm.id, ?3, ?4, ?5, ?6
                   FROM layer LEFT JOIN vm ON vm.id = ?2 WHERE layer.uuid = ?1
                   ON CONFLICT (layer) DO NOTHING";
        let name = record.name.as_ref().map(Name::as_str);
        let uuid = record.uuid.to_string();
        let created = record.created.millis();
        let values = (uuid, &record.vm, record.origin.as_str(), name, &record.notes, created);
        self.tx.execute(sql, values)?;
        Ok(())
    }

    /// Takes a snapshot's name away.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn take_name(&self, layer: Uuid) -> Result<()> {
        let sql = "UPDATE snapshot SET name = NULL
                   WHERE layer = (SELECT id FROM layer WHERE uuid = ?1)";
        self.tx.execute(sql, [layer.to_string()])?;
        Ok(())
    }

    /// Records which delta a VM has, and of which image it is, if of one.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn set_top(&self, vm: &str, top: Uuid, image: Option<&str>) -> Result<()> {
        let sql = "UPDATE vm SET layer = (SELECT id FROM layer WHERE uuid = ?2),
                                 image = (SELECT id FROM image WHERE digest = ?3) WHERE id = ?1";
        self.tx.execute(sql, (vm, top.to_string(), image))?;
        Ok(())
    }

    /// Takes a layer out.
    ///
    /// # Errors
    /// Others stand on it, or the database cannot be written.
    pub fn forget(&self, layer: Uuid) -> Result<()> {
        self.tx.execute("DELETE FROM layer WHERE uuid = ?1", [layer.to_string()])?;
        Ok(())
    }

    /// Refuses to go on where frozen layers stand on an image.
    pub(super) fn refuse_layers_on(&self, image: &Name) -> Result<()> {
        let sql = "SELECT origin || '@' || coalesce(snapshot.name, layer.uuid)
                   FROM layer JOIN snapshot ON snapshot.layer = layer.id
                   JOIN image ON image.base = layer.parent WHERE image.name = ?1";
        let mut query = self.tx.prepare(sql)?;
        let layers = query.query_map([image.as_str()], |row| row.get::<_, String>(0))?;
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        if layers.is_empty() {
            return Ok(());
        }
        let what = format!("these layers stand on it: {}", failure::few(&layers));
        Err(Failure::in_use(what).hint("offshoot tree; offshoot snapshot rm").into())
    }
}

fn layer_row(row: &Row<'_>) -> rusqlite::Result<LayerRow> {
    Ok(LayerRow {
        uuid: uuid(row, 0)?,
        parent: maybe_uuid(row, 1)?,
        size: unsigned(row, 2)?,
        vm: maybe_id(row, 3)?,
        origin: name(row, 4)?,
        name: maybe_name(row, 5)?,
        notes: row.get(6)?,
        created: Timestamp::from_millis(row.get(7)?),
    })
}
