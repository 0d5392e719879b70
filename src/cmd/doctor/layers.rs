//! Frozen layers: those that are missing, and those that nobody needs.

use std::collections::BTreeSet;

use anyhow::Result;
use uuid::Uuid;

use super::Finding;
use super::leftovers::unusable;
use crate::store::inventory::LayerRow;
use crate::store::lineage::label;
use crate::store::{Name, Store};

/// Looks at every VM's chain, and at every layer.
///
/// # Errors
/// The inventory or a directory cannot be read.
pub fn find(store: &Store) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let _still = store.hold_still()?;
    let mut used = BTreeSet::new();
    for row in store.inventory.vms()? {
        // What is wrong with the VM itself is told elsewhere.
        let Ok(vm) = store.vm(&row.name) else { continue };
        match store.chain(&vm) {
            Ok(chain) => {
                used.extend(chain.frozen.iter().map(|layer| layer.heading.uuid));
            }
            Err(error) => {
                let usual = format!("offshoot rm {}", row.name);
                findings.push(unusable("vm", row.name.as_str(), &error, Some(usual)));
            }
        }
    }
    findings.extend(missing(store, &used)?);
    findings.extend(unneeded(store)?);
    findings.extend(momentary(store)?);
    Ok(findings)
}

/// Rows without a layer that can be used: a removal that a crash interrupted, or damage. Those of
/// VMs that need them are told with the VM.
fn missing(store: &Store, used: &BTreeSet<Uuid>) -> Result<Vec<Finding>> {
    let rows = store.inventory.layers()?;
    let unused = rows.into_iter().filter(|row| !used.contains(&row.uuid));
    let finding = |row: LayerRow| {
        let error = store.layer(row.uuid).err()?;
        let name = row.name.as_ref().map_or("SNAPSHOT", Name::as_str);
        let next = format!("offshoot snapshot rm {} {name}; offshoot prune", row.origin);
        Some(unusable("layer", &label(&row), &error, Some(next)))
    };
    Ok(unused.filter_map(finding).collect())
}

/// Snapshots that exports made, and were killed before they removed them. A VM that runs has its
/// layers open itself, so of these nothing can be told.
fn momentary(store: &Store) -> Result<Vec<Finding>> {
    let mut left = store.inventory.layers()?;
    left.retain(|row| row.vm.is_some() && !store.is_in_use(row.uuid));
    let finding = |row: LayerRow| {
        let record = store.layer(row.uuid).and_then(|layer| layer.record()).ok()?;
        let name = record.name.as_ref().filter(|_| record.is_momentary())?;
        let text = format!("{} was made for an export, which was killed", label(&row));
        let next = format!("offshoot snapshot rm {} {name}", row.origin);
        Some(Finding::warning("layer", text, next))
    };
    Ok(left.into_iter().filter_map(finding).collect())
}

fn unneeded(store: &Store) -> Result<Vec<Finding>> {
    let finding = |row| {
        let text = format!("nobody needs layer {}", label(&row));
        Finding::warning("layer", text, "offshoot prune".into())
    };
    let mut garbage = store.garbage()?;
    // Those in use go when they are not any more.
    garbage.retain(|row| !store.is_in_use(row.uuid));
    Ok(garbage.into_iter().map(finding).collect())
}
