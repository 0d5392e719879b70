//! Who takes how much of the disk: every byte once, as shared, as somebody's own, or as nobody's.
//!
//! ```text
//!   base, and layers that two VMs or more need     shared
//!   a VM's delta, and layers only it needs         its own: gone with `rm`
//!   layers nobody needs                            reclaimable: gone with `prune`
//! ```
//! A VM needs the layers its disk stands on, its snapshots, and what those stand on.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use uuid::Uuid;

use super::inventory::{ImageRow, LayerRow, VmRow};
use super::{Store, home, image, lock, vm};

/// What something takes, in bytes. The keys are stable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The disk's length, as its guest sees it.
    pub virtual_bytes: u64,
    /// On the host's disk, for others, too.
    pub shared_bytes: u64,
    /// On the host's disk, for this alone.
    pub private_bytes: u64,
    /// What could be freed without anybody missing it: layers nobody needs, and part of what is
    /// private, as an image without clones, or what an ephemeral VM left.
    pub reclaimable_bytes: u64,
}

/// What an account is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An image.
    Image,
    /// A VM.
    Vm,
    /// All layers nobody needs.
    Unneeded,
    /// All of the store, each byte once.
    Total,
}

/// One line of the books. The keys are stable.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// What it is of.
    pub kind: Kind,
    /// Its name; none for several together.
    pub name: Option<String>,
    /// What it takes.
    #[serde(flatten)]
    pub account: Account,
}

/// Which layers there are, what they take, and how many VMs need each.
struct Layers {
    rows: BTreeMap<Uuid, LayerRow>,
    bytes: BTreeMap<Uuid, u64>,
    needed: BTreeMap<Uuid, usize>,
}

impl Store {
    /// The whole store's accounts: images, VMs, what nobody needs, and the total.
    ///
    /// # Errors
    /// The inventory cannot be read.
    pub fn accounts(&self) -> Result<Vec<Line>> {
        let (images, vms) = (self.inventory.images()?, self.inventory.vms()?);
        let rows = self.inventory.layers()?;
        let bytes = |row: &LayerRow| (row.uuid, directory_bytes(&self.paths.layer(row.uuid)));
        let bytes = rows.iter().map(bytes).collect();
        let rows = rows.into_iter().map(|row| (row.uuid, row)).collect();
        let mut layers = Layers { rows, bytes, needed: BTreeMap::new() };
        let needs: Vec<_> = vms.iter().map(|vm| layers.needs(vm)).collect();
        for uuid in needs.iter().flatten() {
            *layers.needed.entry(*uuid).or_default() += 1;
        }
        let mut lines: Vec<Line> = images.iter().map(|image| self.image_line(image)).collect();
        let bases = images.iter().map(|image| (image.base, self.image_bytes(image))).collect();
        for (vm, needs) in vms.iter().zip(&needs) {
            lines.push(self.vm_line(vm, needs, &layers, &bases));
        }
        let unneeded = layers.unneeded();
        lines.push(Line { kind: Kind::Unneeded, name: None, account: unneeded });
        lines.push(total(&lines, &layers));
        Ok(lines)
    }

    fn image_bytes(&self, image: &ImageRow) -> u64 {
        directory_bytes(&self.paths.image(&image.digest))
    }

    fn image_line(&self, image: &ImageRow) -> Line {
        let bytes = self.image_bytes(image);
        let account = match image.clones {
            0 => Account { private_bytes: bytes, reclaimable_bytes: bytes, ..Account::default() },
            _ => Account { shared_bytes: bytes, ..Account::default() },
        };
        let account = Account { virtual_bytes: image.size, ..account };
        Line { kind: Kind::Image, name: Some(image.name.to_string()), account }
    }

    fn vm_line(
        &self,
        row: &VmRow,
        needs: &BTreeSet<Uuid>,
        layers: &Layers,
        bases: &BTreeMap<Uuid, u64>,
    ) -> Line {
        let dir = self.paths.vm(&row.id);
        let delta = blockdev::delta::inspect(&home::file(&dir.join(vm::DELTA)));
        let base = layers.base_of(row, needs).and_then(|base| bases.get(&base));
        let sum = |shared: bool| -> u64 {
            let wanted = needs.iter().filter(|uuid| layers.is_shared(uuid) == shared);
            wanted.filter_map(|uuid| layers.bytes.get(uuid)).sum()
        };
        let account = Account {
            virtual_bytes: delta.as_ref().map_or(0, |delta| delta.size),
            shared_bytes: sum(true) + base.unwrap_or(&0),
            private_bytes: sum(false) + directory_bytes(&dir),
            reclaimable_bytes: match lock::look(&dir).is_ok_and(|seen| seen.held) {
                // What it owns is not all in the file while it runs.
                true => 0,
                false => delta.map_or(0, |delta| not_owned(&delta)),
            },
        };
        Line { kind: Kind::Vm, name: Some(row.name.to_string()), account }
    }
}

impl Layers {
    /// What a VM stands on, its snapshots, and what they stand on.
    fn needs(&self, vm: &VmRow) -> BTreeSet<Uuid> {
        let own = |row: &&LayerRow| row.vm.as_ref() == Some(&vm.id) && row.name.is_some();
        let mut next: Vec<Uuid> = self.rows.values().filter(own).map(|row| row.uuid).collect();
        next.extend(vm.parent);
        let mut needs = BTreeSet::new();
        while let Some(uuid) = next.pop() {
            if let Some(row) = self.rows.get(&uuid)
                && needs.insert(uuid)
            {
                next.extend(row.parent);
            }
        }
        needs
    }

    /// The base at the bottom of what a VM needs.
    fn base_of(&self, vm: &VmRow, needs: &BTreeSet<Uuid>) -> Option<Uuid> {
        let below = needs.iter().filter_map(|uuid| self.rows.get(uuid)?.parent);
        below.chain(vm.parent).find(|uuid| !self.rows.contains_key(uuid))
    }

    fn is_shared(&self, uuid: &Uuid) -> bool {
        self.needed.get(uuid).is_some_and(|&vms| vms > 1)
    }

    fn unneeded(&self) -> Account {
        let unneeded = self.bytes.iter().filter(|(uuid, _)| !self.needed.contains_key(uuid));
        let bytes = unneeded.map(|(_, bytes)| bytes).sum();
        Account { reclaimable_bytes: bytes, ..Account::default() }
    }
}

/// All of it, what is shared counted once.
fn total(lines: &[Line], layers: &Layers) -> Line {
    let of = |kind: Kind| lines.iter().filter(move |line| line.kind == kind);
    let shared = layers.bytes.iter().filter(|(uuid, _)| layers.is_shared(uuid));
    let account = Account {
        virtual_bytes: of(Kind::Vm).map(|line| line.account.virtual_bytes).sum(),
        shared_bytes: of(Kind::Image).map(|line| line.account.shared_bytes).sum::<u64>()
            + shared.map(|(_, bytes)| bytes).sum::<u64>(),
        private_bytes: lines.iter().map(|line| line.account.private_bytes).sum(),
        reclaimable_bytes: lines.iter().map(|line| line.account.reclaimable_bytes).sum(),
    };
    Line { kind: Kind::Total, name: None, account }
}

/// What a delta takes beyond the blocks it owns: what a crash, or an ephemeral VM, left there.
fn not_owned(delta: &blockdev::delta::Info) -> u64 {
    /// Header, bitmap, and what filesystems round up to.
    const OVERHEAD: u64 = 64 << 10;
    let owned = delta.owned_blocks.saturating_mul(4096);
    let rest = delta.bytes_on_disk.saturating_sub(owned);
    if rest > OVERHEAD { rest } else { 0 }
}

/// What the files in a directory take. Those with another name elsewhere count there.
fn directory_bytes(dir: &Path) -> u64 {
    let shared =
        |name: &std::ffi::OsStr| [image::KERNEL, image::INITRD].iter().any(|file| name == *file);
    let bytes = |entry: std::fs::DirEntry| {
        // Not the entry's own: a delta's may be a link to where it is.
        let found = entry.path().metadata().ok()?;
        let elsewhere = found.nlink() > 1 && shared(&entry.file_name());
        (!elsewhere).then_some(found.blocks() * 512)
    };
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.filter_map(|entry| bytes(entry.ok()?)).sum()
}
