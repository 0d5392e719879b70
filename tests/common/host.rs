//! Where Linux guests run: on this machine, or in an emulated one.
//!
//! ```text
//!   this machine's KVM runs Linux            it does not
//!
//!   test program ─ offshoot ─ guest          test program ─ resources/linux/emulated-host
//!                                               └─ L1: Debian, kvm-amd, in QEMU's emulation
//!                                                    └─ test program ─ offshoot ─ guest
//! ```
//!
//! The second test program is the first one's own binary, started again with the same arguments
//! at the same path, beside the files it needs. What it prints is printed here; its status counts.

use std::env;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

const RECIPES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/resources/linux");

/// CPUs of the emulated host. With two, which QEMU emulates side by side, it loses a guest now and
/// then: docs/testing.md, The emulated host.
const CPUS: &str = "1";

/// How long all cases together may take in the emulated host.
const SECONDS: &str = "2400";

/// What a Linux guest is made of. resources/linux/guest makes it.
pub struct Guest {
    /// Debian's cloud kernel, a bzImage.
    pub bzimage: PathBuf,
    /// The same, unpacked: an import of it is quick.
    pub vmlinux: PathBuf,
    /// busybox and the virtio modules; runs the script="..." of the kernel command line.
    pub initrd: PathBuf,
    /// An ext4 image, see resources/linux/base-image.
    pub base: PathBuf,
}

impl Guest {
    /// Makes what is missing. Inside the emulated host everything was brought along.
    pub fn prepare() -> Guest {
        run_recipe("guest");
        let folder = folder();
        let guest = Guest {
            bzimage: folder.join("kernel/vmlinuz"),
            vmlinux: folder.join("kernel/vmlinux"),
            initrd: folder.join("guest.initrd"),
            base: folder.join("base.img"),
        };
        if !guest.vmlinux.exists() {
            let elf = vmm::boot::unpack(&guest.bzimage).expect("it is whole");
            write(&guest.vmlinux, &elf.expect("it is a bzImage"));
        }
        guest
    }
}

/// An ordinary disk image of Debian, a qcow2. Inside the emulated host it was brought along.
pub fn debian_image() -> PathBuf {
    run_recipe("debian-image");
    folder().join("debian.qcow2")
}

/// Runs a recipe, which makes what is missing.
fn run_recipe(name: &str) {
    let recipe = Path::new(RECIPES).join(name);
    if recipe.exists() {
        let made = Command::new(&recipe).stdout(Stdio::null()).status();
        let status = made.expect("bash is there");
        assert!(status.success(), "{} ended with {status}", recipe.display());
    }
}

/// Where the recipes keep what they make.
fn folder() -> PathBuf {
    env::var_os("OFFSHOOT_LINUX")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/linux"), PathBuf::from)
}

/// Writes a file in one step: other test programs may run beside this one.
fn write(path: &Path, bytes: &[u8]) {
    let part = path.with_extension(std::process::id().to_string());
    fs::write(&part, bytes).expect("there is room");
    fs::rename(part, path).expect("they are in one folder");
}

/// What resources/linux/emulated-host ends with when the kernel between QEMU and us panicked.
const HOST_PANICKED: u8 = 126;
/// How many emulated hosts are tried.
const HOSTS: usize = 3;

/// Runs this test program again, with the same arguments, in the emulated host.
///
/// No process can kill the emulated host's own kernel, Debian's: where it dies, the emulation is
/// at fault (QEMU 7.2 was seen to), what the cases said there proves nothing, and they are run in
/// another one. A failure in a host that lives is a failure.
pub fn run_again() -> ExitCode {
    let guest = Guest::prepare();
    for _ in 1..HOSTS {
        let status = run_in_emulated_host(&guest);
        if status != HOST_PANICKED {
            return ExitCode::from(status);
        }
        eprintln!("the emulated host's own kernel panicked: its results do not count, once more");
    }
    ExitCode::from(run_in_emulated_host(&guest))
}

fn run_in_emulated_host(guest: &Guest) -> u8 {
    let recipe = Path::new(RECIPES).join("emulated-host");
    // It is not there in the emulated host itself: no second one inside the first.
    assert!(recipe.exists(), "KVM does not run Linux, and there is no {}", recipe.display());
    let myself = env::current_exe().expect("a process has an executable");
    let mut command = Command::new(recipe);
    command
        .args(["-c", CPUS, "-t", SECONDS, "-l"])
        .arg(guest.initrd.with_file_name("emulated-host.log"));
    let offshoot = Path::new(env!("CARGO_BIN_EXE_offshoot"));
    let e2fsck = Path::new("e2fsck");
    let debian = debian_image();
    let guest = [&guest.bzimage, &guest.vmlinux, &guest.initrd, &guest.base, &debian];
    for file in [&myself, offshoot, e2fsck].into_iter().chain(guest.map(PathBuf::as_path)) {
        command.arg("-p").arg(file);
    }
    command.arg("env");
    for name in ["CI", "OFFSHOOT_TESTS", "OFFSHOOT_LINUX", "RUST_BACKTRACE"] {
        if let Ok(value) = env::var(name) {
            command.arg(format!("{name}={value}"));
        }
    }
    if !io::stdout().is_terminal() {
        // There it will be: a serial line.
        command.arg("NO_COLOR=1");
    }
    let status = command.arg(myself).args(env::args_os().skip(1)).status().expect("bash is there");
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Whether this machine's KVM runs Linux. Where it does not, or there is none, says so.
pub fn runs_linux() -> bool {
    match vmm::kvm::runs_linux() {
        Ok(true) => return true,
        Ok(false) => eprintln!("this KVM cannot run Linux: starting an emulated host"),
        Err(error) => eprintln!("{error}: starting an emulated host"),
    }
    false
}
