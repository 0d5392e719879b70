//! What is printed at a terminal: tables that fit it, and colours that can be turned off.

use std::fs::File;
use std::io::Read;
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::common::store::{Store, both, finish};
use crate::support::{dir, tiny};

/// What a command prints on a terminal of so many columns.
fn on_a_terminal(columns: u16, mut command: Command) -> String {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&screen).expect("granted");
    unlockpt(&screen).expect("unlocked");
    let name = ptsname(&screen, Vec::new()).expect("a name");
    let terminal = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty());
    let terminal = terminal.expect("it opens");
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&terminal, size).expect("it has a size");
    command.stderr(terminal.try_clone().expect("another handle")).stdout(terminal);
    let mut child = command.spawn().expect("it starts");
    // Reading ends when nobody has the other side any more.
    drop(command);
    let (mut screen, mut text) = (File::from(screen), Vec::new());
    let mut part = [0; 4096];
    while let Ok(count @ 1..) = screen.read(&mut part) {
        text.extend_from_slice(&part[..count]);
    }
    child.wait().expect("it ended");
    String::from_utf8(text).expect("text").replace("\r\n", "\n")
}

/// The command as somebody at an ordinary terminal gives it.
fn plainly<const N: usize>(store: &Store, args: [&str; N]) -> Command {
    let mut command = store.command(args);
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "OFFSHOOT_COLOR", "CI"] {
        command.env_remove(name);
    }
    command.env("TERM", "xterm");
    command
}

fn has_colors(text: &str) -> bool {
    text.contains('\u{1b}')
}

#[test]
fn lists_fit_a_terminal_of_40_columns() {
    let store = tiny();
    let notes = "--notes=a note of many words, which say why this one must not be removed";
    store.ok(["clone", "tiny", "web", notes]);
    store.ok(["snapshot", "create", "web", "before", notes]);
    store.ok(["clone", "web@before", "copy"]);
    for verb in [&["ls"][..], &["tree"], &["image", "ls"], &["df"], &["snapshot", "ls", "web"]] {
        let mut command = plainly(&store, ["--color=never"]);
        command.args(verb);
        let text = on_a_terminal(40, command);
        assert!(text.contains("NAME"), "{verb:?}: {text}");
        let wide: Vec<_> = text.lines().filter(|line| line.chars().count() > 40).collect();
        assert!(wide.is_empty(), "{verb:?}: {wide:#?}");
    }
    let text = on_a_terminal(40, plainly(&store, ["ls"]));
    assert!(text.contains("the terminal is narrow)"), "{text}");
    assert!(store.ok(["ls"]).contains("must not be removed"), "elsewhere nothing is wrapped");
}

#[test]
fn colors_are_for_terminals_and_can_be_turned_off() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    std::fs::remove_dir_all(dir(&store, "web")).expect("removed");
    let ls = || plainly(&store, ["ls"]);
    assert!(on_a_terminal(80, ls()).contains("\u{1b}[1m\u{1b}[31mmissing\u{1b}[0m"));
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb"), ("OFFSHOOT_COLOR", "never")] {
        let mut plain = ls();
        plain.env(name, value);
        assert!(!has_colors(&on_a_terminal(80, plain)), "{name}={value}");
    }
    assert!(!has_colors(&on_a_terminal(80, plainly(&store, ["ls", "--color", "off"]))));
    assert!(!has_colors(&on_a_terminal(80, plainly(&store, ["ls", "--format", "json"]))));
    assert!(!has_colors(&both(&finish(ls()))), "not into a pipe");
    let always = finish(plainly(&store, ["ls", "--color=always"]));
    assert!(has_colors(&both(&always)), "but there, too, where somebody wants them");
}

#[test]
fn errors_are_colored_at_a_terminal_only() {
    let store = tiny();
    let start = || plainly(&store, ["start", "nosuch"]);
    let text = on_a_terminal(80, start());
    assert!(text.starts_with("\u{1b}[1m\u{1b}[31moffshoot:\u{1b}[0m cannot start"), "{text}");
    assert!(!has_colors(&both(&finish(start()))));
}
