//! Who takes how much of the disk: every byte once, as shared, as somebody's own, or as nobody's.
//!
//! ```text
//!   base, and layers that two VMs or more need     shared
//!   a kernel that several have, by hard links      shared
//!   a VM's delta, and layers only it needs         its own: gone with `rm`
//!   layers nobody needs                            reclaimable: gone with `prune`
//! ```
//! A VM needs the layers its disk stands on, its snapshots, and what those stand on.

mod files;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde::Serialize;
use uuid::Uuid;

use super::inventory::{ImageRow, LayerRow, VmRow};
use super::{Store, home, lock, vm};
use files::{Common, Files};

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

/// The directories of images and of VMs, in the order of their rows.
struct Directories {
    images: Vec<Files>,
    vms: Vec<Files>,
    common: Common,
}

/// What is below a VM's delta, and its snapshots: bytes of layers, and an image.
struct Below<'a> {
    base: Option<&'a Files>,
    shared: u64,
    private: u64,
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
        let bytes = |row: &LayerRow| (row.uuid, self.layer_bytes(row.uuid));
        let bytes = rows.iter().map(bytes).collect();
        let rows = rows.into_iter().map(|row| (row.uuid, row)).collect();
        let mut layers = Layers { rows, bytes, needed: BTreeMap::new() };
        let needs: Vec<_> = vms.iter().map(|vm| layers.needs(vm)).collect();
        for uuid in needs.iter().flatten() {
            *layers.needed.entry(*uuid).or_default() += 1;
        }
        let dirs = self.directories(&images, &vms);
        let of_image = |(row, files)| image_line(row, files, &dirs.common);
        let mut lines: Vec<Line> = images.iter().zip(&dirs.images).map(of_image).collect();
        let bases = images.iter().map(|image| image.base).zip(&dirs.images).collect();
        for ((vm, needs), files) in vms.iter().zip(&needs).zip(&dirs.vms) {
            let layers = layers.of(vm, needs, &bases);
            lines.push(self.vm_line(vm, files, &layers, &dirs.common));
        }
        let unneeded = layers.unneeded();
        lines.push(Line { kind: Kind::Unneeded, name: None, account: unneeded });
        lines.push(total(&lines, &images, &dirs, &layers));
        Ok(lines)
    }

    /// What a frozen layer takes, with its record and its owner map.
    pub fn layer_bytes(&self, layer: Uuid) -> u64 {
        Files::of(&self.paths.layer(layer)).bytes()
    }

    fn directories(&self, images: &[ImageRow], vms: &[VmRow]) -> Directories {
        let of_image = |image: &ImageRow| Files::of(&self.paths.image(&image.digest));
        let images: Vec<_> = images.iter().map(of_image).collect();
        let vms: Vec<_> = vms.iter().map(|vm| Files::of(&self.paths.vm(&vm.id))).collect();
        let common = Common::of(images.iter().chain(&vms));
        Directories { images, vms, common }
    }

    fn vm_line(&self, row: &VmRow, files: &Files, below: &Below<'_>, common: &Common) -> Line {
        let dir = self.paths.vm(&row.id);
        let delta = blockdev::delta::inspect(&home::file(&dir.join(vm::DELTA)));
        let account = Account {
            virtual_bytes: delta.as_ref().map_or(0, |delta| delta.size),
            shared_bytes: below.shared + files.common_bytes(common, below.base),
            private_bytes: below.private + files.own_bytes(common),
            reclaimable_bytes: match lock::look(&dir).is_ok_and(|seen| seen.held) {
                // What it owns is not all in the file while it runs.
                true => 0,
                false => delta.map_or(0, |delta| not_owned(&delta)),
            },
        };
        Line { kind: Kind::Vm, name: Some(row.name.to_string()), account }
    }
}

fn image_line(row: &ImageRow, files: &Files, common: &Common) -> Line {
    let all = files.bytes();
    let account = match row.clones {
        0 => {
            let own = files.own_bytes(common);
            let shared_bytes = all - own;
            let (private_bytes, reclaimable_bytes) = (own, own);
            Account { shared_bytes, private_bytes, reclaimable_bytes, ..Account::default() }
        }
        _ => Account { shared_bytes: all, ..Account::default() },
    };
    let account = Account { virtual_bytes: row.size, ..account };
    Line { kind: Kind::Image, name: Some(row.name.to_string()), account }
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

    /// What a VM needs of them, and of the bases.
    fn of<'a>(
        &self,
        vm: &VmRow,
        needs: &BTreeSet<Uuid>,
        bases: &BTreeMap<Uuid, &'a Files>,
    ) -> Below<'a> {
        let sum = |shared: bool| -> u64 {
            let wanted = needs.iter().filter(|uuid| self.is_shared(uuid) == shared);
            wanted.filter_map(|uuid| self.bytes.get(uuid)).sum()
        };
        let base = self.base_of(vm, needs).and_then(|base| bases.get(&base).copied());
        Below { base, shared: sum(true), private: sum(false) }
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
fn total(lines: &[Line], images: &[ImageRow], dirs: &Directories, layers: &Layers) -> Line {
    let sum = |of: fn(&Account) -> u64| lines.iter().map(|line| of(&line.account)).sum();
    let vms = lines.iter().filter(|line| line.kind == Kind::Vm);
    let cloned = images.iter().zip(&dirs.images).filter(|(row, _)| row.clones > 0);
    let whole = cloned.map(|(_, files)| files);
    let shared = layers.bytes.iter().filter(|(uuid, _)| layers.is_shared(uuid));
    let account = Account {
        virtual_bytes: vms.map(|line| line.account.virtual_bytes).sum(),
        shared_bytes: dirs.common.bytes(whole, dirs.images.iter().chain(&dirs.vms))
            + shared.map(|(_, bytes)| bytes).sum::<u64>(),
        private_bytes: sum(|account| account.private_bytes),
        reclaimable_bytes: sum(|account| account.reclaimable_bytes),
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
