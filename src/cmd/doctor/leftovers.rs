//! What killed processes left behind, and where files and inventory disagree. Only listed: what
//! looks like garbage may be all that is left of somebody's work.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};

use super::Finding;
use crate::failure::{self, Code};
use crate::monitor::State;
use crate::store::{Busy, Store};

/// Looks through the whole store.
///
/// # Errors
/// A directory of it cannot be read.
pub fn find(store: &Store) -> Result<Vec<Finding>> {
    let images = store.inventory.images()?;
    let vms = store.inventory.vms()?;
    let mut findings = vec![inventory(store)?];
    findings.extend(half_made(store)?);
    let known: BTreeSet<String> = images.iter().map(|image| image.digest.clone()).collect();
    findings.extend(strangers("image", &store.paths.images(), &known)?);
    let known: BTreeSet<String> = vms.iter().map(|vm| vm.id.clone()).collect();
    findings.extend(strangers("vm", &store.paths.vms(), &known)?);
    findings.extend(images.iter().filter_map(|image| match store.image(&image.name) {
        Err(error) => Some(unusable("image", image.name.as_str(), &error, None)),
        Ok(_) => None,
    }));
    findings.extend(vms.iter().filter_map(|row| match store.vm(&row.name) {
        Err(error) => {
            let next = format!("offshoot rm {}", row.name);
            Some(unusable("vm", row.name.as_str(), &error, Some(next)))
        }
        Ok(vm) => killed(row.name.as_str(), &vm.dir),
    }));
    Ok(findings)
}

fn inventory(store: &Store) -> Result<Finding> {
    Ok(match store.inventory.check()? {
        None => Finding::ok("inventory", "whole".into()),
        Some(damage) => Finding::bad(
            "inventory",
            Code::Integrity,
            format!("{} is damaged: {damage}", store.paths.inventory().display()),
            Some("move it away; the files of every image and VM are still there".into()),
        ),
    })
}

/// Things in `tmp/` nobody works on any more.
fn half_made(store: &Store) -> Result<Vec<Finding>> {
    if !Busy::nobody(&store.paths)? {
        return Ok(Vec::new());
    }
    let left = entries(&store.paths.tmp())?.into_iter().map(|name| {
        let path = store.paths.tmp().join(name);
        let text = format!("{} was never finished", path.display());
        Finding::warning("leftover", text, format!("rm -r {}", path.display()))
    });
    Ok(left.collect())
}

/// Directories without a row: a crash came between publishing and recording them.
fn strangers(check: &'static str, dir: &Path, known: &BTreeSet<String>) -> Result<Vec<Finding>> {
    let unknown = entries(dir)?.into_iter().filter(|name| !known.contains(name)).map(|name| {
        let path = dir.join(name);
        let text = format!("{} is whole, but not in the inventory", path.display());
        Finding::warning(check, text, format!("if nobody misses it: rm -r {}", path.display()))
    });
    Ok(unknown.collect())
}

pub(super) fn unusable(
    check: &'static str,
    name: &str,
    error: &anyhow::Error,
    next: Option<String>,
) -> Finding {
    Finding::bad(check, Code::Integrity, format!("{name}: {}", failure::text(error)), next)
}

fn killed(name: &str, dir: &Path) -> Option<Finding> {
    match State::of(dir) {
        Ok(State::Killed) => Some(Finding::warning(
            "vm",
            format!("{name}: its monitor was killed; what its guest flushed is on its disk"),
            format!("offshoot start {name}"),
        )),
        Ok(_) => None,
        Err(error) => Some(unusable("vm", name, &error, None)),
    }
}

pub(super) fn entries(dir: &Path) -> Result<Vec<String>> {
    let read = || {
        let entries = fs::read_dir(dir)?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok::<_, io::Error>(names)
    };
    read().with_context(|| format!("cannot read {}", dir.display()))
}
