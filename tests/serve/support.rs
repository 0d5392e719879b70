//! What these tests share: a store with one clone, and its disk being served.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serve::nbd::testing::{Client, Mode};

use crate::common::store::{Store, both};

/// The disk's length in bytes; its image's is a quarter of it.
pub const SIZE: u64 = 64 << 20;

/// A store with the clone `web` of an image of random bytes and holes.
pub fn web() -> Store {
    let store = Store::new();
    let raw = store.folder().join("base.raw");
    let mut bytes = random(8 << 20);
    bytes.resize(16 << 20, 0);
    std::fs::write(&raw, bytes).expect("written");
    let kernel = store.folder().join("kernel");
    std::fs::write(&kernel, guest::KERNEL).expect("written");
    store.ok(["image", "import", text(&raw), "--name", "base", "--kernel", text(&kernel)]);
    store.ok(["clone", "base", "web", "--disk-size", "64M"]);
    store
}

/// Bytes no two blocks of which are alike.
pub fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).expect("random");
    bytes
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("an ordinary path")
}

/// A server of the disk of `web`. It is killed when dropped.
pub struct Server {
    child: Child,
    socket: PathBuf,
    /// What it said when it was ready.
    pub line: String,
}

impl Server {
    /// Starts it for NBD, and waits until it is ready.
    #[track_caller]
    pub fn start<const N: usize>(store: &Store, flags: [&str; N]) -> Server {
        Server::start_as(store, "--nbd", flags)
    }

    /// Starts it for what `protocol` says, and waits until it is ready.
    #[track_caller]
    pub fn start_as<const N: usize>(store: &Store, protocol: &str, flags: [&str; N]) -> Server {
        let socket = store.folder().join("socket");
        let command = store.command(["disk", "serve", "web", protocol, text(&socket)]);
        Server::run(command, socket, flags)
    }

    /// Starts one that only reads `of`, beside others.
    #[track_caller]
    pub fn reader(store: &Store, of: &str, socket: &str) -> Server {
        let socket = store.folder().join(socket);
        let command = store.command(["disk", "serve", of, "--nbd", text(&socket)]);
        Server::run(command, socket, ["--read-only"])
    }

    #[track_caller]
    fn run<const N: usize>(mut command: Command, socket: PathBuf, flags: [&str; N]) -> Server {
        command.args(flags).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("offshoot starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("text");
        assert!(!line.is_empty(), "it ended: {:?}", child.wait());
        Server { child, socket, line }
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The same for other programs.
    pub fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.socket.display())
    }

    /// A client of our own.
    pub fn client(&self) -> Client {
        Client::connect(&self.socket, Mode::Structured).expect("it answers")
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal and waits for the end: the exit status, if it was no signal's.
    pub fn end(mut self, signal: Signal) -> Option<i32> {
        kill_process(self.pid(), signal).expect("it is ours");
        self.child.wait().expect("it is ours").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already in most tests.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs one of the programs of tests/run, which must succeed, and returns what it printed.
#[track_caller]
pub fn run<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> String {
    let mut command = Command::new(program);
    // A plain user's PATH may not lead to file systems' programs.
    command.args(args).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, both(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
