//! A machine in this process, with its console and control socket at hand.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;
use vmm::control::{Client, listen};
use vmm::spec::{Boot, Spec};
use vmm::{Error, Exit, Shell};

/// `mov dx, 0x3f8; mov al, 'x'`, then `out dx, al` for ever.
pub const TALK: &[u8] = &[0x66, 0xba, 0xf8, 0x03, 0xb0, b'x', 0xee, 0xeb, 0xfd];

/// Whether this host has a KVM to test with. Says so loudly where not, and CI fails.
pub fn has_kvm() -> bool {
    let Err(error) = vmm::kvm::check() else { return true };
    eprintln!("NOT TESTED: {error}");
    assert!(std::env::var_os("CI").is_none(), "CI needs a usable KVM");
    false
}

/// Code to boot and what to boot it with.
pub struct Setup {
    pub spec: Spec,
    pub dir: TempDir,
}

impl Setup {
    /// The tiny guest with `orders`.
    pub fn guest(orders: &str) -> Setup {
        Setup::kernel(guest::KERNEL, &format!("offshoot.do={orders}"))
    }

    /// Machine code, entered in 64-bit mode.
    pub fn code(code: &[u8]) -> Setup {
        Setup::kernel(&elf(code), "")
    }

    fn kernel(kernel: &[u8], cmdline: &str) -> Setup {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kernel");
        std::fs::write(&path, kernel).unwrap();
        let boot = Boot { kernel: path, initrd: None, cmdline: cmdline.into(), protocol: None };
        let uuid = uuid::Uuid::from_u128(7);
        let name = "test".into();
        Setup { spec: Spec { name, uuid, cpus: 1, memory_mib: 64, boot, disks: vec![] }, dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts it on a thread of its own.
    pub fn start(self) -> Running {
        let (attached, console) = UnixStream::pair().unwrap();
        let (started, report) = UnixStream::pair().unwrap();
        let shell = Shell {
            control: Some(listen(&self.path("control")).unwrap()),
            console: Some(listen(&self.path("console")).unwrap()),
            attached: Some(attached),
            log: Some(File::options().create(true).append(true).open(self.path("log")).unwrap()),
            started: Some(started.into()),
            ..Shell::default()
        };
        let control = Client::new(&self.path("control"), Duration::from_secs(30));
        let spec = self.spec.clone();
        let thread = thread::spawn(move || vmm::run(&spec, shell));
        Running { setup: self, control, console: BufReader::new(console), report, thread }
    }

    /// Runs it to its end.
    pub fn run(self) -> (Exit, String) {
        self.start().finish()
    }

    /// Why it does not run.
    pub fn refusal(self) -> Error {
        let mut running = self.start();
        let mut report = Vec::new();
        running.report.read_to_end(&mut report).unwrap();
        assert!(report.is_empty(), "what never ran must not say it did");
        running.thread.join().unwrap().unwrap_err()
    }
}

/// A machine that runs, or did.
pub struct Running {
    pub setup: Setup,
    pub control: Client,
    pub console: BufReader<UnixStream>,
    pub report: UnixStream,
    pub thread: JoinHandle<vmm::Result<Exit>>,
}

impl Running {
    /// Returns when the vCPUs run.
    pub fn wait_until_started(&mut self) {
        self.report.read_exact(&mut [0]).expect("it starts");
    }

    /// Reads the console up to a line that contains `text`.
    pub fn wait_for(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            let read = self.console.read_line(&mut line).unwrap();
            assert!(read > 0, "the console ended before {text:?}");
        }
    }

    /// Types on the console.
    pub fn type_in(&mut self, text: &str) {
        self.console.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// Waits for its end: how it ended, and what was on the console since the last look.
    pub fn finish(mut self) -> (Exit, String) {
        let mut console = String::new();
        self.console.read_to_string(&mut console).unwrap();
        (self.thread.join().unwrap().unwrap(), console)
    }
}

/// `code` as the only segment of an ELF file, at 16 MiB, entered at its start.
fn elf(code: &[u8]) -> Vec<u8> {
    const HEADERS: u64 = 64 + 56;
    const AT: u64 = 16 << 20;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let len = u64::try_from(code.len()).unwrap();
    // ET_EXEC, EM_X86_64, version 1.
    for half in [2_u16, 62, 1, 0] {
        file.extend(half.to_le_bytes());
    }
    // Entry, program headers, no sections.
    for word in [AT, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    // Flags; header sizes and counts.
    for half in [0_u16, 0, 64, 56, 1, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // PT_LOAD, readable, writable and executable.
    file.extend(1_u32.to_le_bytes());
    file.extend(7_u32.to_le_bytes());
    for word in [HEADERS, AT, AT, len, len, 1] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}
