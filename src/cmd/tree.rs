//! `tree`: what stands on what, from images over snapshots to VMs.

use anyhow::{Result, bail};
use serde::Serialize;
use uuid::Uuid;

use super::App;
use super::ls::{self, View};
use crate::failure::Failure;
use crate::output::table::{self, Align};
use crate::output::{self, Style, human};
use crate::store::inventory::{ImageRow, LayerRow};
use crate::store::lineage::{Child, Lineage};
use crate::store::{Name, Store, Timestamp, layer};

/// An image and everything on it. The keys are stable.
#[derive(Serialize)]
struct Branch {
    image: Name,
    digest: String,
    size: u64,
    created: Timestamp,
    notes: String,
    protected: bool,
    /// All VMs of the image, on whatever snapshot.
    clones: Vec<View>,
    /// All frozen layers on it, the lower ones first.
    layers: Vec<Layer>,
    #[serde(skip)]
    base: Uuid,
}

#[derive(Serialize)]
struct Layer {
    uuid: Uuid,
    label: String,
    parent: Option<String>,
    children: Vec<String>,
    own_bytes: u64,
    created: Timestamp,
    notes: String,
    /// Whether the VM it was frozen of is gone, and only what stands on it keeps it.
    vm_removed: bool,
}

/// Shows the tree, or the branch an image or a VM is on.
pub fn tree(app: &App, name: Option<&Name>) -> Result<()> {
    let store = app.store()?;
    let lineage = store.lineage()?;
    let mut branches = grow(&store, &lineage)?;
    if let Some(name) = name {
        branches.retain_mut(|branch| {
            let whole = branch.image == *name;
            branch.clones.retain(|clone| whole || clone.name == *name);
            whole || !branch.clones.is_empty()
        });
        if branches.is_empty() {
            bail!(
                Failure::not_found(format!("there is no image or VM {name}")).hint("offshoot tree")
            );
        }
    }
    match app.style {
        Style::Json => output::print_json(&branches),
        Style::Names | Style::Table => output::print(&lay_out(&branches, &lineage)),
    }
}

fn grow(store: &Store, lineage: &Lineage) -> Result<Vec<Branch>> {
    let mut views = ls::views(store)?;
    let branch = |image: ImageRow| {
        let of_it = |view: &mut View| view.image == image.name;
        let clones = views.extract_if(.., of_it).collect();
        let mut layers = Vec::new();
        collect(store, lineage, image.base, &mut layers);
        let ImageRow { name, digest, size, created, base, notes, protected, .. } = image;
        Branch { image: name, digest, size, created, notes, protected, clones, layers, base }
    };
    Ok(store.inventory.images()?.into_iter().map(branch).collect())
}

/// The frozen layers on `below`, each before those on it. Deep chains are no deep recursion.
fn collect(store: &Store, lineage: &Lineage, below: Uuid, all: &mut Vec<Layer>) {
    let mut next = vec![below];
    while let Some(uuid) = next.pop() {
        if let Some(row) = lineage.layer(uuid) {
            all.push(Layer::of(store, lineage, row));
        }
        let children = lineage.children(uuid).iter().rev();
        next.extend(children.filter_map(|child| match child {
            Child::Layer(uuid) => Some(*uuid),
            Child::Vm(_) => None,
        }));
    }
}

impl Layer {
    fn of(store: &Store, lineage: &Lineage, row: &LayerRow) -> Layer {
        let delta = store.paths.layer(row.uuid).join(layer::DELTA);
        Layer {
            uuid: row.uuid,
            label: lineage.label(row.uuid),
            parent: row.parent.map(|parent| lineage.label(parent)),
            children: lineage.dependents(row.uuid),
            own_bytes: ls::bytes_on_disk(&delta),
            created: row.created,
            notes: row.notes.clone(),
            vm_removed: row.vm.is_none(),
        }
    }
}

type Row = [String; 4];

impl Branch {
    fn row(&self) -> Row {
        let clones = match self.clones.len() {
            1 => "1 clone".into(),
            count => format!("{count} clones"),
        };
        let state = if self.protected { format!("{clones}, protected") } else { clones };
        [self.image.to_string(), state, human::bytes(self.size), self.notes.clone()]
    }
}

fn lay_out(branches: &[Branch], lineage: &Lineage) -> String {
    let mut rows = Vec::new();
    for branch in branches {
        rows.push(branch.row());
        Painter { branch, lineage, rows: &mut rows }.paint(branch.base);
    }
    let (left, right) = (Align::Left, Align::Right);
    table::lay_out([("NAME", left), ("STATE", left), ("OWN", right), ("NOTES", left)], rows)
}

/// Draws what stands on an image.
struct Painter<'a> {
    branch: &'a Branch,
    lineage: &'a Lineage,
    rows: &'a mut Vec<Row>,
}

/// Something still to be drawn.
struct Pending {
    child: Child,
    /// What is left of it on its line.
    indent: String,
    last: bool,
}

impl Painter<'_> {
    fn paint(&mut self, base: Uuid) {
        let mut pending = self.on(Some(base), "");
        while let Some(Pending { child, indent, last }) = pending.pop() {
            let line = format!("{indent}{} ", if last { "└──" } else { "├──" });
            let indent = format!("{indent}{}   ", if last { " " } else { "│" });
            match child {
                Child::Vm(name) => self.vm(&line, &name),
                Child::Layer(uuid) => {
                    self.layer(&line, uuid);
                    pending.extend(self.on(Some(uuid), &indent));
                }
            }
        }
    }

    /// What stands on a layer and is of this branch, the last first.
    fn on(&self, below: Option<Uuid>, indent: &str) -> Vec<Pending> {
        let children = below.map_or(&[][..], |uuid| self.lineage.children(uuid));
        let shown = |child: &&Child| match child {
            Child::Layer(_) => true,
            Child::Vm(name) => self.branch.clones.iter().any(|clone| clone.name == *name),
        };
        // Those that need nothing below them are listed with the image they boot from.
        let alone = self.branch.clones.iter().filter(|clone| clone.stands_on.is_none());
        let alone = alone.map(|clone| Child::Vm(clone.name.clone()));
        let alone = alone.filter(|_| below == Some(self.branch.base));
        let mut all: Vec<_> = children
            .iter()
            .filter(shown)
            .cloned()
            .chain(alone)
            .map(|child| Pending { child, indent: indent.to_owned(), last: false })
            .collect();
        if let Some(last) = all.last_mut() {
            last.last = true;
        }
        all.reverse();
        all
    }

    fn layer(&mut self, line: &str, uuid: Uuid) {
        let Some(layer) = self.branch.layers.iter().find(|layer| layer.uuid == uuid) else {
            return;
        };
        let own = human::bytes(layer.own_bytes);
        let name = format!("{line}@ {}", layer.label);
        let age = human::ago(layer.created.age());
        let state = if layer.vm_removed { format!("{age}, VM removed") } else { age };
        self.rows.push([name, state, own, layer.notes.clone()]);
    }

    fn vm(&mut self, line: &str, name: &Name) {
        let clone = self.branch.clones.iter().find(|clone| clone.name == *name);
        let Some(clone) = clone else { return };
        let own = human::bytes(clone.own_bytes);
        self.rows.push([format!("{line}{name}"), clone.status(), own, clone.notes.clone()]);
    }
}
