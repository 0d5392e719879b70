//! `lab`: made, started, reset and removed together; again after any failure; and nobody else's VM.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::common::kvm;
use crate::common::store::{Follower, Store, finish};
use crate::support::{assert_tidy, fails, json, state, text, tiny};

/// Guests that say hello and stay.
const IDLE: &str = "memory = '64M'\ncmdline = 'offshoot.do=hello,idle'";

/// Writes the lab's file.
fn write(store: &Store, text: &str) -> PathBuf {
    let path = store.folder().join("lab.toml");
    fs::write(&path, format!("name = 'course'\n{text}")).expect("written");
    path
}

/// A server and two desks that come after it.
fn course(store: &Store) -> PathBuf {
    let desks = "count = 2\nnames = 'desk-{n:02}'\nafter = ['server']\nlabels = { room = '2' }";
    write(
        store,
        &format!(
            "[groups.desk]\nsource = 'tiny'\n{desks}\n{IDLE}\n[groups.server]\nsource = 'tiny'\n{IDLE}\n"
        ),
    )
}

/// A lab command, on the store's file.
fn lab<const N: usize>(store: &Store, args: [&str; N]) -> Command {
    let mut command = store.command(["lab"].into_iter().chain(args));
    command.current_dir(store.folder());
    command
}

#[track_caller]
fn ok<const N: usize>(store: &Store, args: [&str; N]) -> String {
    crate::common::store::succeeds(lab(store, args))
}

/// What a lab command says as JSON of its clones, whatever its exit code.
#[track_caller]
fn members<const N: usize>(store: &Store, args: [&str; N]) -> Vec<Value> {
    let mut command = lab(store, args);
    command.args(["--format", "json"]);
    let output = finish(command);
    let report: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    report["members"].as_array().expect("a list").clone()
}

/// One key of all clones.
fn all(members: &[Value], key: &str) -> Vec<String> {
    let text = |member: &Value| match &member[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    members.iter().map(text).collect()
}

/// When a VM that runs was started.
fn since(store: &Store, name: &str) -> String {
    let list = json(store, ["ls"]);
    let row = list.as_array().expect("a list").iter().find(|row| row["name"] == name);
    row.expect("it is there")["since"].as_str().expect("it runs").to_owned()
}

#[test]
fn a_lab_comes_up_once_and_again_only_with_what_is_missing() {
    if !kvm("lab up") {
        return;
    }
    let store = tiny();
    course(&store);
    let planned = members(&store, ["up", "--dry-run"]);
    assert_eq!(all(&planned, "steps"), [r#"["make","start"]"#; 3]);
    assert_eq!(store.ok(["ls", "-q"]), "", "a dry run makes nothing");

    let done = members(&store, ["up"]);
    assert_eq!(all(&done, "name"), ["desk-01", "desk-02", "course-server"]);
    assert_eq!(all(&done, "done"), [r#"["make","start"]"#; 3]);
    assert_eq!(state(&store, "desk-02"), "running");
    assert_eq!(json(&store, ["ls"])[1]["labels"]["room"], "2");

    store.ok(["stop", "--force", "desk-01"]);
    store.ok(["rm", "-f", "desk-02"]);
    let before = since(&store, "course-server");
    let done = members(&store, ["up"]);
    assert_eq!(all(&done, "done"), [r#"["start"]"#, r#"["make","start"]"#, "[]"]);
    assert_eq!(since(&store, "course-server"), before, "what runs is left alone");
    assert_eq!(ok(&store, ["up", "-q"]), "");
    assert_tidy(&store);
}

#[test]
fn groups_start_after_those_they_wait_for_and_stop_before_them() {
    if !kvm("the order of groups") {
        return;
    }
    let store = tiny();
    course(&store);
    ok(&store, ["up"]);
    assert!(since(&store, "course-server") < since(&store, "desk-01"));
    ok(&store, ["down", "--keep", "--force"]);
    let ended =
        |name: &str| store.inspect(name)["end"]["ended"].as_str().expect("a time").to_owned();
    assert!(ended("course-server") >= ended("desk-01"));
}

#[test]
fn what_fails_does_not_stop_the_rest_and_holds_back_who_waits_for_it() {
    if !kvm("partial failure") {
        return;
    }
    let store = tiny();
    let group =
        |name: &str, more: &str| format!("[groups.{name}]\nsource = 'tiny'\n{IDLE}\n{more}\n");
    let broken = format!("[groups.broken]\nsource = 'nosuch'\n{IDLE}\n");
    let file = [
        group("last", "after = ['waits']"),
        group("waits", "after = ['broken']"),
        broken,
        group("fine", ""),
    ];
    write(&store, &file.concat());
    let done = members(&store, ["up"]);
    assert_eq!(all(&done, "done"), [r#"["make"]"#, r#"["make"]"#, "[]", r#"["make","start"]"#]);
    let error = fails(3, lab(&store, ["up"]));
    assert!(
        error.starts_with("offshoot: cannot clone nosuch: there is no image or VM nosuch"),
        "{error}"
    );
    assert!(error.contains("course-waits was not started: group broken"), "{error}");
    assert!(error.contains("course-last was not started: group waits"), "{error}");
    assert_eq!(state(&store, "course-fine"), "running");
    assert_eq!(state(&store, "course-waits"), "created");

    write(&store, &file.concat().replace("nosuch", "tiny"));
    ok(&store, ["up"]);
    assert_eq!(state(&store, "course-last"), "running");
}

#[test]
fn reset_gives_every_clone_back_as_new_and_running() {
    if !kvm("lab reset") {
        return;
    }
    let store = tiny();
    let orders = "verify-base,write:1:range=0+64k,flush,print:ready,idle";
    let clones = format!("memory = '64M'\ncount = 3\ncmdline = 'offshoot.do={orders}'");
    write(&store, &format!("[groups.pc]\nsource = 'tiny'\n{clones}\n"));
    ok(&store, ["up"]);
    let names = ["course-pc-1", "course-pc-2", "course-pc-3"];
    names.iter().for_each(|name| Follower::new(&store, name).wait_for("guest: ready"));
    store.ok(["stop", "--force", "course-pc-2"]);

    let done = members(&store, ["reset"]);
    let all_three = r#"["stop","reset","start"]"#;
    assert_eq!(all(&done, "done"), [all_three, r#"["reset","start"]"#, all_three]);
    for name in names {
        // One that still had what it wrote would not have verified the base.
        let mut console = Follower::new(&store, name);
        console.wait_for("guest: ready");
        console.wait_for("guest: ready");
        assert_eq!(state(&store, name), "running");
    }
    store.ok(["rm", "-f", "course-pc-3"]);
    let error = fails(3, lab(&store, ["reset"]));
    assert!(error.contains("there is no course-pc-3 yet"), "{error}");
    assert_eq!(state(&store, "course-pc-1"), "running");
}

#[test]
fn down_keeps_the_clones_or_removes_them_with_those_no_longer_asked_for() {
    if !kvm("lab down") {
        return;
    }
    let store = tiny();
    course(&store);
    ok(&store, ["up"]);
    ok(&store, ["down", "--keep", "--force"]);
    let states = |store: &Store| all(&members(store, ["ls"]), "vm").len();
    assert_eq!(states(&store), 3);
    assert_eq!(state(&store, "desk-01"), "stopped");

    store.ok(["clone", "tiny", "mine"]);
    write(&store, &format!("[groups.server]\nsource = 'tiny'\n{IDLE}\n"));
    assert_eq!(all(&members(&store, ["ls"]), "in_file"), ["true", "false", "false"]);
    assert!(ok(&store, ["ls"]).contains("not in the lab's file any more"));
    ok(&store, ["down"]);
    assert_eq!(store.ok(["ls", "-q"]), "mine\n");
    assert_eq!(ok(&store, ["down"]), "there is nothing of the lab course\n");
    assert_tidy(&store);
}

#[test]
fn a_lab_that_does_not_fit_is_refused_with_the_numbers_before_anything_is_made() {
    if !kvm("admission") {
        return;
    }
    let store = tiny();
    let meminfo = fs::read_to_string("/proc/meminfo").expect("it is there");
    let total = meminfo.lines().next().and_then(|line| line.split_whitespace().nth(1));
    let mib = total.expect("MemTotal").parse::<u64>().expect("a number") >> 10;
    write(
        &store,
        &format!("[groups.large]\nsource = 'tiny'\n{}\n", IDLE.replace("64", &mib.to_string())),
    );
    let error = fails(6, lab(&store, ["up"]));
    assert!(error.contains("cannot bring up course: the lab course needs "), "{error}");
    assert!(error.contains("are available") && error.contains("--overcommit"), "{error}");
    assert_eq!(store.ok(["ls", "-q"]), "");
    let mut plan = lab(&store, ["up", "--dry-run", "--format", "json"]);
    plan.stderr(std::process::Stdio::null());
    let report: Value = serde_json::from_slice(&finish(plan).stdout).expect("it prints JSON");
    assert_eq!(report["memory"]["needed_mib"], mib + 4);
    assert_eq!(report["memory"]["fits"], false);
    ok(&store, ["up", "--overcommit"]);
    assert_eq!(state(&store, "course-large"), "running");
}

#[test]
fn a_vm_or_an_image_of_another_origin_is_never_touched() {
    let store = tiny();
    course(&store);
    store.ok(["clone", "tiny", "desk-02", "--label", "lab=other"]);
    let error = fails(4, lab(&store, ["up"]));
    assert!(error.contains("not by the lab course: desk-02 (a VM)"), "{error}");
    assert_eq!(store.ok(["ls", "-q"]), "desk-02\n", "nothing is made");
    for verb in ["reset", "down"] {
        let error = fails(4, lab(&store, [verb]));
        assert!(error.contains("desk-02 is a VM that is not of the lab course"), "{error}");
    }
    assert_eq!(store.ok(["ls", "-q"]), "desk-02\n");
    write(&store, "[groups.a]\nsource = 'tiny'\nnames = 'tiny'\n");
    assert!(fails(4, lab(&store, ["up"])).contains("tiny (an image)"));
}

#[test]
fn what_is_protected_is_neither_reset_nor_removed_and_nothing_else_is_either() {
    let store = tiny();
    write(&store, "[groups.pc]\nsource = 'tiny'\ncount = 2\nstart = false\n");
    ok(&store, ["up"]);
    store.ok(["protect", "course-pc-2"]);
    for verb in ["reset", "down"] {
        let error = fails(4, lab(&store, [verb]));
        assert!(error.contains("course-pc-2: it is protected"), "{error}");
        assert!(error.contains("try: offshoot protect --off course-pc-2"), "{error}");
    }
    assert_eq!(store.ok(["ls", "-q"]), "course-pc-1\ncourse-pc-2\n");
    ok(&store, ["down", "--keep"]);
    store.ok(["protect", "--off", "course-pc-2"]);
    ok(&store, ["down"]);
    assert_eq!(store.ok(["ls", "-q"]), "");
}

#[test]
fn a_clone_that_is_not_as_the_file_says_is_listed_and_kept() {
    let store = tiny();
    let file = "[groups.pc]\nsource = 'tiny'\nstart = false\nnames = 'pc'\ncpus = 1\n";
    write(&store, file);
    ok(&store, ["up"]);
    let more = "cpus = 2\nmemory = '1G'\nephemeral = true\nlabels.a = 'b'";
    write(&store, &(file.replace("cpus = 1", more)));
    let done = members(&store, ["up"]);
    let differs = &done[0]["differs"];
    assert_eq!(differs[0], "cpus is 1, the file says 2");
    assert_eq!(differs[1], "memory is 512.00 MiB, the file says 1.00 GiB");
    assert_eq!(differs[2], "ephemeral is false, the file says true");
    assert_eq!(differs[3], "label a is absent, the file says b");
    assert!(ok(&store, ["up"]).contains("kept: cpus is 1"));
    assert_eq!(store.inspect("pc")["vm"]["cpus"], 1);
}

#[test]
fn a_lab_up_killed_at_any_moment_is_completed_by_the_next() {
    if !kvm("kill -9 of lab up") {
        return;
    }
    let store = tiny();
    write(&store, &format!("[groups.pc]\nsource = 'tiny'\ncount = 8\n{IDLE}\n"));
    // Once before, while and after monitors are started, whatever the moment is on this machine.
    for wanted in [0, 1, 4] {
        let mut child = lab(&store, ["up", "-q"]).spawn().expect("it starts");
        let sockets = store.folder().join("offshoot");
        let running = || fs::read_dir(&sockets).map_or(0, Iterator::count);
        while running() < wanted && child.try_wait().expect("ours").is_none() {
            std::thread::yield_now();
        }
        child.kill().expect("it is ours");
        child.wait().expect("it was ours");
        ok(&store, ["up", "-q"]);
        let states = json(&store, ["ls"]);
        let states: Vec<_> =
            states.as_array().expect("a list").iter().map(|vm| &vm["state"]).collect();
        assert_eq!(states, ["running"; 8]);
        ok(&store, ["down", "--force"]);
        assert_eq!(store.ok(["ls", "-q"]), "");
    }
}

#[test]
fn two_commands_on_one_lab_wait_for_each_other() {
    if !kvm("two lab up at once") {
        return;
    }
    let store = tiny();
    course(&store);
    std::thread::scope(|scope| {
        let up = || finish(lab(&store, ["up"])).status.code();
        let racers: Vec<_> = (0..3).map(|_| scope.spawn(up)).collect();
        racers.into_iter().for_each(|racer| assert_eq!(racer.join().expect("no panic"), Some(0)));
    });
    assert_eq!(store.ok(["ps", "-q"]).lines().count(), 3);
}

#[test]
fn a_file_that_makes_no_lab_is_refused_with_line_and_column() {
    let store = tiny();
    let path = write(&store, "[groups.pc]\nsource = 'tiny'\ncuont = 3\n");
    for verb in ["up", "ls", "reset", "down"] {
        let error = fails(2, store.command(["lab", verb, "-f", text(&path)]));
        assert!(error.contains("lab.toml:4:1: unknown field `cuont`"), "{error}");
    }
    let error = fails(3, store.command(["lab", "up", "-f", "/nosuch/lab.toml"]));
    assert!(error.contains("cannot open /nosuch/lab.toml"), "{error}");
    let error = fails(2, store.command(["lab", "up", "-f", "/dev/zero"]));
    assert!(error.contains("/dev/zero"), "{error}");
}

#[test]
fn clones_are_started_side_by_side_when_asked() {
    if !kvm("clone -n --start") {
        return;
    }
    let store = tiny();
    let orders = ["--memory", "64M", "--cmdline", "offshoot.do=idle"];
    let names = store.ok(["clone", "tiny", "-n", "12", "--start"].into_iter().chain(orders));
    assert_eq!(names.lines().count(), 12);
    assert_eq!(store.ok(["ps", "-q"]).lines().count(), 12);
}

#[test]
fn a_clone_made_again_has_the_number_it_had_in_its_spec() {
    let store = tiny();
    let spec = "hostname = 'seat-{n}'\n";
    fs::write(store.folder().join("seat.toml"), spec).expect("written");
    write(&store, "[groups.pc]\nsource = 'tiny'\ncount = 3\nstart = false\nspec = 'seat.toml'\n");
    let hostname = |name: &str| store.inspect(name)["vm"]["identity"]["hostname"].clone();
    ok(&store, ["up"]);
    assert_eq!(hostname("course-pc-3"), "seat-3");
    store.ok(["rm", "course-pc-3"]);
    ok(&store, ["up"]);
    assert_eq!(hostname("course-pc-3"), "seat-3");
    fs::write(store.folder().join("seat.toml"), "hostnome = 'x'\n").expect("written");
    let error = fails(2, lab(&store, ["up"]));
    assert!(error.contains("lab.toml:6:8: cannot use the spec"), "{error}");
}
