//! How long from `exec` to the guest's first byte, at what cost, and what a clone takes: offshoot
//! and others, interleaved in one run. `cargo bench --bench boot [-- ROUNDS]`
//!
//! Needs /dev/kvm, `qemu-system-x86_64` and `qemu-img`; `FIRECRACKER` and `CLOUD_HYPERVISOR` may
//! name those binaries to have them measured, too.

mod clone;
mod measure;
mod monitors;
mod report;
#[path = "../common/samples.rs"]
mod samples;

use std::error::Error;
use std::fs::{self, File};

/// Rounds unless the command line says otherwise.
const ROUNDS: usize = 31;

fn main() -> Result<(), Box<dyn Error>> {
    let asked = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let rounds = asked.unwrap_or(ROUNDS);
    let dir = tempfile::tempdir()?;
    let kernel = dir.path().join("guest");
    fs::write(&kernel, guest::KERNEL)?;
    let base = dir.path().join("base.raw");
    File::create(&base)?.set_len(clone::BASE_BYTES)?;
    let mut rows = monitors::measure(dir.path(), &kernel, &base, rounds)?;
    rows.extend(clone::measure(dir.path(), &base, rounds)?);
    report::print(&rows);
    Ok(())
}
