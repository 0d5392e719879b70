//! A machine: put together from its spec, then run, paused, resumed and taken apart.
//!
//! ```text
//!   Spec ──► memory ──► Vm ──► devices on their buses ──► kernel and tables ──► Crew (vCPUs)
//! ```

mod assembly;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use blockdev::Stack;
use devices::bus::{BusDevice, Shared};
use devices::exit::DebugExit;
use devices::i8042::I8042;
use devices::irq::Irq;
use devices::serial::Serial;
use devices::virtio::mmio::Transport;
use vmm_sys_util::eventfd::EventFd;

use crate::boot::{self, Board};
use crate::console::{Pipe, Port, Writer};
use crate::cpu::Template;
use crate::cpu::crew::Crew;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::layers::{Layers, Operation, Snapshot};
use crate::power::Power;
use crate::spec::Spec;
use crate::trouble::{Trouble, Troubles};
use crate::vm::Vm;
use crate::{interrupt, kvm, layout, memory};
use assembly::{Assembly, Component};

/// One machine. Dropping it stops it.
pub struct Machine {
    /// Goes first, so that no vCPU touches a device on its way out.
    crew: Crew,
    transports: Vec<Arc<Mutex<Transport>>>,
    stacks: Vec<(char, Stack)>,
    layers: Layers,
    snapshot: Option<Snapshot>,
    serial: Arc<Mutex<Serial>>,
    pipe: Arc<Pipe>,
    power: Arc<Mutex<Power>>,
    button: Arc<dyn Irq>,
    troubles: Arc<Troubles>,
    started: bool,
    _vm: Vm,
}

/// What a machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Put together; no instruction has run yet.
    NotStarted,
    /// vCPUs and devices run.
    Running,
    /// Nothing runs and nothing is in flight; it can go on.
    Paused,
}

impl Machine {
    /// Puts together what `spec` asks for. What the guest sends to its console goes to `pipe`.
    ///
    /// # Errors
    /// The spec cannot be met on this host; whatever was made is gone again.
    pub fn create(spec: &Spec, pipe: Arc<Pipe>) -> Result<Machine> {
        let kvm = kvm::open()?;
        let max = kvm::max_cpus(&kvm);
        if !(1..=max).contains(&spec.cpus) {
            return Err(Error::Cpus { asked: spec.cpus, max });
        }
        let memory = memory::create(&spec.name, spec.memory_mib)?;
        let vm = Vm::create(&kvm, &memory)?;

        let serial = Serial::new(interrupt::line(&vm, layout::COM1_GSI)?, writer(&pipe));
        let serial = Arc::new(Mutex::new(serial.map_err(Error::device("the serial port"))?));
        let power = Arc::new(Mutex::new(Power::default()));
        let button = interrupt::line(&vm, layout::POWER_GSI)?;
        let mut assembly = Assembly::new(&vm, &memory, spec.cpus)?;
        let port = Port { serial: serial.clone(), pipe: pipe.clone() };
        for component in components(spec, port, &power) {
            assembly.add(component)?;
        }
        let Assembly { buses, windows, transports, stacks, troubles, .. } = assembly;

        let virtio = &windows;
        let board = Board { cpus: spec.cpus, uuid: spec.uuid, name: &spec.name, virtio };
        let entry = boot::load(&spec.boot, &board, &memory)?;
        if !entry.acpi {
            vm.add_pit()?;
        }
        let template = Template::new(&kvm, spec.cpus)?;
        let indices = (0..=u8::MAX).take(spec.cpus.into());
        let cpus = indices.map(|index| template.create(vm.fd(), index));
        let cpus = cpus.collect::<Result<Vec<_>>>()?;
        if let Some(first) = cpus.first() {
            first.enter(&entry, &memory)?;
        }
        let crew = Crew::new(cpus, buses)?;
        Ok(Machine {
            crew,
            transports,
            stacks,
            layers: Layers::default(),
            snapshot: None,
            serial,
            pipe,
            power,
            button,
            troubles,
            started: false,
            _vm: vm,
        })
    }

    /// What it is doing.
    pub fn condition(&self) -> Condition {
        match (self.started, self.crew.is_running()) {
            (false, _) => Condition::NotStarted,
            (true, true) => Condition::Running,
            (true, false) => Condition::Paused,
        }
    }

    /// Starts it, or lets it go on after a pause: what found no room is tried again. Nothing
    /// happens while it runs.
    ///
    /// # Errors
    /// The host has no threads for it; the machine is then of no further use.
    pub fn resume(&mut self) -> Result<()> {
        if self.crew.is_running() {
            return Ok(());
        }
        self.troubles.clear();
        self.transports.iter().for_each(|transport| lock(transport).resume());
        self.pipe.hold();
        self.started = true;
        self.crew.start()
    }

    /// Returns when no vCPU runs and no device has anything in flight. Nothing happens while it
    /// does not run.
    pub fn pause(&mut self) {
        self.pipe.let_go();
        self.crew.stop();
        self.transports.iter().for_each(|transport| lock(transport).pause());
    }

    /// Pauses it if a device cannot go on before somebody has done something; then says what.
    /// Each trouble is told once.
    pub fn heed(&mut self) -> Option<Trouble> {
        let trouble = self.troubles.news()?;
        self.pause();
        Some(trouble)
    }

    /// What keeps it from going on.
    pub fn trouble(&self) -> Option<Trouble> {
        self.troubles.current()
    }

    /// Readable when there is something to [`heed`](Machine::heed).
    pub fn trouble_event(&self) -> &EventFd {
        self.troubles.wake()
    }

    /// Begins to freeze the top layer of the first disk, which goes on with the one in `delta`.
    ///
    /// # Errors
    /// There is no disk, a snapshot is under way, or the host has no thread for it.
    pub fn begin_snapshot(&mut self, delta: PathBuf) -> Result<()> {
        let &(letter, ref stack) = self.stacks.first().ok_or(Error::NoDisk)?;
        if self.snapshot.is_some() {
            return Err(Error::LayersBusy);
        }
        self.snapshot = Some(Snapshot::begin(letter, stack, delta)?);
        Ok(())
    }

    /// The snapshot under way.
    pub(crate) fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// Waits for the snapshot under way, if there is one: how long writes and flushes waited.
    ///
    /// # Errors
    /// As [`Stack::snapshot`].
    pub fn end_snapshot(&mut self) -> Option<Result<Duration>> {
        self.snapshot.take().map(Snapshot::end)
    }

    /// Begins an operation on the layers of the first disk.
    ///
    /// # Errors
    /// There is no disk, or as [`Layers::begin`].
    pub fn begin(&mut self, operation: Operation) -> Result<()> {
        let (_, stack) = self.stacks.first().ok_or(Error::NoDisk)?;
        self.layers.begin(stack, operation)
    }

    /// Makes the first disk `size` bytes long and tells the guest. Pauses it for that.
    ///
    /// # Errors
    /// There is no disk, or as [`Stack::grow`]; the machine then goes on as before.
    pub fn grow(&mut self, size: u64) -> Result<()> {
        let &(letter, ref stack) = self.stacks.first().ok_or(Error::NoDisk)?;
        stack.grow(size).map_err(|source| Error::Disk { letter, source })?;
        let was_running = self.condition() == Condition::Running;
        self.pause();
        self.transports.iter().for_each(|transport| lock(transport).refresh());
        if was_running { self.resume() } else { Ok(()) }
    }

    /// The last such operation.
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Stops it for good, with everything durable that the guest was told is written: a disk
    /// keeps that over a reset, flushed or not.
    ///
    /// # Errors
    /// A disk cannot be flushed.
    pub fn shut_down(mut self) -> Result<()> {
        self.end_snapshot();
        self.layers.end();
        self.pause();
        for &(letter, ref stack) in &self.stacks {
            stack.flush().map_err(|source| Error::Disk { letter, source })?;
        }
        Ok(())
    }

    /// Presses the power button. What that does is up to the guest.
    ///
    /// # Errors
    /// The guest could not be interrupted.
    pub fn press_power_button(&self) -> Result<()> {
        lock(&self.power).press_button();
        self.button.raise().map_err(Error::device("the power button"))
    }

    /// How the guest ended, if it has.
    pub fn ended(&self) -> Option<&Exit> {
        self.crew.ended()
    }

    /// Readable once the guest has ended.
    pub fn wake(&self) -> &EventFd {
        self.crew.wake()
    }

    /// The serial port, to be given input.
    pub fn serial(&self) -> Arc<Mutex<Serial>> {
        self.serial.clone()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.end_snapshot();
        self.layers.end();
        self.pause();
    }
}

/// What a machine is made of, in the order in which the guest numbers it.
fn components<'a>(spec: &'a Spec, port: Port, power: &Arc<Mutex<Power>>) -> Vec<Component<'a>> {
    let chips = [
        Component::Chip(layout::COM1_PORTS, shared(port)),
        Component::Chip(layout::I8042_PORTS, shared(I8042)),
        Component::Chip(layout::DEBUG_EXIT_PORTS, shared(DebugExit)),
        Component::Chip(layout::POWER_PORTS, power.clone()),
    ];
    let disks = spec.disks.iter().map(Component::Disk);
    chips.into_iter().chain(disks).chain([Component::Rng]).collect()
}

fn shared(device: impl BusDevice + 'static) -> Shared {
    Arc::new(Mutex::new(device))
}

fn writer(pipe: &Arc<Pipe>) -> Box<Writer> {
    Box::new(Writer(pipe.clone()))
}

fn lock<T>(device: &Mutex<T>) -> MutexGuard<'_, T> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}
