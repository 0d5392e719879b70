//! `tree`: which VMs stand on which images.

use anyhow::{Result, bail};
use serde::Serialize;

use super::App;
use super::ls::{self, View};
use crate::failure::Failure;
use crate::output::table::{self, Align};
use crate::output::{self, Style, human};
use crate::store::inventory::ImageRow;
use crate::store::{Name, Timestamp};

#[derive(Serialize)]
struct Branch {
    image: Name,
    digest: String,
    size: u64,
    created: Timestamp,
    clones: Vec<View>,
}

/// Shows the tree, or the branch an image or a VM is on.
pub fn tree(app: &App, name: Option<&Name>) -> Result<()> {
    let store = app.store()?;
    let mut branches = grow(store.inventory.images()?, ls::views(&store)?);
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
        Style::Names | Style::Table => output::print(&lay_out(&branches)),
    }
}

fn grow(images: Vec<ImageRow>, mut views: Vec<View>) -> Vec<Branch> {
    let branch = |image: ImageRow| {
        let on_it = |view: &mut View| view.image == image.name;
        let clones = views.extract_if(.., on_it).collect();
        let ImageRow { name, digest, size, created, .. } = image;
        Branch { image: name, digest, size, created, clones }
    };
    images.into_iter().map(branch).collect()
}

fn lay_out(branches: &[Branch]) -> String {
    let mut rows = Vec::new();
    for branch in branches {
        let clones = format!("{} clones", branch.clones.len());
        rows.push([branch.image.to_string(), clones, human::bytes(branch.size), String::new()]);
        for (index, clone) in branch.clones.iter().enumerate() {
            let last = index + 1 == branch.clones.len();
            rows.push([
                format!("{} {}", if last { "└──" } else { "├──" }, clone.name),
                clone.status(),
                human::bytes(clone.own_bytes),
                clone.notes.clone(),
            ]);
        }
    }
    let (left, right) = (Align::Left, Align::Right);
    table::lay_out([("NAME", left), ("STATE", left), ("OWN", right), ("NOTES", left)], rows)
}
