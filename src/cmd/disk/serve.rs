//! `disk serve`: a stopped VM's disk on a socket, for other programs.
//!
//! This process has the VM's lock for as long as it serves, so nothing else can start, change or
//! remove it. It ends with SIGINT, SIGTERM or SIGHUP.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use blockdev::Stack;
use serve::Socket;
use serve::nbd::{self, Export};

use crate::args;
use crate::cmd::App;
use crate::console::Signals;
use crate::failure::Failure;
use crate::output;
use crate::store::lock::{Holder, Lock, Phase};
use crate::store::{Image, Store, Vm};

/// Serves a disk until a signal comes.
pub fn serve(app: &App, args: &args::DiskServe) -> Result<()> {
    // Before there is anything to leave behind.
    let signals = Signals::catch()?;
    let store = app.store()?;
    let serve = || {
        let vm = store.vm(&args.name)?;
        let image = store.image_with(&vm.record.image)?;
        let mut lock = Lock::take(&vm.dir)?;
        store.settle_stopped(&vm, &lock)?;
        let socket = listen(&args.nbd)?;
        let before = lock.signature()?;
        lock.sign(&Holder::this_process(Phase::Serving, absolute(&args.nbd)?))?;
        let served = serve_vm(&store, &vm, &image, args, &socket, &signals);
        // What it says of the VM's last run is true again.
        lock.restore(&before)?;
        served
    };
    serve().with_context(|| format!("cannot serve the disk of {}", args.name))
}

fn serve_vm(
    store: &Store,
    vm: &Vm,
    image: &Image,
    args: &args::DiskServe,
    socket: &Socket,
    signals: &Signals,
) -> Result<()> {
    // From here on there may be data in it, so it must not be forgotten.
    store.sync_vm(vm)?;
    let stack = Stack::open(&store.stack(vm)?)?;
    let export = Export {
        name: vm.record.name.to_string(),
        description: format!("the disk of {}, on {}", vm.record.name, image.record.name),
        size: stack.size(),
        read_only: args.read_only || stack.read_only(),
    };
    output::print(&announcement(vm, socket.path())?)?;
    nbd::serve(socket, &stack, &export, signals.as_fd())?;
    stack.flush().context("what was not flushed before may be lost")
}

fn listen(path: &Path) -> Result<Socket> {
    Socket::listen(path).map_err(|error| match error {
        serve::Error::Busy { .. } => {
            anyhow::Error::new(error).context(Failure::in_use("it needs a socket of its own"))
        }
        serve::Error::Occupied { .. } => {
            anyhow::Error::new(error).context(Failure::in_use("it needs a free path"))
        }
        error => error.into(),
    })
}

/// One line, for scripts to wait for and for people to try.
fn announcement(vm: &Vm, socket: &Path) -> Result<String> {
    let (name, socket) = (&vm.record.name, absolute(socket)?);
    Ok(format!("serving {name}: nbdinfo \"nbd+unix:///?socket={}\"\n", socket.display()))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).context("cannot tell where the socket is")
}
