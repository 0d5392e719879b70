//! A VM's guest in QEMU, and somebody at its serial console.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::store::Store;

/// Longer than a boot takes, on the slowest host.
const PATIENCE: Duration = Duration::from_secs(900);

/// The shell's prompt. It is not in what is typed to set it.
const PROMPT: &str = "ready> ";

/// A guest that runs, and the server of its disk. Both are killed when dropped.
pub struct Guest {
    server: Child,
    qemu: Child,
    keys: ChildStdin,
    screen: Receiver<Vec<u8>>,
    /// What was on the screen, so far.
    seen: String,
    /// How much of it was waited for.
    read: usize,
}

impl Guest {
    /// Boots the VM `name`.
    #[track_caller]
    pub fn start(store: &Store, name: &str) -> Guest {
        let socket = store.folder().join(name).with_extension("socket");
        let mut serve = store.command(["disk", "serve", name, "--vhost-user"]);
        let mut server = serve.arg(&socket).stderr(Stdio::inherit()).spawn().expect("it starts");
        let mut line = [0];
        let said = server.stdout.as_mut().expect("it is piped").read(&mut line);
        assert_eq!(said.expect("it can be read"), 1, "it serves nothing: {:?}", server.wait());
        let spec = store.inspect(name)["spec"].clone();
        let mut qemu = qemu(&spec, &socket.display().to_string()).spawn().expect("QEMU is there");
        let keys = qemu.stdin.take().expect("it is piped");
        let screen = listen(qemu.stdout.take().expect("it is piped"));
        Guest { server, qemu, keys, screen, seen: String::new(), read: 0 }
    }

    /// Waits until cloud-init has done all of this boot's work, and logs in as root.
    #[track_caller]
    pub fn log_in_after_cloud_init(&mut self) {
        self.wait_for("Datasource DataSourceNoCloud");
        // It may have written over the question, which is asked again.
        self.type_line("");
        self.wait_for("login: ");
        self.type_line("root");
        self.wait_for("Password: ");
        self.type_line("offshoot");
        self.wait_for(":~# ");
        self.type_line("bind 'set enable-bracketed-paste off'; stty -echo; PS1='rea''dy> '");
        self.wait_for(PROMPT);
    }

    /// Has the shell run a command, and returns the lines it printed.
    #[track_caller]
    pub fn run(&mut self, command: &str) -> Vec<String> {
        self.type_line(command);
        let start = self.read;
        self.wait_for(PROMPT);
        let printed = &self.seen[start..self.read - PROMPT.len()];
        printed.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// Shuts it down in an orderly way.
    #[track_caller]
    pub fn power_off(mut self) {
        self.type_line("poweroff");
        self.wait_for("Power down");
        assert!(self.qemu.wait().expect("it is ours").success());
        kill_process(Pid::from_child(&self.server), Signal::TERM).expect("it is ours");
        assert!(self.server.wait().expect("it is ours").success());
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.keys, "{line}").expect("QEMU reads");
    }

    /// Reads on until these words are on the screen.
    #[track_caller]
    fn wait_for(&mut self, words: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen[self.read..].find(words) {
                self.read += at + words.len();
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("{error} before it said {words:?}:\n{}", self.seen),
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        for child in [&mut self.qemu, &mut self.server] {
            // The first has ended already where all went well.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// QEMU with what our own monitor would be given.
fn qemu(spec: &Value, socket: &str) -> Command {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let (boot, seed) = (&spec["boot"], &spec["disks"][1]["stack"]["base"]["path"]);
    let memory = format!("{}M", spec["memory_mib"]);
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-M", "q35,memory-backend=ram", "-accel", "tcg", "-cpu", "max,-la57"])
        .args(["-m", &memory])
        .args(["-object", &format!("memory-backend-memfd,id=ram,size={memory},share=on")])
        .args(["-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"])
        .args(["-uuid", &text(&spec["uuid"])])
        .args(["-kernel", &text(&boot["kernel"]), "-initrd", &text(&boot["initrd"])])
        .args(["-append", &text(&boot["cmdline"])])
        .args(["-chardev", &format!("socket,id=disk,path={socket}")])
        .args(["-device", "vhost-user-blk-pci,chardev=disk"])
        .args(["-drive", &format!("id=seed,if=none,format=raw,readonly=on,file={}", text(seed))])
        .args(["-device", "virtio-blk-pci,drive=seed"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    qemu
}

/// Reads a console as it is written, in a thread of its own: to wait for it can take only so long.
fn listen(mut console: ChildStdout) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = console.read(&mut chunk) {
            if sender.send(chunk[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}
