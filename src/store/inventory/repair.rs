//! What only a repair does to the inventory.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior};
use uuid::Uuid;

use super::{Change, Inventory, uuid};
use crate::store::name::Name;

impl Inventory {
    /// As [`change`](Inventory::change), and the inventory can be read meanwhile: it stays as it is
    /// read.
    ///
    /// # Errors
    /// Another process has been writing for a minute, or it cannot be written at all.
    pub fn hold(&self) -> Result<Change<'_>> {
        let tx = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate);
        Ok(Change::new(tx.context("cannot write the inventory")?))
    }

    /// Closes an inventory nobody else has open, with all of it in its one file, durable.
    ///
    /// # Errors
    /// The filesystem refuses.
    pub fn seal(self) -> Result<()> {
        self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        let path = self.db.path().map(PathBuf::from).context("it is no file")?;
        drop(self.db);
        for suffix in ["-wal", "-shm"] {
            let mut name = OsString::from(&path);
            name.push(suffix);
            match fs::remove_file(&name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        fs::File::open(&path)?.sync_all().context("cannot sync the inventory")
    }
}

impl Change<'_> {
    /// The base of the image with this digest.
    ///
    /// # Errors
    /// There is no such image, or the database cannot be read.
    pub fn base_of(&self, digest: &str) -> Result<Uuid> {
        let sql = "SELECT uuid FROM layer JOIN image ON base = layer.id WHERE digest = ?1";
        Ok(self.tx.query_row(sql, [digest], |row| uuid(row, 0))?)
    }

    /// Whether a VM has a snapshot of this name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn has_snapshot(&self, vm: &str, name: &Name) -> Result<bool> {
        let sql = "SELECT 1 FROM snapshot WHERE vm = ?1 AND name = ?2";
        let found = self.tx.query_row(sql, (vm, name.as_str()), |_| Ok(())).optional()?;
        Ok(found.is_some())
    }

    /// Forgets whose a frozen layer is; the layer itself stays.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn forget_snapshot(&self, layer: Uuid) -> Result<()> {
        let sql = "DELETE FROM snapshot WHERE layer = (SELECT id FROM layer WHERE uuid = ?1)";
        self.tx.execute(sql, [layer.to_string()])?;
        Ok(())
    }
}
