//! Many VMs at once, a bounded number of them running, watched by one thread.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::PATIENCE;
use crate::console::Signals;
use crate::failure;
use crate::monitor::{self, Answer, Monitor, Settings, State};
use crate::parallel;
use crate::store::{Image, Store, Vm};

/// One VM of the demo, and what is known of it so far.
pub struct Ship {
    pub vm: Vm,
    /// Makes its pattern its own.
    pub seed: u32,
    /// How long cloning took.
    pub create: Duration,
    /// For each run: from the start of its monitor to its first instruction.
    pub first_instruction: Vec<Duration>,
    /// What went wrong, if anything did.
    pub error: Option<String>,
}

impl Ship {
    pub fn new(vm: Vm, seed: u32, create: Duration) -> Ship {
        Ship { vm, seed, create, first_instruction: Vec::new(), error: None }
    }
}

/// What all VMs of the demo share.
pub struct Fleet<'a> {
    pub store: &'a Store,
    pub image: &'a Image,
    pub signals: &'a Signals,
    pub bar: &'a ProgressBar,
}

/// A ship whose monitor lives.
struct Sailing<'a> {
    ship: &'a mut Ship,
    monitor: Monitor,
    began: Instant,
    over: bool,
}

impl Fleet<'_> {
    /// Runs every VM once with the orders made of its seed; `false` when a signal ended it. VMs
    /// that failed before stay where they are.
    pub fn run(&self, ships: &mut [Ship], orders: impl Fn(u32) -> String) -> Result<bool> {
        let mut waiting = ships.iter_mut().filter(|ship| ship.error.is_none());
        let mut sailing = Vec::new();
        loop {
            while sailing.len() < parallel::at_once() {
                let Some(ship) = waiting.next() else { break };
                let began = Instant::now();
                match self.launch(ship, &orders) {
                    Ok(monitor) => {
                        sailing.push(Sailing { ship, monitor, began, over: false });
                    }
                    Err(error) => ship.error = Some(failure::text(&error)),
                }
            }
            if sailing.is_empty() {
                return Ok(true);
            }
            let ready = self.wait(&sailing)?;
            if self.signals.pending() {
                sailing.iter_mut().for_each(Sailing::sink);
                return Ok(false);
            }
            for (sailing, ready) in sailing.iter_mut().zip(ready) {
                sailing.attend(ready)?;
            }
            let before = sailing.len();
            sailing.retain(|sailing| !sailing.over);
            self.bar.inc((before - sailing.len()) as u64);
        }
    }

    fn launch(&self, ship: &Ship, orders: impl Fn(u32) -> String) -> Result<Monitor> {
        let cmdline = format!("offshoot.do={}", orders(ship.seed));
        let settings = Settings { cmdline: Some(cmdline), attached: None };
        monitor::start(self.store, &ship.vm, Some(self.image), settings)
    }

    /// Waits for a signal, an answer, or somebody's patience to end; says who answered.
    fn wait(&self, sailing: &[Sailing<'_>]) -> Result<Vec<bool>> {
        let first = sailing.iter().map(|sailing| sailing.began + PATIENCE).min();
        let left = first.map(|first| first.saturating_duration_since(Instant::now()));
        let left = left.map(Timespec::try_from).transpose().context("the time is too long")?;
        let mut fds = vec![PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)];
        let answers = sailing.iter().map(|sailing| sailing.monitor.answers());
        fds.extend(answers.map(|answers| PollFd::from_borrowed_fd(answers, PollFlags::IN)));
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, left.as_ref()))
            .context("cannot wait for the guests")?;
        Ok(fds.iter().skip(1).map(|fd| !fd.revents().is_empty()).collect())
    }
}

impl Sailing<'_> {
    /// Takes in what its monitor says.
    fn attend(&mut self, ready: bool) -> Result<()> {
        if !ready {
            if self.began.elapsed() >= PATIENCE {
                self.sink();
                self.ship.error = Some(format!("it did not end within {PATIENCE:?}"));
            }
            return Ok(());
        }
        match self.monitor.answer()? {
            Answer::Runs => self.ship.first_instruction.push(self.began.elapsed()),
            Answer::Failed(report) => self.ship.error = Some(report.text),
            Answer::Ended => {
                self.monitor.reap()?;
                self.over = true;
                let error = verdict(&self.ship.vm)?;
                self.ship.error = self.ship.error.take().or(error);
            }
        }
        Ok(())
    }

    /// Ends it at once; its disk goes with the demo.
    fn sink(&mut self) {
        self.over = true;
        if let Err(error) = self.monitor.kill() {
            log::debug!("{}: {}", self.ship.vm.record.name, failure::text(&error));
        }
    }
}

/// What was wrong with a run that is over; the guest's own words are in its log.
fn verdict(vm: &Vm) -> Result<Option<String>> {
    Ok(match State::of(&vm.dir)? {
        State::Stopped(end) if end.status == 0 => None,
        State::Stopped(end) => Some(format!("{}{}", end.describe(), last_words(vm))),
        state => Some(format!("its monitor died, and left it {}", state.word())),
    })
}

/// The last line a guest printed.
fn last_words(vm: &Vm) -> String {
    let log = std::fs::read(vm.console_log()).unwrap_or_default();
    let text = String::from_utf8_lossy(&log);
    text.lines().next_back().map_or(String::new(), |line| format!(" ({line})"))
}
