//! A microvm that runs the guest.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

const QEMU: &str = "qemu-system-x86_64";
/// A guest that has not ended by then hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug)]
pub enum Accelerator {
    Kvm,
    Tcg,
}

/// Those this host has. Says so loudly where there is none, and CI fails.
pub fn accelerators() -> Vec<Accelerator> {
    let missing = |what: &str| {
        eprintln!("NOT TESTED: {what}");
        assert!(std::env::var_os("CI").is_none(), "CI needs this");
    };
    if Command::new(QEMU).arg("-version").stdout(Stdio::null()).status().is_err() {
        missing("there is no qemu-system-x86_64");
        return Vec::new();
    }
    let mut found = vec![Accelerator::Tcg];
    match File::options().read(true).write(true).open("/dev/kvm") {
        Ok(_) => found.push(Accelerator::Kvm),
        Err(error) => missing(&format!("with KVM: /dev/kvm: {error}")),
    }
    found
}

/// A raw image.
pub struct Disk {
    pub path: PathBuf,
    options: &'static str,
    _dir: TempDir,
}

impl Disk {
    /// Filled as bases are.
    pub fn base(bytes: u64) -> Disk {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.raw");
        guest::write_base(&mut File::create(&path).unwrap(), bytes).unwrap();
        Disk { path, options: "discard=unmap", _dir: dir }
    }

    pub fn read_only(self) -> Disk {
        Disk { options: "readonly=on", ..self }
    }
}

/// A machine to be started.
pub struct Machine {
    command: Command,
    machine: String,
    drive: Option<String>,
    queues: usize,
    dir: TempDir,
}

impl Machine {
    pub fn new(accelerator: Accelerator, orders: &str) -> Machine {
        let dir = tempfile::tempdir().unwrap();
        let kernel = dir.path().join("kernel");
        std::fs::write(&kernel, guest::KERNEL).unwrap();
        let mut command = Command::new(QEMU);
        command.args(["-m", "64", "-nodefaults", "-no-user-config", "-no-reboot"]);
        command.args(["-display", "none", "-serial", "stdio"]);
        command.args(["-global", "virtio-mmio.force-legacy=false"]);
        command.args(["-device", "isa-debug-exit,iobase=0xf4"]);
        command.arg("-kernel").arg(kernel).args(["-append", &format!("offshoot.do={orders}")]);
        let machine = match accelerator {
            Accelerator::Kvm => "microvm,accel=kvm",
            Accelerator::Tcg => "microvm,accel=tcg",
        };
        Machine { command, machine: machine.into(), drive: None, queues: 1, dir }
    }

    pub fn cpus(mut self, cpus: usize) -> Machine {
        self.command.arg("-smp").arg(cpus.to_string());
        self
    }

    pub fn queues(mut self, queues: usize) -> Machine {
        self.queues = queues;
        self
    }

    pub fn disk(mut self, disk: &Disk) -> Machine {
        let path = disk.path.display();
        self.drive = Some(format!("id=d,if=none,format=raw,file={path},{}", disk.options));
        self
    }

    pub fn without_acpi(mut self) -> Machine {
        self.machine.push_str(",acpi=off");
        self
    }

    pub fn start(mut self) -> Running {
        self.command.args(["-M", &self.machine]);
        if let Some(drive) = &self.drive {
            let device = format!("virtio-blk-device,drive=d,num-queues={}", self.queues);
            self.command.args(["-drive", drive, "-device", &device]);
        }
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let console = BufReader::new(child.stdout.take().unwrap());
        let watchdog = watch(child.id());
        Running { child, console, _watchdog: watchdog, _dir: self.dir }
    }

    /// Runs it to its end.
    pub fn run(self) -> Run {
        let mut running = self.start();
        let mut console = String::new();
        running.console.read_to_string(&mut console).unwrap();
        // isa-debug-exit ends QEMU with twice the status, and one.
        let code = running.child.wait().unwrap().code();
        let status = code.filter(|code| code % 2 == 1).map(|code| code / 2);
        Run { status, lines: console.lines().map(String::from).collect() }
    }
}

/// Kills process `id` at the limit, unless what is returned is dropped before.
fn watch(id: u32) -> Sender<()> {
    let (watchdog, dropped) = mpsc::channel();
    thread::spawn(move || {
        if dropped.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            eprintln!("the guest hangs");
            let _ = Command::new("kill").arg("-9").arg(id.to_string()).status();
        }
    });
    watchdog
}

/// What a machine did.
#[derive(Debug)]
pub struct Run {
    /// What the guest exited with; `None` where it did not.
    pub status: Option<i32>,
    /// On the console.
    pub lines: Vec<String>,
}

/// A machine that runs.
pub struct Running {
    child: Child,
    console: BufReader<ChildStdout>,
    _watchdog: Sender<()>,
    _dir: TempDir,
}

impl Running {
    /// Reads up to a line that begins with `start`; returns the rest of it.
    pub fn line_after(&mut self, start: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.console.read_line(&mut line).unwrap();
            assert!(read > 0, "the console ended before {start:?}");
            if let Some(rest) = line.trim_end().strip_prefix(start) {
                return rest.into();
            }
        }
    }

    pub fn input(&mut self) -> &mut impl Write {
        self.child.stdin.as_mut().unwrap()
    }

    /// As SIGKILL does it; returns the whole lines that were not read.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        let mut rest = String::new();
        self.console.read_to_string(&mut rest).unwrap();
        let whole = rest.rfind('\n').map_or("", |end| &rest[..end]);
        whole.lines().map(String::from).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
