//! Debian guests on clones of the ext4 base, through the command line.

use rustix::process::{Pid, Signal, kill_process};

use crate::common::host::Guest;
use crate::common::store::{Store, finish_in_time, succeeds};

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

/// Makes a clone of `debian`.
pub fn clone(store: &Store, name: &str, cpus: u16) {
    store.ok(["clone", "debian", name, "--memory", "192M", "--cpus", &cpus.to_string()]);
}

/// The kernel command line of a guest that runs `script`.
pub fn cmdline(script: &str) -> String {
    assert!(!script.contains('"'), "the kernel knows no way to quote a quotation mark");
    format!("{WORDS} script=\"{script}\"")
}

/// One run of a machine.
pub struct Run<'a> {
    store: &'a Store,
    name: &'a str,
    /// How long the console's log was before.
    logged: usize,
}

impl<'a> Run<'a> {
    /// Starts `name`; its guest runs `script`. resources/linux/guest-init has words for that
    /// besides busybox's.
    pub fn start(store: &'a Store, name: &'a str, script: &str) -> Run<'a> {
        let logged = store.ok(["logs", name]).len();
        store.ok(["start", name, "--cmdline", &cmdline(script)]);
        Run { store, name, logged }
    }

    /// What has come on the console so far.
    pub fn console(&self) -> String {
        self.store.ok(["logs", self.name]).split_off(self.logged)
    }

    /// Waits for the end, which must be of `status`, and returns what came on the console.
    pub fn ends(self, status: u8) -> String {
        let ended = finish_in_time(self.store.command(["wait", "--quiet", self.name]));
        let ended = ended.map_or("a hang".into(), |output| {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        });
        let console = self.console();
        assert!(
            ended == status.to_string() && !console.contains("guest: failed"),
            "{} ended with {ended}, not {status}; its console:\n{console}",
            self.name,
        );
        console
    }

    /// Kills the monitor in the middle of whatever it does, and returns what had come on the
    /// console.
    pub fn kill(self) -> String {
        let pid = self.store.inspect(self.name)["pid"].as_i64().expect("it runs");
        let pid = pid.try_into().ok().and_then(Pid::from_raw).expect("it is a process id");
        kill_process(pid, Signal::KILL).expect("it is ours");
        self.store.ok(["wait", self.name]);
        self.console()
    }
}

/// Runs `script` in `name` until its guest powers off, and returns what the script said.
pub fn boot(store: &Store, name: &str, script: &str) -> Vec<String> {
    said(&Run::start(store, name, script).ends(0))
}

/// What a guest's script said.
pub fn said(console: &str) -> Vec<String> {
    let said = console.lines().filter_map(|line| line.trim_end().strip_prefix("guest: "));
    said.map(str::to_owned).collect()
}
