//! Making clones: a thousand at once, one after a thousand, of small and of large bases.

use std::error::Error;
use std::process::Command;

use crate::measure::whole;
use crate::report::{Row, ratios};
use crate::samples::{median, ms};
use crate::store::Store;

/// A thousand clones of one base in one command, in a store without clones.
pub fn thousand(rounds: usize) -> Result<Vec<Row>, Box<dyn Error>> {
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    // They stay to the end: ext4 looks long for an inode after thousands were freed.
    let mut stores = Vec::new();
    for _ in 0..rounds.min(5) {
        let store = Store::with_base()?;
        let took = store.run(["clone", "base", "-n", "1000"])?;
        stores.push(store);
        wall.push(ms(took.wall));
        cpu.push(ms(took.cpu));
    }
    let what = "1000 clones in one command";
    Ok(vec![Row::new(what, "ms", &wall).goal(1000.0), Row::new(format!("{what}, CPU"), "ms", &cpu)])
}

/// One more clone of an empty store and of one with a thousand, in turns; and one of `qemu-img`.
pub fn growth(rounds: usize) -> Result<Vec<Row>, Box<dyn Error>> {
    let (few, many) = (Store::with_base()?, Store::with_base()?);
    let mut qemu = Vec::new();
    let (mut first, mut last) = (Vec::new(), Vec::new());
    many.run(["clone", "base", "-n", "999"])?;
    let base = few.path().join("base.raw");
    // Each is taken away again, so that every round is of the 1st and of the 1000th.
    for round in 0..4 * rounds {
        first.push(ms(few.run(["clone", "base", "one"])?.wall));
        last.push(ms(many.run(["clone", "base", "one"])?.wall));
        few.run(["rm", "one"])?;
        many.run(["rm", "one"])?;
        let overlay = few.path().join(format!("{round}.qcow2"));
        let mut create = Command::new("qemu-img");
        create.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(&base).arg(overlay);
        qemu.push(ms(whole(&mut create)?.wall));
    }
    Ok(vec![
        Row::new("clone, the 1st", "ms", &first),
        Row::new("clone, the 1000th", "ms", &last),
        Row::new("qemu-img create -b", "ms", &qemu),
        Row::new("1000th by 1st clone", "ratio", &[median(&last) / median(&first)]).goal(1.2),
        Row::new("clone by qemu-img create -b", "ratio", &ratios(&first, &qemu)).goal(0.25),
    ])
}

/// Clones with a disk of 1 GiB and with one of 1 TiB, in turns. Both stand on a base of 1 GiB, because
/// the digest of a base of a TiB takes many minutes; what a clone writes depends on its disk's size.
pub fn size(rounds: usize) -> Result<Vec<Row>, Box<dyn Error>> {
    let store = Store::with_base()?;
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for _ in 0..4 * rounds {
        small.push(ms(store.run(["clone", "base"])?.wall));
        large.push(ms(store.run(["clone", "base", "--disk-size", "1T"])?.wall));
    }
    Ok(vec![
        Row::new("clone with a disk of 1 GiB", "ms", &small),
        Row::new("clone with a disk of 1 TiB", "ms", &large),
        Row::new("1 TiB by 1 GiB", "ratio", &[median(&large) / median(&small)]).goal(1.1),
    ])
}
