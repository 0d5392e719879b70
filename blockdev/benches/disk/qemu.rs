//! QEMU's side: chains of qcow2 files, and `qemu-img bench` on them.

use std::io::{Error, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::layout::{PIECE, STEP, STRIDE, piece_at, pieces_of};
use crate::measure::{Cost, Who, cpu_time};
use crate::queue::Kind;
use crate::report::Result;

/// What `qemu-img bench` is asked to do.
#[derive(Clone, Copy)]
pub struct Work {
    pub kind: Kind,
    pub count: u64,
    /// Operations in flight.
    pub depth: usize,
    /// Of each operation, in bytes.
    pub len: u64,
    /// Where the first is.
    pub offset: u64,
    /// From one to the next.
    pub step: u64,
    /// Flush after each.
    pub flush: bool,
}

impl Work {
    /// 4 KiB each, from piece to piece.
    pub fn stepped(kind: Kind, count: u64, depth: usize, offset: u64) -> Work {
        Work { kind, count, depth, len: 4096, offset, step: STEP * STRIDE, flush: false }
    }
}

/// `depth` overlays over `base`, each with its share of the pieces; returns all, from the bottom.
pub fn create_chain(dir: &Path, base: &Path, depth: u64) -> Result<Vec<PathBuf>> {
    std::fs::create_dir(dir)?;
    let mut files = Vec::new();
    for layer in 1..=depth {
        let below = files.last().map_or((base, "raw"), |file: &PathBuf| (file, "qcow2"));
        let overlay = dir.join(format!("{layer}.qcow2"));
        create(&overlay, below)?;
        fill(&overlay, pieces_of(layer, depth))?;
        files.push(overlay);
    }
    Ok(files)
}

/// An overlay with nothing in it.
pub fn create(overlay: &Path, (below, format): (&Path, &str)) -> Result<()> {
    let mut create = Command::new("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-F", format, "-b"]).arg(below).arg(overlay);
    output(&mut create, b"").map(drop)
}

/// Writes `pieces` to an image.
fn fill(image: &Path, pieces: impl Iterator<Item = u64>) -> Result<()> {
    let write = |piece| format!("write -P 0x5a {} {PIECE}\n", piece_at(piece));
    let script: String = pieces.map(write).collect();
    let mut io = Command::new("qemu-io");
    output(io.args(["-f", "qcow2", "-t", "writeback"]).arg(image), script.as_bytes()).map(drop)
}

/// What `work` takes once QEMU has read the tables it needs: that of `warm` operations first is
/// not counted.
pub fn bench(image: (&Path, &str), work: Work, warm: u64) -> Result<Cost> {
    let start = whole(image, Work { count: warm, ..work })?;
    Ok(whole(image, Work { count: warm + work.count, ..work })?.without(start))
}

/// What `work` takes from the first operation on.
pub fn whole((image, format): (&Path, &str), work: Work) -> Result<Cost> {
    let mut bench = Command::new("qemu-img");
    bench.args(["bench", "-f", format, "-t", "writeback"]);
    for (option, value) in [
        ("-c", work.count),
        ("-d", work.depth as u64),
        ("-s", work.len),
        ("-o", work.offset),
        ("-S", work.step),
    ] {
        bench.args([option, &value.to_string()]);
    }
    if work.kind == Kind::Write {
        bench.arg("-w");
    }
    if work.flush {
        bench.arg("--flush-interval=1");
    }
    let cpu = cpu_time(Who::Children);
    let said = output(bench.arg(image), b"")?;
    let cpu = cpu_time(Who::Children).saturating_sub(cpu);
    let seconds = said.split("completed in ").nth(1).and_then(|rest| rest.split(' ').next());
    let seconds = seconds.ok_or_else(|| format!("{bench:?} said {said}"))?.parse()?;
    Ok(Cost { count: work.count, time: Duration::from_secs_f64(seconds), cpu })
}

/// Opening an image, and the process that does.
pub fn open(image: &Path) -> Result<Cost> {
    process(Command::new("qemu-io").args(["-r", "-f", "qcow2", "-c", "quit"]).arg(image))
}

/// The process without the image.
pub fn nothing() -> Result<Cost> {
    process(Command::new("qemu-io").arg("--version"))
}

fn process(command: &mut Command) -> Result<Cost> {
    let (cpu, begun) = (cpu_time(Who::Children), Instant::now());
    output(command, b"")?;
    let time = begun.elapsed();
    Ok(Cost { count: 1, time, cpu: cpu_time(Who::Children).saturating_sub(cpu) })
}

fn output(command: &mut Command, input: &[u8]) -> Result<String> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().expect("it was piped above");
    let input = input.to_vec();
    // It may say something before it has heard all.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output()?;
    writer.join().map_err(|_| "the thread that writes has panicked")??;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::other(format!("{command:?} failed: {said}")).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
