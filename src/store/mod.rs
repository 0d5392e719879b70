//! The store: images and VMs as directories, and an inventory that indexes them.
//!
//! ```text
//! <root>/images/<digest>/   base, kernel, initrd, image.toml      never change
//! <root>/vms/<id>/          vm.toml, delta, ...                   all a VM owns
//! <root>/tmp/               being made, or on its way out
//! <root>/inventory.db       names and who stands on whom
//! ```

mod draft;
pub mod image;
pub mod inventory;
pub mod lock;
pub mod name;
mod ofd;
pub mod paths;
pub mod time;
pub mod vm;

use std::path::Path;

use anyhow::{Context, Result};

use inventory::Inventory;
use paths::Paths;

pub use draft::Busy;
pub use image::Image;
pub use name::Name;
pub use time::Timestamp;
pub use vm::Vm;

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
            if !path.exists() {
                paths.create()?;
                let name = format!("inventory-{}", uuid::Uuid::new_v4().simple());
                Inventory::create(&path, &paths.tmp().join(name))?;
            }
            Inventory::open(&path)
        };
        let inventory =
            open().with_context(|| format!("cannot open the store {}", paths.root().display()))?;
        Ok(Store { paths, inventory })
    }
}
