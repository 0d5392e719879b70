//! What a machine waits for somebody to do something about.
//!
//! A device's thread leaves word here and goes on with what it can; the event loop finds it,
//! pauses the machine, and tells people.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// Why a machine was paused without being asked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The kind of it.
    pub reason: Reason,
    /// Which file, on which filesystem, and what the system said; one line.
    pub message: String,
}

/// Kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// A filesystem of the host is full. What the guest wrote is kept and written on resume.
    #[serde(rename = "no space")]
    NoSpace,
}

impl Reason {
    /// In the words that programs see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::NoSpace => "no space",
        }
    }
}

impl Trouble {
    /// What a full filesystem made of an operation on a disk.
    #[must_use]
    pub fn no_space(error: &blockdev::Error) -> Trouble {
        let place = match error {
            blockdev::Error::Write { path, .. } => mount_of(path),
            _ => None,
        };
        let place = place.map_or_else(String::new, |place| format!(" at {}", place.display()));
        let message = format!("the filesystem{place} is full: {}", crate::error::chain(error));
        Trouble { reason: Reason::NoSpace, message }
    }
}

/// The trouble a machine is in.
pub(crate) struct Troubles {
    /// The first since the machine went on; the others are the same once more, or follow from it.
    first: Mutex<Option<Trouble>>,
    /// Written once when there is one.
    wake: EventFd,
}

impl Troubles {
    /// None yet.
    pub fn new() -> io::Result<Troubles> {
        let wake = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        Ok(Troubles { first: Mutex::new(None), wake })
    }

    /// Leaves word, unless somebody has.
    pub fn tell(&self, trouble: impl FnOnce() -> Trouble) {
        let mut first = self.first();
        if first.is_none() {
            *first = Some(trouble());
            // A full counter is readable, which is all that is wanted.
            let _ = self.wake.write(1);
        }
    }

    /// What is the trouble, if it has not been taken note of yet.
    pub fn news(&self) -> Option<Trouble> {
        self.wake.read().ok().and_then(|_| self.first().clone())
    }

    /// What is the trouble.
    pub fn current(&self) -> Option<Trouble> {
        self.first().clone()
    }

    /// Whatever it was, another attempt is made.
    pub fn clear(&self) {
        *self.first() = None;
        // Fails when there was nothing.
        let _ = self.wake.read();
    }

    /// Readable when there are news.
    pub fn wake(&self) -> &EventFd {
        &self.wake
    }

    fn first(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the filesystem that holds `path` is mounted: the topmost directory on the same device.
fn mount_of(path: &Path) -> Option<&Path> {
    let device = fs::metadata(path).ok()?.dev();
    let on_it = |dir: &&Path| fs::metadata(dir).is_ok_and(|found| found.dev() == device);
    path.ancestors().take_while(on_it).last()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(message: &str) -> Trouble {
        Trouble { reason: Reason::NoSpace, message: message.into() }
    }

    #[test]
    fn the_first_trouble_is_told_once_until_another_attempt() {
        let troubles = Troubles::new().unwrap();
        assert_eq!(troubles.news(), None);
        troubles.tell(|| trouble("a"));
        troubles.tell(|| trouble("b"));
        assert_eq!(troubles.news(), Some(trouble("a")));
        assert_eq!((troubles.news(), troubles.current()), (None, Some(trouble("a"))));
        troubles.clear();
        assert_eq!(troubles.current(), None);
        troubles.tell(|| trouble("c"));
        assert_eq!(troubles.news(), Some(trouble("c")));
    }

    #[test]
    fn the_file_and_its_filesystem_are_named() {
        let source = io::ErrorKind::StorageFull.into();
        let error = blockdev::Error::Write { path: "/proc/self/status".into(), at: 4096, source };
        let Trouble { message, .. } = Trouble::no_space(&error);
        let expected =
            "the filesystem at /proc is full: cannot write /proc/self/status at byte 4096: ";
        assert!(message.starts_with(expected), "{message}");
    }
}
