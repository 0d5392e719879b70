//! Files as distributions write them.

use super::*;
use crate::files::memory::Memory;

fn kernel(path: &str) -> Kernel {
    Kernel { path: path.into(), version: String::new(), initrd: None }
}

fn loader(path: &str, text: &str, kernel_path: &str) -> Option<String> {
    let tree = Tree::new(Memory::default().file(path, text));
    let options = of_loader(&tree, "/boot", &kernel(kernel_path)).expect("it can be read")?;
    assert_eq!(options.from, path);
    Some(options.text)
}

fn settings(files: Memory) -> Option<(String, String)> {
    let options = of_settings(&Tree::new(files)).expect("it can be read")?;
    Some((options.text, options.from))
}

#[test]
fn boot_loader_entry_of_the_kernel_counts() {
    let text = "title Fedora Linux (6.5.6)\nversion 6.5.6\nlinux /vmlinuz-6.5.6\n\
                initrd /initramfs-6.5.6.img\noptions root=UUID=1-2 ro rootflags=subvol=root\n\
                options console=tty1\n";
    let path = "/boot/loader/entries/f00-6.5.6.conf";
    let options = "root=UUID=1-2 ro rootflags=subvol=root console=tty1";
    assert_eq!(loader(path, text, "/vmlinuz-6.5.6").as_deref(), Some(options));
    assert_eq!(loader(path, text, "/vmlinuz-6.5.60"), None);
}

#[test]
fn grub_line_of_the_kernel_counts() {
    let text = "menuentry 'Debian' {\n\tlinux\t/boot/vmlinuz-6.1 root=UUID=1 ro quiet\n\
                \tinitrd\t/boot/initrd.img-6.1\n}\n\tlinux /boot/vmlinuz-5.9 root=UUID=2\n";
    let path = "/boot/grub/grub.cfg";
    assert_eq!(loader(path, text, "/boot/vmlinuz-6.1").as_deref(), Some("root=UUID=1 ro quiet"));
    assert_eq!(loader(path, text, "/boot/vmlinuz-5.9").as_deref(), Some("root=UUID=2"));
    assert_eq!(loader(path, text, "/boot/vmlinuz-4.0"), None);
}

#[test]
fn extlinux_line_after_the_kernel_counts() {
    let text = "LABEL lts\n  LINUX vmlinuz-lts\n  APPEND a\nLABEL virt\n  LINUX vmlinuz-virt\n  \
                INITRD initramfs-virt\n  APPEND root=UUID=1 modules=ext4 quiet\n";
    let options = loader("/boot/extlinux.conf", text, "/boot/vmlinuz-virt");
    assert_eq!(options.as_deref(), Some("root=UUID=1 modules=ext4 quiet"));
}

#[test]
fn grubs_settings_are_put_together_in_its_order() {
    let main = "# GRUB_CMDLINE_LINUX=\"no\"\nGRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n\
                GRUB_CMDLINE_LINUX='console=tty0'\n";
    let files = || Memory::default().file("/etc/default/grub", main);
    let is = |files, text: &str, from: &str| {
        assert_eq!(settings(files), Some((text.to_owned(), from.to_owned())));
    };
    is(files(), "console=tty0 quiet", "/etc/default/grub");
    let more = "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX console=ttyS0,115200\"\n";
    let cloud = "/etc/default/grub.d/15_cloud.cfg";
    is(files().file(cloud, more), "console=tty0 console=ttyS0,115200 quiet", cloud);
    is(files().file("/etc/kernel/cmdline", "ro a\nb"), "ro a", "/etc/kernel/cmdline");
    assert_eq!(settings(Memory::default().file("/etc/default/grub", "GRUB_TIMEOUT=5")), None);
}

#[test]
fn value_that_holds_itself_does_not_grow_without_end() {
    let line = format!("GRUB_CMDLINE_LINUX=\"x{}\"\n", "$GRUB_CMDLINE_LINUX".repeat(50));
    let (text, _) = settings(Memory::default().file("/etc/default/grub", &line.repeat(50)))
        .expect("it has a command line");
    assert!(text.len() <= 4096);
}
