//! All vCPUs of a machine: each on a thread of its own while they run, back by value when they
//! stop.
//!
//! ```text
//!     Crew::Parked(cpus) ── start ──► Crew::Running(threads) ── stop ──► Crew::Parked(cpus)
//! ```
//!
//! Stopping never relies on the guest: a vCPU is kicked out of it by a signal, and `KVM_RUN`
//! returns at once from then on, so it does not matter where its thread was.

use std::io;
use std::mem;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use devices::bus::{Bus, Effect};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler, unblock_signal};

use super::exit::{End, Exit, Space};
use super::page::Page;
use super::{Cpu, exit};
use crate::error::{Error, Result};

/// A vCPU thread calls a handler with a few locals; a disk's bytes move on other threads.
const STACK: usize = 128 << 10;

/// The devices vCPUs reach.
#[derive(Default)]
pub struct Buses {
    /// At I/O ports.
    pub ports: Bus,
    /// At guest-physical addresses.
    pub memory: Bus,
}

/// The vCPUs of one machine.
pub struct Crew {
    state: State,
    shared: Arc<Shared>,
}

enum State {
    Parked(Vec<Cpu>),
    Running(Vec<Thread>),
}

struct Thread {
    handle: JoinHandle<Cpu>,
    page: Arc<Page>,
}

struct Shared {
    buses: Buses,
    /// How the machine ended; the first vCPU to say so is right.
    ended: OnceLock<crate::Exit>,
    /// Written once when `ended` is set.
    wake: EventFd,
}

impl Crew {
    /// Takes over `cpus`, parked.
    pub fn new(cpus: Vec<Cpu>, buses: Buses) -> Result<Crew> {
        let wake = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)
            .map_err(|source| Error::Host { attempt: "create an eventfd", source })?;
        let shared = Shared { buses, ended: OnceLock::new(), wake };
        Ok(Crew { state: State::Parked(cpus), shared: Arc::new(shared) })
    }

    /// Whether the vCPUs have threads.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    /// How the guest ended, if it has.
    pub fn ended(&self) -> Option<&crate::Exit> {
        self.shared.ended.get()
    }

    /// Readable once the guest has ended.
    pub fn wake(&self) -> &EventFd {
        &self.shared.wake
    }

    /// Lets the vCPUs run.
    ///
    /// # Errors
    /// The host has no thread for one of them; that vCPU is gone, and the machine with it.
    pub fn start(&mut self) -> Result<()> {
        let State::Parked(cpus) = &mut self.state else { return Ok(()) };
        handle_kicks()?;
        let cpus = mem::take(cpus);
        let mut threads = Vec::with_capacity(cpus.len());
        let spawned = cpus.into_iter().try_for_each(|cpu| {
            threads.push(spawn(cpu, self.shared.clone())?);
            Ok(())
        });
        self.state = State::Running(threads);
        spawned
    }

    /// Takes every vCPU out of the guest and its thread down. Returns within a moment whatever
    /// the guest does, provided no device handler waits for something.
    pub fn stop(&mut self) {
        let State::Running(threads) = &mut self.state else { return };
        let threads = mem::take(threads);
        threads.iter().for_each(Thread::kick);
        let cpus = threads.into_iter().map(Thread::join).collect();
        self.state = State::Parked(cpus);
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Thread {
    fn kick(&self) {
        self.page.kick();
        // Fails only for a thread that has ended, which is as good.
        let _ = self.handle.kill(SIGRTMIN());
    }

    fn join(self) -> Cpu {
        let cpu = self.handle.join().expect("a vCPU's thread does not panic");
        self.page.unkick();
        cpu.excuse_absence();
        cpu
    }
}

fn spawn(mut cpu: Cpu, shared: Arc<Shared>) -> Result<Thread> {
    let page = cpu.page.clone();
    let name = format!("vcpu-{}", cpu.index());
    let handle = thread::Builder::new().name(name).stack_size(STACK).spawn(move || {
        if let Some(exit) = run(&mut cpu, &shared.buses)
            && shared.ended.set(exit).is_ok()
        {
            shared.wake.write(1).expect("a fresh counter has room");
        }
        cpu
    });
    let handle =
        handle.map_err(|source| Error::Host { attempt: "start a vCPU's thread", source })?;
    Ok(Thread { handle, page })
}

/// Runs `cpu` until it is kicked (`None`) or the machine ends.
fn run(cpu: &mut Cpu, buses: &Buses) -> Option<crate::Exit> {
    let page = cpu.page.clone();
    loop {
        match cpu.run() {
            Exit::Read { space, address, width, data } => {
                let bus = buses.space(space);
                data.chunks_mut(width).for_each(|access| bus.read(address, access));
            }
            Exit::Write { space, address, width, data } => {
                let bus = buses.space(space);
                let mut effects = data.chunks(width).map(|access| bus.write(address, access));
                if let Some(exit) = effects.find_map(consequence) {
                    return Some(exit);
                }
            }
            Exit::Again if page.kicked() => return None,
            Exit::Again => {}
            Exit::End(end) => return Some(conclude(end, cpu)),
        }
    }
}

impl Buses {
    fn space(&self, space: Space) -> &Bus {
        match space {
            Space::Port => &self.ports,
            Space::Memory => &self.memory,
        }
    }
}

fn consequence(effect: Effect) -> Option<crate::Exit> {
    match effect {
        Effect::None => None,
        Effect::Reset => Some(crate::Exit::Reset),
        Effect::Shutdown => Some(crate::Exit::Poweroff),
        Effect::Exit(status) => Some(crate::Exit::DebugExit { status }),
    }
}

fn conclude(end: exit::End, cpu: &Cpu) -> crate::Exit {
    match end {
        End::TripleFault => {
            // Its registers may be those of a reset: KVM does that on AMD's processors.
            log::warn!(
                "vCPU {} shut down, as after a triple fault, at {:#x}",
                cpu.index(),
                cpu.rip()
            );
            crate::Exit::TripleFault
        }
        End::Poweroff => crate::Exit::Poweroff,
        End::Reset => crate::Exit::Reset,
        End::Broken(detail) => {
            crate::Exit::InternalError { detail, vcpu: cpu.index(), rip: cpu.rip() }
        }
    }
}

/// The kick's signal only has to interrupt `KVM_RUN`; without a handler it would end the process.
fn handle_kicks() -> Result<()> {
    extern "C" fn nothing(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
    let refused = |source| Error::Host { attempt: "handle a signal", source };
    register_signal_handler(SIGRTMIN(), nothing).map_err(|errno| refused(errno.into()))?;
    // Whoever started this process may have blocked it; the vCPUs' threads inherit the mask.
    unblock_signal(SIGRTMIN()).map_err(|error| refused(io::Error::other(format!("{error:?}"))))
}
