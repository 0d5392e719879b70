//! What the host must have: KVM, io_uring if it may be, a filesystem with room.

use std::path::Path;

use io_uring::IoUring;
use rustix::fs::{StatVfsMountFlags, statfs, statvfs};

use super::Finding;
use crate::failure::{self, Code};
use crate::output::human;

/// Less free space than this is worth a word.
const LITTLE_SPACE: u64 = 1 << 30;

/// Whether there is a KVM that can be used, and what for.
pub fn kvm() -> Finding {
    match vmm::kvm::check() {
        Ok(report) if report.runs_linux => {
            Finding::ok("kvm", format!("usable, up to {} vCPUs", report.max_cpus))
        }
        Ok(_) => Finding::warning(
            "kvm",
            "usable, but it cannot run a Linux kernel: it lacks instructions one needs".into(),
            "`offshoot demo` works here; for Linux, a host with hardware virtualization".into(),
        ),
        Err(error) => {
            let error = error.into();
            let next = failure::hint(&error).map(str::to_owned);
            Finding::bad("kvm", Code::NoKvm, failure::text(&error), next)
        }
    }
}

/// Whether disks can use io_uring.
pub fn io_uring() -> Finding {
    match IoUring::new(2) {
        Ok(_) => Finding::ok("io_uring", "usable".into()),
        Err(error) => Finding::warning(
            "io_uring",
            format!("not usable: {error}; disks work without it, slower"),
            "sysctl kernel.io_uring_disabled=0, or a seccomp profile that allows it".into(),
        ),
    }
}

/// Where the store is, and how much room there is.
pub fn space(root: &Path) -> Finding {
    let (kind, room) = match (statfs(root), statvfs(root)) {
        (Ok(kind), Ok(room)) => (kind, room),
        (Err(error), _) | (_, Err(error)) => {
            let text = format!("cannot look at {}: {error}", root.display());
            return Finding::bad("store", Code::Failed, text, None);
        }
    };
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    let filesystem = filesystem(u64::try_from(kind.f_type).unwrap_or(0));
    let text = format!("{} on {filesystem}, {} free", root.display(), human::bytes(free));
    if room.f_flag.contains(StatVfsMountFlags::RDONLY) {
        let text = format!("{text}; it is read-only");
        return Finding::warning("store", text, "mount it for writing, or --root DIR".into());
    }
    if free < LITTLE_SPACE {
        return Finding::warning("store", text, "make room, or move it: --root DIR".into());
    }
    Finding::ok("store", text)
}

/// A filesystem's name by its number in linux/magic.h.
fn filesystem(magic: u64) -> String {
    let known = match magic {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x2fc1_2fc1 => "zfs",
        0x794c_7630 => "overlayfs",
        0x6969 => "nfs",
        _ => return format!("a filesystem of type {magic:#x}"),
    };
    known.to_owned()
}
