//! One of many who run commands: on VMs of its own, and on a few that all of them make and remove.

use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use super::model::{Dice, Fate, Model};
use crate::common::store::{Store, both, finish_in_time};
use crate::support::text;

/// How many VMs a worker has at most.
const MOST: usize = 4;
/// One command of so many is killed.
const KILLED: u64 = 4;
/// A killed one lives so long at most, milliseconds.
const LIFETIME: u64 = 60;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    Refused,
    Killed,
}

pub struct Worker<'a> {
    store: &'a Store,
    number: u64,
    made: u64,
    dice: Dice,
    model: Model,
}

impl<'a> Worker<'a> {
    pub fn new(store: &'a Store, number: u64, dice: Dice) -> Worker<'a> {
        Worker { store, number, made: 0, dice, model: Model::default() }
    }

    /// Runs commands until the time is up, or one ends as none may.
    pub fn work(mut self, until: Instant) -> Model {
        while Instant::now() < until && self.model.surprises.is_empty() {
            self.step();
        }
        self.model
    }

    fn step(&mut self) {
        let own = self.model.candidates();
        let Some(name) = self.dice.pick(&own).cloned().filter(|_| self.dice.below(5) > 0) else {
            return self.without_vm(own.len());
        };
        match self.dice.below(11) {
            0 | 1 => self.clone(&name, own.len()),
            2 => self.rm(&name),
            3 => self.rename(&name),
            4 => drop(self.run(&["snapshot", "create", &name, "s"])),
            5 => drop(self.run(&["snapshot", "rm", &name, "s"])),
            6 => self.take_back(&name, &["snapshot", "revert", "--force", &name, "s"]),
            7 => self.take_back(&name, &["reset", "--force", &name]),
            8 => drop(self.run(&["start", &name, "--cmdline=offshoot.do=idle"])),
            9 => drop(self.run(&["stop", "--force", &name])),
            _ => self.write(&name),
        }
    }

    /// What needs no VM of this worker's own.
    fn without_vm(&mut self, own: usize) {
        let shared = format!("shared-{}", self.dice.below(3));
        match self.dice.below(12) {
            0 | 1 => drop(self.run(&["clone", "tiny", &shared])),
            2 | 3 => drop(self.run(&["rm", "-f", &shared])),
            4 => drop(self.run(&["prune"])),
            5 => drop(self.run(&["ls"])),
            6 if self.number == 0 => self.repair(),
            7 => self.refused_image_rm(),
            _ => self.clone("tiny", own),
        }
    }

    fn clone(&mut self, source: &str, own: usize) {
        if own >= MOST {
            return;
        }
        self.made += 1;
        let name = format!("w{}-v{}", self.number, self.made);
        let data = self.model.data(source);
        let deltas = super::deltas(self.store);
        let mut words = vec!["clone", source, &name, "--memory=64M"];
        if self.number % 2 == 1 {
            words.extend(["--delta-dir", text(&deltas)]);
        }
        let fate = match self.run(&words) {
            End::Done => Fate::There(data),
            End::Refused => Fate::Gone,
            End::Killed => Fate::Unknown,
        };
        self.model.set(&name, fate);
    }

    fn rm(&mut self, name: &str) {
        match self.run(&["rm", "-f", name]) {
            End::Done => self.model.set(name, Fate::Gone),
            End::Refused => self.still_there(name),
            End::Killed => self.model.set(name, Fate::Unknown),
        }
    }

    /// A command that could not be done to a VM: one that was there still is.
    fn still_there(&mut self, name: &str) {
        let there = self.finish(self.store.command(["inspect", "-q", name]), None) != End::Refused;
        if !there && matches!(self.model.vms.get(name), Some(Fate::There(_))) {
            self.model.surprises.push(format!("{name} is lost"));
        }
    }

    fn rename(&mut self, name: &str) {
        self.made += 1;
        let new = format!("w{}-v{}", self.number, self.made);
        let old = self.model.vms.get(name).copied().unwrap_or(Fate::Unknown);
        match self.run(&["rename", name, &new]) {
            End::Done => {
                self.model.set(name, Fate::Gone);
                self.model.set(&new, old);
            }
            End::Refused => {}
            End::Killed => {
                self.model.set(name, Fate::Unknown);
                self.model.set(&new, Fate::Unknown);
            }
        }
    }

    fn take_back(&mut self, name: &str, command: &[&str]) {
        if self.run(command) != End::Refused {
            self.model.forget_data(name);
        }
    }

    /// Lets a guest write something, and notes it only if it said that it did.
    fn write(&mut self, name: &str) {
        let seed = 1 + self.dice.below(1 << 20);
        let orders = format!("--cmdline=offshoot.do=write:{seed}:range=0+64k,flush,exit:0");
        let started = self.run(&["start", name, &orders]);
        if started == End::Refused {
            return;
        }
        self.model.forget_data(name);
        let Some(output) = finish_in_time(self.store.command(["wait", "-q", name])) else {
            self.model.surprises.push(format!("{name} does not end"));
            return;
        };
        let there = matches!(self.model.vms.get(name), Some(Fate::There(_)));
        if started == End::Done && output.stdout == b"0\n" && there {
            self.model.set(name, Fate::There(Some(seed)));
        }
    }

    fn repair(&mut self) {
        let output = finish_in_time(self.store.command(["doctor", "--fix"]));
        let code = output.as_ref().and_then(|output| output.status.code());
        let said = output.as_ref().map_or("it hangs".into(), both);
        // Another removal may have been killed since.
        if code != Some(0) && !said.contains("its removal was broken off") {
            self.model.surprises.push(format!("doctor --fix ended with {code:?}\n{said}"));
        }
    }

    fn refused_image_rm(&mut self) {
        if self.run(&["image", "rm", "tiny"]) == End::Done {
            self.model.surprises.push("an image with clones was removed".into());
        }
    }

    /// Runs a command that may be killed.
    fn run(&mut self, args: &[&str]) -> End {
        self.model.commands += 1;
        let dies = self.dice.below(KILLED) == 0;
        let after = dies.then(|| Duration::from_millis(self.dice.below(LIFETIME)));
        let end = self.finish(self.store.command(args), after);
        self.model.killed += usize::from(end == End::Killed);
        end
    }

    fn finish(&mut self, mut command: Command, after: Option<Duration>) -> End {
        let words = format!("{:?}", command.get_args().collect::<Vec<_>>());
        let output = match after {
            None => finish_in_time(command),
            Some(after) => {
                let mut child = command.spawn().expect("it starts");
                // The moment is what is random here; nothing waits for it.
                thread::sleep(after);
                let _ = child.kill();
                Some(child.wait_with_output().expect("it ended"))
            }
        };
        let Some(output) = output else {
            self.model.surprises.push(format!("{words} hangs"));
            return End::Killed;
        };
        self.judge(&words, &output)
    }

    fn judge(&mut self, words: &str, output: &Output) -> End {
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            None => End::Killed,
            Some(0) => End::Done,
            Some(3 | 4) => End::Refused,
            // Its removal was killed; whether it was decided, a repair says.
            Some(5) if said.contains("its removal was broken off") => End::Refused,
            // Its monitor was killed while it was asked for something.
            Some(1) if said.contains("monitor") || said.contains("the machine at") => End::Refused,
            code => {
                let text = format!("{words} ended with {code:?}\n{}", both(output));
                self.model.surprises.push(text);
                End::Refused
            }
        }
    }
}
