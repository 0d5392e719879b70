//! The life of a VM: start, pause, stop, wait, logs, console, and what is left of one that was
//! killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::kvm;
use crate::common::store::{Follower, Store, finish};
use crate::support::{assert_tidy, dir, fails, json, refuses, state, tiny};

/// A VM named `web` that obeys these orders.
fn web(orders: &str) -> Store {
    let store = tiny();
    let cmdline = format!("offshoot.do={orders}");
    store.ok(["clone", "tiny", "web", "--memory", "64M", "--cmdline", &cmdline]);
    store
}

fn pid(store: &Store) -> Pid {
    let pid = store.inspect("web")["pid"].as_i64().expect("it runs");
    Pid::from_raw(i32::try_from(pid).expect("a process")).expect("a process")
}

fn sockets(store: &Store) -> PathBuf {
    store.inspect("web")["sockets"].as_str().expect("it runs").into()
}

#[test]
fn a_vm_runs_to_its_end_and_its_status_is_kept() {
    if !kvm("start, wait, logs") {
        return;
    }
    let store = web("hello,exit:7");
    assert_eq!(state(&store, "web"), "created");
    assert_eq!(store.ok(["start", "web"]), "web\n");
    assert_eq!(store.ok(["wait", "web"]), "web: exited with status 7\n");
    assert_eq!(store.ok(["wait", "-q", "web"]), "7\n");
    assert_eq!(json(&store, ["wait", "web"])[0]["exit"]["status"], 7);
    assert_eq!(json(&store, ["ls"])[0]["end"]["status"], 7);
    assert!(store.ok(["logs", "web"]).contains("guest: hello"));
    assert!(store.ok(["ls"]).contains("stopped (7)"));
    assert_eq!(store.ok(["ps", "-q"]), "");
    assert_tidy(&store);
}

#[test]
fn a_running_vm_is_guarded_from_start_and_rm() {
    if !kvm("start and rm of a running VM") {
        return;
    }
    let store = web("idle");
    store.ok(["start", "web"]);
    assert_eq!(state(&store, "web"), "running");
    assert_eq!(store.ok(["ps", "-q"]), "web\n");
    refuses(&store, 4, ["start", "web"], "cannot start web: it is running (process ");
    refuses(&store, 4, ["rm", "web"], "cannot remove web: it is running (process ");
    store.ok(["rm", "-f", "web"]);
    refuses(&store, 3, ["start", "web"], "there is no VM web");
    assert_tidy(&store);
}

#[test]
fn a_guest_that_spins_is_stopped_at_once() {
    if !kvm("stop --force") {
        return;
    }
    let store = web("spin");
    store.ok(["start", "web"]);
    let began = Instant::now();
    store.ok(["stop", "--force", "web"]);
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    assert_eq!(store.ok(["wait", "web"]), "web: stopped\n");
    let said = fails(4, store.command(["stop", "web"]));
    assert!(said.contains("it is not running but stopped"), "{said}");
    assert!(said.contains("try: offshoot ps lists what runs"), "{said}");
}

#[test]
fn a_guest_deaf_to_the_power_button_is_stopped_when_its_time_is_up() {
    if !kvm("stop -t") {
        return;
    }
    let store = web("spin");
    store.ok(["start", "web"]);
    store.ok(["stop", "-t", "1", "web"]);
    assert_eq!(state(&store, "web"), "stopped");
}

#[test]
fn a_paused_vm_says_so_and_goes_on() {
    if !kvm("pause and resume") {
        return;
    }
    let store = web("idle");
    let said = fails(4, store.command(["pause", "web"]));
    assert!(said.contains("cannot pause web: it is not running but created"), "{said}");
    assert!(said.contains("try: offshoot start web"), "{said}");
    store.ok(["start", "web"]);
    store.ok(["pause", "web"]);
    assert_eq!(state(&store, "web"), "paused");
    store.ok(["resume", "web"]);
    assert_eq!(state(&store, "web"), "running");
    store.ok(["pause", "web"]);
    store.ok(["stop", "--force", "web"]);
    assert_eq!(state(&store, "web"), "stopped");
}

#[test]
fn one_failure_among_many_names_does_not_stop_the_rest() {
    if !kvm("start of many") {
        return;
    }
    let store = web("exit:0");
    let error = fails(3, store.command(["start", "nosuch", "web"]));
    assert!(error.contains("cannot start nosuch: there is no VM nosuch"), "{error}");
    store.ok(["wait", "web"]);
    assert_eq!(state(&store, "web"), "stopped");
}

#[test]
fn a_start_that_fails_says_why_and_is_remembered() {
    if !kvm("a start that fails") {
        return;
    }
    let store = web("idle");
    let kernel =
        store.inspect("web")["spec"]["boot"]["kernel"].as_str().expect("a path").to_owned();
    std::fs::remove_file(&kernel).expect("removed");
    refuses(&store, 3, ["start", "web"], "cannot start web: ");
    refuses(&store, 3, ["start", "web"], &kernel);
    let end = &store.inspect("web")["end"];
    assert!(end["error"]["text"].as_str().expect("text").contains(&kernel), "{end}");
}

#[test]
fn a_vm_without_a_kernel_is_told_what_to_do() {
    let store = Store::new();
    let base = crate::support::base_file(&store);
    store.ok(["image", "import", crate::support::text(&base), "--name", "bare"]);
    store.ok(["clone", "bare"]);
    let error = fails(2, store.command(["start", "bare-1"]));
    assert!(error.contains("neither it nor its image bare has a kernel"), "{error}");
    assert!(error.contains("try: offshoot run bare --kernel FILE"), "{error}");
    assert_eq!(state(&store, "bare-1"), "created");
}

#[test]
fn a_killed_monitor_is_recognised_and_its_vm_starts_again_with_what_was_flushed() {
    if !kvm("a killed monitor") {
        return;
    }
    let store = web("write:7:every=16,flush,print:flushed,write:8:every=16:range=0+64k,spin");
    store.ok(["start", "web"]);
    let mut console = Follower::new(&store, "web");
    console.wait_for("guest: flushed");
    let sockets = sockets(&store);
    kill_process(pid(&store), Signal::KILL).expect("it is ours");
    assert_eq!(store.ok(["wait", "web"]), "web: killed\n");
    assert_eq!(state(&store, "web"), "killed");
    assert!(sockets.join("control.sock").exists(), "a killed process cleans nothing up");
    assert!(store.ok(["doctor"]).contains("web: its monitor was killed"));
    let verify = "offshoot.do=verify:7:every=16:range=64k+,exit:0";
    store.ok(["start", "web", "--cmdline", verify]);
    assert_eq!(store.ok(["wait", "web"]), "web: exited with status 0\n");
    assert!(!sockets.exists(), "{} is left behind", sockets.display());
    assert_tidy(&store);
}

#[test]
fn logs_follow_a_vm_to_its_end() {
    if !kvm("logs -f") {
        return;
    }
    let store = web("hello,sleep:0.2,print:goodbye,exit:0");
    assert_eq!(store.ok(["logs", "-f", "web"]), "");
    store.ok(["start", "web"]);
    let log = store.ok(["logs", "-f", "web"]);
    assert!(log.contains("guest: hello") && log.contains("guest: goodbye"), "{log}");
}

#[test]
fn a_console_prints_and_types() {
    if !kvm("console") {
        return;
    }
    let store = web("print:before,sleep:0.2,echo,exit:0");
    refuses(&store, 4, ["console", "web"], "cannot attach to web: it is not running but created");
    store.ok(["start", "web"]);
    Follower::new(&store, "web").wait_for("guest: before");
    let mut command = store.command(["console", "web"]);
    let mut console = command.stdin(std::process::Stdio::piped()).spawn().expect("it starts");
    let mut keys = console.stdin.take().expect("piped");
    keys.write_all(b"good morning\n").expect("typed");
    let mut said = String::new();
    console.stdout.take().expect("piped").read_to_string(&mut said).expect("text");
    assert!(said.contains("good morning"), "{said}");
    assert!(said.contains("guest: before"), "what was printed last comes first: {said}");
    assert!(console.wait().expect("it ended").success());
}

#[test]
fn a_start_prints_who_runs_and_starts_nobody_twice() {
    if !kvm("a start of several") {
        return;
    }
    let store = web("idle");
    let output = finish(store.command(["start", "web", "nosuch", "web"]));
    assert_eq!(output.status.code(), Some(3), "only what is not there fails");
    assert_eq!(output.stdout, b"web\n");
}

#[test]
fn a_command_at_work_is_not_taken_for_the_last_monitor() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    // Killed, and its number is another process's by now.
    let mut other = Command::new("sleep").arg("600").spawn().expect("it starts");
    let monitor = serde_json::json!({ "pid": other.id(), "phase": "running",
        "since": "2026-01-01T00:00:00.000Z", "sockets": "/nowhere/x" });
    std::fs::write(dir(&store, "web").join("lock"), monitor.to_string()).expect("written");
    assert_eq!(state(&store, "web"), "killed");
    // It has the VM, and waits for whoever has the store.
    let root = std::fs::File::open(store.folder().join("root")).expect("a store");
    rustix::fs::flock(&root, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    let mut work = store.command(["commit", "web"]).spawn().expect("it starts");
    while state(&store, "web") == "killed" {
        std::thread::yield_now();
    }
    let at_work = format!("another command is at work on it (process {})", work.id());
    refuses(&store, 4, ["start", "web"], &at_work);
    let shown = &json(&store, ["ls"])[0];
    assert_eq!((&shown["state"], &shown["pid"]), (&"busy".into(), &work.id().into()));
    refuses(&store, 4, ["stop", "--force", "web"], &at_work);
    let said = fails(4, store.command(["pause", "web"]));
    let advice = format!("try: wait for the end of process {}", work.id());
    assert!(said.contains("it is not running but busy") && said.contains(&advice), "{said}");
    refuses(&store, 4, ["rm", "web"], &format!("it is busy (process {})", work.id()));
    assert!(other.try_wait().expect("a child").is_none(), "it is nobody's monitor");
    drop(root);
    assert!(work.wait().expect("it ended").success());
    assert_eq!(state(&store, "web"), "killed");
    other.kill().and_then(|()| other.wait()).expect("ended");
}

#[test]
fn the_control_socket_speaks_http_at_the_place_inspect_names() {
    if !kvm("the control socket") {
        return;
    }
    let store = web("idle");
    store.ok(["start", "web"]);
    let mut socket = UnixStream::connect(sockets(&store).join("control.sock")).expect("it listens");
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).expect("sent");
    let lines: Vec<String> = BufReader::new(socket).lines().map_while(Result::ok).collect();
    assert_eq!(lines.first().map(String::as_str), Some("HTTP/1.1 200 OK"));
    let body: Value = serde_json::from_str(lines.last().expect("a body")).expect("JSON");
    assert_eq!(body["state"], "Running");
    assert_eq!(body["id"], "web");
}

#[test]
fn many_start_at_once_and_one_of_two_starters_wins() {
    if !kvm("two starts of one VM") {
        return;
    }
    let store = web("idle");
    let codes: Vec<Option<i32>> = std::thread::scope(|scope| {
        let start = || finish(store.command(["start", "web"])).status.code();
        let racers: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
        racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
    });
    assert_eq!(codes.iter().filter(|&&code| code == Some(0)).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|&&code| code == Some(4)).count(), 3, "{codes:?}");
    assert_eq!(state(&store, "web"), "running");
}

#[test]
fn a_vm_is_found_wherever_its_starter_put_its_sockets() {
    if !kvm("another runtime directory") {
        return;
    }
    let store = web("idle");
    store.ok(["start", "web"]);
    let mut stop = store.command(["stop", "--force", "web"]);
    stop.env("XDG_RUNTIME_DIR", "/nowhere");
    assert!(finish(stop).status.success());
    assert!(dir(&store, "web").join("exit.json").exists());
}

#[test]
fn a_monitor_runs_a_spec_by_itself() {
    if !kvm("vmm --spec") {
        return;
    }
    let store = web("hello,exit:3");
    let spec = store.folder().join("spec.json");
    std::fs::write(&spec, store.inspect("web")["spec"].to_string()).expect("written");
    let output = finish(store.command(["vmm", "--spec", crate::support::text(&spec)]));
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stdout).contains("guest: hello"));
    assert_eq!(state(&store, "web"), "created");
    refuses(&store, 3, ["vmm", "--spec", "/missing"], "cannot read /missing");
}
