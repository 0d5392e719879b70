//! What stands behind a name, and what people say about it.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::unknown::no_image_or_vm;
use super::{Change, Inventory, digest, id, uuid};
use crate::store::edit::Description;
use crate::store::name::Name;

/// An image or a VM, as its directory is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// By its digest.
    Image(String),
    /// By its id.
    Vm(String),
}

impl Inventory {
    /// What stands behind a name.
    ///
    /// # Errors
    /// Nothing does, or the database cannot be read.
    pub fn find(&self, name: &Name) -> Result<Place> {
        find(&self.db, name)
    }

    /// Whether it was last known to be protected; not where it is unknown.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn is_protected(&self, place: &Place) -> Result<bool> {
        is_protected(&self.db, place)
    }
}

impl Change<'_> {
    /// As [`Inventory::find`].
    ///
    /// # Errors
    /// As [`Inventory::find`].
    pub fn find(&self, name: &Name) -> Result<Place> {
        find(&self.tx, name)
    }

    /// As [`Inventory::is_protected`].
    ///
    /// # Errors
    /// As [`Inventory::is_protected`].
    pub fn is_protected(&self, place: &Place) -> Result<bool> {
        is_protected(&self.tx, place)
    }

    /// Records what people say about an image or a VM.
    ///
    /// # Errors
    /// The name is taken, or the database cannot be written.
    pub fn describe(&self, place: &Place, about: &Description) -> Result<()> {
        let Description { name, notes, labels, protected } = about;
        let values = |key| (key, name.as_str().to_owned(), notes.clone(), *protected);
        match place {
            Place::Image(digest) => {
                let sql =
                    "UPDATE image SET name = ?2, notes = ?3, protected = ?4 WHERE digest = ?1";
                self.tx.execute(sql, values(digest))?;
            }
            Place::Vm(id) => {
                let sql = "UPDATE vm SET name = ?2, notes = ?3, protected = ?4 WHERE id = ?1";
                self.tx.execute(sql, values(id))?;
                self.tx.execute("DELETE FROM label WHERE vm = ?1", [id])?;
                self.insert_labels(id, labels)?;
            }
        }
        Ok(())
    }

    /// Records whether it is protected, and nothing else.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn set_protected(&self, place: &Place, protected: bool) -> Result<()> {
        let (sql, key) = match place {
            Place::Image(digest) => ("UPDATE image SET protected = ?2 WHERE digest = ?1", digest),
            Place::Vm(id) => ("UPDATE vm SET protected = ?2 WHERE id = ?1", id),
        };
        self.tx.execute(sql, (key, protected))?;
        Ok(())
    }

    /// Records what the VM that frozen layers belong to is called now, and returns these layers.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn set_origin(&self, vm: &str, name: &Name) -> Result<Vec<Uuid>> {
        let sql = "UPDATE snapshot SET origin = ?2 WHERE vm = ?1";
        self.tx.execute(sql, (vm, name.as_str()))?;
        let sql = "SELECT uuid FROM snapshot JOIN layer ON id = layer WHERE vm = ?1";
        let mut query = self.tx.prepare(sql)?;
        let layers = query.query_map([vm], |row| uuid(row, 0))?;
        Ok(layers.collect::<Result<_, _>>()?)
    }
}

fn find(db: &Connection, name: &Name) -> Result<Place> {
    let sql = "SELECT TRUE, id FROM vm WHERE name = ?1
               UNION ALL SELECT FALSE, digest FROM image WHERE name = ?1";
    let place = |row: &rusqlite::Row<'_>| {
        Ok(if row.get(0)? { Place::Vm(id(row, 1)?) } else { Place::Image(digest(row, 1)?) })
    };
    let found = db.query_row(sql, [name.as_str()], place).optional()?;
    Ok(found.ok_or_else(|| no_image_or_vm(db, name))?)
}

fn is_protected(db: &Connection, place: &Place) -> Result<bool> {
    let (sql, key) = match place {
        Place::Image(digest) => ("SELECT protected FROM image WHERE digest = ?1", digest),
        Place::Vm(id) => ("SELECT protected FROM vm WHERE id = ?1", id),
    };
    let found: Option<bool> = db.query_row(sql, [key], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(false))
}
