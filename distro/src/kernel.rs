//! Kernels in a filesystem, and the initial ramdisk of each, by the names distributions give them.
//!
//! | | kernel | initial ramdisk |
//! |---|---|---|
//! | Debian, Ubuntu | `vmlinuz-6.1.0-18-amd64` | `initrd.img-6.1.0-18-amd64` |
//! | Fedora, RHEL | `vmlinuz-6.5.6-300.fc39.x86_64` | `initramfs-6.5.6-300.fc39.x86_64.img` |
//! | openSUSE | `vmlinuz-6.4.0-150600.21-default` | `initrd-6.4.0-150600.21-default` |
//! | Arch | `vmlinuz-linux` | `initramfs-linux.img` |
//! | Alpine | `vmlinuz-virt` | `initramfs-virt` |

use std::cmp::Ordering;

use crate::entry::{self, Entry};
use crate::error::Result;
use crate::files::Tree;
use crate::version;

/// What a kernel's file is called before its version.
const NAMES: [&str; 4] = ["vmlinuz", "vmlinux", "bzImage", "kernel"];
/// Not to boot, or no kernel.
const NOT: [&str; 6] = ["rescue", ".old", ".sig", ".hmac", ".bak", ".efi"];

/// Where the Boot Loader Specification has unified kernel images, on a boot partition or where that
/// is mounted.
const UNIFIED: [&str; 3] = ["/EFI/Linux", "/boot/EFI/Linux", "/boot/efi/EFI/Linux"];

/// A kernel's file in a filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// Its path; no link.
    pub path: String,
    /// What follows its name: a version, or a flavour. May be empty.
    pub version: String,
    /// Its initial ramdisk's path, where there is one.
    pub initrd: Option<String>,
}

impl Kernel {
    /// By which the best one is the last: numbered ones by their numbers, before them flavours.
    pub fn compare(&self, other: &Kernel) -> Ordering {
        let numbered = |kernel: &Kernel| kernel.version.starts_with(|c: char| c.is_ascii_digit());
        match (numbered(self), numbered(other)) {
            (true, true) => version::compare(&self.version, &other.version),
            (false, false) => flavour(&self.version).cmp(&flavour(&other.version)),
            (a, b) => a.cmp(&b),
        }
    }

    /// The last part of its path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// The one made for virtual machines, else the one with the plainest name.
fn flavour(name: &str) -> impl Ord + use<> {
    (name == "virt", std::cmp::Reverse((name.len(), name.to_owned())))
}

/// The kernels in a folder, the best one first.
pub(crate) fn find(tree: &Tree, folder: &str) -> Result<Vec<Kernel>> {
    let mut kernels: Vec<Kernel> = Vec::new();
    for name in tree.names(folder)? {
        let Some(version) = version_of(&name) else { continue };
        let Some((path, _)) = tree.file(&format!("{folder}/{name}"))? else { continue };
        if kernels.iter().any(|kernel| kernel.path == path) {
            continue;
        }
        // A link's own name says less than the file's.
        let target = path.rsplit('/').next().and_then(version_of);
        let version = target.unwrap_or(version).to_owned();
        let initrd = initrd(tree, folder, &path, &version)?;
        kernels.push(Kernel { path, version, initrd });
    }
    for entry in entry::read(tree, folder)? {
        let kernel = of_entry(tree, folder, entry)?;
        kernels.extend(kernel.filter(|new| !kernels.iter().any(|old| old.path == new.path)));
    }
    kernels.sort_by(|a, b| b.compare(a));
    Ok(kernels)
}

/// A unified kernel image: kernel, ramdisk and options in one EFI program.
pub(crate) fn unified(tree: &Tree) -> Result<Option<String>> {
    for folder in UNIFIED {
        let names = tree.names(folder)?;
        let image = names.iter().find(|name| name.to_ascii_lowercase().ends_with(".efi"));
        if let Some(name) = image {
            return Ok(Some(format!("{folder}/{name}")));
        }
    }
    Ok(None)
}

/// The kernel of a boot loader's entry, wherever it lies: systemd-boot's is `/ID/6.5.6/linux`.
fn of_entry(tree: &Tree, folder: &str, entry: Entry) -> Result<Option<Kernel>> {
    let file = |path: &str| match tree.file(&format!("{folder}/{path}"))? {
        Some((path, _)) => Ok(Some(path)),
        None => Ok(tree.file(path)?.map(|(path, _)| path)),
    };
    if NOT.iter().any(|not| entry.kernel.contains(not)) {
        return Ok(None);
    }
    let Some(path) = file(&entry.kernel)? else { return Ok(None) };
    // The last one is the system's; microcode, which is the host's affair, comes before.
    let initrd = entry.initrds.last().map(|path| file(path)).transpose()?.flatten();
    Ok(Some(Kernel { path, version: entry.version, initrd }))
}

/// What follows a kernel's name; `None` for the name of something else.
fn version_of(name: &str) -> Option<&str> {
    if NOT.iter().any(|not| name.contains(not)) {
        return None;
    }
    let rest = NAMES.iter().find_map(|kernel| name.strip_prefix(kernel))?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('-') }
}

/// The initial ramdisk beside a kernel: in its own folder, or in that of the link to it.
fn initrd(tree: &Tree, folder: &str, kernel: &str, version: &str) -> Result<Option<String>> {
    let own = kernel.rsplit_once('/').map_or("", |(own, _)| own);
    let names = match version {
        "" => ["initrd.img", "initrd", "initramfs.img", "initramfs", "initrd.gz"].map(String::from),
        version => [
            format!("initrd.img-{version}"),
            format!("initramfs-{version}.img"),
            format!("initramfs-{version}"),
            format!("initrd-{version}"),
            format!("initrd-{version}.img"),
        ],
    };
    for name in &names {
        for folder in [own, folder] {
            if let Some((path, _)) = tree.file(&format!("{folder}/{name}"))? {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::memory::Memory;

    fn kernels(files: Memory, folder: &str) -> Vec<(String, Option<String>)> {
        let kernels = find(&Tree::new(files), folder).expect("it can be read");
        kernels.into_iter().map(|kernel| (kernel.path, kernel.initrd)).collect()
    }

    fn files(names: &[&str]) -> Memory {
        names.iter().fold(Memory::default(), |files, name| files.file(&format!("/boot/{name}"), ""))
    }

    /// The best kernel of a `/boot` with these files, and its initial ramdisk.
    fn best(names: &[&str]) -> (String, String) {
        let (kernel, initrd) = kernels(files(names), "/boot").swap_remove(0);
        let name = |path: String| path.strip_prefix("/boot/").unwrap_or_default().to_owned();
        (name(kernel), initrd.map(name).unwrap_or_default())
    }

    #[test]
    fn newest_kernel_comes_with_its_own_ramdisk() {
        let is = |names: &[&str], kernel: &str, initrd: &str| {
            assert_eq!(best(names), (kernel.to_owned(), initrd.to_owned()));
        };
        let debian = ["vmlinuz-6.1.0-9-amd64", "initrd.img-6.1.0-9-amd64", "config-6.1.0-18-amd64"];
        let newer = ["vmlinuz-6.1.0-18-amd64", "initrd.img-6.1.0-18-amd64", "vmlinuz.old"];
        is(&[debian, newer].concat(), newer[0], newer[1]);
        let fedora = ["vmlinuz-6.5.6-300.fc39", "initramfs-6.5.6-300.fc39.img"];
        let others = ["vmlinuz-0-rescue-f00", ".vmlinuz-6.5.6-300.fc39.hmac", "System.map-6.9"];
        is(&[&fedora[..], &others].concat(), fedora[0], fedora[1]);
        let arch = ["vmlinuz-linux", "initramfs-linux.img", "initramfs-linux-fallback.img"];
        is(&[&arch[..], &["vmlinuz-linux-lts"]].concat(), arch[0], arch[1]);
        is(&["vmlinuz-lts", "vmlinuz-virt", "initramfs-virt"], "vmlinuz-virt", "initramfs-virt");
        is(&["bzImage"], "bzImage", "");
    }

    #[test]
    fn kernel_of_an_entry_is_found_wherever_it_lies() {
        let entry = |version: &str| {
            let path = format!("/0ff5/{version}");
            format!(
                "title x\nversion {version}\nlinux {path}/linux\ninitrd /ucode.img\n\
                 initrd {path}/initrd\noptions quiet\n"
            )
        };
        let files = Memory::default()
            .file("/loader/entries/a-6.9.conf", &entry("6.9"))
            .file("/loader/entries/b-6.10.conf", &entry("6.10"))
            .file("/loader/entries/c-6.11.conf", &entry("6.11"))
            .file("/0ff5/6.9/linux", "")
            .file("/0ff5/6.9/initrd", "")
            .file("/0ff5/6.10/linux", "")
            .file("/0ff5/6.10/initrd", "");
        let found = kernels(files, "");
        let is = |version: &str| {
            let path = format!("/0ff5/{version}");
            (format!("{path}/linux"), Some(format!("{path}/initrd")))
        };
        assert_eq!(found, [is("6.10"), is("6.9")]);
    }

    #[test]
    fn unified_image_is_found_where_boot_loaders_look_for_it() {
        let is = |path: &str, found: Option<&str>| {
            let tree = Tree::new(Memory::default().file(path, "MZ"));
            assert_eq!(unified(&tree).expect("it can be read").as_deref(), found);
        };
        is("/EFI/Linux/arch-linux.EFI", Some("/EFI/Linux/arch-linux.EFI"));
        is("/boot/efi/EFI/Linux/6.8.efi", Some("/boot/efi/EFI/Linux/6.8.efi"));
        is("/EFI/BOOT/BOOTX64.EFI", None);
        is("/EFI/Linux/notes.txt", None);
    }

    #[test]
    fn links_in_the_root_folder_lead_to_one_kernel() {
        let files = files(&["vmlinuz-6.1.0-9-amd64", "initrd.img-6.1.0-9-amd64"])
            .link("/vmlinuz", "boot/vmlinuz-6.1.0-9-amd64")
            .link("/vmlinuz.old", "boot/vmlinuz-6.1.0-9-amd64")
            .link("/initrd.img", "boot/initrd.img-6.1.0-9-amd64");
        let found = kernels(files, "");
        let initrd = Some("/boot/initrd.img-6.1.0-9-amd64".to_owned());
        assert_eq!(found, [("/boot/vmlinuz-6.1.0-9-amd64".to_owned(), initrd)]);
    }
}
