//! `demo`: many clones of one embedded base, running side by side in a store of their own.
//!
//! Each guest verifies every block of the base, writes its own pattern over a part of it, flushes,
//! verifies, ends; then all are started again and must find their own data and nobody else's. All
//! of it goes the way every other command goes: import, clone, start, wait, verify.

mod fleet;
mod report;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use blockdev::foreign::{self, Layer};
use tempfile::TempDir;

use super::App;
use crate::args;
use crate::console::Signals;
use crate::failure::Code;
use crate::monitor;
use crate::output::{self, Style, progress};
use crate::store::clone::{CloneRequest, Names, Source};
use crate::store::import::Import;
use crate::store::vm::Boot;
use crate::store::{Image, Name, Store};
use fleet::{Fleet, Ship};
use report::Report;

/// What each clone's disk is long.
const BASE_BYTES: u64 = 32 << 20;
/// What each guest gets, MiB. It touches a fraction of it.
const MEMORY_MIB: u64 = 128;

/// Runs the demo and prints what came of it.
pub fn demo(app: &App, args: &args::Demo) -> Result<u8> {
    // Without it nothing below makes sense, and this says what to do.
    vmm::kvm::check().context("cannot run the demo")?;
    let signals = Signals::catch()?;
    let dir = tempfile::Builder::new()
        .prefix("offshoot-demo-")
        .tempdir()
        .context("cannot make a place for the demo")?;
    let report = sail(app, args, dir.path(), &signals).context("cannot run the demo")?;
    let Some(report) = report else {
        return Ok(Code::Interrupted as u8);
    };
    match app.style {
        Style::Json => output::print_json(&report)?,
        Style::Names | Style::Table => output::print(&report.lay_out())?,
    }
    if args.keep {
        keep(dir);
    }
    Ok(if report.all_well() { 0 } else { Code::Failed as u8 })
}

/// The whole story; `None` when Ctrl-C ended it.
fn sail(app: &App, args: &args::Demo, dir: &Path, signals: &Signals) -> Result<Option<Report>> {
    let began = Instant::now();
    let mut store = Store::open(&dir.join("store"))?;
    let image = import(&mut store, dir)?;
    let mut ships = clone(&mut store, &image, args.count)?;

    let bar = progress::count("guests ended".into(), 2 * u64::from(args.count), app.quiet);
    let fleet = Fleet { store: &store, image: &image, signals, bar: &bar };
    bar.set_message("first run: verify the base, write, flush, verify");
    let mut done = fleet.run(&mut ships, |seed| format!("demo-first:{seed}"))?;
    if done {
        bar.set_message("second run: find what was written, and nothing else");
        done = fleet.run(&mut ships, |seed| format!("demo-again:{seed}"))?;
    }
    bar.finish_and_clear();
    if !done {
        return Ok(None);
    }
    let verified = store.verify_image(&image.record.name, &mut |_, _| ());
    Ok(Some(Report::new(&image, ships, &verified, began.elapsed())))
}

/// Imports the embedded base with the embedded guest as its kernel.
fn import(store: &mut Store, dir: &Path) -> Result<Image> {
    let write = || {
        let (base, kernel) = (dir.join("base.raw"), dir.join("kernel"));
        std::fs::write(&kernel, guest::KERNEL)?;
        let mut file = BufWriter::new(File::create(&base)?);
        guest::write_base(&mut file, BASE_BYTES)?;
        file.flush()?;
        Ok::<_, std::io::Error>((base, kernel))
    };
    let (base, kernel) = write().context("cannot write the embedded base")?;
    let name: Name = "demo".parse()?;
    let request = Import {
        layers: vec![Layer { path: base.clone(), format: Some(foreign::Format::Raw) }],
        name,
        kernel: Some(kernel),
        initrd: None,
        cmdline: None,
        search: false,
    };
    let image = store.import(&request, &mut |_, _| ControlFlow::Continue(()))?;
    std::fs::remove_file(base).context("cannot remove the imported file")?;
    Ok(image)
}

/// Clones the image so many times, one by one, because each is timed.
fn clone(store: &mut Store, image: &Image, count: u32) -> Result<Vec<Ship>> {
    let request = CloneRequest {
        source: Source { name: image.record.name.clone(), snapshot: None },
        names: Names::Next(1),
        cpus: Some(1),
        memory_mib: Some(MEMORY_MIB),
        disk_size: None,
        boot: Boot::default(),
        notes: String::new(),
        labels: std::collections::BTreeMap::default(),
        spec: None,
        ephemeral: false,
        delta_dir: None,
        keep_identity: false,
    };
    let mut ships = Vec::new();
    for seed in 1..=count {
        let began = Instant::now();
        let vms = store.clone(&request, monitor::writer)?.vms;
        let create = began.elapsed();
        ships.extend(vms.into_iter().map(|vm| Ship::new(vm, seed, create)));
    }
    Ok(ships)
}

fn keep(dir: TempDir) {
    let path = dir.keep();
    let store = path.join("store");
    output::tell(&format!("kept: OFFSHOOT_ROOT={} offshoot ls\n", store.display()));
}

/// Longer than any guest of the demo takes, even on a busy host.
const PATIENCE: Duration = Duration::from_secs(120);
