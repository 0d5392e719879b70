//! Builds the guest's kernel with this build's own compiler, so that no other target, linker or
//! flag is needed. The user's RUSTFLAGS are for the host's programs and are not used.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let elf = PathBuf::from(variable("OUT_DIR")).join("guest.elf");
    for source in ["build.rs", "link.ld", "kernel", "src/shared"] {
        println!("cargo::rerun-if-changed={source}");
    }
    println!("cargo::rustc-env=GUEST_KERNEL={}", elf.display());
    build(&root, &elf);
    let size = fs::metadata(&elf).expect("the compiler wrote the kernel").len();
    assert!(size < 1 << 20, "the kernel is {size} bytes: it should stay small");
}

fn build(root: &Path, elf: &Path) {
    let script = format!("link-arg=-Wl,-T,{}", root.join("link.ld").display());
    let mut compiler = Command::new(variable("RUSTC"));
    compiler
        .args(["--edition", "2024", "--crate-name", "guest_kernel", "--crate-type", "bin"])
        .args(["--target", &variable("TARGET"), "--cap-lints", "warn"])
        .args(["-C", "opt-level=2", "-C", "codegen-units=1", "-C", "strip=symbols"])
        .args(["-C", "panic=abort", "-C", "relocation-model=static"])
        .args(["-C", "link-arg=-nostdlib", "-C", "link-arg=-static", "-C", "link-arg=-no-pie"])
        .args(["-C", "link-arg=-Wl,--build-id=none,-z,norelro,-z,max-page-size=4096"])
        .args(["-C", &script])
        .arg("--remap-path-prefix")
        .arg(format!("{}=guest", root.display()))
        .arg("-o")
        .arg(elf)
        .arg(root.join("kernel/main.rs"));
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        compiler.arg("-C").arg(format!("linker={linker}"));
    }
    let status = compiler.status().expect("cargo names a compiler that runs");
    assert!(status.success(), "the guest's kernel does not compile");
}

fn variable(name: &str) -> String {
    env::var(name).expect("cargo sets this for build scripts")
}
