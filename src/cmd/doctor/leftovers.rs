//! What killed processes left behind, and where files and inventory disagree.

use std::path::Path;

use anyhow::Result;

use super::Finding;
use crate::failure::{self, Code};
use crate::store::repair::{Remark, entries};
use crate::store::{Store, Vm, sockets};

const FIX: &str = "offshoot doctor --fix";

/// Looks through the whole store.
///
/// # Errors
/// A directory of it cannot be read.
pub fn find(store: &Store) -> Result<Vec<Finding>> {
    let mut findings: Vec<_> = lost(&store.paths.lost()).into_iter().collect();
    let found = store.examine()?;
    findings.extend(found.mendable.into_iter().map(mendable));
    findings.extend(found.stuck.into_iter().map(stuck));
    let _still = store.hold_still()?;
    let images = store.inventory.images()?;
    findings.extend(images.iter().filter_map(|image| match store.image(&image.name) {
        Err(error) => Some(unusable("image", image.name.as_str(), &error, None)),
        Ok(_) => None,
    }));
    let vms = store.inventory.vms()?;
    for row in &vms {
        match store.vm(&row.name) {
            Err(error) => {
                let next = format!("offshoot rm {}", row.name);
                findings.push(unusable("vm", row.name.as_str(), &error, Some(next)));
            }
            Ok(vm) => {
                findings.extend(left_sockets(row.name.as_str(), &vm.dir));
                findings.extend(damaged_seed(&vm));
            }
        }
    }
    Ok(findings)
}

/// Whether the inventory can be relied on.
///
/// # Errors
/// It cannot be read at all.
pub fn inventory(store: &Store) -> Result<Finding> {
    Ok(match store.inventory.check()? {
        None => Finding::ok("inventory", "whole".into()),
        Some(damage) => Finding::bad(
            "inventory",
            Code::Integrity,
            format!("{} is damaged: {damage}", store.paths.inventory().display()),
            Some(FIX.into()),
        ),
    })
}

/// What an earlier repair moved out of the way.
fn lost(dir: &Path) -> Option<Finding> {
    let count = entries(dir).ok().filter(|names| !names.is_empty())?.len();
    let text = format!("{count} in {}, set aside; remove what nobody misses", dir.display());
    Some(Finding::ok("lost", text))
}

fn mendable(remark: Remark) -> Finding {
    Finding::warning(remark.check, remark.text, FIX.into())
}

fn stuck(remark: Remark) -> Finding {
    Finding::bad(remark.check, Code::Integrity, remark.text, None)
}

/// What to do is what the error says, unless that is to ask who is asked here; else the `usual`.
pub(super) fn unusable(
    check: &'static str,
    name: &str,
    error: &anyhow::Error,
    usual: Option<String>,
) -> Finding {
    let better = failure::hint(error).filter(|hint| !hint.starts_with("offshoot doctor"));
    let next = better.map(str::to_owned).or(usual);
    Finding::bad(check, Code::Integrity, format!("{name}: {}", failure::text(error)), next)
}

/// That a VM's guest could not be told who it is.
fn damaged_seed(vm: &Vm) -> Option<Finding> {
    let name = &vm.record.name;
    let next = format!("offshoot clone {name}; its guest is told anew");
    vm.seed().err().map(|error| unusable("vm", name.as_str(), &error, Some(next)))
}

/// What a killed monitor left. That its VM was killed, `ls` says for as long as it is true.
fn left_sockets(name: &str, dir: &Path) -> Option<Finding> {
    match sockets::left(dir) {
        Ok(Some(sockets)) => {
            let sockets = sockets.display();
            let text = format!(
                "{name}: its monitor was killed; what its guest flushed is on its disk; {sockets} is left"
            );
            Some(Finding::warning("vm", text, format!("offshoot start {name}, or {FIX}")))
        }
        Ok(None) => None,
        Err(error) => Some(unusable("vm", name, &error, None)),
    }
}
