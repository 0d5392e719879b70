//! The tiny guest under QEMU's microvm, which shares nothing with offshoot: what works there and
//! fails here is offshoot's fault.
#![allow(clippy::unwrap_used, reason = "tests")]

mod machine;

use std::fs;
use std::io::Write;

use guest::{BLOCK, fill_block};
use machine::{Accelerator, Disk, Machine, accelerators};

/// The blocks of `disk` written by `demo-first:7`, and the others, as they should be.
fn demo_image(size: usize) -> Vec<u8> {
    let mut image = Vec::new();
    guest::write_base(&mut image, size as u64).unwrap();
    for (number, block) in (0..).zip(image.chunks_mut(BLOCK)).step_by(16) {
        fill_block(7, number, block);
    }
    image
}

fn on_each(test: impl Fn(Accelerator)) {
    accelerators().into_iter().for_each(test);
}

#[test]
fn it_says_hello_and_ends_with_its_status() {
    on_each(|accelerator| {
        let run = Machine::new(accelerator, "hello,print:a=b,exit:9").run();
        assert_eq!(run.lines[0], "guest: first instruction");
        assert!(run.lines[1].starts_with("guest: hello by pvh"), "{run:?}");
        assert_eq!(run.lines[2], "guest: a=b");
        assert_eq!((run.lines.len(), run.status), (3, Some(9)));
    });
}

#[test]
fn a_clone_finds_its_own_data_at_the_second_start() {
    on_each(|accelerator| {
        let disk = Disk::base(4 << 20);
        let run = |orders| Machine::new(accelerator, orders).disk(&disk).run();
        assert_eq!(run("demo-first:7").status, Some(0));
        assert!(fs::read(&disk.path).unwrap() == demo_image(4 << 20), "the file differs");
        assert_eq!(run("demo-again:7").status, Some(0));
        let foreign = run("demo-again:8");
        assert_eq!(foreign.status, Some(1), "{foreign:?}");
        assert!(foreign.lines[1].starts_with("guest: FAIL byte "), "{foreign:?}");
    });
}

#[test]
fn interrupts_processors_and_queues_work_together() {
    on_each(|accelerator| {
        let disk = Disk::base(4 << 20);
        let orders = "cpus,use:mode=irq:cpus=2:queues=2,demo-first:7,use:cpus=1:queues=2,\
                      demo-again:7,bench:rw=randrw:depth=4:seconds=0.2";
        let run = Machine::new(accelerator, orders).cpus(2).disk(&disk).queues(2).run();
        assert_eq!(run.status, Some(0), "{run:?}");
        assert!(run.lines.contains(&"guest: cpus ok n=2".to_string()), "{run:?}");
        let result = run.lines.last().unwrap();
        assert!(result.starts_with("guest: bench {\"rw\":\"randrw\",\"size\":4096,"), "{result}");
    });
}

#[test]
fn parts_of_blocks_are_written_zeroed_and_discarded_alone() {
    on_each(|accelerator| {
        let disk = Disk::base(1 << 20);
        let orders = "write:7:range=512+1k,zero:range=8k+512,discard:range=64k+64k,flush,\
                      verify-base:range=0+512,verify:7:range=512+1k,verify-base:range=1536+6656,\
                      verify-zero:range=8k+512,verify-base:range=8704+56832,verify-base:range=128k+";
        let run = Machine::new(accelerator, orders).disk(&disk).run();
        assert_eq!(run.status, Some(0), "{run:?}");
    });
}

#[test]
fn a_base_may_end_within_a_block() {
    on_each(|accelerator| {
        let disk = Disk::base((1 << 20) + 1000);
        let run = Machine::new(accelerator, "verify-base:range=0+1049576").disk(&disk).run();
        assert_eq!(run.status, Some(0), "{run:?}");
        assert_eq!(run.lines[1].split(" us=").next(), Some("guest: verify-base ok bytes=1049576"));
    });
}

#[test]
fn what_was_flushed_outlives_a_kill() {
    const FLUSHED: &str = "guest: flushed ";
    on_each(|accelerator| {
        let disk = Disk::base(1 << 20);
        let mut machine = Machine::new(accelerator, "stamp:blocks=8").disk(&disk).start();
        (1..20).for_each(|number| assert_eq!(machine.line_after(FLUSHED), number.to_string()));
        let lines = machine.kill();
        let last = lines.iter().rev().find_map(|line| line.strip_prefix(FLUSHED)).unwrap_or("19");
        let run = Machine::new(accelerator, &format!("verify-stamps:{last}:blocks=8")).disk(&disk);
        let run = run.run();
        assert_eq!(run.status, Some(0), "{run:?}");
        assert_eq!(run.lines[1], format!("guest: verify-stamps ok last={last} blocks=8"));
    });
}

#[test]
fn devices_are_found_without_acpi_too() {
    on_each(|accelerator| {
        let disk = Disk::base(1 << 20);
        let orders = "verify-base,verify-base:mode=irq";
        let run = Machine::new(accelerator, orders).without_acpi().disk(&disk).run();
        assert_eq!(run.status, Some(0), "{run:?}");
    });
}

#[test]
fn a_line_typed_comes_back() {
    on_each(|accelerator| {
        let mut machine = Machine::new(accelerator, "echo").start();
        machine.line_after("guest: echo waits");
        machine.input().write_all(b"are you there\n").unwrap();
        assert_eq!(machine.line_after("guest: echo "), "are you there");
    });
}

#[test]
fn each_kind_of_failure_has_its_status() {
    on_each(|accelerator| {
        let disk = Disk::base(1 << 20);
        for (orders, status, said) in [
            ("verify:7", 1, "guest: FAIL byte 0 is 0x7a, by seed 7 it should be "),
            ("dance", 2, "guest: FAIL `dance`: there is no order `dance`"),
            ("verify-base:range=1M+512", 2, "guest: FAIL "),
            ("verify-base:disk=1", 3, "guest: FAIL there is no Block device number 1"),
            ("ud2", 4, "guest: FAIL exception 6 error=0x0 rip="),
        ] {
            let run = Machine::new(accelerator, orders).disk(&disk).run();
            assert_eq!(run.status, Some(status), "{orders}: {run:?}");
            assert!(run.lines[1].starts_with(said), "{orders}: {run:?}");
        }
    });
}

#[test]
fn a_read_only_disk_refuses_writes() {
    on_each(|accelerator| {
        let disk = Disk::base(1 << 20).read_only();
        let run = Machine::new(accelerator, "verify-base,verify-readonly").disk(&disk).run();
        assert_eq!(run.status, Some(0), "{run:?}");
    });
}

#[test]
fn a_hostile_driver_breaks_only_its_own_queue() {
    on_each(|accelerator| {
        let disk = Disk::base(1 << 20);
        let run = Machine::new(accelerator, "hostile,verify-base").disk(&disk).run();
        assert_eq!(run.status, Some(0), "{run:?}");
        assert_eq!(run.lines[1], "guest: hostile ok attacks=24");
    });
}
