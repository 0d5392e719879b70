//! How machines start, run, pause, and end.

use vmm::Exit;
use vmm::boot::Protocol;
use vmm::control::state::State;
use vmm_sys_util::signal::Killable;

use crate::support::{Setup, TALK, has_kvm};

/// Reads the power button's register until it is not 0, and ends with what it read.
const AWAIT_BUTTON: &[u8] =
    &[0x66, 0xba, 0x03, 0x06, 0xec, 0x84, 0xc0, 0x74, 0xfb, 0xe6, 0xf4, 0xeb, 0xfe];

#[test]
fn guest_boots_by_both_protocols_on_one_two_and_four_cpus() {
    if !has_kvm() {
        return;
    }
    for (protocol, word) in [(Protocol::Linux64, "linux"), (Protocol::Pvh, "pvh")] {
        for cpus in [1, 2, 4] {
            let mut setup = Setup::guest("hello,cpus");
            setup.spec.boot.protocol = Some(protocol);
            setup.spec.cpus = cpus;
            let (exit, console) = setup.run();
            assert_eq!(exit, Exit::DebugExit { status: 0 }, "{console}");
            assert!(console.contains(&format!("hello by {word}")), "{console}");
            assert!(console.contains(&format!("cpus ok n={cpus}\n")), "{console}");
        }
    }
}

#[test]
fn guest_decides_how_it_ends() {
    if !has_kvm() {
        return;
    }
    let ends = [
        ("exit:0", Exit::DebugExit { status: 0 }, 0),
        ("exit:42", Exit::DebugExit { status: 42 }, 42),
        ("poweroff", Exit::Poweroff, 0),
        ("reboot", Exit::Reset, 120),
        ("fault", Exit::TripleFault, 121),
    ];
    for (order, exit, status) in ends {
        let (ended, console) = Setup::guest(order).run();
        assert_eq!(ended, exit, "{order}: {console}");
        assert_eq!(ended.status(), status);
    }
}

#[test]
fn instruction_kvm_cannot_emulate_is_named() {
    if !has_kvm() {
        return;
    }
    // int3, where there is no handler.
    let (exit, _) = Setup::code(&[0xcc]).run();
    if vmm::kvm::runs_linux().unwrap() {
        assert_eq!(exit, Exit::TripleFault);
        return;
    }
    let Exit::InternalError { detail, vcpu: 0, rip: 0x100_0000 } = &exit else {
        panic!("{exit:?}");
    };
    assert!(detail.contains("cannot emulate the guest's instruction"), "{detail}");
    assert!(detail.contains("offshoot doctor"), "{detail}");
    assert_eq!(exit.status(), 122);
}

#[test]
fn spinning_guest_is_stopped_at_once() {
    if !has_kvm() {
        return;
    }
    // jmp to itself; and every vCPU of a guest that has started them all.
    for (mut setup, cpus) in [(Setup::code(&[0xeb, 0xfe]), 1), (Setup::guest("cpus,spin"), 4)] {
        setup.spec.cpus = cpus;
        let mut running = setup.start();
        running.wait_until_started();
        running.control.stop().unwrap();
        assert_eq!(running.finish().0, Exit::Stopped);
    }
}

#[test]
fn halted_guest_is_stopped_at_once() {
    if !has_kvm() {
        return;
    }
    // cli; hlt
    let mut running = Setup::code(&[0xfa, 0xf4]).start();
    running.wait_until_started();
    running.control.stop().unwrap();
    assert_eq!(running.finish().0, Exit::Stopped);
}

#[test]
fn paused_guest_goes_on_where_it_was() {
    if !has_kvm() {
        return;
    }
    let mut setup = Setup::guest("cpus,print:ready,echo,exit:5");
    setup.spec.cpus = 2;
    let mut running = setup.start();
    running.wait_for("ready");
    for _ in 0..100 {
        running.control.pause().unwrap();
        assert_eq!(running.control.describe().unwrap().state, State::Paused);
        running.control.pause().unwrap();
        running.control.resume().unwrap();
        assert_eq!(running.control.describe().unwrap().state, State::Running);
    }
    running.control.pause().unwrap();
    running.type_in("typed while paused\n");
    running.control.resume().unwrap();
    running.wait_for("typed while paused");
    assert_eq!(running.finish().0, Exit::DebugExit { status: 5 });
}

#[test]
fn pause_keeps_port_accesses_whole() {
    if !has_kvm() {
        return;
    }
    // Counts to 20,000 in ebx, one `in al, 0x80` each. A pause that left an access unfinished
    // would have it done again, in the wrong place.
    let count =
        [0x31, 0xdb, 0xe4, 0x80, 0xff, 0xc3, 0x81, 0xfb, 0x20, 0x4e, 0, 0, 0x75, 0xf4, 0xe6, 0xf4];
    let mut running = Setup::code(&count).start();
    running.wait_until_started();
    while running.control.pause().and_then(|()| running.control.resume()).is_ok() {}
    assert_eq!(running.finish().0, Exit::DebugExit { status: 0xff });
}

#[test]
fn machine_that_is_paused_can_be_stopped() {
    if !has_kvm() {
        return;
    }
    let mut running = Setup::code(TALK).start();
    running.wait_until_started();
    running.control.pause().unwrap();
    running.control.stop().unwrap();
    assert_eq!(running.finish().0, Exit::Stopped);
}

#[test]
fn power_button_reaches_the_guest_from_api_and_signal() {
    if !has_kvm() {
        return;
    }
    let mut running = Setup::code(AWAIT_BUTTON).start();
    running.wait_until_started();
    running.control.power_button().unwrap();
    assert_eq!(running.finish().0, Exit::DebugExit { status: 1 });

    let mut running = Setup::code(AWAIT_BUTTON).start();
    running.wait_until_started();
    running.thread.kill(libc::SIGTERM).unwrap();
    assert_eq!(running.finish().0, Exit::DebugExit { status: 1 });
}

#[test]
fn string_port_access_is_many_accesses() {
    if !has_kvm() {
        return;
    }
    // cld; mov edi, 0x2000000; mov ecx, 4; mov dx, COM1's line status; rep insb; last one out.
    let code = [
        0xfc, 0xbf, 0, 0, 0, 2, 0xb9, 4, 0, 0, 0, 0x66, 0xba, 0xfd, 0x03, 0xf3, 0x6c, 0x8a, 0x47,
        0xff, 0xe6, 0xf4,
    ];
    assert_eq!(Setup::code(&code).run().0, Exit::DebugExit { status: 0x60 });
}

#[test]
fn addresses_nobody_answers_at_read_as_ones() {
    if !has_kvm() {
        return;
    }
    // mov esi, 0xd00ff000; mov eax, [rsi]; mov [rsi], eax; out 0xf4, al
    let memory = [0xbe, 0, 0xf0, 0x0f, 0xd0, 0x8b, 0x06, 0x89, 0x06, 0xe6, 0xf4];
    assert_eq!(Setup::code(&memory).run().0, Exit::DebugExit { status: 0xff });
    // in al, 0x80; out 0x80, al; out 0xf4, al
    let port = [0xe4, 0x80, 0xe6, 0x80, 0xe6, 0xf4];
    assert_eq!(Setup::code(&port).run().0, Exit::DebugExit { status: 0xff });
}

#[test]
fn spec_that_cannot_be_met_is_refused_with_its_reason() {
    if !has_kvm() {
        return;
    }
    let refusal = |change: fn(&mut vmm::Spec)| {
        let mut setup = Setup::guest("exit:0");
        change(&mut setup.spec);
        setup.refusal().to_string()
    };
    let max = vmm::kvm::check().unwrap().max_cpus;
    let cpus = |asked| format!("a machine has 1 to {max} vCPUs on this host, not {asked}");
    assert_eq!(refusal(|spec| spec.cpus = 0), cpus(0));
    assert_eq!(refusal(|spec| spec.cpus = 256), cpus(256));
    assert_eq!(refusal(|spec| spec.cpus = u16::MAX), cpus(65535));
    assert!(refusal(|spec| spec.memory_mib = 0).contains("0 MiB of memory is too small"));
    assert!(refusal(|spec| spec.memory_mib = 1 << 40).contains("more than this host has"));
    assert!(refusal(|spec| spec.boot.kernel = "/nowhere".into()).contains("/nowhere"));
}
