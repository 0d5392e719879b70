//! `events`: what happened in the store, as lines of JSON.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use super::App;
use crate::args;
use crate::output;
use crate::store::Timestamp;
use crate::store::events::Events;

/// Prints what happened, and goes on with what happens where asked to.
pub fn events(app: &App, args: &args::Events) -> Result<()> {
    print(app, args).context("cannot print the events")
}

fn print(app: &App, args: &args::Events) -> Result<()> {
    let since = match (args.since, args.follow) {
        (None, true) => Some(Timestamp::now()),
        (since, _) => since,
    };
    let store = app.store()?;
    let mut events = Events::open(store.paths.root())?;
    if !args.follow {
        return events.read(since, output::print_bytes);
    }
    let flags = CreateFlags::NONBLOCK | CreateFlags::CLOEXEC;
    let changes = inotify::init(flags).context("cannot watch them")?;
    let watched = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
    inotify::add_watch(&changes, store.paths.root(), watched).context("cannot watch them")?;
    drop(store);
    loop {
        events.read(since, output::print_bytes)?;
        if !wait(&changes)? {
            return Ok(());
        }
    }
}

/// Waits until something in the store's root changed; `false` when nobody reads the output any more.
fn wait(changes: &OwnedFd) -> Result<bool> {
    let stdout = std::io::stdout();
    let mut fds = [
        PollFd::from_borrowed_fd(changes.as_fd(), PollFlags::IN),
        // That its reader is gone needs not be asked for.
        PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::empty()),
    ];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None))?;
    let [_, gone] = fds.map(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP));
    let mut events = [0; 4096];
    match rustix::io::read(changes, &mut events) {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(!gone),
        Err(error) => Err(error).context("cannot watch them"),
    }
}
