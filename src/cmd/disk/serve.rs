//! `disk serve`: a stopped VM's disk on a socket, for other programs.
//!
//! This process has the VM's lock for as long as it serves, so nothing else can start, change or
//! remove it; with others that only read where it does. A snapshot needs no lock. It ends with SIGINT,
//! SIGTERM or SIGHUP.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use blockdev::Stack;
use serve::nbd::{self, Export};
use serve::vhost_user::Settings;
use serve::{OnFull, Served, Socket, vhost_user};
use vmm::trouble::Trouble;

use crate::args;
use crate::cmd::App;
use crate::console::Signals;
use crate::failure::Failure;
use crate::monitor;
use crate::output;
use crate::store::events::{self, Event};
use crate::store::lock::{Holder, Phase};
use crate::store::{Name, Source, Store, Vm};

/// Queues another monitor may use; one is the least.
const QUEUES: u16 = 4;
/// Between two events that say the same.
const QUIET: Duration = Duration::from_secs(10);

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
    let mut store = app.store()?;
    let (protocol, path) = chosen(&args.socket)?;
    let server = Server { protocol, path, signals };
    let served = match (args.read_only, &args.source.snapshot) {
        (true, _) => server.read_only(&mut store, &args.source),
        (false, None) => server.read_write(&store, &args.source.name),
        (false, Some(_)) => {
            Err(Failure::usage("a snapshot never changes").hint("--read-only").into())
        }
    };
    served.with_context(|| format!("cannot serve the disk of {}", args.source))
}

/// What is to be spoken, and where.
struct Server {
    protocol: Protocol,
    path: PathBuf,
    signals: Signals,
}

impl Server {
    fn read_write(&self, store: &Store, name: &Name) -> Result<()> {
        let vm = store.vm(name)?;
        let mut lock = monitor::lock(&vm)?;
        store.settle_stopped(&vm, &lock)?;
        let socket = listen(&self.path)?;
        let before = lock.signature()?;
        lock.sign(&Holder::this_process(Phase::Serving, self.path.clone()))?;
        let served = || {
            // From here on there may be data in it, so it must not be forgotten.
            store.sync_vm(&vm)?;
            let stack = Stack::open(&store.stack(&vm)?)?;
            Disk::new(store, &vm, name.to_string(), stack)?.serve(self, &socket)
        };
        let served = served();
        // What it says of the VM's last run is true again.
        lock.restore(&before)?;
        served
    }

    fn read_only(&self, store: &mut Store, source: &Source) -> Result<()> {
        let open = |spec: &_| Ok(Stack::open(spec)?);
        store.read_still(source, monitor::stopped, open, |store, vm, stack| {
            let socket = listen(&self.path)?;
            Disk::new(store, vm, source.to_string(), stack)?.serve(self, &socket)
        })
    }
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
    id: String,
    /// What it is called.
    name: String,
    image: Option<String>,
    stack: Stack,
    on_full: OnFull,
}

impl Disk {
    fn new(store: &Store, vm: &Vm, name: String, stack: Stack) -> Result<Disk> {
        let image = store.image_of(vm)?.map(|image| image.record.name.to_string());
        Ok(Disk { id: vm.record.id(), name, image, stack, on_full: teller(store, vm) })
    }

    /// Says that clients can connect, serves them, and makes durable what they wrote.
    fn serve(&self, server: &Server, socket: &Socket) -> Result<()> {
        let (name, path) = (&self.name, socket.path().display());
        let (stop, disk) = (server.signals.as_fd(), Served::new(&self.stack, self.on_full.clone()));
        match server.protocol {
            Protocol::Nbd => {
                output::print(&format!(
                    "serving {name}: nbdinfo \"nbd+unix:///?socket={path}\"\n"
                ))?;
                nbd::serve(socket, &disk, &self.export(), stop)?;
            }
            Protocol::VhostUser => {
                output::print(&format!(
                    "serving {name}: qemu-system-x86_64 -chardev socket,id=c,path={path} \
                     -device vhost-user-blk-pci,chardev=c ...\n"
                ))?;
                vhost_user::serve(socket, &disk, &self.settings(), stop)?;
            }
        }
        self.stack.flush().context("what was not flushed before may be lost")
    }

    fn export(&self) -> Export {
        let name = self.name.clone();
        let on = self.image.as_ref().map_or(String::new(), |image| format!(", on {image}"));
        let description = format!("the disk of {name}{on}");
        Export { name, description, size: self.stack.size(), read_only: self.stack.read_only() }
    }

    fn settings(&self) -> Settings {
        Settings {
            id: self.id.clone(),
            size: self.stack.size(),
            read_only: self.stack.read_only(),
            queues: QUEUES,
        }
    }
}

/// Tells whoever follows the store's events that there is no room for what clients write.
fn teller(store: &Store, vm: &Vm) -> OnFull {
    let root = store.paths.root().to_owned();
    let (name, id) = (vm.record.name.to_string(), vm.record.id());
    let told = Mutex::new(None::<Instant>);
    Arc::new(move |error| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= QUIET) {
            *told = Some(Instant::now());
            let event = Event::of_vm("full", &name, &id);
            events::tell(&root, [event.with("trouble", Trouble::no_space(error))]);
        }
    })
}
