//! Changing the inventory: all of a change, or nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use customize::Mac;
use rusqlite::{OptionalExtension, Transaction};
use uuid::Uuid;

use super::{refuse_taken, signed};
use crate::failure::{self, Failure};
use crate::store::image;
use crate::store::name::Name;
use crate::store::vm;

/// A change under way; dropped without [`commit`](Change::commit) it never happened.
pub struct Change<'a> {
    pub(super) tx: Transaction<'a>,
}

/// A VM to be known from now on.
pub struct NewVm<'a> {
    /// Its record.
    pub record: &'a vm::Record,
    /// Its delta.
    pub delta: Uuid,
    /// What that stands on; nothing where it needs nothing.
    pub parent: Option<Uuid>,
}

impl<'a> Change<'a> {
    pub(super) fn new(tx: Transaction<'a>) -> Change<'a> {
        Change { tx }
    }

    /// Refuses names that an image or a VM already has: `clone NAME` must mean one thing.
    ///
    /// # Errors
    /// One is taken, or the database cannot be read.
    pub fn refuse_taken<'n>(&self, names: impl IntoIterator<Item = &'n Name>) -> Result<()> {
        refuse_taken(&self.tx, names)
    }

    /// The next `count` free names `prefix-1`, `prefix-2`, ...; numbers below a VM's are not used
    /// again. An image that happens to be called so is passed over.
    ///
    /// # Errors
    /// The database cannot be read, or the names come out too long.
    pub fn next_names(&self, prefix: &Name, count: u32) -> Result<Vec<Name>> {
        let last = self.numbers("vm", prefix)?.last().copied().unwrap_or(0);
        let images = self.numbers("image", prefix)?;
        let free = (last..=u32::MAX).skip(1).filter(|number| !images.contains(number));
        let names = free.zip(0..count).map(|(number, _)| Ok(format!("{prefix}-{number}").parse()?));
        let names: Vec<Name> = names.collect::<Result<_>>()?;
        ensure!(names.len() as u64 == u64::from(count), "the numbers of its clones are used up");
        Ok(names)
    }

    /// The numbers behind `prefix-` in the names of a table.
    fn numbers(&self, table: &str, prefix: &Name) -> Result<BTreeSet<u32>> {
        // '.' follows '-' in ASCII, so this is the range of everything that starts with `prefix-`.
        let sql = format!("SELECT name FROM {table} WHERE name > ?1 || '-' AND name < ?1 || '.'");
        let mut query = self.tx.prepare(&sql)?;
        let names = query.query_map([prefix.as_str()], |row| row.get::<_, String>(0))?;
        let number = |name: String| name.get(prefix.as_str().len() + 1..)?.parse().ok();
        let numbers = names.filter_map(|name| name.map(number).transpose());
        Ok(numbers.collect::<Result<_, _>>()?)
    }

    /// Whether a VM has this network address.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn has_mac(&self, mac: Mac) -> Result<bool> {
        let mut query = self.tx.prepare("SELECT 1 FROM vm WHERE mac = ?1")?;
        Ok(query.exists([mac.to_string()])?)
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
            "INSERT INTO image (name, digest, base, created, notes, protected)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (
                image.name.as_str(),
                image.digest.as_str(),
                self.tx.last_insert_rowid(),
                image.created.millis(),
                &image.notes,
                image.protected,
            ),
        )?;
        Ok(())
    }

    /// Adds VMs.
    ///
    /// # Errors
    /// What one stands on is gone, a name is taken, or the database cannot be written.
    pub fn insert_vms<'v>(&self, vms: impl IntoIterator<Item = NewVm<'v>>) -> Result<()> {
        let mut layer = self.tx.prepare(
            "INSERT INTO layer (uuid, parent, size)
             SELECT ?1, parent.id, ?2
             FROM (SELECT ?3 AS uuid) AS wanted LEFT JOIN layer AS parent USING (uuid)
             WHERE wanted.uuid IS NULL OR parent.id IS NOT NULL",
        )?;
        let mut row = self.tx.prepare(
            "INSERT INTO vm (id, name, image, layer, cpus, memory_mib, notes, created, protected, mac)
             SELECT ?1, ?2, image.id, ?3, ?4, ?5, ?6, ?7, ?9, ?10
             FROM (SELECT ?8 AS digest) AS wanted LEFT JOIN image USING (digest)
             WHERE wanted.digest IS NULL OR image.id IS NOT NULL",
        )?;
        for NewVm { record: vm, delta, parent } in vms {
            let gone = || Failure::not_found("what it is a clone of was removed meanwhile");
            let size = signed(vm.disk_size)?;
            let added = layer.execute((
                delta.to_string(),
                size,
                parent.map(|parent| parent.to_string()),
            ))?;
            anyhow::ensure!(added == 1, gone());
            let added = row.execute((
                vm.id(),
                vm.name.as_str(),
                self.tx.last_insert_rowid(),
                vm.cpus,
                signed(vm.memory_mib)?,
                &vm.notes,
                vm.created.millis(),
                &vm.image,
                vm.protected,
                vm.identity().mac.to_string(),
            ))?;
            anyhow::ensure!(added == 1, gone());
            self.insert_labels(&vm.id(), &vm.labels)?;
        }
        Ok(())
    }

    /// Adds labels to a VM.
    pub(super) fn insert_labels(&self, vm: &str, labels: &BTreeMap<String, String>) -> Result<()> {
        let sql = "INSERT INTO label (vm, key, value) VALUES (?1, ?2, ?3)";
        for (key, value) in labels {
            self.tx.execute(sql, (vm, key, value))?;
        }
        Ok(())
    }

    /// Takes an image out.
    ///
    /// # Errors
    /// VMs or layers stand on it: they are named. Or the database cannot be written.
    pub fn delete_image(&self, name: &Name) -> Result<()> {
        let dependents = self.dependents(name)?;
        if !dependents.is_empty() {
            let what = format!("these VMs stand on it: {}", failure::few(&dependents));
            let hint = match dependents.len() {
                ..=failure::FEW => format!("offshoot rm {}", dependents.join(" ")),
                _ => format!("offshoot tree {name} lists them"),
            };
            let all = format!("offshoot rm --cascade {name}");
            return Err(Failure::in_use(what).hint(hint).or_hint(all).into());
        }
        self.refuse_layers_on(name)?;
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

    /// Makes it happen: for every process from now on, and durably after [`Inventory::sync`](super::Inventory::sync).
    ///
    /// # Errors
    /// The database cannot be written; nothing happened then.
    pub fn commit(self) -> Result<()> {
        self.tx.commit().context("cannot write the inventory")
    }
}
