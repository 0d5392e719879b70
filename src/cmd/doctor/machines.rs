//! Machines that are out of hand: monitors whose VM is gone, sockets nobody answers on, addresses
//! that two VMs have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Finding;
use crate::monitor;
use crate::store::{Name, Store, vm};

/// Looks at processes, sockets and records. Nothing is done about what is found: a guest may run
/// there.
///
/// # Errors
/// The inventory cannot be read.
pub fn find(store: &Store) -> Result<Vec<Finding>> {
    let rows = store.inventory.vms()?;
    let known: BTreeSet<_> = rows.iter().map(|row| row.id.clone()).collect();
    let names: Vec<_> = rows.into_iter().map(|row| row.name).collect();
    let mut findings: Vec<_> = lost_monitors(&store.paths.vms()).map(lost_monitor).collect();
    findings.extend(monitor::silent_sockets(&known).iter().map(|dir| silent_sockets(dir)));
    findings.extend(shared_addresses(store, &names));
    Ok(findings)
}

/// A process that runs a VM.
struct Running {
    pid: u32,
    dir: PathBuf,
}

/// Monitors of VMs of this store whose directories are gone.
fn lost_monitors(vms: &Path) -> impl Iterator<Item = Running> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let command = fs::read(process.path().join("cmdline")).ok()?;
        let mut words = command.split(|&byte| byte == 0).skip(1);
        let dir = match (words.next()?, words.next()?, words.next()?) {
            (b"vmm", b"--dir", dir) => PathBuf::from(std::ffi::OsStr::from_bytes(dir)),
            _ => return None,
        };
        (dir.parent() == Some(vms) && !dir.exists()).then_some(Running { pid, dir })
    })
}

fn lost_monitor(Running { pid, dir }: Running) -> Finding {
    let dir = dir.display();
    let text = format!("process {pid} runs a VM whose directory {dir} is gone: so is its disk");
    Finding::warning("monitor", text, format!("kill {pid}"))
}

fn silent_sockets(dir: &Path) -> Finding {
    let dir = dir.display();
    let text = format!("nobody answers on the sockets in {dir}, which are of no VM of this store");
    Finding::warning("sockets", text, format!("rm -r {dir}, unless another store's VM has them"))
}

/// VMs with one network address, but for true copies: these are wanted so.
fn shared_addresses(store: &Store, names: &[Name]) -> Vec<Finding> {
    let mut owners: BTreeMap<String, Vec<vm::Record>> = BTreeMap::new();
    for vm in names.iter().filter_map(|name| store.vm(name).ok()) {
        owners.entry(vm.record.identity().mac.to_string()).or_default().push(vm.record);
    }
    let differ = |all: &[vm::Record]| all.windows(2).any(|w| w[0].identity() != w[1].identity());
    let shared = owners.into_iter().filter(|(_, all)| differ(all));
    shared.map(|(mac, all)| shared_address(&mac, &all)).collect()
}

fn shared_address(mac: &str, all: &[vm::Record]) -> Finding {
    let names: Vec<_> = all.iter().map(|record| record.name.as_str()).collect();
    let text = format!("these all have the network address {mac}: {}", names.join(", "));
    let next = "keep them out of one network; a clone of one has an address of its own".into();
    Finding::warning("address", text, next)
}
