//! The monitors, each booting the same tiny guest of 128 MiB and one vCPU.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use uuid::Uuid;
use vmm::spec::{Boot, Spec};

use crate::measure::{self, Start};
use crate::report::{self, Row};
use crate::samples::ms;

const GUEST_BYTES: u64 = 128 << 20;
/// The guest says a byte on its serial line, then halts for good.
const ORDERS: &str = "offshoot.do=idle";

/// What the host has, but for an MSR that nested hosts list and then refuse.
const QEMU_CPU: &str = "host,arch-capabilities=off";

/// A monitor and how to start it, its guest's serial line on standard output.
struct Monitor {
    name: &'static str,
    command: Box<dyn Fn() -> Command>,
}

/// Boots each in turn, `rounds` times.
pub fn measure(
    dir: &Path,
    kernel: &Path,
    base: &Path,
    rounds: usize,
) -> Result<Vec<Row>, Box<dyn Error>> {
    let monitors = contenders(dir, kernel, base)?;
    let mut starts: Vec<Vec<Start>> = monitors.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (monitor, starts) in monitors.iter().zip(&mut starts) {
            starts.push(measure::start(&mut (monitor.command)(), GUEST_BYTES)?);
        }
    }
    let samples = |value: fn(&Start) -> f64| -> Vec<_> {
        let named = monitors.iter().zip(&starts);
        named.map(|(m, starts)| (m.name.to_owned(), starts.iter().map(value).collect())).collect()
    };
    let mut rows = report::rows("exec to first guest byte", "ms", &samples(|s| ms(s.first_byte)));
    rows.extend(report::rows("CPU time of that", "ms", &samples(|s| ms(s.cpu))));
    let private = samples(|s| report::mb(s.private));
    rows.extend(report::rows("private memory of the monitor", "MB", &private));
    Ok(rows)
}

fn contenders(dir: &Path, kernel: &Path, base: &Path) -> Result<Vec<Monitor>, Box<dyn Error>> {
    let mut monitors =
        vec![offshoot(dir, kernel)?, offshoot_run(dir, kernel, base)?, qemu(kernel.into())];
    if let Some(binary) = std::env::var_os("FIRECRACKER") {
        monitors.push(firecracker(dir, kernel, binary.into())?);
    }
    if let Some(binary) = std::env::var_os("CLOUD_HYPERVISOR") {
        monitors.push(cloud_hypervisor(kernel.into(), binary.into()));
    }
    Ok(monitors)
}

/// The monitor alone, as the others are measured.
fn offshoot(dir: &Path, kernel: &Path) -> Result<Monitor, Box<dyn Error>> {
    let file = dir.join("offshoot.json");
    let spec = Spec {
        name: "bench".into(),
        uuid: Uuid::nil(),
        cpus: 1,
        memory_mib: GUEST_BYTES >> 20,
        boot: Boot { kernel: kernel.into(), initrd: None, cmdline: ORDERS.into(), protocol: None },
        disks: vec![],
    };
    fs::write(&file, serde_json::to_vec(&spec)?)?;
    let command = move || {
        let mut monitor = Command::new(env!("CARGO_BIN_EXE_offshoot"));
        monitor.args(["vmm", "--spec"]).arg(&file);
        monitor
    };
    Ok(Monitor { name: "offshoot", command: Box::new(command) })
}

/// The whole of what a user waits for: `run` makes a clone of `base` and starts its monitor.
fn offshoot_run(dir: &Path, kernel: &Path, base: &Path) -> Result<Monitor, Box<dyn Error>> {
    let mut import = offshoot_command(dir);
    import.args(["image", "import", "--name", "base", "--cmdline", ORDERS, "--kernel"]);
    measure::whole(import.arg(kernel).arg(base))?;
    let dir = dir.to_owned();
    let command = move || {
        let mut run = offshoot_command(&dir);
        run.args(["run", "base", "--memory", "128M"]);
        run
    };
    Ok(Monitor { name: "offshoot run (+clone)", command: Box::new(command) })
}

/// offshoot, on a store of this benchmark's own.
pub fn offshoot_command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offshoot"));
    command.env("OFFSHOOT_ROOT", dir.join("store"));
    command
}

fn qemu(kernel: PathBuf) -> Monitor {
    let command = move || {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-M", "microvm", "-accel", "kvm", "-cpu", QEMU_CPU, "-m", "128M"]);
        qemu.args(["-nodefaults", "-no-user-config", "-nographic", "-serial", "stdio"]);
        qemu.arg("-kernel").arg(&kernel).args(["-append", ORDERS]);
        qemu
    };
    Monitor { name: "QEMU microvm", command: Box::new(command) }
}

fn firecracker(dir: &Path, kernel: &Path, binary: PathBuf) -> Result<Monitor, Box<dyn Error>> {
    let config = dir.join("firecracker.json");
    let spec = serde_json::json!({
        "boot-source": { "kernel_image_path": kernel, "boot_args": ORDERS },
        "drives": [],
        "machine-config": { "vcpu_count": 1, "mem_size_mib": 128 },
    });
    fs::write(&config, spec.to_string())?;
    let command = move || {
        let mut firecracker = Command::new(&binary);
        firecracker.args(["--no-api", "--config-file"]).arg(&config);
        firecracker
    };
    Ok(Monitor { name: "Firecracker", command: Box::new(command) })
}

fn cloud_hypervisor(kernel: PathBuf, binary: PathBuf) -> Monitor {
    let command = move || {
        let mut hypervisor = Command::new(&binary);
        hypervisor.arg("--kernel").arg(&kernel).args(["--cmdline", ORDERS]);
        hypervisor.args(["--serial", "tty", "--console", "off"]);
        hypervisor.args(["--memory", "size=128M", "--cpus", "boot=1"]);
        hypervisor
    };
    Monitor { name: "Cloud Hypervisor", command: Box::new(command) }
}
