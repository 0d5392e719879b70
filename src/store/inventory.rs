//! The inventory: an SQLite index of names, parents, notes and labels.
//!
//! The files of the store are the truth; a row says no more than they do, so that it can be made
//! again from them. A row is inserted after its files are durable, and the foreign keys refuse to
//! delete a parent that is in use.

mod change;
mod describe;
mod layers;
mod repair;
mod rows;
mod unknown;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, TransactionBehavior};
use uuid::Uuid;

use super::name::Name;
use super::sound;
use crate::failure::{self, Code, Failure};

pub use change::{Change, NewVm};
pub use describe::Place;
pub use layers::{LayerRow, Link};
pub use rows::{ImageRow, VmRow};

/// What makes each version of the schema of the one before it: the first of nothing. Each sets
/// `user_version`.
const STEPS: [&str; 5] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
];
/// The newest version, the one this program works with.
const VERSION: usize = STEPS.len();

/// How long a command waits for another's transaction. Cloning a thousand VMs in one takes a
/// second or two.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes in a page. A change writes each page it touches, and the rows of a VM touch seven: SQLite's
/// 4096 would be mostly what others' rows were before.
const PAGE: u32 = 1024;

/// A log of more bytes than this is copied into the database.
const LONG_LOG: u64 = 64 << 10;

/// The open database.
pub struct Inventory {
    db: Connection,
    /// The write-ahead log beside it.
    log: PathBuf,
}

impl Inventory {
    /// Opens an inventory that exists.
    ///
    /// # Errors
    /// There is none, it is damaged, or it is of a newer version. One of an older version is
    /// brought up to this one.
    pub fn open(path: &Path) -> Result<Inventory> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(PATIENCE)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
        // The last process to leave would otherwise copy the log into the database and delete it,
        // with several syncs; a command is too short for that. `tidy` does it now and then.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        db.execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = NORMAL")?;
        upgrade(&mut db, path)?;
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
            let copied = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            self.db.busy_timeout(PATIENCE).and(copied)
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
        // For its owner's eyes only, wherever the store is; SQLite's other files follow it in that.
        File::options().write(true).create_new(true).mode(0o600).open(draft)?;
        let db = Connection::open_with_flags(draft, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.pragma_update(None, "page_size", PAGE)?;
        STEPS.iter().try_for_each(|step| db.execute_batch(step))?;
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
        Ok(Change::new(tx.context("cannot write the inventory")?))
    }

    /// As [`Change::refuse_taken`], to know before long work; only a change can be sure.
    ///
    /// # Errors
    /// The name is taken, or the database cannot be read.
    pub fn refuse_taken(&self, name: &Name) -> Result<()> {
        refuse_taken(&self.db, [name])
    }

    /// What is wrong with the database itself or with what its rows hold, if anything.
    ///
    /// # Errors
    /// It cannot be read at all.
    pub fn check(&self) -> Result<Option<String>> {
        let verdict: String = self.db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Ok(Some(verdict));
        }
        let rows = self.images().map(drop).and_then(|()| self.vms().map(drop));
        match rows.and_then(|()| self.layers().map(drop)) {
            Err(error) if failure::code(&error) == Code::Integrity => {
                Ok(Some(failure::text(&error)))
            }
            read => read.map(|()| None),
        }
    }

    /// The digest that names an image's directory.
    ///
    /// # Errors
    /// The database cannot be read. That there is no such image is `None`.
    pub fn image(&self, name: &Name) -> Result<Option<String>> {
        let sql = "SELECT digest FROM image WHERE name = ?1";
        Ok(self.db.query_row(sql, [name.as_str()], |row| digest(row, 0)).optional()?)
    }

    /// The id that names a VM's directory.
    ///
    /// # Errors
    /// The database cannot be read. That there is no such VM is `None`.
    pub fn vm(&self, name: &Name) -> Result<Option<String>> {
        let sql = "SELECT id FROM vm WHERE name = ?1";
        Ok(self.db.query_row(sql, [name.as_str()], |row| id(row, 0)).optional()?)
    }
}

/// Brings an inventory of an older version up to this one, all of it or not at all.
fn upgrade(db: &mut Connection, path: &Path) -> Result<()> {
    if version(db, path)? == VERSION {
        return Ok(());
    }
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have done it meanwhile.
    let found = version(&tx, path)?;
    STEPS[found..].iter().try_for_each(|step| tx.execute_batch(step))?;
    tx.commit().with_context(|| format!("cannot bring {} up to date", path.display()))
}

/// Its version, at most [`VERSION`].
fn version(db: &Connection, path: &Path) -> Result<usize> {
    let found: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if let Some(known) = usize::try_from(found).ok().filter(|found| (1..=VERSION).contains(found)) {
        return Ok(known);
    }
    let known = format!("{} is of version {found}; this program knows {VERSION}", path.display());
    Err(Failure::new(Code::Failed, known).hint("a newer offshoot, or another --root").into())
}

fn refuse_taken<'n>(db: &Connection, names: impl IntoIterator<Item = &'n Name>) -> Result<()> {
    let sql = "SELECT 'an image' FROM image WHERE name = ?1
               UNION ALL SELECT 'a VM' FROM vm WHERE name = ?1";
    let mut query = db.prepare(sql)?;
    for name in names {
        let taken: Option<String> =
            query.query_row([name.as_str()], |row| row.get(0)).optional()?;
        if let Some(by) = taken {
            let what = format!("the name {name} is taken by {by}");
            return Err(Failure::in_use(what).hint("another name, or offshoot rename").into());
        }
    }
    Ok(())
}

/// What names a VM's directory, and so becomes part of paths.
fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    checked(column, row.get(column)?, sound::id)
}

/// What names an image's directory.
fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    checked(column, row.get(column)?, sound::digest)
}

fn maybe_id(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| checked(column, text, sound::id)).transpose()
}

/// A column's text, if it is what it is to be.
fn checked(
    column: usize,
    text: String,
    check: impl Fn(&str) -> Result<(), String>,
) -> rusqlite::Result<String> {
    match check(&text) {
        Ok(()) => Ok(text),
        Err(why) => {
            let kind = rusqlite::types::Type::Text;
            Err(rusqlite::Error::FromSqlConversionFailure(column, kind, why.into()))
        }
    }
}

fn name(row: &Row<'_>, column: usize) -> rusqlite::Result<Name> {
    parse(column, &row.get::<_, String>(column)?)
}

fn uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    parse(column, &row.get::<_, String>(column)?)
}

fn maybe_uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Uuid>> {
    row.get::<_, Option<String>>(column)?.map(|text| parse(column, &text)).transpose()
}

fn maybe_name(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Name>> {
    row.get::<_, Option<String>>(column)?.map(|text| parse(column, &text)).transpose()
}

/// What a column's text stands for.
fn parse<T>(column: usize, text: &str) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    text.parse().map_err(|error: T::Err| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
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
