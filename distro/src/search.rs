//! From a disk to what can be booted.

use std::fmt::Display;
use std::rc::Rc;

use crate::cmdline;
use crate::disk::{Disk, Window};
use crate::error::{Error, Result};
use crate::files::Tree;
use crate::kernel::{self, Kernel};
use crate::options::{self, Options};
use crate::system::{Place, System};
use crate::table::{self, Partition};
use crate::volume::{Content, Volume};

/// What a search found.
pub struct Found {
    /// The system; `None` where there is none that can be booted as it is.
    pub system: Option<System>,
    /// For people: what is damaged, what is not read here, why there is no system.
    pub notes: Vec<String>,
}

/// A volume whose files can be read.
struct Opened {
    volume: usize,
    tree: Tree,
    /// Whether it is a system's root, not a partition with kernels or data.
    root: bool,
}

/// Looks for a Linux system. Whatever is on the disk, this ends, and reads no more than a few GiB.
pub fn find(disk: Rc<dyn Disk>) -> Found {
    let mut search = Search { volumes: Vec::new(), notes: Vec::new() };
    let opened = search.open(&Window::whole(disk));
    let system = search.system(opened);
    if system.is_none() {
        search.explain();
    }
    Found { system, notes: search.notes }
}

struct Search {
    volumes: Vec<Volume>,
    notes: Vec<String>,
}

/// Where kernels were found.
struct Bootable {
    opened: Opened,
    /// Where `/boot` is in that filesystem.
    boot: &'static str,
    kernels: Vec<Kernel>,
}

impl Search {
    /// Reads the partition table, and opens each filesystem that can be.
    fn open(&mut self, disk: &Window) -> Vec<Opened> {
        let table = table::read(disk).unwrap_or_default();
        self.notes.extend(table.damage);
        let mut partitions = table.partitions;
        if partitions.is_empty() {
            partitions.push(Partition { number: None, uuid: None, window: disk.clone() });
        }
        self.volumes = partitions.into_iter().map(Volume::new).collect();
        let opened = self.volumes.iter().enumerate().filter_map(|(volume, at)| {
            let tree = Tree::open(at.kind(), &at.partition.window)?;
            let root = |tree: Tree| Ok((is_root(&tree)?, tree));
            let opened = tree.and_then(root).map(|(root, tree)| Opened { volume, tree, root });
            noted(&mut self.notes, at, opened)
        });
        opened.collect()
    }

    /// The first root filesystem, and the kernels on it or else on the first volume that has any.
    fn system(&mut self, opened: Vec<Opened>) -> Option<System> {
        let (roots, others): (Vec<_>, Vec<_>) = opened.into_iter().partition(|one| one.root);
        if roots.len() > 1 {
            let names: Vec<_> =
                roots.iter().map(|one| self.volumes[one.volume].to_string()).collect();
            self.notes.push(format!("there are several systems, on {}", names.join(" and ")));
        }
        let root = roots.into_iter().next();
        let volume = root.as_ref().map(|root| root.volume);
        let about = root.as_ref().map(|root| about(&root.tree));
        let settings = root.as_ref().and_then(|root| options::of_settings(&root.tree).ok()?);
        let bootable = self.bootable(root, others)?;
        Some(self.describe(bootable, volume, about.unwrap_or_default(), settings))
    }

    fn bootable(&mut self, root: Option<Opened>, others: Vec<Opened>) -> Option<Bootable> {
        let named = root.as_ref().map(|root| root.volume);
        let mut unified = Vec::new();
        for opened in root.into_iter().chain(others) {
            let folders: &[_] = if opened.root { &["/boot", ""] } else { &["", "/boot"] };
            for &boot in folders {
                let kernels = kernel::find(&opened.tree, boot);
                let kernels = noted(&mut self.notes, &self.volumes[opened.volume], kernels);
                if let Some(kernels) = kernels.filter(|kernels| !kernels.is_empty()) {
                    return Some(Bootable { opened, boot, kernels });
                }
            }
            let volume = &self.volumes[opened.volume];
            let image = noted(&mut self.notes, volume, kernel::unified(&opened.tree)).flatten();
            unified.extend(image.map(|path| {
                format!("{path} on {volume} is a unified kernel image, which is not taken apart")
            }));
        }
        self.notes.append(&mut unified);
        if let Some(root) = named {
            self.notes.push(format!("the system on {} has no kernel", self.volumes[root]));
        }
        None
    }

    fn describe(
        &mut self,
        bootable: Bootable,
        root: Option<usize>,
        about: About,
        settings: Option<Options>,
    ) -> System {
        let Bootable { opened: Opened { volume, tree, .. }, boot, mut kernels } = bootable;
        let kernel = kernels.remove(0);
        let loader = options::of_loader(&tree, boot, &kernel);
        let loader = noted(&mut self.notes, &self.volumes[volume], loader).flatten();
        let options = loader.or(settings);
        let text = options.as_ref().map_or("", |options| &options.text);
        let named = root.or_else(|| self.unread_root(text));
        let word = named.map(|root| self.volumes[root].root(kernel.initrd.is_some()));
        let cmdline = cmdline::fit(text, word.as_deref(), !about.fstab);
        if root.is_none() {
            self.notes.push(self.about_root(named, &cmdline));
        }
        let place = |path| Place { path, volume: self.volumes[volume].to_string() };
        System {
            name: about.name,
            root: root.map(|root| self.volumes[root].to_string()),
            cmdline,
            kernel: place(kernel.path),
            initrd: kernel.initrd.map(place),
            cmdline_from: options.map(|options| options.from),
            others: kernels.into_iter().map(|kernel| kernel.path).collect(),
            tree,
        }
    }

    /// The one filesystem that may be the root and cannot be read here, where no boot loader says
    /// which it is.
    fn unread_root(&self, options: &str) -> Option<usize> {
        let mut candidates = (0..self.volumes.len())
            .filter(|at| matches!(self.volumes[*at].kind(), "XFS" | "btrfs" | "f2fs"));
        let only = candidates.next()?;
        (candidates.next().is_none() && !options.contains("root=")).then_some(only)
    }

    /// Says what becomes of a root that was not found; `taken` is what it is taken for.
    fn about_root(&self, taken: Option<usize>, cmdline: &str) -> String {
        if let Some(root) = taken {
            return format!(
                "its root is taken to be {}, which is not read here",
                self.volumes[root]
            );
        }
        let said = cmdline.split(' ').find_map(|word| word.strip_prefix("root="));
        let about = match said {
            Some(root) => format!("its root is said to be {root}, which is not read here"),
            None => "nothing says where its root is: give --cmdline 'root=DEVICE ro console=ttyS0'"
                .to_owned(),
        };
        std::iter::once(about).chain(self.unread()).collect::<Vec<_>>().join("; ")
    }

    /// What is known by name only, for people.
    fn unread(&self) -> impl Iterator<Item = String> {
        let unread = self.volumes.iter().filter(|at| !matches!(at.kind(), "ext4" | "FAT" | "swap"));
        let known = unread.filter(|at| at.content != Content::Unknown);
        known.map(|at| format!("{at} is not read here"))
    }

    /// Says what there is instead of a system.
    fn explain(&mut self) {
        let unread: Vec<_> = self.unread().collect();
        if unread.is_empty() && self.notes.is_empty() {
            self.notes.push("no Linux system was found on it".into());
        }
        self.notes.extend(unread);
    }
}

/// What was read, or a note of why not.
fn noted<T>(notes: &mut Vec<String>, what: &impl Display, result: Result<T>) -> Option<T> {
    result.map_err(|error| notes.push(format!("{what}: {}", chain(&error)))).ok()
}

fn chain(error: &Error) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    printable(&(error.to_string() + &source.unwrap_or_default()), 300)
}

fn is_root(tree: &Tree) -> Result<bool> {
    for path in ["/etc/os-release", "/usr/lib/os-release", "/sbin/init", "/etc/fstab"] {
        if tree.find(path)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a root filesystem says of its system.
#[derive(Default)]
struct About {
    name: String,
    /// Whether its own list of filesystems makes the root writable.
    fstab: bool,
}

fn about(tree: &Tree) -> About {
    let text = |path| tree.text(path).ok().flatten().unwrap_or_default();
    let release = text("/etc/os-release") + "\n" + &text("/usr/lib/os-release");
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let name = name.unwrap_or_default().trim_matches(['"', '\'', ' ']);
    let fstab = text("/etc/fstab");
    let mut mounts = fstab.lines().filter(|line| !line.trim_start().starts_with('#'));
    About {
        name: printable(name, 80),
        fstab: mounts.any(|line| line.split_whitespace().nth(1) == Some("/")),
    }
}

/// What a terminal can be given, of at most so many letters.
fn printable(text: &str, limit: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(limit).collect()
}
