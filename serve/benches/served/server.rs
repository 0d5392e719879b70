//! Processes that serve a disk, ours and QEMU's.

use std::env::current_exe;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use blockdev::StackSpec;
use tempfile::TempDir;

use crate::client::{Client, Protocol};
use crate::measure::Cost;
use crate::ours;
use crate::report::Result;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that has one client. It ends when dropped.
pub struct Server {
    client: Box<dyn Client>,
    process: Process,
}

/// A process that is killed when dropped.
struct Process {
    child: Child,
    _dir: TempDir,
}

impl Server {
    /// Ours, for the chain that `spec` describes.
    pub fn ours(protocol: Protocol, spec: &StackSpec, depth: usize) -> Result<Server> {
        let dir = tempfile::tempdir()?;
        let [file, socket] = ["spec", "socket"].map(|name| dir.path().join(name));
        serde_json::to_writer(File::create(&file)?, spec)?;
        let mut command = Command::new(current_exe()?);
        command.args([ours::VERB, &protocol.to_string()]).arg(&file).arg(&socket);
        Server::start(command, dir, protocol, &socket, depth)
    }

    /// QEMU's, for an image of this format.
    pub fn qemu(
        protocol: Protocol,
        (image, format): (&Path, &str),
        depth: usize,
    ) -> Result<Server> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("socket");
        let address = format!("addr.type=unix,addr.path={}", socket.display());
        let mut command = Command::new("qemu-storage-daemon");
        let file = format!("driver=file,node-name=file,aio=io_uring,filename={}", image.display());
        command.args(["--blockdev", &file]);
        command.args(["--blockdev", &format!("driver={format},node-name=disk,file=file")]);
        match protocol {
            Protocol::Nbd => {
                command.args(["--nbd-server", &address]);
                command.args(["--export", "nbd,id=e,node-name=disk,name=,writable=on"]);
            }
            Protocol::VhostUser => {
                let export = format!("vhost-user-blk,id=e,node-name=disk,writable=on,{address}");
                command.args(["--export", &export]);
            }
        }
        Server::start(command, dir, protocol, &socket, depth)
    }

    fn start(
        mut command: Command,
        dir: TempDir,
        protocol: Protocol,
        socket: &Path,
        depth: usize,
    ) -> Result<Server> {
        let child = command.stdin(Stdio::piped()).spawn()?;
        let mut process = Process { child, _dir: dir };
        process.wait_for(socket)?;
        Ok(Server { client: protocol.connect(socket, depth)?, process })
    }

    /// What `work` of its client takes, in time and in its own CPU time.
    pub fn cost(
        &mut self,
        count: u64,
        work: impl FnOnce(&mut dyn Client) -> Result<()>,
    ) -> Result<Cost> {
        let (cpu, begun) = (self.process.cpu()?, Instant::now());
        work(&mut *self.client)?;
        let time = begun.elapsed();
        Ok(Cost { count, time, cpu: self.process.cpu()?.saturating_sub(cpu) })
    }
}

impl Process {
    /// Waits until somebody listens there.
    fn wait_for(&mut self, socket: &Path) -> Result<()> {
        let begun = Instant::now();
        while !listens(socket)? {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("a server ended early: {status}").into());
            }
            if begun.elapsed() > PATIENCE {
                return Err("a server does not listen".into());
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// CPU time of all its threads, the kernel's that work for it included.
    fn cpu(&self) -> Result<Duration> {
        let tasks: PathBuf = format!("/proc/{}/task", self.child.id()).into();
        let mut nanoseconds = 0;
        for task in fs::read_dir(tasks)? {
            // A thread may have ended by now.
            let stat = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            nanoseconds += stat.split(' ').next().unwrap_or_default().parse().unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanoseconds))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a socket is listened on. Nobody connects to find out: some servers take one client.
fn listens(socket: &Path) -> Result<bool> {
    let listening = fs::read_to_string("/proc/net/unix")?;
    let path = socket.display().to_string();
    // Flags: 00010000 is SO_ACCEPTCON.
    let is_it = |line: &str| line.ends_with(&path) && line.contains(" 00010000 ");
    Ok(listening.lines().any(is_it))
}
