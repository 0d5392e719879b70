//! What `image import` finds on a disk: images made here, with the tiny guest as their kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::store::{Store, finish};
use crate::support::{json, text};

const MIB: u64 = 1 << 20;
/// The filesystems' UUIDs.
const ROOT: &str = "00000000-0000-4000-8000-000000000001";
const BOOT: &str = "00000000-0000-4000-8000-000000000002";

#[track_caller]
fn succeeds(command: &mut Command) {
    let output = command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").output();
    let output = output.expect("it is here (Debian: e2fsprogs, fdisk)");
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// A store, and a disk image in the making.
struct Disk {
    store: Store,
    image: PathBuf,
}

impl Disk {
    /// Zeroes, of so many bytes.
    fn new(len: u64) -> Disk {
        let store = Store::new();
        let image = store.folder().join("disk.img");
        fs::File::create(&image).and_then(|file| file.set_len(len)).expect("a file");
        Disk { store, image }
    }

    /// Gives it a partition table, as `sfdisk` reads it.
    fn table(self, script: &str) -> Disk {
        let path = self.store.folder().join("table");
        fs::write(&path, script).expect("written");
        let script = fs::File::open(path).expect("it was written");
        succeeds(Command::new("sfdisk").args(["-q", text(&self.image)]).stdin(script));
        self
    }

    /// Puts an ext4 filesystem of 8 MiB there, with these files. A text that starts with `->` is a
    /// symbolic link.
    fn ext4(self, at_mib: u64, uuid: &str, files: &[(&str, &[u8])]) -> Disk {
        let tree = self.store.folder().join(uuid);
        for (path, bytes) in files {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder");
            match bytes.strip_prefix(b"->") {
                Some(to) => {
                    let to = str::from_utf8(to).expect("a path");
                    std::os::unix::fs::symlink(to, path).expect("a link");
                }
                None => fs::write(path, bytes).expect("written"),
            }
        }
        let options = format!("offset={}", at_mib * MIB);
        let args = ["-q", "-U", uuid, "-E", &options, "-d", text(&tree), text(&self.image), "8M"];
        succeeds(Command::new("mkfs.ext4").args(args));
        self
    }

    /// Overwrites what is there.
    fn damage(self, at: u64, bytes: &[u8]) -> Disk {
        let file = fs::File::options().write(true).open(&self.image).expect("it is there");
        std::os::unix::fs::FileExt::write_all_at(&file, bytes, at).expect("written");
        self
    }

    /// Imports it as `a`, which must go well, and returns what is known of it, and stderr.
    #[track_caller]
    fn import(&self, args: &[&str]) -> (Value, String) {
        let import = ["image", "import", text(&self.image), "--name", "a"];
        let output = finish(self.store.command(import.iter().chain(args)));
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(output.status.success(), "{said}");
        (json(&self.store, ["image", "inspect", "a"])[0].clone(), said)
    }

    /// Imports it, and finds it to be data, with this note.
    #[track_caller]
    fn is_data(&self, note: &str) {
        let (record, said) = self.import(&[]);
        assert_eq!((&record["kernel"], &record["cmdline"]), (&Value::Null, &Value::Null));
        assert!(said.contains("data only: ") && said.contains(note), "{said}");
        assert!(said.contains("give --kernel, --initrd and --cmdline"), "{said}");
    }
}

/// The files of a small Debian with two kernels.
fn debian() -> Vec<(&'static str, &'static [u8])> {
    vec![
        ("usr/lib/os-release", b"ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
        ("etc/os-release", b"->../usr/lib/os-release"),
        ("etc/fstab", b"# here\nUUID=x / ext4 defaults 0 1\n"),
        ("etc/default/grub", b"GRUB_CMDLINE_LINUX_DEFAULT=\"quiet net.ifnames=0 console=tty0\"\n"),
        ("boot/vmlinuz-6.1.0-9-cloud-amd64", b"an older kernel"),
        ("boot/initrd.img-6.1.0-9-cloud-amd64", b"its ramdisk"),
        ("boot/vmlinuz-6.1.0-18-cloud-amd64", guest::KERNEL),
        ("boot/initrd.img-6.1.0-18-cloud-amd64", b"a ramdisk"),
        ("vmlinuz", b"->boot/vmlinuz-6.1.0-9-cloud-amd64"),
    ]
}

/// A GPT whose first partition, from 2 MiB on, is that Debian's.
fn gpt() -> Disk {
    Disk::new(12 * MIB)
        .table("label: gpt\n1: start=4096, size=16384, type=linux\n14: start=2048, size=2048\n")
        .ext4(2, ROOT, &debian())
}

#[test]
fn newest_kernel_is_found_with_its_ramdisk_and_root() {
    let disk = gpt();
    let (record, said) = disk.import(&[]);
    let cmdline = format!("root=UUID={ROOT} ro quiet net.ifnames=0 console=ttyS0");
    assert_eq!(record["cmdline"], cmdline);
    assert_eq!(record["found"]["kernel"], "/boot/vmlinuz-6.1.0-18-cloud-amd64");
    assert_eq!(record["found"]["initrd"], "/boot/initrd.img-6.1.0-18-cloud-amd64");
    assert_eq!(record["found"]["others"][0], "/boot/vmlinuz-6.1.0-9-cloud-amd64");
    assert!(said.contains("a: Debian GNU/Linux 12 (bookworm) on partition 1 (ext4): "), "{said}");
    let dir = Path::new("images").join(record["digest"].as_str().expect("it has one"));
    let file = |name: &str| {
        fs::read(disk.store.folder().join("root").join(&dir).join(name)).expect("it is there")
    };
    assert_eq!(file("kernel"), guest::KERNEL);
    assert_eq!(file("initrd"), b"a ramdisk");
    disk.store.ok(["image", "verify", "a"]);
}

#[test]
fn what_is_given_goes_before_what_is_found() {
    let (record, _) = gpt().import(&["--cmdline", "init=/bin/sh"]);
    assert_eq!(record["cmdline"], "init=/bin/sh");
    assert!(record["kernel"].is_string() && record["initrd"].is_string(), "{record}");

    let disk = gpt();
    let initrd = disk.store.folder().join("initrd");
    fs::write(&initrd, "mine").expect("written");
    let (record, _) = disk.import(&["--initrd", text(&initrd)]);
    assert_eq!(record["initrd"], blake3::hash(b"mine").to_hex().as_str());

    let (record, said) = gpt().import(&["--no-boot"]);
    assert_eq!((&record["kernel"], &record["found"]), (&Value::Null, &Value::Null));
    assert_eq!(said, "");
}

#[test]
fn separate_boot_partition_has_the_kernel_and_the_menu() {
    let menu = b"menuentry x {\n linux /vmlinuz-6.5.6-300.fc39 root=/dev/sda2 ro rhgb audit=0\n}\n";
    let disk = Disk::new(20 * MIB)
        .table(
            "label: dos\nlabel-id: 0x0ff51007\nstart=2048, size=16384\nstart=18432, size=16384\n",
        )
        .ext4(1, BOOT, &[("vmlinuz-6.5.6-300.fc39", guest::KERNEL), ("grub2/grub.cfg", menu)])
        .ext4(9, ROOT, &[("etc/os-release", b"PRETTY_NAME='Fedora Linux 39'")]);
    let (record, said) = disk.import(&[]);
    // Without a ramdisk only the kernel is there to find the root.
    assert_eq!(record["cmdline"], "root=PARTUUID=0ff51007-02 ro audit=0 console=ttyS0");
    let found = &record["found"];
    assert_eq!(found["kernel"], "/vmlinuz-6.5.6-300.fc39 on partition 1 (ext4)");
    assert_eq!(found["cmdline_from"], "/grub2/grub.cfg");
    assert!(said.contains("Fedora Linux 39 on partition 2 (ext4)"), "{said}");
}

#[test]
fn filesystem_without_a_table_is_the_root() {
    let files = [("sbin/init", b"x".as_slice()), ("boot/vmlinuz-virt", guest::KERNEL)];
    let (record, _) = Disk::new(8 * MIB).ext4(0, ROOT, &files).import(&[]);
    assert_eq!(record["cmdline"], "root=/dev/vda rw console=ttyS0");
}

#[test]
fn disk_without_linux_is_data() {
    Disk::new(4 * MIB).is_data("no Linux system was found on it");
    Disk::new(8 * MIB).ext4(0, ROOT, &[("photos/1", b"x")]).is_data("no Linux system was found");
    let rootfs = [("etc/os-release", b"ID=x".as_slice())];
    Disk::new(8 * MIB).ext4(0, ROOT, &rootfs).is_data("the whole disk (ext4) has no kernel");
}

#[test]
fn unified_kernel_image_is_named_and_the_disk_is_data() {
    let unified = [("EFI/Linux/arch-linux.efi", b"MZ".as_slice())];
    let disk = Disk::new(20 * MIB)
        .table("label: gpt\nstart=2048, size=16384, type=uefi\nstart=18432, size=16384\n")
        .ext4(1, BOOT, &unified)
        .ext4(9, ROOT, &[("etc/os-release", b"ID=arch")]);
    disk.is_data("/EFI/Linux/arch-linux.efi on partition 1 (ext4) is a unified kernel image");
}

#[test]
fn what_cannot_be_read_is_named() {
    let table = "label: gpt\nstart=2048, size=16384\n";
    let disk = || Disk::new(12 * MIB).table(table);
    disk().damage(MIB, b"LUKS\xba\xbe").is_data("partition 1 (LUKS) is not read here");
    disk().damage(MIB + 536, b"LVM2 001").is_data("partition 1 (LVM) is not read here");
    disk().damage(MIB, b"XFSB").is_data("partition 1 (XFS) is not read here");
    disk().damage(MIB + 0x1_0040, b"_BHRfS_M").is_data("partition 1 (btrfs) is not read here");
}

/// With a `/boot` that can be read, and `root` in its menu.
fn sealed_root(signature: &[u8], root: &str) -> (String, String) {
    let menu = format!("menuentry x {{\n linux /vmlinuz-6.1 {root} quiet\n}}\n");
    let files = [("vmlinuz-6.1", guest::KERNEL), ("grub/grub.cfg", menu.as_bytes())];
    let disk = Disk::new(20 * MIB)
        .table("label: gpt\nstart=2048, size=16384\nstart=18432, size=16384\n")
        .ext4(1, BOOT, &files)
        .damage(9 * MIB, signature);
    let (record, said) = disk.import(&[]);
    (record["cmdline"].as_str().expect("text").to_owned(), said)
}

#[test]
fn root_that_cannot_be_read_is_named_beside_a_boot_partition() {
    let (luks, xfs) = (b"LUKS\xba\xbe", b"XFSB");
    let (cmdline, said) = sealed_root(luks, "root=/dev/mapper/crypt");
    assert_eq!(cmdline, "root=/dev/mapper/crypt rw quiet console=ttyS0");
    assert!(said.contains("its root is said to be /dev/mapper/crypt"), "{said}");
    assert!(said.contains("partition 2 (LUKS) is not read here"), "{said}");

    let (cmdline, said) = sealed_root(luks, "rd.luks=1");
    assert_eq!(cmdline, "rw rd.luks=1 quiet console=ttyS0");
    assert!(said.contains("nothing says where its root is: give --cmdline 'root="), "{said}");
    assert!(said.contains("partition 2 (LUKS) is not read here"), "{said}");

    let (_, said) = sealed_root(xfs, "");
    assert!(said.contains("its root is taken to be partition 2 (XFS), which"), "{said}");
}

#[test]
fn damage_is_said_and_the_import_goes_on() {
    let broken = gpt().damage(512, &[0; 512]);
    let (record, said) = broken.import(&[]);
    assert!(record["kernel"].is_string(), "the copy at the end is whole");
    assert!(said.contains("the GPT at its start is damaged"), "{said}");

    let both = gpt().damage(512, &[0; 512]).damage(12 * MIB - 512, &[0; 512]);
    both.is_data("the GPT's copy at its end is missing or damaged, too");

    // The superblock: blocks in all.
    let larger = gpt().damage(2 * MIB + 1024 + 4, &u32::MAX.to_le_bytes());
    larger.is_data("partition 1 (ext4): cannot read its ext4 filesystem: it is larger than");

    // Its checksum.
    let changed = gpt().damage(2 * MIB + 1024 + 0x3fc, &[0; 4]);
    changed.is_data("partition 1 (ext4): cannot read its ext4 filesystem: ");
}

#[test]
fn kernel_that_cannot_be_booted_leaves_data() {
    let files = [("etc/os-release", b"ID=x".as_slice()), ("boot/vmlinuz-6.1-arm64", b"MZ")];
    let disk = Disk::new(8 * MIB).ext4(0, ROOT, &files);
    disk.is_data("/boot/vmlinuz-6.1-arm64 on the whole disk (ext4): it is not a kernel");
    let root = disk.store.folder().join("root");
    let left = fs::read_dir(root.join("images")).expect("it is there").flatten();
    for image in left {
        assert!(!image.path().join("kernel.packed").exists());
    }
}
