//! `disk serve`: a stopped VM's disk on a socket, for other programs.
//!
//! This process has the VM's lock for as long as it serves, so nothing else can start, change or
//! remove it. It ends with SIGINT, SIGTERM or SIGHUP.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use blockdev::Stack;
use serve::nbd::{self, Export};
use serve::vhost_user::Settings;
use serve::{Socket, vhost_user};

use crate::args;
use crate::cmd::App;
use crate::console::Signals;
use crate::failure::Failure;
use crate::output;
use crate::store::lock::{Holder, Lock, Phase};
use crate::store::{Image, Store, Vm};

/// Queues another monitor may use; one is the least.
const QUEUES: u16 = 4;

/// What is spoken.
#[derive(Clone, Copy)]
enum Protocol {
    Nbd,
    VhostUser,
}

/// Serves a disk until a signal comes.
pub fn serve(app: &App, args: &args::DiskServe) -> Result<()> {
    // Before there is anything to leave behind.
    let signals = Signals::catch()?;
    let store = app.store()?;
    let (protocol, path) = chosen(&args.socket)?;
    let serve = || {
        let vm = store.vm(&args.name)?;
        let image = store.image_of(&vm)?;
        let mut lock = Lock::take(&vm.dir)?;
        store.settle_stopped(&vm, &lock)?;
        let socket = listen(&path)?;
        let before = lock.signature()?;
        lock.sign(&Holder::this_process(Phase::Serving, path.clone()))?;
        let served = Disk::open(&store, vm, image.as_ref(), args.read_only)
            .and_then(|disk| disk.serve(protocol, &socket, &signals));
        // What it says of the VM's last run is true again.
        lock.restore(&before)?;
        served
    };
    serve().with_context(|| format!("cannot serve the disk of {}", args.name))
}

fn chosen(socket: &args::DiskSocket) -> Result<(Protocol, PathBuf)> {
    let (protocol, path) = match (&socket.nbd, &socket.vhost_user) {
        (Some(path), _) => (Protocol::Nbd, path),
        (None, Some(path)) => (Protocol::VhostUser, path),
        (None, None) => return Err(Failure::usage("--nbd or --vhost-user is missing").into()),
    };
    let path = std::path::absolute(path).context("cannot tell where the socket is")?;
    Ok((protocol, path))
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

/// A disk to be served.
struct Disk {
    vm: Vm,
    image: Option<String>,
    stack: Stack,
    read_only: bool,
}

impl Disk {
    fn open(store: &Store, vm: Vm, image: Option<&Image>, read_only: bool) -> Result<Disk> {
        // From here on there may be data in it, so it must not be forgotten.
        store.sync_vm(&vm)?;
        let stack = Stack::open(&store.stack(&vm)?)?;
        let read_only = read_only || stack.read_only();
        let image = image.map(|image| image.record.name.to_string());
        Ok(Disk { vm, image, stack, read_only })
    }

    /// Says that clients can connect, serves them, and makes durable what they wrote.
    fn serve(&self, protocol: Protocol, socket: &Socket, signals: &Signals) -> Result<()> {
        let (name, path) = (&self.vm.record.name, socket.path().display());
        let stop = signals.as_fd();
        match protocol {
            Protocol::Nbd => {
                output::print(&format!(
                    "serving {name}: nbdinfo \"nbd+unix:///?socket={path}\"\n"
                ))?;
                nbd::serve(socket, &self.stack, &self.export(), stop)?;
            }
            Protocol::VhostUser => {
                output::print(&format!(
                    "serving {name}: qemu-system-x86_64 -chardev socket,id=c,path={path} \
                     -device vhost-user-blk-pci,chardev=c ...\n"
                ))?;
                vhost_user::serve(socket, &self.stack, &self.settings(), stop)?;
            }
        }
        self.stack.flush().context("what was not flushed before may be lost")
    }

    fn export(&self) -> Export {
        let name = self.vm.record.name.to_string();
        let on = self.image.as_ref().map_or(String::new(), |image| format!(", on {image}"));
        let description = format!("the disk of {name}{on}");
        Export { name, description, size: self.stack.size(), read_only: self.read_only }
    }

    fn settings(&self) -> Settings {
        Settings {
            id: self.vm.record.id(),
            size: self.stack.size(),
            read_only: self.read_only,
            queues: QUEUES,
        }
    }
}
