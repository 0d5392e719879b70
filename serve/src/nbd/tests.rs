//! The server as clients see it, over sockets, on a disk in files.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use blockdev::{Stack, StackSpec, base, delta};
use rustix::event::{EventfdFlags, eventfd};
use tempfile::TempDir;

use super::testing::{Client, Mode};
use super::{Export, serve};
use crate::Socket;

mod faults;
mod hostile;
mod negotiation;
mod requests;

/// Of the disk in bytes: not whole blocks.
const SIZE: u64 = (64 << 20) + 512;
/// Of the base below it.
const BASE: usize = 1 << 20;
/// Longer than anything takes; a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on a disk of its own.
struct Served {
    dir: TempDir,
    spec: StackSpec,
    stop: OwnedFd,
    /// How often it was told that there is no room.
    full: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn new(read_only: bool) -> Served {
        Served::on(SIZE, read_only, |spec| Stack::open(spec).unwrap())
    }

    /// Serves what `open` makes of the files of a clone of `size` bytes.
    fn on(size: u64, read_only: bool, open: impl FnOnce(&StackSpec) -> Stack) -> Served {
        let dir = tempfile::tempdir().unwrap();
        let raw = dir.path().join("raw");
        std::fs::write(&raw, pattern(BASE)).unwrap();
        let path = dir.path().join("base");
        let identity = base::import(&raw, &path, &mut |_, _| {}).unwrap();
        let delta = dir.path().join("delta");
        delta::create(&delta, size, &delta::Parent::base(&identity).unwrap()).unwrap();
        let base = Some(base::Base { path, identity });
        let spec = StackSpec { base, delta: Some(delta), ..StackSpec::default() };
        let stack = open(&spec);
        let stop = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let mut served = Served { dir, spec, stop, full: Arc::default(), thread: None };
        served.start(stack, read_only);
        served
    }

    fn start(&mut self, stack: Stack, read_only: bool) {
        let name = "web".to_owned();
        let export = Export { name, description: "a disk".into(), size: stack.size(), read_only };
        let socket = Socket::listen(&self.socket()).unwrap();
        let stop = self.stop.try_clone().unwrap();
        let full = self.full.clone();
        let on_full = move |_: &_| {
            full.fetch_add(1, Ordering::Relaxed);
        };
        let disk = crate::Served::new(&stack, Arc::new(on_full));
        self.thread =
            Some(thread::spawn(move || serve(&socket, &disk, &export, stop.as_fd()).unwrap()));
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn client(&self, mode: Mode) -> Client {
        Client::over(self.connect(), mode).unwrap()
    }

    fn end(&mut self) {
        rustix::io::write(&self.stop, &1u64.to_ne_bytes()).unwrap();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.end();
        }
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 512 * 7 + at) as u8 | 1).collect()
}
