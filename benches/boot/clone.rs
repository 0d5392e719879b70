//! A linked clone of a 10 GiB base: time of the whole process, and bytes on disk.

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::measure::whole;
use crate::monitors::offshoot_command;
use crate::report::{self, Row};
use crate::samples::ms;

/// The base's length.
pub const BASE_BYTES: u64 = 10 << 30;

/// Makes clones with both in turn, `rounds` times. The image `base` has been imported.
pub fn measure(dir: &Path, base: &Path, rounds: usize) -> Result<Vec<Row>, Box<dyn Error>> {
    let names = ["offshoot clone", "qemu-img create -b"];
    let mut times = names.map(|name| (name.to_owned(), Vec::new()));
    let mut bytes = names.map(|name| (name.to_owned(), Vec::new()));
    let vms = dir.join("store/vms");
    for round in 0..rounds {
        let before = allocated(&vms)?;
        let took = whole(offshoot_command(dir).args(["clone", "base", &format!("bench-{round}")]))?;
        times[0].1.push(ms(took));
        bytes[0].1.push(report::kib(allocated(&vms)? - before));

        let overlay = dir.join(format!("bench-{round}.qcow2"));
        let mut create = Command::new("qemu-img");
        create.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(base).arg(&overlay);
        times[1].1.push(ms(whole(&mut create)?));
        bytes[1].1.push(report::kib(allocated(&overlay)?));
    }
    let mut rows = report::rows("linked clone of 10 GiB", "ms", &times);
    rows.extend(report::rows("its bytes on disk", "KiB", &bytes));
    Ok(rows)
}

/// What the file or tree takes on its filesystem.
fn allocated(path: &Path) -> io::Result<u64> {
    let metadata = fs::symlink_metadata(path)?;
    let mut sum = metadata.blocks() * 512;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            sum += allocated(&entry?.path())?;
        }
    }
    Ok(sum)
}
