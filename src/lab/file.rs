//! A lab's file, checked: what its clones are to be, and in which order they start. docs/labs.md.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf, absolute};

use anyhow::{Context, Result};
use customize::Spec;
use rustix::fs::FlockOperation;
use toml::Spanned;

use super::place::Source;
use super::raw::{Plain, Text};
use super::{GROUP, LAB, order, raw};
use crate::failure::Failure;
use crate::store::Name;
use crate::store::clone::{CloneRequest, Names};
use crate::store::customize::load_spec;
use crate::store::name::Pattern;
use crate::store::vm::Boot;

/// The longest file, bytes.
const LONGEST: u64 = 1 << 20;
/// The most clones.
const MOST: usize = 10_000;

/// What a lab is to be.
pub struct Lab {
    /// Its name.
    pub name: Name,
    /// In the order of the file.
    pub groups: Vec<Group>,
    /// Which groups are started together, the first ones first.
    pub stages: Vec<Vec<usize>>,
    /// Held while something is done to the lab.
    lock: File,
}

/// Clones that are alike.
pub struct Group {
    /// Its name.
    pub name: Name,
    /// What they are.
    pub request: CloneRequest,
    /// What they are called; their numbers count from 1.
    pub names: Vec<Name>,
    /// Whether they are started.
    pub start: bool,
    /// Groups that run before.
    pub after: Vec<usize>,
}

impl Lab {
    /// Reads a lab's file.
    ///
    /// # Errors
    /// It is not there, or what it says makes no lab: where, and why.
    pub fn read(path: &Path) -> Result<Lab> {
        let missing = |error| {
            Failure::not_found(format!("cannot open {}: {error}", path.display()))
                .hint("offshoot lab ... -f FILE; docs/labs.md says what a lab's file holds")
        };
        let mut file = File::open(path).map_err(missing)?;
        let mut text = String::new();
        let read = (&mut file).take(LONGEST + 1).read_to_string(&mut text);
        let length = read.with_context(|| format!("cannot read {}", path.display()))?;
        if length as u64 > LONGEST {
            let what = format!("{} is longer than {LONGEST} bytes", path.display());
            return Err(Failure::usage(what).into());
        }
        parse(&Source { path, text: &text }, file)
    }

    /// Waits until no other command is at work with this file, and keeps others waiting until the
    /// end of the process.
    ///
    /// # Errors
    /// The filesystem knows no locks.
    pub fn lock(&self) -> Result<()> {
        rustix::io::retry_on_intr(|| rustix::fs::flock(&self.lock, FlockOperation::LockExclusive))
            .context("cannot lock the lab's file")
    }

    /// All clones, with the number of their group.
    pub fn clones(&self) -> impl Iterator<Item = (usize, &Name)> {
        let groups = self.groups.iter().enumerate();
        groups.flat_map(|(number, group)| group.names.iter().map(move |name| (number, name)))
    }
}

fn parse(source: &Source<'_>, lock: File) -> Result<Lab> {
    let raw: raw::File = toml::from_str(source.text).map_err(|error| source.not_toml(&error))?;
    let mut tables: Vec<_> = raw.groups.into_iter().collect();
    tables.sort_by_key(|(name, _)| name.span().start);
    let numbers: BTreeMap<Name, usize> =
        tables.iter().enumerate().map(|(n, (name, _))| (name.get_ref().clone(), n)).collect();
    let mut reader = Reader { source, lab: &raw.name, numbers, taken: BTreeMap::new() };
    let mut groups = Vec::new();
    let mut waits = Vec::new();
    for (name, table) in tables {
        waits.push(table.after.clone());
        groups.push(reader.group(name, table)?);
    }
    let after: Vec<_> = groups.iter().map(|group| group.after.clone()).collect();
    let stages = order::stages(&after).map_err(|way| {
        let names: Vec<_> = way.iter().map(|&group| groups[group].name.as_str()).collect();
        let what = format!("these groups wait for each other: {}", names.join(" after "));
        let first = way.first().and_then(|&group| waits[group].first());
        source.wrong(&first.map_or(0..0, Spanned::span), what)
    })?;
    Ok(Lab { name: raw.name, groups, stages, lock })
}

/// What is known while a file's groups are read one after the other.
struct Reader<'a> {
    source: &'a Source<'a>,
    lab: &'a Name,
    numbers: BTreeMap<Name, usize>,
    /// Names of clones, and the group that has each.
    taken: BTreeMap<Name, Name>,
}

impl Reader<'_> {
    fn group(&mut self, name: Spanned<Name>, table: raw::Group) -> Result<Group> {
        let names = self.names(&name, &table)?;
        let after = table.after.iter().map(|name| self.number(name)).collect::<Result<_>>()?;
        let name = name.into_inner();
        let request = CloneRequest {
            source: table.source.0,
            names: Names::Given(Vec::new()),
            cpus: table.cpus.map(|cpus| cpus.0),
            memory_mib: table.memory.map(|memory| memory.0.0),
            disk_size: table.disk_size.map(|size| size.0.0),
            boot: Boot {
                kernel: table.kernel.map(|path| self.present(&path)).transpose()?,
                initrd: table.initrd.map(|path| self.present(&path)).transpose()?,
                cmdline: table.cmdline.map(|text| text.0.0),
            },
            notes: table.notes.map(|text| text.0.0).unwrap_or_default(),
            labels: self.labels(&name, table.labels)?,
            spec: table.spec.map(|path| self.spec(&path)).transpose()?,
            ephemeral: table.ephemeral,
            delta_dir: table.delta_dir.map(|dir| self.directory(&dir)).transpose()?,
            keep_identity: false,
        };
        Ok(Group { name, request, names, start: table.start.unwrap_or(true), after })
    }

    fn number(&self, name: &Spanned<Name>) -> Result<usize> {
        let known = self.numbers.get(name.get_ref()).copied();
        let unknown = || {
            let what = format!("there is no group {}", name.get_ref());
            self.source.wrong(&name.span(), what)
        };
        Ok(known.ok_or_else(unknown)?)
    }

    /// What a group's clones are called.
    fn names(&mut self, group: &Spanned<Name>, table: &raw::Group) -> Result<Vec<Name>> {
        let place = table.names.as_ref().map_or(group.span(), Spanned::span);
        let wrong = |what: &dyn std::fmt::Display| self.source.wrong(&place, what);
        let usual = || format!("{}-{}", self.lab, group.get_ref()).parse::<Pattern>();
        let pattern = match &table.names {
            Some(names) => names.get_ref().0.clone(),
            None => usual().map_err(|error| wrong(&error))?,
        };
        let count = table.count.as_ref().map(|count| u32::from(count.get_ref().0));
        let names = pattern.expand(count).map_err(|error| wrong(&error))?;
        for name in &names {
            if let Some(other) = self.taken.insert(name.clone(), group.get_ref().clone()) {
                let what = format!("a clone of group {other} is called {name}, too");
                return Err(wrong(&what).into());
            }
        }
        if self.taken.len() > MOST {
            return Err(wrong(&format!("these are more than {MOST} clones")).into());
        }
        Ok(names)
    }

    fn labels(
        &self,
        group: &Name,
        given: BTreeMap<Spanned<Text<Plain>>, Text<Plain>>,
    ) -> Result<BTreeMap<String, String>> {
        let mut labels = BTreeMap::new();
        for (key, value) in given {
            let what = match key.get_ref().0.0.as_str() {
                "" => "a label needs a key".to_owned(),
                key if key.contains('=') => "no label's key holds a '='".to_owned(),
                own @ (LAB | GROUP) => format!("every clone of a lab has a label {own} already"),
                _ => {
                    labels.insert(key.into_inner().0.0, value.0.0);
                    continue;
                }
            };
            return Err(self.source.wrong(&key.span(), what).into());
        }
        labels.insert(LAB.into(), self.lab.to_string());
        labels.insert(GROUP.into(), group.to_string());
        Ok(labels)
    }

    /// What the guests are told.
    fn spec(&self, path: &Spanned<PathBuf>) -> Result<Spec> {
        let wrong = |error| self.source.wrong(&path.span(), crate::failure::text(&error));
        Ok(load_spec(&self.present(path)?).map_err(wrong)?)
    }

    /// What a path means that is relative to the lab's file.
    fn beside(&self, path: &Path) -> PathBuf {
        self.source.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// A directory, which need not be there yet.
    fn directory(&self, path: &Spanned<PathBuf>) -> Result<PathBuf> {
        let wrong = |error| self.source.wrong(&path.span(), format!("cannot use it: {error}"));
        Ok(absolute(self.beside(path.get_ref())).map_err(wrong)?)
    }

    /// A file beside the lab's, by a path that holds wherever a clone is started from.
    fn present(&self, path: &Spanned<PathBuf>) -> Result<PathBuf> {
        let full = self.beside(path.get_ref());
        let found = full.canonicalize().map_err(|error| error.to_string());
        let found = match found {
            Ok(found) if found.is_file() => return Ok(found),
            Ok(_) => "it is not a file".to_owned(),
            Err(error) => error,
        };
        let what = format!("cannot use {}: {found}", full.display());
        Err(self.source.wrong(&path.span(), what).into())
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
