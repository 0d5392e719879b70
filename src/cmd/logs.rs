//! `logs`: what a console printed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use super::App;
use crate::args;
use crate::monitor;
use crate::output;

/// Prints the log; goes on until the VM ends when asked to.
pub fn logs(app: &App, args: &args::Logs) -> Result<()> {
    let logs = || {
        let vm = app.store()?.vm(&args.name)?;
        let path = vm.console_log();
        let mut log = match File::open(&path) {
            Ok(log) => log,
            // It has never run, so it has printed nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot open {}", path.display()))?,
        };
        match monitor::process(&vm.dir)? {
            Some(process) if args.follow => follow(&mut log, &path, &process),
            _ => copy(&mut log),
        }
    };
    logs().with_context(|| format!("cannot print the log of {}", args.name))
}

/// Prints the log as it grows, until its writer ended.
fn follow(log: &mut File, path: &Path, process: &OwnedFd) -> Result<()> {
    let flags = CreateFlags::NONBLOCK | CreateFlags::CLOEXEC;
    let changes = inotify::init(flags).context("cannot watch it")?;
    inotify::add_watch(&changes, path, WatchFlags::MODIFY).context("cannot watch it")?;
    loop {
        copy(log)?;
        let mut fds = [
            PollFd::from_borrowed_fd(changes.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN),
        ];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None))?;
        let [_, ended] = fds.map(|fd| !fd.revents().is_empty());
        drain(&changes)?;
        if ended {
            return copy(log);
        }
    }
}

/// Prints what is there beyond what was printed.
fn copy(log: &mut File) -> Result<()> {
    follow_cut(log, vmm::CONSOLE_LOG_CUT)?;
    let mut chunk = vec![0; 64 << 10];
    loop {
        match log.read(&mut chunk)? {
            0 => return Ok(()),
            length => output::print_bytes(chunk.get(..length).unwrap_or_default())?,
        }
    }
}

/// Goes to where what was not printed yet begins: its writer takes the oldest `cut` bytes out of a
/// log that is long, or all where that cannot be done.
fn follow_cut(log: &mut File, cut: u64) -> io::Result<()> {
    let (printed, length) = (log.stream_position()?, log.metadata()?.len());
    if printed <= length {
        return Ok(());
    }
    let left = printed.checked_sub(cut).filter(|left| *left <= length);
    log.seek(SeekFrom::Start(left.unwrap_or(0))).map(drop)
}

/// That something changed is all there is to know.
fn drain(changes: &OwnedFd) -> Result<()> {
    let mut events = [0; 4096];
    match rustix::io::read(changes, &mut events) {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(error) => Err(error).context("cannot watch it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed of a log of "0123456789" that was read to its end, cut by its first six bytes
    /// or by all, and written on to.
    fn after_cut(now: &str) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        std::fs::write(&path, "0123456789").expect("written");
        let mut log = File::open(&path).expect("a log");
        log.seek(SeekFrom::End(0)).expect("its end");
        std::fs::write(&path, now).expect("written");
        follow_cut(&mut log, 6).expect("it can be told");
        let mut text = String::new();
        log.read_to_string(&mut text).expect("text");
        text
    }

    #[test]
    fn what_follows_a_cut_is_printed_once_and_not_lost() {
        assert_eq!(after_cut("6789abc"), "abc");
        assert_eq!(after_cut("6789"), "");
        assert_eq!(after_cut("ab"), "ab");
        assert_eq!(after_cut("0123456789abc"), "abc");
    }
}
