//! The orders, done. One that fails ends the machine; see [`fail!`](crate::power::fail).

mod bench;
mod devices;
mod hostile;
mod processor;
mod refused;
mod stamp;
mod transfer;

use crate::console::say;
use crate::grammar;
use crate::machine::Machine;
use crate::orders::{Order, Step};
use crate::power::{self, fail};

/// Does all that the command line orders, in order.
pub fn run(machine: &mut Machine) {
    match grammar::parse(&machine.orders()) {
        Ok(steps) => steps.iter().for_each(|step| run_step(machine, step)),
        Err(error) => fail!(Orders, "{error}"),
    }
}

fn run_step(machine: &mut Machine, step: &Step) {
    match &step.order {
        Order::Hello => {
            say!("hello by {} cmdline={:?}", machine.boot.protocol, machine.boot.cmdline)
        }
        Order::Print(text) => say!("{text}"),
        Order::Cpus => processor::start_all(machine),
        Order::Devices => devices::list(machine),
        Order::Rng { bytes } => devices::entropy(machine, *bytes),
        Order::Id => devices::id(machine, &step.io),
        Order::Transfer(transfer) => transfer::run(machine, *transfer, step),
        Order::VerifyReadOnly => refused::run(machine, &step.io),
        Order::Hostile => hostile::run(machine, &step.io),
        Order::Stamp(stamps) => stamp::write(machine, stamps, &step.io),
        Order::VerifyStamps { stamps, last } => stamp::verify(machine, stamps, *last, &step.io),
        Order::Bench(bench) => bench::run(machine, bench, step),
        Order::Echo => processor::echo(machine.cpu),
        Order::Touch { bytes } => processor::touch(*bytes),
        Order::Sleep { milliseconds } => processor::sleep(machine.cpu, *milliseconds),
        Order::Idle => processor::idle(machine.cpu),
        Order::Spin => processor::spin(),
        Order::Fault => crate::cpu::triple_fault(),
        Order::Ud2 => crate::cpu::ud2(),
        Order::Int3 => crate::cpu::int3(),
        Order::Exit(status) => power::exit(*status),
        Order::Poweroff => power::off(machine.acpi.soft_off),
        Order::Reboot => power::reboot(),
    }
}
