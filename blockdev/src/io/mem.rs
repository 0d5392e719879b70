//! A storage in memory that records what was written and synced, so that every state a crash can
//! leave may be built; and that fails a chosen call. For tests.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Storage;
use crate::buffers::{Source, Target};
use crate::delta::{SECTOR, SECTOR_LEN};

/// A sector's contents.
pub type Sector = [u8; SECTOR_LEN];
/// The sectors of a file that are not holes.
pub type Image = BTreeMap<u64, Sector>;

/// What happened to the contents, in order.
#[derive(Clone, Debug)]
pub enum Event {
    /// These sectors got these contents; each may become durable on its own.
    Write(Vec<(u64, Sector)>),
    /// The first so many events became durable. Those that happened while this went on are not
    /// among them.
    Sync(usize),
}

/// How a call fails.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// With this error number, nothing done.
    Errno(i32),
    /// A read or write does about half of what it was asked; other calls go well.
    Short,
}

/// A file in memory.
#[derive(Default)]
pub struct MemStorage {
    state: Mutex<State>,
    meanwhile: Mutex<Option<Meanwhile>>,
}

/// What happens while a sync goes on.
type Meanwhile = Box<dyn FnOnce() + Send>;

#[derive(Debug, Default)]
struct State {
    len: u64,
    image: Image,
    log: Vec<Event>,
    calls: u64,
    fault: Option<(u64, Fault)>,
}

impl MemStorage {
    /// A file with these contents and nothing recorded.
    #[must_use]
    pub fn new(len: u64, image: Image) -> Self {
        let state = Mutex::new(State { len, image, ..State::default() });
        MemStorage { state, ..MemStorage::default() }
    }

    /// A file of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut image = Image::new();
        for (sector, chunk) in (0..).zip(bytes.chunks(SECTOR_LEN)) {
            let mut contents = [0; SECTOR_LEN];
            contents[..chunk.len()].copy_from_slice(chunk);
            image.insert(sector, contents);
        }
        MemStorage::new(bytes.len() as u64, image)
    }

    /// Lets call number `call` fail, counted from 0 from now on.
    pub fn fail(&self, call: u64, fault: Fault) {
        let mut state = self.state();
        state.calls = 0;
        state.fault = Some((call, fault));
    }

    /// Lets `meanwhile` happen during the next sync, which does not cover what it writes.
    pub fn during_sync(&self, meanwhile: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(meanwhile));
    }

    /// How many calls there were since the start or the last [`fail`](MemStorage::fail).
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// How many events have been recorded.
    #[must_use]
    pub fn events(&self) -> usize {
        self.state().log.len()
    }

    /// The length and contents as they are now.
    #[must_use]
    pub fn contents(&self) -> (u64, Image) {
        let state = self.state();
        (state.len, state.image.clone())
    }

    /// Takes the recorded events out.
    #[must_use]
    pub fn take_log(&self) -> Vec<Event> {
        std::mem::take(&mut self.state().log)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call; how much of `len` bytes it may do.
    fn call(&self, len: usize) -> io::Result<(MutexGuard<'_, State>, usize)> {
        let mut state = self.state();
        let call = state.calls;
        state.calls += 1;
        match state.fault {
            Some((at, Fault::Errno(errno))) if at == call => {
                Err(io::Error::from_raw_os_error(errno))
            }
            Some((at, Fault::Short)) if at == call && len > SECTOR_LEN => {
                Ok((state, (len / 2).next_multiple_of(SECTOR_LEN)))
            }
            _ => Ok((state, len)),
        }
    }
}

impl fmt::Debug for MemStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemStorage({} events)", self.events())
    }
}

impl State {
    fn store(&mut self, sectors: Vec<(u64, Sector)>) {
        apply(&mut self.image, &sectors);
        self.log.push(Event::Write(sectors));
    }
}

/// Stores `sectors` in `image`.
pub fn apply(image: &mut Image, sectors: &[(u64, Sector)]) {
    for (sector, contents) in sectors {
        if contents.iter().all(|&byte| byte == 0) {
            image.remove(sector);
        } else {
            image.insert(*sector, *contents);
        }
    }
}

impl Storage for MemStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.call(0)?.0.len)
    }

    fn read_at(&self, into: &Target<'_>, at: u64) -> io::Result<usize> {
        let (state, len) = self.call(into.len())?;
        let end = state.len.min(at + len as u64);
        let wanted = usize::try_from(end.saturating_sub(at)).expect("at most `len`");
        let mut bytes = Vec::with_capacity(len);
        let mut at = at;
        while at < end {
            let contents = state.image.get(&(at / SECTOR)).unwrap_or(&[0; SECTOR_LEN]);
            let skip = usize::try_from(at % SECTOR).expect("less than a sector");
            bytes.extend(&contents[skip..]);
            at = (at / SECTOR + 1) * SECTOR;
        }
        bytes.truncate(wanted);
        into.copy_from(&bytes);
        Ok(bytes.len())
    }

    /// Takes whole sectors only: a format that wrote less could lose what lies beside it.
    fn write_at(&self, from: &Source<'_>, at: u64) -> io::Result<usize> {
        let (mut state, len) = self.call(from.len())?;
        assert!(at.is_multiple_of(SECTOR) && len.is_multiple_of(SECTOR_LEN), "{len} at {at}");
        let mut bytes = vec![0; len];
        from.copy_to(&mut bytes);
        let sectors = bytes.as_chunks::<SECTOR_LEN>().0;
        state.store((at / SECTOR..).zip(sectors.iter().copied()).collect());
        state.len = state.len.max(at + len as u64);
        Ok(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.call(0)?.0;
        state.len = len;
        drop(state.image.split_off(&len.div_ceil(SECTOR)));
        Ok(())
    }

    fn punch_hole(&self, range: Range<u64>) -> io::Result<()> {
        let mut state = self.call(0)?.0;
        let sectors = range.start / SECTOR..range.end / SECTOR;
        state.store(sectors.map(|sector| (sector, [0; SECTOR_LEN])).collect());
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let covered = self.call(0)?.0.log.len();
        let meanwhile = self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        self.state().log.push(Event::Sync(covered));
        Ok(())
    }

    fn next_data(&self, at: u64) -> io::Result<Option<Range<u64>>> {
        let state = self.call(0)?.0;
        let next = state.image.range(at / SECTOR..).next();
        Ok(next.map(|(&sector, _)| (sector * SECTOR).max(at)..(sector + 1) * SECTOR))
    }
}
