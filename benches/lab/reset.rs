//! Taking a lab of thirty running clones back.

use std::error::Error;

use crate::report::Row;
use crate::samples::ms;
use crate::store::Store;

const CLONES: usize = 30;

/// `lab reset` of clones that run, `lab up` of those that are stopped, and `lab up` with nothing to do.
pub fn measure(rounds: usize) -> Result<Vec<Row>, Box<dyn Error>> {
    let store = Store::with_base()?;
    store.write_lab(CLONES, "64M")?;
    store.lab(["up"])?;
    let [mut reset, mut cpu, mut up, mut again] = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        let took = store.lab(["reset"])?;
        reset.push(ms(took.wall));
        cpu.push(ms(took.cpu));
        again.push(ms(store.lab(["up"])?.wall));
        store.lab(["down", "--keep", "--force"])?;
        up.push(ms(store.lab(["up"])?.wall));
    }
    store.lab(["down", "--force"])?;
    Ok(vec![
        Row::new(format!("lab reset of {CLONES} that run"), "ms", &reset).goal(1000.0),
        Row::new("its CPU, without the monitors'", "ms", &cpu),
        Row::new(format!("lab up of {CLONES} that are stopped"), "ms", &up),
        Row::new("lab up with nothing to do", "ms", &again),
    ])
}
