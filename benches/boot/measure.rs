//! What can be seen of a process from outside: when its guest speaks, what that cost, what it holds.
#![allow(unsafe_code, reason = "the CPU clock of another process has no safe wrapper")]

use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One start of a monitor, measured at the guest's first byte.
pub struct Start {
    /// From before `fork` to the first byte on the monitor's output.
    pub first_byte: Duration,
    /// User and system time of the process and its children until then.
    pub cpu: Duration,
    /// Bytes no other process shares with the monitor, which is the youngest of them; guest memory
    /// is not counted.
    pub private: u64,
}

/// Runs `command`, whose standard output carries the guest's serial line, until its guest speaks;
/// then measures and kills it with everything it started.
pub fn start(command: &mut Command, guest_bytes: u64) -> io::Result<Start> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let begin = Instant::now();
    let mut child = command.spawn()?;
    let mut output = child.stdout.take().expect("stdout was piped above");
    let read = output.read_exact(&mut [0]);
    let first_byte = begin.elapsed();
    let family = family(child.id());
    let cpu = family.iter().filter_map(|&pid| cpu_time(pid)).sum();
    let private = family.last().and_then(|&pid| private_bytes(pid, guest_bytes));
    end(&mut child, &family);
    read.map_err(|error| io::Error::new(error.kind(), format!("{command:?} said nothing")))?;
    Ok(Start { first_byte, cpu, private: private.unwrap_or(0) })
}

/// Times `command` as a whole process.
pub fn whole(command: &mut Command) -> io::Result<Duration> {
    let begin = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let took = begin.elapsed();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("{command:?} failed: {said}")));
    }
    Ok(took)
}

fn end(child: &mut Child, family: &[u32]) {
    for pid in family {
        if let Some(pid) = i32::try_from(*pid).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    let _ = child.wait();
}

/// `root` and its descendants.
fn family(root: u32) -> Vec<u32> {
    let mut family = vec![root];
    let mut next = 0;
    while let Some(&pid) = family.get(next) {
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = fs::read_to_string(children).unwrap_or_default();
        family.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        next += 1;
    }
    family
}

fn cpu_time(pid: u32) -> Option<Duration> {
    let mut clock = 0;
    // SAFETY: `clock` is a valid place for the result; any pid is allowed.
    if unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) } != 0 {
        return None;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result; a clock of a process gone is an error.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return None;
    }
    Some(Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).ok()?))
}

/// Private bytes of every mapping but the guest's memory, which is known by its size.
fn private_bytes(pid: u32, guest_bytes: u64) -> Option<u64> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).ok()?;
    let (mut size, mut private) = (0, 0);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let (Some(key), Some(Ok(kib))) = (words.next(), words.next().map(str::parse::<u64>)) else {
            continue;
        };
        match key {
            "Size:" => size = kib * 1024,
            "Private_Clean:" | "Private_Dirty:" if size < guest_bytes => private += kib * 1024,
            _ => {}
        }
    }
    Some(private)
}
