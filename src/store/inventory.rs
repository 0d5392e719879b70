//! The inventory: an SQLite index of names, parents, notes and labels.
//!
//! The files of the store are the truth; a row says no more than they do, so that it can be made
//! again from them. A row is inserted after its files are durable, and the foreign keys refuse to
//! delete a parent that is in use.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior};
use serde::Serialize;
use uuid::Uuid;

use super::image;
use super::name::Name;
use super::time::Timestamp;
use super::vm;
use crate::failure::{Code, Failure};

/// The `user_version` of the schema this program knows.
const VERSION: i64 = 1;
const SCHEMA: &str = include_str!("schema.sql");

/// How long a command waits for another's transaction. Cloning a thousand VMs in one takes a
/// second or two.
const PATIENCE: Duration = Duration::from_secs(60);

/// A log of more bytes than this is copied into the database.
const LONG_LOG: u64 = 256 << 10;

/// The open database.
pub struct Inventory {
    db: Connection,
    /// The write-ahead log beside it.
    log: PathBuf,
}

/// An image's row. The keys are stable.
#[derive(Serialize)]
pub struct ImageRow {
    /// Given at import.
    pub name: Name,
    /// Names its directory.
    pub digest: String,
    /// Of its disk, bytes.
    pub size: u64,
    /// When it was imported.
    pub created: Timestamp,
    /// How many VMs stand on it.
    pub clones: u64,
}

/// A VM's row.
pub struct VmRow {
    /// Names its directory.
    pub id: String,
    /// Given when it was cloned.
    pub name: Name,
    /// The name of the image it stands on.
    pub image: Name,
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
}

impl Inventory {
    /// Opens an inventory that exists.
    ///
    /// # Errors
    /// There is none, it is damaged, or it is of a newer version.
    pub fn open(path: &Path) -> Result<Inventory> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(PATIENCE)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
        // The last process to leave would otherwise copy the log into the database and delete it,
        // with several syncs; a command is too short for that. `tidy` does it now and then.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        db.execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = NORMAL")?;
        check_version(&db, path)?;
        Ok(Inventory { db, log: path.with_extension("db-wal") })
    }

    /// Makes all changes so far durable. A change is atomic without it, and its files are; what a
    /// power failure takes is the row, and only of what nobody has used yet: a start syncs.
    ///
    /// # Errors
    /// The filesystem refuses.
    pub fn sync(&self) -> Result<()> {
        match File::open(&self.log).and_then(|log| log.sync_data()) {
            // Nothing was changed since the log was last taken away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.with_context(|| format!("cannot sync {}", self.log.display())),
        }
    }

    /// Copies the log into the database once it is long: every command reads all of it. Where
    /// others are using the database, they do it later.
    fn tidy(&self) {
        let length = self.log.metadata().map_or(0, |log| log.len());
        if length <= LONG_LOG {
            return;
        }
        let checkpoint = || {
            self.db.busy_timeout(Duration::ZERO)?;
            self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            self.db.busy_timeout(PATIENCE)
        };
        if let Err(error) = checkpoint() {
            log::debug!("the inventory's log stays long: {error}");
        }
    }

    /// Makes an empty inventory at `path`, by way of the file `draft`, so that it appears whole.
    /// Any number of processes may do so at once: one of them wins.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(path: &Path, draft: &Path) -> Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let db = Connection::open_with_flags(draft, flags)?;
        db.execute_batch(SCHEMA)?;
        db.pragma_update(None, "journal_mode", "wal")?;
        drop(db);
        let linked = fs::hard_link(draft, path);
        fs::remove_file(draft)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Starts a change. Others may read meanwhile, and wait to write.
    ///
    /// # Errors
    /// Another process has been writing for a minute.
    pub fn change(&mut self) -> Result<Change<'_>> {
        self.tidy();
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate);
        Ok(Change { tx: tx.context("cannot write the inventory")? })
    }

    /// As [`Change::refuse_taken`], to know before long work; only a change can be sure.
    ///
    /// # Errors
    /// The name is taken, or the database cannot be read.
    pub fn refuse_taken(&self, name: &Name) -> Result<()> {
        refuse_taken(&self.db, std::slice::from_ref(name))
    }

    /// What is wrong with the database itself, if anything.
    ///
    /// # Errors
    /// It cannot be read at all.
    pub fn check(&self) -> Result<Option<String>> {
        let verdict: String = self.db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok((verdict != "ok").then_some(verdict))
    }

    /// The digest that names an image's directory.
    ///
    /// # Errors
    /// The database cannot be read. That there is no such image is `None`.
    pub fn image(&self, name: &Name) -> Result<Option<String>> {
        let sql = "SELECT digest FROM image WHERE name = ?1";
        Ok(self.db.query_row(sql, [name.as_str()], |row| row.get(0)).optional()?)
    }

    /// The id that names a VM's directory.
    ///
    /// # Errors
    /// The database cannot be read. That there is no such VM is `None`.
    pub fn vm(&self, name: &Name) -> Result<Option<String>> {
        let sql = "SELECT id FROM vm WHERE name = ?1";
        Ok(self.db.query_row(sql, [name.as_str()], |row| row.get(0)).optional()?)
    }

    /// All images, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn images(&self) -> Result<Vec<ImageRow>> {
        let sql = "SELECT image.name, digest, layer.size, image.created, count(vm.id)
                   FROM image JOIN layer ON layer.id = image.base
                   LEFT JOIN vm ON vm.image = image.id
                   GROUP BY image.id ORDER BY image.name";
        let mut query = self.db.prepare(sql)?;
        let rows = query.query_map([], |row| {
            Ok(ImageRow {
                name: name(row, 0)?,
                digest: row.get(1)?,
                size: unsigned(row, 2)?,
                created: Timestamp::from_millis(row.get(3)?),
                clones: unsigned(row, 4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// All VMs, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn vms(&self) -> Result<Vec<VmRow>> {
        let sql = "SELECT vm.id, vm.name, image.name, cpus, memory_mib, notes, vm.created
                   FROM vm JOIN image ON image.id = vm.image ORDER BY vm.name";
        let mut labels = self.labels()?;
        let mut query = self.db.prepare(sql)?;
        let rows = query.query_map([], |row| {
            let id: String = row.get(0)?;
            Ok(VmRow {
                labels: labels.remove(&id).unwrap_or_default(),
                id,
                name: name(row, 1)?,
                image: name(row, 2)?,
                cpus: row.get(3)?,
                memory_mib: unsigned(row, 4)?,
                notes: row.get(5)?,
                created: Timestamp::from_millis(row.get(6)?),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn labels(&self) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        let mut labels: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut query = self.db.prepare("SELECT vm, key, value FROM label")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            labels.entry(row.get(0)?).or_default().insert(row.get(1)?, row.get(2)?);
        }
        Ok(labels)
    }
}

/// A change under way; dropped without [`commit`](Change::commit) it never happened.
pub struct Change<'a> {
    tx: Transaction<'a>,
}

impl Change<'_> {
    /// Refuses names that an image or a VM already has: `clone NAME` must mean one thing.
    ///
    /// # Errors
    /// One is taken, or the database cannot be read.
    pub fn refuse_taken(&self, names: &[Name]) -> Result<()> {
        refuse_taken(&self.tx, names)
    }

    /// The next `count` free names `prefix-1`, `prefix-2`, ...; numbers below one in use are
    /// not used again.
    ///
    /// # Errors
    /// The database cannot be read, or the names come out too long.
    pub fn next_names(&self, prefix: &Name, count: u32) -> Result<Vec<Name>> {
        // '.' follows '-' in ASCII, so this is the range of everything that starts with `prefix-`.
        let sql = "SELECT name FROM vm WHERE name > ?1 || '-' AND name < ?1 || '.'
                   UNION ALL SELECT name FROM image WHERE name > ?1 || '-' AND name < ?1 || '.'";
        let mut query = self.tx.prepare(sql)?;
        let mut rows = query.query([prefix.as_str()])?;
        let mut last = 0_u32;
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            let number = name.get(prefix.as_str().len() + 1..).and_then(|n| n.parse().ok());
            last = last.max(number.unwrap_or(0));
        }
        let end = last.checked_add(count).context("the numbers of its clones are used up")?;
        (last + 1..=end).map(|n| Ok(format!("{prefix}-{n}").parse()?)).collect()
    }

    /// The name of the image with this digest.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn image_with(&self, digest: &str) -> Result<Option<String>> {
        let sql = "SELECT name FROM image WHERE digest = ?1";
        Ok(self.tx.query_row(sql, [digest], |row| row.get(0)).optional()?)
    }

    /// Adds an image.
    ///
    /// # Errors
    /// Its name or digest is taken, or the database cannot be written.
    pub fn insert_image(&self, image: &image::Record) -> Result<()> {
        let base = &image.base;
        self.tx.execute(
            "INSERT INTO layer (uuid, size) VALUES (?1, ?2)",
            (base.uuid.to_string(), signed(base.size)?),
        )?;
        self.tx.execute(
            "INSERT INTO image (name, digest, base, created) VALUES (?1, ?2, ?3, ?4)",
            (
                image.name.as_str(),
                image.digest.as_str(),
                self.tx.last_insert_rowid(),
                image.created.millis(),
            ),
        )?;
        Ok(())
    }

    /// Adds VMs, each with its delta's uuid, to the image named in them.
    ///
    /// # Errors
    /// The image is gone, a name is taken, or the database cannot be written.
    pub fn insert_vms<'a>(
        &self,
        vms: impl IntoIterator<Item = (&'a vm::Record, Uuid)>,
    ) -> Result<()> {
        let mut layer = self.tx.prepare(
            "INSERT INTO layer (uuid, parent, size)
             SELECT ?1, base, ?2 FROM image WHERE digest = ?3",
        )?;
        let mut row = self.tx.prepare(
            "INSERT INTO vm (id, name, image, layer, cpus, memory_mib, notes, created)
             SELECT ?1, ?2, id, ?3, ?4, ?5, ?6, ?7 FROM image WHERE digest = ?8",
        )?;
        for (vm, delta) in vms {
            let added = layer.execute((delta.to_string(), signed(vm.disk_size)?, &vm.image))?;
            anyhow::ensure!(added == 1, Failure::not_found("its image was removed meanwhile"));
            row.execute((
                vm.id(),
                vm.name.as_str(),
                self.tx.last_insert_rowid(),
                vm.cpus,
                signed(vm.memory_mib)?,
                &vm.notes,
                vm.created.millis(),
                &vm.image,
            ))?;
            for (key, value) in &vm.labels {
                let sql = "INSERT INTO label (vm, key, value) VALUES (?1, ?2, ?3)";
                self.tx.execute(sql, (vm.id(), key, value))?;
            }
        }
        Ok(())
    }

    /// Takes an image out.
    ///
    /// # Errors
    /// VMs stand on it: they are named. Or the database cannot be written.
    pub fn delete_image(&self, name: &Name) -> Result<()> {
        let dependents = self.dependents(name)?;
        if !dependents.is_empty() {
            let list = dependents.join(", ");
            return Err(Failure::in_use(format!("these VMs stand on it: {list}"))
                .hint(format!("offshoot rm {}", dependents.join(" ")))
                .into());
        }
        let sql = "DELETE FROM image WHERE name = ?1 RETURNING base";
        let base: Option<i64> =
            self.tx.query_row(sql, [name.as_str()], |row| row.get(0)).optional()?;
        self.tx.execute("DELETE FROM layer WHERE id = ?1", [base])?;
        Ok(())
    }

    fn dependents(&self, image: &Name) -> Result<Vec<String>> {
        let sql = "SELECT vm.name FROM vm JOIN image ON image.id = vm.image
                   WHERE image.name = ?1 ORDER BY vm.name";
        let mut query = self.tx.prepare(sql)?;
        let names = query.query_map([image.as_str()], |row| row.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// Takes a VM out, with its labels.
    ///
    /// # Errors
    /// Others stand on its layer, or the database cannot be written.
    pub fn delete_vm(&self, id: &str) -> Result<()> {
        let sql = "DELETE FROM vm WHERE id = ?1 RETURNING layer";
        let layer: Option<i64> = self.tx.query_row(sql, [id], |row| row.get(0)).optional()?;
        self.tx.execute("DELETE FROM layer WHERE id = ?1", [layer])?;
        Ok(())
    }

    /// Makes it happen: for every process from now on, and durably after [`Inventory::sync`].
    ///
    /// # Errors
    /// The database cannot be written; nothing happened then.
    pub fn commit(self) -> Result<()> {
        self.tx.commit().context("cannot write the inventory")
    }
}

fn check_version(db: &Connection, path: &Path) -> Result<()> {
    let found: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found == VERSION {
        return Ok(());
    }
    let known = format!("{} is of version {found}; this program knows {VERSION}", path.display());
    Err(Failure::new(Code::Failed, known).hint("a newer offshoot, or another --root").into())
}

fn refuse_taken(db: &Connection, names: &[Name]) -> Result<()> {
    let sql = "SELECT 'an image' FROM image WHERE name = ?1
               UNION ALL SELECT 'a VM' FROM vm WHERE name = ?1";
    let mut query = db.prepare(sql)?;
    for name in names {
        let taken: Option<String> =
            query.query_row([name.as_str()], |row| row.get(0)).optional()?;
        if let Some(by) = taken {
            return Err(Failure::in_use(format!("the name {name} is taken by {by}")).into());
        }
    }
    Ok(())
}

fn name(row: &Row<'_>, column: usize) -> rusqlite::Result<Name> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            Box::<Failure>::new(error),
        )
    })
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

fn signed(value: u64) -> Result<i64> {
    i64::try_from(value).context("the number is too large for the inventory")
}

#[cfg(test)]
mod tests;
