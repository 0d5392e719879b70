//! The real binary with a store of its own.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than any one command takes, on the slowest host.
const PATIENCE: Duration = Duration::from_secs(480);

/// An empty store, and the machines started from it. Both end with it.
pub struct Store {
    folder: TempDir,
}

impl Store {
    /// An empty store in a temporary folder.
    pub fn new() -> Store {
        Store { folder: TempDir::with_prefix("offshoot-").expect("a temporary folder") }
    }

    /// A folder for a test's files; the store itself is `root` in it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `offshoot` with this store, ready for further arguments.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offshoot"));
        command
            .args(args)
            .env("OFFSHOOT_ROOT", self.folder().join("root"))
            .env("XDG_RUNTIME_DIR", self.folder())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `offshoot`, which must succeed, and returns its standard output.
    #[track_caller]
    pub fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        succeeds(self.command(args))
    }

    /// What `inspect` says of a machine.
    pub fn inspect(&self, name: &str) -> Value {
        let text = self.ok(["inspect", "--format", "json", name]);
        let value: Value = serde_json::from_str(&text).expect("it prints JSON");
        match value {
            Value::Array(mut all) => all.remove(0),
            one => one,
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let names = finish(self.command(["ls", "-q"]));
        for name in String::from_utf8_lossy(&names.stdout).lines() {
            finish(self.command(["rm", "-f", name]));
        }
    }
}

/// Runs a command to its end, which must be success, and returns its standard output.
#[track_caller]
pub fn succeeds(command: Command) -> String {
    ends(0, command)
}

/// Runs a command to its end, which must have status `code`, and returns its standard output.
#[track_caller]
pub fn ends(code: i32, command: Command) -> String {
    let words = format!("{:?}", command.get_args().collect::<Vec<_>>());
    let output = finish(command);
    assert!(
        output.status.code() == Some(code),
        "offshoot {words} ended with {}, not {code}\n{}",
        output.status,
        both(&output)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command to its end. One that hangs is killed, and fails the test.
#[track_caller]
pub fn finish(command: Command) -> Output {
    let words = format!("{command:?}");
    finish_in_time(command).unwrap_or_else(|| panic!("still running after {PATIENCE:?}: {words}"))
}

/// Runs a command to its end; `None` for one that hangs, and is killed.
pub fn finish_in_time(mut command: Command) -> Option<Output> {
    let child = command.spawn().expect("the program is there");
    let pid = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    if let Ok(output) = receiver.recv_timeout(PATIENCE) {
        return Some(output.expect("its output can be read"));
    }
    kill_process(pid, Signal::KILL).expect("it is ours");
    None
}

/// What a command printed, for a failure.
pub fn both(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("--- stdout\n{}--- stderr\n{}---", text(&output.stdout), text(&output.stderr))
}

/// A machine's console, read while it runs.
pub struct Follower {
    logs: Child,
    /// What comes from it, piece by piece; closed at its end.
    pieces: Receiver<Vec<u8>>,
    seen: Vec<u8>,
    /// How much of that has been waited for.
    at: usize,
    /// What the machine's monitor logs.
    monitor: PathBuf,
}

impl Follower {
    /// Follows the console of `name` from the beginning of its log.
    pub fn new(store: &Store, name: &str) -> Follower {
        let mut logs = store.command(["logs", "--follow", name]);
        let mut logs = logs.stderr(Stdio::inherit()).spawn().expect("offshoot starts");
        let output = logs.stdout.take().expect("it is piped");
        let (sender, pieces) = mpsc::channel();
        thread::spawn(move || pass_on(output, &sender));
        let dir = store.inspect(name)["dir"].as_str().expect("it has one").to_owned();
        let monitor = Path::new(&dir).join("monitor.log");
        Follower { logs, pieces, seen: Vec::new(), at: 0, monitor }
    }

    /// Reads on until there is this line. Fails when the machine ends before, or takes for ever.
    #[track_caller]
    pub fn wait_for(&mut self, line: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = &self.seen[self.at..];
            let Some(end) = left.iter().position(|&byte| byte == b'\n') else {
                self.read_on(line, deadline);
                continue;
            };
            let found = left[..end].trim_ascii_end() == line.as_bytes();
            self.at += end + 1;
            if found {
                return;
            }
        }
    }

    /// As [`wait_for`](Follower::wait_for), for words whose line need not have ended.
    #[track_caller]
    pub fn wait_for_words(&mut self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = &self.seen[self.at..];
            if let Some(at) = left.windows(words.len()).position(|some| some == words.as_bytes()) {
                self.at += at + words.len();
                return;
            }
            self.read_on(words, deadline);
        }
    }

    #[track_caller]
    fn read_on(&mut self, awaited: &str, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.pieces.recv_timeout(left) {
            Ok(piece) => self.seen.extend(piece),
            Err(RecvTimeoutError::Disconnected) => self.fail("it ended before it said", awaited),
            Err(RecvTimeoutError::Timeout) => self.fail("it has not said", awaited),
        }
    }

    #[track_caller]
    fn fail(&self, what: &str, awaited: &str) -> ! {
        let monitor = fs::read_to_string(&self.monitor).unwrap_or_default();
        let seen = String::from_utf8_lossy(&self.seen);
        panic!("{what} {awaited:?}; its console:\n{seen}\nits monitor:\n{monitor}");
    }
}

/// Hands on what there is to read until nobody wants it any more.
fn pass_on(mut output: ChildStdout, to: &Sender<Vec<u8>>) {
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = output.read(&mut bytes) {
        if to.send(bytes[..read].to_vec()).is_err() {
            return;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It ends by itself when its machine does, so there may be nobody to kill.
        let _ = self.logs.kill();
        self.logs.wait().expect("it was started");
    }
}
