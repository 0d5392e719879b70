//! The store: images and VMs as directories, and an inventory that indexes them.
//!
//! ```text
//! <root>/images/<digest>/   base, kernel, initrd, image.toml      never change
//! <root>/vms/<id>/          vm.toml, delta, spec.toml, seed, ...  all a VM owns
//! <root>/layers/<uuid>/      delta, layer.toml, owners             frozen deltas others stand on
//! <root>/tmp/               being made, or on its way out
//! <root>/inventory.db       names and who stands on whom
//! <root>/reserve            room for removing things where there is none
//! ```
//! A delta may be a symlink to a file elsewhere: [`home`].

pub mod account;
pub mod attach;
mod blank;
pub mod chain;
mod check;
pub mod clone;
mod commit;
pub mod customize;
pub mod discard;
pub mod discover;
mod draft;
pub mod edit;
pub mod events;
mod export;
pub(crate) mod fault;
mod freeze;
mod full;
#[cfg(test)]
mod fuzz;
pub mod home;
pub mod identity;
pub mod image;
pub mod import;
pub mod inventory;
pub mod layer;
pub mod lineage;
pub mod lock;
mod merge;
pub mod name;
mod ofd;
pub mod paths;
mod patience;
mod remove;
mod renew;
pub mod repair;
mod reserve;
mod reset;
mod reshape;
mod settings;
pub mod snapshot;
pub mod sockets;
pub mod sound;
mod still;
pub mod time;
pub mod vm;
pub mod writer;

use std::path::Path;

use anyhow::{Context, Result};

use crate::failure::{Code, Failure};
use inventory::Inventory;
use paths::Paths;
use reserve::Reserve;

pub use blank::USUAL_MEMORY;
pub use clone::Source;
pub use draft::Busy;
pub use image::Image;
pub use name::Name;
pub use remove::Away;
pub use time::Timestamp;
pub use vm::Vm;
pub use writer::Writer;

/// An open store.
pub struct Store {
    /// Where things are.
    pub paths: Paths,
    /// What there is.
    pub inventory: Inventory,
}

impl Store {
    /// Opens the store at `root`; it is made where there is none.
    ///
    /// # Errors
    /// It cannot be made, is damaged, or is of a newer version.
    pub fn open(root: &Path) -> Result<Store> {
        let paths = Paths::new(root)?;
        let open = || {
            let path = paths.inventory();
            if !paths.layers().exists() {
                paths.create()?;
            }
            if !path.exists() {
                create_inventory(&paths)?;
            }
            Inventory::open(&path)
        };
        let cannot = || format!("cannot open the store {}", paths.root().display());
        let inventory = open().map_err(forbidden).with_context(cannot)?;
        Ok(Store { paths, inventory })
    }
}

/// Says what to do about a store of somebody else.
fn forbidden(error: anyhow::Error) -> anyhow::Error {
    let kind = error.chain().find_map(|link| Some(link.downcast_ref::<std::io::Error>()?.kind()));
    match kind {
        Some(std::io::ErrorKind::PermissionDenied) => {
            let failure = Failure::new(Code::Failed, crate::failure::text(&error));
            failure.hint("another store: --root DIR, or OFFSHOOT_ROOT=DIR").into()
        }
        _ => error,
    }
}

/// Makes the inventory of a new store.
fn create_inventory(paths: &Paths) -> Result<()> {
    let _busy = Busy::enter(paths)?;
    let path = paths.inventory();
    let used = |dir: &Path| dir.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    let in_use = [paths.images(), paths.vms(), paths.layers()].iter().any(|dir| used(dir));
    // Another process may have made it, and something in it, meanwhile.
    if in_use && !path.exists() {
        let what = format!("{} is missing, and images or VMs are there", path.display());
        return Err(Failure::new(Code::Integrity, what).hint("offshoot doctor --fix").into());
    }
    let name = format!("inventory-{}", uuid::Uuid::new_v4().simple());
    Inventory::create(&path, &paths.tmp().join(name))?;
    Reserve::keep(paths);
    Ok(())
}
