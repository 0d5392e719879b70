//! What the verbs that work on a VM's layers have in common: progress, and an orderly end by Ctrl-C.

use anyhow::Result;
use blockdev::copy::Watch;

use super::App;
use crate::console::Signals;
use crate::output::progress;
use crate::store::{Name, Store, Vm};

/// Does something long to the layers of a VM, and shows how far it is. A signal breaks it off:
/// the disk is what it was, and the work done so far is not lost when it is begun again.
pub fn reshape<T>(
    app: &App,
    name: &Name,
    doing: String,
    act: impl FnOnce(&mut Store, &Vm, Watch<'_>) -> Result<T>,
) -> Result<T> {
    let signals = Signals::catch()?;
    let mut store = app.store()?;
    let vm = store.vm(name)?;
    let bar = progress::bytes(doing, app.quiet);
    let result = act(&mut store, &vm, &mut progress::watch(&bar, &signals));
    bar.finish_and_clear();
    result
}
