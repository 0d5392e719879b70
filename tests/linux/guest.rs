//! Debian guests on clones of the ext4 base, through the command line.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::host::Guest;
use crate::common::store::{Follower, Store, finish_in_time, succeeds};

/// The kernel's own words besides the script: few messages, no wait after a panic, and none of
/// what costs most under emulation.
const WORDS: &str = "console=ttyS0 loglevel=4 panic=-1 mitigations=off";

/// A store with the image `debian`: Debian's kernel, the test ramdisk, the ext4 base.
pub fn store() -> Store {
    let guest = Guest::prepare();
    let store = Store::new();
    let mut import = store.command(["image", "import", "--name", "debian", "--kernel"]);
    import.arg(guest.vmlinux).arg("--initrd").arg(guest.initrd).arg(guest.base);
    succeeds(import);
    store
}

/// The kernel command line of a guest that runs `script`.
pub fn cmdline(script: &str) -> String {
    assert!(!script.contains('"'), "the kernel knows no way to quote a quotation mark");
    format!("{WORDS} script=\"{script}\"")
}

/// A clone of `debian`.
pub struct Machine<'a> {
    store: &'a Store,
    name: &'a str,
    /// How long the console's log was when it last ended.
    logged: usize,
}

impl<'a> Machine<'a> {
    /// Makes a clone.
    pub fn clone(store: &'a Store, name: &'a str, cpus: u16) -> Machine<'a> {
        store.ok(["clone", "debian", name, "--memory", "192M", "--cpus", &cpus.to_string()]);
        Machine { store, name, logged: 0 }
    }

    /// Makes a clone whose guest is told who it is.
    pub fn clone_with_spec(store: &'a Store, name: &'a str, spec: &str) -> Machine<'a> {
        let path = store.folder().join(format!("{name}.toml"));
        std::fs::write(&path, spec).expect("written");
        let mut clone = store.command(["clone", "debian", name, "--memory", "192M", "--spec"]);
        clone.arg(path);
        succeeds(clone);
        Machine { store, name, logged: 0 }
    }

    /// Makes a clone that boots another kernel.
    pub fn clone_with(store: &'a Store, name: &'a str, kernel: &Path) -> Machine<'a> {
        let mut clone = store.command(["clone", "debian", name, "--memory", "192M", "--kernel"]);
        clone.arg(kernel);
        succeeds(clone);
        Machine { store, name, logged: 0 }
    }

    /// Starts it; its guest runs `script`. resources/linux/guest-init has words for that besides
    /// busybox's.
    pub fn start(&self, script: &str) {
        self.store.ok(["start", self.name, "--cmdline", &cmdline(script)]);
    }

    /// Waits until its script says `words`, which it has not said in an earlier run.
    pub fn says(&self, words: &str) {
        Follower::new(self.store, self.name).wait_for(&format!("guest: {words}"));
    }

    /// Waits for its end, which must be of `status`, and returns what came on the console since
    /// it was started.
    pub fn ends(&mut self, status: u8) -> String {
        let ended = finish_in_time(self.store.command(["wait", "--quiet", self.name]));
        let ended = ended.map_or("a hang".into(), |output| {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        });
        let console = self.console();
        assert!(
            ended == status.to_string() && !console.contains("guest: failed"),
            "{} ended with {ended}, not {status}; its console:\n{console}\nits monitor:\n{}",
            self.name,
            self.monitor(),
        );
        console
    }

    /// Runs `script` until its guest powers off, and returns what the script said.
    pub fn boot(&mut self, script: &str) -> Vec<String> {
        self.start(script);
        said(&self.ends(0))
    }

    /// Kills its monitor in the middle of whatever it does, and returns what came on the console
    /// since it was started.
    pub fn kill(&mut self) -> String {
        let pid = self.store.inspect(self.name)["pid"].as_i64().expect("it runs");
        let pid = pid.try_into().ok().and_then(Pid::from_raw).expect("it is a process id");
        kill_process(pid, Signal::KILL).expect("it is ours");
        self.store.ok(["wait", self.name]);
        self.console()
    }

    /// What its monitor logged.
    fn monitor(&self) -> String {
        let dir = self.store.inspect(self.name)["dir"].as_str().expect("it has one").to_owned();
        std::fs::read_to_string(Path::new(&dir).join("monitor.log")).unwrap_or_default()
    }

    fn console(&mut self) -> String {
        let mut log = self.store.ok(["logs", self.name]);
        let console = log.split_off(self.logged);
        self.logged += console.len();
        console
    }
}

/// What a guest's script said.
pub fn said(console: &str) -> Vec<String> {
    let said = console.lines().filter_map(|line| line.trim_end().strip_prefix("guest: "));
    said.map(str::to_owned).collect()
}
