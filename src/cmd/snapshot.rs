//! `snapshot`: create, ls, revert, rm.

use anyhow::{Context, Result};
use serde::Serialize;
use uuid::Uuid;

use super::reshape::reshape;
use super::{App, ls};
use crate::args::{self, SnapshotCreate, SnapshotRevert, SnapshotRm};
use crate::monitor;
use crate::output::table::{self, Align};
use crate::output::{self, Style, human};
use crate::store::lineage::{Child, Lineage};
use crate::store::snapshot::{Since, Taken};
use crate::store::{Name, Store, Timestamp, Vm, layer};

/// Does what was asked with snapshots.
pub fn snapshot(app: &App, verb: args::Snapshot) -> Result<()> {
    match verb {
        args::Snapshot::Create(args) => create(app, args),
        args::Snapshot::Ls { name } => list(app, &name),
        args::Snapshot::Revert(args) => revert(app, args),
        args::Snapshot::Rm(args) => rm(app, &args),
    }
}

fn create(app: &App, args: SnapshotCreate) -> Result<()> {
    let cannot = format!("cannot make a snapshot of {}", args.name);
    let create = || {
        let mut store = app.store()?;
        let vm = store.vm(&args.name)?;
        let writer = monitor::writer(&vm)?;
        store.take_snapshot(&vm, &writer, args.snapshot, args.notes)
    };
    print(app, &args.name, &create().context(cannot)?)
}

fn print(app: &App, vm: &Name, taken: &Taken) -> Result<()> {
    #[derive(Serialize)]
    struct View<'a> {
        vm: &'a Name,
        name: &'a Name,
        uuid: Uuid,
        /// How long the guest's writes waited, microseconds; absent where none runs.
        #[serde(skip_serializing_if = "Option::is_none")]
        pause_us: Option<u128>,
    }
    let pause = taken.pause;
    match app.style {
        Style::Json => output::print_json(&View {
            vm,
            name: &taken.name,
            uuid: taken.uuid,
            pause_us: pause.map(|pause| pause.as_micros()),
        }),
        Style::Names => output::print(&format!("{}\n", taken.name)),
        Style::Table => match pause {
            Some(pause) => {
                let pause = human::precise(pause);
                output::print(&format!("{vm}@{}: writes waited for {pause}\n", taken.name))
            }
            None => output::print(&format!("{vm}@{}\n", taken.name)),
        },
    }
}

/// What a list says of a snapshot. The keys are stable.
#[derive(Serialize)]
pub struct View {
    /// Nothing where the layer was frozen for a clone.
    pub name: Option<Name>,
    pub uuid: Uuid,
    /// What people call it.
    pub label: String,
    /// What it stands on; nothing where it needs nothing.
    pub parent: Option<String>,
    /// What stands directly on it: VMs and snapshots.
    pub children: Vec<String>,
    /// Whether the VM's own delta stands directly on it.
    pub current: bool,
    /// Of its disk, bytes.
    pub size: u64,
    /// Bytes its delta takes on the disk.
    pub own_bytes: u64,
    pub created: Timestamp,
    pub notes: String,
}

/// The frozen layers of a VM, the oldest first.
pub fn views(store: &Store, vm: &Vm, lineage: &Lineage) -> Result<Vec<View>> {
    let own = Child::Vm(vm.record.name.clone());
    let view = |row: crate::store::inventory::LayerRow| View {
        label: lineage.label(row.uuid),
        parent: row.parent.map(|parent| lineage.label(parent)),
        children: lineage.dependents(row.uuid),
        current: lineage.children(row.uuid).contains(&own),
        own_bytes: ls::bytes_on_disk(&store.paths.layer(row.uuid).join(layer::DELTA)),
        name: row.name,
        uuid: row.uuid,
        size: row.size,
        created: row.created,
        notes: row.notes,
    };
    Ok(store.snapshots(vm)?.into_iter().map(view).collect())
}

fn list(app: &App, name: &Name) -> Result<()> {
    let list = || {
        let store = app.store()?;
        let vm = store.vm(name)?;
        views(&store, &vm, &store.lineage()?)
    };
    let views = list().with_context(|| format!("cannot list the snapshots of {name}"))?;
    match app.style {
        Style::Json => output::print_json(&views),
        Style::Names => {
            let names = views.iter().filter_map(|view| view.name.as_ref());
            output::print(&names.map(|name| format!("{name}\n")).collect::<String>())
        }
        Style::Table => output::print(&lay_out(&views)),
    }
}

fn lay_out(views: &[View]) -> String {
    use Align::{Left, Right};
    let header = [
        ("NAME", Left),
        ("PARENT", Left),
        ("OWN", Right),
        ("CREATED", Left),
        ("CHILDREN", Left),
        ("NOTES", Left),
    ];
    let rows = views.iter().map(|view| {
        let name = view.name.as_ref().map_or_else(|| view.label.clone(), Name::to_string);
        [
            if view.current { format!("{name} *") } else { name },
            view.parent.clone().unwrap_or_default(),
            human::bytes(view.own_bytes),
            human::ago(view.created.age()),
            view.children.join(", "),
            view.notes.clone(),
        ]
    });
    table::lay_out(header, rows)
}

fn revert(app: &App, args: SnapshotRevert) -> Result<()> {
    let SnapshotRevert { name, snapshot, force, keep } = args;
    let since = match keep {
        Some(name) => Since::Keep(name),
        None if force => Since::Discard,
        None => Since::Refuse,
    };
    let revert = || {
        let mut store = app.store()?;
        let vm = store.vm(&name)?;
        store.revert(&vm, &monitor::stopped(&vm)?, &snapshot, since)
    };
    let kept = revert().with_context(|| format!("cannot take {name} back to {snapshot}"))?;
    kept.map_or(Ok(()), |kept| print(app, &name, &kept))
}

fn rm(app: &App, args: &SnapshotRm) -> Result<()> {
    let SnapshotRm { name, snapshot } = args;
    let doing = format!("removing {name}@{snapshot}");
    let removed = reshape(app, name, doing, |store, vm, watch| {
        store.remove_snapshot(vm, snapshot, monitor::writer, watch)
    });
    let gone = removed.with_context(|| format!("cannot remove {name}@{snapshot}"))?;
    if !gone && !app.quiet {
        output::tell(&format!(
            "offshoot: a running VM has {name}@{snapshot} open; its space comes back later\n\
             try: offshoot prune, when that VM does not run\n"
        ));
    }
    Ok(())
}
