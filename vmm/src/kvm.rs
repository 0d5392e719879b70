//! The host's KVM: whether it is there, may be used, and has what a machine needs.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kvm_bindings::KVM_API_VERSION;
use kvm_ioctls::{Cap, Kvm};

mod probe;

pub use probe::runs_linux;

/// Where KVM is.
const DEVICE: &str = "/dev/kvm";
/// One byte names a vCPU in the local APIC's ID, and 255 addresses all of them.
const MAX_CPUS: u16 = 255;
/// What a machine cannot do without.
const NEEDED: [(Cap, &str); 8] = [
    (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::SetTssAddr, "KVM_CAP_SET_TSS_ADDR"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
    (Cap::MpState, "KVM_CAP_MP_STATE"),
    (Cap::Irqfd, "KVM_CAP_IRQFD"),
    (Cap::Ioeventfd, "KVM_CAP_IOEVENTFD"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
];

/// Why this host's KVM cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such device.
    #[error(
        "{path} does not exist; turn on virtualization in the firmware set-up (or nested \
         virtualization, in a VM) and load the module: modprobe kvm-intel, or modprobe kvm-amd"
    )]
    Absent {
        /// Where it should be.
        path: PathBuf,
    },
    /// The device may not be opened.
    #[error(
        "{path} may not be opened by this user; add it to the group that owns the device \
         (usually: sudo usermod -aG kvm $USER, then log in again), or: sudo chmod 666 {path}"
    )]
    Forbidden {
        /// The device.
        path: PathBuf,
    },
    /// The device did not open for another reason.
    #[error("cannot open {path}")]
    Open {
        /// The device.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The device is not KVM, or one of another age.
    #[error("{path} answers with API version {found}, not {KVM_API_VERSION}; it is no usable KVM")]
    Version {
        /// The device.
        path: PathBuf,
        /// What it answered; -1 where it did not.
        found: i32,
    },
    /// KVM lacks something a machine needs.
    #[error("this host's KVM lacks {capability}; a newer host kernel has it")]
    Lacks {
        /// The capability's name in the kernel's documentation.
        capability: &'static str,
    },
}

/// What is known of a KVM that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many vCPUs a machine may have.
    pub max_cpus: u16,
    /// Whether it can run a Linux kernel, see [`runs_linux`].
    pub runs_linux: bool,
}

/// Looks at this host's KVM, for `doctor`.
///
/// # Errors
/// [`Error::Kvm`](crate::Error::Kvm) when it cannot be used; the text says what to do.
pub fn check() -> crate::Result<Report> {
    Ok(Report { max_cpus: max_cpus(&open()?), runs_linux: runs_linux()? })
}

/// Opens this host's KVM and checks that it has everything a machine needs.
pub(crate) fn open() -> Result<Kvm, Error> {
    open_at(Path::new(DEVICE))
}

/// How many vCPUs a machine may have on this host.
pub(crate) fn max_cpus(kvm: &Kvm) -> u16 {
    u16::try_from(kvm.get_max_vcpus()).map_or(MAX_CPUS, |host| host.min(MAX_CPUS))
}

fn open_at(path: &Path) -> Result<Kvm, Error> {
    let name = CString::new(path.as_os_str().as_bytes()).expect("a device's path has no NUL");
    let kvm = Kvm::new_with_path(&name).map_err(|errno| refused(path, errno.into()))?;
    let found = kvm.get_api_version();
    if u32::try_from(found) != Ok(KVM_API_VERSION) {
        return Err(Error::Version { path: path.into(), found });
    }
    match NEEDED.into_iter().find(|(cap, _)| !kvm.check_extension(*cap)) {
        Some((_, capability)) => Err(Error::Lacks { capability }),
        None => Ok(kvm),
    }
}

fn refused(path: &Path, source: io::Error) -> Error {
    let path = path.into();
    match source.kind() {
        // ENXIO and ENODEV: the node is there, the module is not.
        io::ErrorKind::NotFound => Error::Absent { path },
        _ if matches!(source.raw_os_error(), Some(libc::ENXIO | libc::ENODEV)) => {
            Error::Absent { path }
        }
        io::ErrorKind::PermissionDenied => Error::Forbidden { path },
        _ => Error::Open { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_device_is_named_with_what_to_do() {
        let error = open_at(Path::new("/nonexistent/kvm")).expect_err("there is none");
        assert!(matches!(error, Error::Absent { .. }));
        assert!(error.to_string().contains("/nonexistent/kvm"));
        assert!(error.to_string().contains("modprobe"));
    }

    #[test]
    fn forbidden_device_is_named_with_what_to_do() {
        // Root may open anything, so the refusal itself is made up.
        let error = refused(Path::new(DEVICE), io::ErrorKind::PermissionDenied.into());
        assert!(matches!(error, Error::Forbidden { .. }));
        assert!(error.to_string().contains("usermod -aG kvm"));
    }

    #[test]
    fn file_that_is_not_kvm_is_refused() {
        let error = open_at(Path::new("/dev/null")).expect_err("no KVM");
        assert!(matches!(error, Error::Version { found: -1, .. }), "{error}");
    }
}
