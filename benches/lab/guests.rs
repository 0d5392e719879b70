//! Two hundred tiny guests at once: what each monitor holds for itself, and the base in memory once.

use std::error::Error;
use std::fs;

use crate::report::Row;
use crate::samples::ms;
use crate::store::Store;

const GUESTS: usize = 200;
/// Each has so much memory, MiB.
const MEMORY_MIB: u64 = 32;

/// Starts them as a lab and looks at every monitor.
pub fn measure(_rounds: usize) -> Result<Vec<Row>, Box<dyn Error>> {
    let store = Store::with_base()?;
    store.write_lab(GUESTS, &format!("{MEMORY_MIB}M"))?;
    let up = ms(store.lab(["up"])?.wall);
    let output = store.command().args(["ps", "--format", "json"]).output()?;
    let list: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let pids = list.as_array().into_iter().flatten().filter_map(|vm| vm["pid"].as_u64());
    let held: Vec<Held> = pids.filter_map(Held::of).collect();
    let all = |of: fn(&Held) -> f64| held.iter().map(of).collect::<Vec<_>>();
    let running = f64::from(u32::try_from(held.len())?);
    let down = ms(store.lab(["down", "--force"])?.wall);
    Ok(vec![
        Row::new("guests that run", "of 200", &[running]),
        Row::new("lab up of 200", "ms", &[up]),
        Row::new("lab down of 200", "ms", &[down]),
        Row::new("a monitor's own memory", "MB", &all(|held| held.own)).goal(3.0),
        Row::new("its guest's memory in use", "MB", &all(|held| held.guest)),
        Row::new("of the base, private to a monitor", "MB", &all(|held| held.base)).goal(0.0),
    ])
}

/// What one process holds that it shares with none, in megabytes.
struct Held {
    own: f64,
    guest: f64,
    base: f64,
}

impl Held {
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    fn of(pid: u64) -> Option<Held> {
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).ok()?;
        let [mut own, mut guest, mut base] = [0_u64; 3];
        let (mut size, mut of_base) = (0, false);
        for line in smaps.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let kib = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
            match (*words.first()?, kib(1)) {
                ("Size:", Some(kib)) => size = kib,
                ("Private_Clean:" | "Private_Dirty:", Some(kib)) => match of_base {
                    true => base += kib,
                    false if size >= MEMORY_MIB << 10 => guest += kib,
                    false => own += kib,
                },
                // The line a mapping begins with.
                (range, None) if range.contains('-') => of_base = line.contains("/images/"),
                _ => {}
            }
        }
        let mb = |kib: u64| kib as f64 * 1024.0 / 1e6;
        Some(Held { own: mb(own), guest: mb(guest), base: mb(base) })
    }
}
