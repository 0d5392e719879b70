//! The orders, done.

mod transfer;

use crate::console::say;
use crate::machine::Machine;
use crate::orders::{self, Order, Step};
use crate::power::{self, fail};

/// Does all that the command line orders, in order; an order that fails ends the machine.
pub fn run(machine: &mut Machine) {
    match orders::parse(&machine.orders()) {
        Ok(steps) => steps.iter().for_each(|step| run_step(machine, step)),
        Err(error) => fail!(Orders, "{error}"),
    }
}

fn run_step(machine: &mut Machine, step: &Step) {
    match &step.order {
        Order::Hello => say!("hello by {}", machine.boot.protocol),
        Order::Write { .. }
        | Order::Verify { .. }
        | Order::VerifyZero
        | Order::Zero { .. }
        | Order::Discard
        | Order::Flush => {
            transfer::run(machine, step);
        }
        Order::Print(text) => say!("{text}"),
        Order::Exit(status) => power::exit(*status),
        Order::Reboot => power::reboot(),
        other => fail!(Orders, "not yet {other:?}"),
    }
}
