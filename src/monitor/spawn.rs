//! The starting side: from a VM in the store to a monitor that runs it.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use blockdev::{Engine, StackSpec};

use super::end::End;
use super::job::{self, Answer, Job};
use super::runtime;
use crate::failure::{Code, Failure};
use crate::store::events::{self, Event};
use crate::store::fault;
use crate::store::lock::{Holder, Lock, Phase};
use crate::store::paths::PLAIN;
use crate::store::{Image, Name, Store, Vm, sockets};

/// What a kernel is told where nobody says otherwise: print on the serial port, use the disk, and
/// end instead of waiting after a panic.
const DEFAULT_CMDLINE: &str = "console=ttyS0 root=/dev/vda rw panic=-1";

/// What is asked of this start, beside what the VM's record says.
#[derive(Debug, Default)]
pub struct Settings {
    /// The kernel's command line, this time only.
    pub cmdline: Option<String>,
    /// A console client that sees the first byte.
    pub attached: Option<UnixStream>,
}

/// A monitor this process started.
#[derive(Debug)]
pub struct Monitor {
    child: Child,
    socket: OwnedFd,
    /// The directory of its sockets.
    sockets: PathBuf,
}

/// Starts a monitor for `vm`. It is still about to start the machine when this returns.
///
/// # Errors
/// The VM runs already, has no kernel, or a file it needs cannot be opened.
pub fn start(store: &Store, vm: &Vm, image: Option<&Image>, settings: Settings) -> Result<Monitor> {
    let mut lock = Lock::take(&vm.dir)?;
    store.settle_stopped(vm, &lock)?;
    if vm.record.ephemeral {
        store.clean(vm, &lock)?;
    }
    let spec = spec(vm, image, store.stack(vm)?, settings.cmdline)?;
    // From here on there may be data in it, so it must not be forgotten.
    store.sync_vm(vm)?;
    // Signed before there are any, so that what a kill leaves is always found.
    let sockets = runtime::place(&vm.record.id());
    refuse_others(&sockets)?;
    lock.sign(&Holder::this_process(Phase::Starting, sockets.clone()))?;
    fault::point("start-signed");
    let event = Event::of_vm("starting", vm.record.name.as_str(), &vm.record.id());
    events::tell(store.paths.root(), [event.with("pid", std::process::id())]);
    let started = launch(vm, &lock, Job { spec, sockets: sockets.clone() }, settings.attached);
    if started.is_err() {
        // As long as the lock says where they are.
        runtime::remove(&sockets);
        if End::load(&vm.dir).is_ok_and(|end| end.is_none()) {
            lock.unsign()?;
        }
    }
    started
}

/// Refuses sockets on which a monitor answers: that of the VM's like in a copy of the store.
fn refuse_others(sockets: &Path) -> Result<(), Failure> {
    if !sockets::are_live(sockets) {
        return Ok(());
    }
    let what = format!("the same VM of a copy of this store runs, in {}", sockets.display());
    Err(Failure::in_use(what).hint("stop that one, or XDG_RUNTIME_DIR=DIR offshoot start"))
}

/// Starts the VM of this name in the store at `root`, and waits until its vCPUs run. The store is
/// opened for it, so that many can be started side by side.
///
/// # Errors
/// As [`start`], and as [`Monitor::wait_until_runs`].
pub fn bring_up(root: &Path, name: &Name, cmdline: Option<&str>) -> Result<()> {
    let start = || {
        let store = Store::open(root)?;
        let vm = store.vm(name)?;
        let image = store.image_of(&vm)?;
        let settings = Settings { cmdline: cmdline.map(str::to_owned), attached: None };
        start(&store, &vm, image.as_ref(), settings)?.wait_until_runs()
    };
    start().with_context(|| format!("cannot start {name}"))
}

fn launch(vm: &Vm, lock: &Lock, job: Job, attached: Option<UnixStream>) -> Result<Monitor> {
    runtime::create(&job.sockets)?;
    let control = runtime::listen(&job.sockets.join(runtime::CONTROL))?;
    let console = runtime::listen(&job.sockets.join(runtime::CONSOLE))?;
    let console_log = open_log(&vm.console_log())?;
    let (socket, theirs) = job::channel()?;
    let child = Command::new("/proc/self/exe")
        .args(["vmm", "--dir"])
        .arg(&vm.dir)
        .stdin(theirs)
        .stdout(Stdio::null())
        .stderr(open_log(&vm.monitor_log())?)
        .spawn()
        .context("cannot start a process for it")?;
    let mut descriptors = vec![lock.as_fd(), control.as_fd(), console.as_fd(), console_log.as_fd()];
    descriptors.extend(attached.as_ref().map(AsFd::as_fd));
    let monitor = Monitor { child, socket, sockets: job.sockets.clone() };
    fault::point("monitor-spawned");
    job::send(monitor.socket.as_fd(), &job, &descriptors)?;
    fault::point("job-sent");
    Ok(monitor)
}

impl Monitor {
    /// Waits until the vCPUs run, or else until the monitor has ended.
    ///
    /// # Errors
    /// Why they never will.
    pub fn wait_until_runs(&mut self) -> Result<()> {
        let error = match job::answer(&self.socket)? {
            Answer::Runs => return Ok(()),
            Answer::Failed(report) => report.into(),
            Answer::Ended => Failure::new(Code::Failed, "its monitor died").into(),
        };
        self.reap()?;
        Err(error)
    }

    /// The socket its answers come on; readable when there is one, and when it ends.
    pub fn answers(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads an answer that is there.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn answer(&self) -> Result<Answer> {
        job::answer(&self.socket)
    }

    /// Kills it, however far it came, and takes away what it cannot any more. What its guest did
    /// not flush may be lost.
    ///
    /// # Errors
    /// Somebody else waited for it.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("cannot kill its monitor")?;
        self.reap()?;
        runtime::remove(&self.sockets);
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Somebody else waited for it.
    pub fn reap(&mut self) -> Result<()> {
        self.child.wait().context("cannot wait for its monitor")?;
        Ok(())
    }
}

/// The machine a VM's record describes, with this disk.
///
/// # Errors
/// Neither it nor its image has a kernel, or its seed image is gone or another.
pub fn spec(
    vm: &Vm,
    image: Option<&Image>,
    stack: StackSpec,
    cmdline: Option<String>,
) -> Result<vmm::Spec> {
    let record = &vm.record;
    // One with a kernel in its own directory boots nothing of the image it may stand on.
    let image = image.filter(|_| !vm.is_self_booting());
    let kernel = vm.kernel().or_else(|| image?.kernel());
    let kernel = kernel.ok_or_else(|| no_kernel(vm, image))?;
    let cmdline = cmdline
        .or_else(|| record.boot.cmdline.clone())
        .or_else(|| image?.record.cmdline.clone())
        .unwrap_or_else(|| DEFAULT_CMDLINE.into());
    let cmdline = match &record.custom {
        // In front, so that what people write themselves comes later and wins.
        Some(custom) => format!("{} {cmdline}", custom.cmdline),
        None => cmdline,
    };
    let stack = StackSpec { ephemeral: record.ephemeral, ..stack };
    let disk = vmm::spec::DiskSpec { id: record.id(), stack, queues: None, engine: Engine::Auto };
    let seed = vm.seed()?.map(|base| vmm::spec::DiskSpec {
        id: "cidata".into(),
        stack: StackSpec { base: Some(base), ..StackSpec::default() },
        queues: Some(1),
        engine: Engine::Sync,
    });
    Ok(vmm::Spec {
        name: record.name.to_string(),
        uuid: record.identity().uuid,
        cpus: record.cpus,
        memory_mib: record.memory_mib,
        boot: vmm::spec::Boot {
            kernel,
            initrd: vm.initrd().or_else(|| image?.initrd()),
            cmdline,
            protocol: None,
        },
        disks: [disk].into_iter().chain(seed).collect(),
    })
}

fn no_kernel(vm: &Vm, image: Option<&Image>) -> Failure {
    match image.map(|image| &image.record.name) {
        Some(image) => Failure::usage(format!("neither it nor its image {image} has a kernel"))
            .hint(format!("offshoot run {image} --kernel FILE")),
        None => Failure::usage("it has no kernel")
            .hint(format!("offshoot run {} --kernel FILE", vm.record.name)),
    }
}

fn open_log(path: &Path) -> Result<File> {
    File::options()
        .append(true)
        .create(true)
        .custom_flags(PLAIN)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}
