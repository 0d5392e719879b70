//! `tree`: what stands on what, from images over snapshots to VMs.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde::Serialize;
use uuid::Uuid;

use super::App;
use super::ls::{self, View};
use crate::output::table::{self, Align, Cell};
use crate::output::{self, Style, human};
use crate::store::discard::Cascade;
use crate::store::inventory::{ImageRow, LayerRow};
use crate::store::lineage::{Child, Lineage};
use crate::store::{Name, Store, Timestamp, layer};

/// An image and everything on it; or, without one, all that needs none. The keys are stable.
#[derive(Serialize)]
struct Branch {
    #[serde(flatten)]
    image: Option<Image>,
    /// All VMs of the image, on whatever snapshot.
    clones: Vec<View>,
    /// All frozen layers on it, the lower ones first.
    layers: Vec<Layer>,
    /// Those of them that need nothing below them.
    #[serde(skip)]
    roots: Vec<Uuid>,
}

#[derive(Serialize)]
struct Image {
    #[serde(rename = "image")]
    name: Name,
    digest: String,
    size: u64,
    created: Timestamp,
    notes: String,
    protected: bool,
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

/// Shows the tree, or of an image or a VM the branch it is on, with all that stands on it.
pub fn tree(app: &App, name: Option<&Name>) -> Result<()> {
    let store = app.store()?;
    let rows = store.inventory.vms()?;
    let lineage = store.lineage_of(&rows)?;
    let mut branches = grow(&store, &lineage, ls::views_with(&store, rows, &lineage))?;
    if let Some(name) = name {
        let shown = store.cascade(std::slice::from_ref(name))?;
        branches.retain_mut(|branch| {
            let whole = branch.image.as_ref().is_some_and(|image| image.name == *name);
            if !whole {
                branch.prune(&lineage, &shown);
            }
            whole || !branch.clones.is_empty()
        });
    }
    match app.style {
        Style::Json => output::print_json(&branches),
        Style::Names | Style::Table => output::print(&lay_out(&branches, &lineage)),
    }
}

fn grow(store: &Store, lineage: &Lineage, views: Vec<View>) -> Result<Vec<Branch>> {
    let mut of_images: BTreeMap<Option<Name>, Vec<View>> = BTreeMap::new();
    for view in views {
        of_images.entry(view.image.clone()).or_default().push(view);
    }
    let mut branch = |image: Option<ImageRow>| {
        let name = image.as_ref().map(|image| image.name.clone());
        let clones = of_images.remove(&name).unwrap_or_default();
        let own = |row: &&LayerRow| clones.iter().any(|clone| needs(lineage, clone, row));
        let roots: Vec<Uuid> = lineage.roots().filter(own).map(|row| row.uuid).collect();
        let mut layers = Vec::new();
        for below in image.iter().map(|image| image.base).chain(roots.iter().copied()) {
            collect(store, lineage, below, &mut layers);
        }
        Branch { image: image.map(Image::of), clones, layers, roots }
    };
    let images = store.inventory.images()?;
    let mut branches: Vec<_> = images.into_iter().map(|image| branch(Some(image))).collect();
    let without = branch(None);
    if !without.clones.is_empty() {
        branches.push(without);
    }
    Ok(branches)
}

impl Branch {
    /// Leaves what is shown, its snapshots, and what those stand on.
    fn prune(&mut self, lineage: &Lineage, shown: &Cascade) {
        self.clones.retain(|clone| shown.vms.contains(&clone.name));
        let is_shown = |vm: &String| self.clones.iter().any(|clone| clone.id == *vm);
        let own = self.layers.iter().map(|layer| layer.uuid).filter(|uuid| {
            lineage.layer(*uuid).and_then(|row| row.vm.as_ref()).is_some_and(is_shown)
        });
        let others = shown.snapshots.iter().map(|snapshot| snapshot.uuid);
        let below = |uuid: &Uuid| lineage.layer(*uuid).and_then(|row| row.parent);
        let on = self.clones.iter().filter_map(|clone| clone.stands_on);
        let kept: BTreeSet<Uuid> = on
            .chain(own)
            .chain(others)
            .flat_map(|uuid| std::iter::successors(Some(uuid), below))
            .collect();
        self.layers.retain(|layer| kept.contains(&layer.uuid));
        self.roots.retain(|root| kept.contains(root));
    }
}

/// Whether a VM stands on this layer, however many are between them.
fn needs(lineage: &Lineage, vm: &View, layer: &LayerRow) -> bool {
    let below = |uuid: &Uuid| lineage.layer(*uuid).and_then(|row| row.parent);
    std::iter::successors(vm.stands_on, below).any(|uuid| uuid == layer.uuid)
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

impl Image {
    fn of(row: ImageRow) -> Image {
        let ImageRow { name, digest, size, created, notes, protected, base, .. } = row;
        Image { name, digest, size, created, notes, protected, base }
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

type Row = [Cell; 4];

impl Branch {
    fn row(&self) -> Row {
        let clones = match self.clones.len() {
            1 => "1 clone".into(),
            count => format!("{count} clones"),
        };
        let Some(image) = &self.image else {
            return ["(no image)".into(), clones, String::new(), String::new()].map(Cell::from);
        };
        let state = if image.protected { format!("{clones}, protected") } else { clones };
        let size = human::bytes(image.size);
        [image.name.to_string(), state, size, image.notes.clone()].map(Cell::from)
    }
}

fn lay_out(branches: &[Branch], lineage: &Lineage) -> String {
    let mut rows = Vec::new();
    for branch in branches {
        rows.push(branch.row());
        Painter::new(branch, lineage, &mut rows).paint();
    }
    let (left, right) = (Align::Left, Align::Right);
    table::lay_out([("NAME", left), ("STATE", left), ("OWN", right), ("NOTES", left)], rows)
}

/// Draws what stands on an image.
struct Painter<'a> {
    branch: &'a Branch,
    clones: BTreeMap<&'a Name, &'a View>,
    layers: BTreeMap<Uuid, &'a Layer>,
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

impl<'a> Painter<'a> {
    fn new(branch: &'a Branch, lineage: &'a Lineage, rows: &'a mut Vec<Row>) -> Painter<'a> {
        let clones = branch.clones.iter().map(|clone| (&clone.name, clone)).collect();
        let layers = branch.layers.iter().map(|layer| (layer.uuid, layer)).collect();
        Painter { branch, clones, layers, lineage, rows }
    }

    fn paint(&mut self) {
        let mut pending = self.on_image();
        while let Some(Pending { child, indent, last }) = pending.pop() {
            let line = format!("{indent}{} ", if last { "└──" } else { "├──" });
            let indent = format!("{indent}{}   ", if last { " " } else { "│" });
            match child {
                Child::Vm(name) => self.vm(&line, &name),
                Child::Layer(uuid) => {
                    self.layer(&line, uuid);
                    pending.extend(pend(self.on(uuid), &indent));
                }
            }
        }
    }

    /// What stands on the image, and what of the branch needs nothing below it.
    fn on_image(&self) -> Vec<Pending> {
        let mut all = self.branch.image.as_ref().map_or(Vec::new(), |image| self.on(image.base));
        all.extend(self.branch.roots.iter().map(|root| Child::Layer(*root)));
        let alone = self.branch.clones.iter().filter(|clone| clone.stands_on.is_none());
        all.extend(alone.map(|clone| Child::Vm(clone.name.clone())));
        pend(all, "")
    }

    /// What stands on a layer and is of this branch.
    fn on(&self, below: Uuid) -> Vec<Child> {
        let shown = |child: &&Child| match child {
            Child::Layer(uuid) => self.layers.contains_key(uuid),
            Child::Vm(name) => self.clones.contains_key(name),
        };
        self.lineage.children(below).iter().filter(shown).cloned().collect()
    }

    fn layer(&mut self, line: &str, uuid: Uuid) {
        let Some(layer) = self.layers.get(&uuid) else { return };
        let own = human::bytes(layer.own_bytes);
        let name = format!("{line}@ {}", layer.label);
        let age = human::ago(layer.created.age());
        let state = if layer.vm_removed { format!("{age}, VM removed") } else { age };
        self.rows.push([name, state, own, layer.notes.clone()].map(Cell::from));
    }

    fn vm(&mut self, line: &str, name: &Name) {
        let Some(clone) = self.clones.get(name) else { return };
        let own = human::bytes(clone.own_bytes);
        let notes = clone.notes.clone().into();
        self.rows.push([format!("{line}{name}").into(), clone.status(), own.into(), notes]);
    }
}

/// All of it still to be drawn, the last first.
fn pend(all: Vec<Child>, indent: &str) -> Vec<Pending> {
    let pending = |child| Pending { child, indent: indent.to_owned(), last: false };
    let mut all: Vec<_> = all.into_iter().map(pending).collect();
    if let Some(last) = all.last_mut() {
        last.last = true;
    }
    all.reverse();
    all
}
