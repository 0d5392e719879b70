//! Storages in memory that record what was written and synced, so that every state a crash can
//! leave may be built; that fail a chosen call; and that let something happen in the middle of
//! one. For tests.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Storage;
use crate::buffers::{Source, Target};
use crate::delta::{SECTOR, SECTOR_LEN};
#[cfg(test)]
use crate::sync::scheduled::point;

/// A sector's contents.
pub type Sector = Arc<[u8; SECTOR_LEN]>;
/// The sectors of a file that are not holes.
pub type Image = BTreeMap<u64, Sector>;

/// What happened to one of the files that share a [`Log`].
#[derive(Clone, Debug)]
pub struct Record {
    /// Which file.
    pub file: usize,
    /// What happened to it.
    pub event: Event,
}

/// What happened to a file.
#[derive(Clone, Debug)]
pub enum Event {
    /// These sectors got these contents, none where they became holes; each may become durable on
    /// its own.
    Write(Vec<(u64, Option<Sector>)>),
    /// The file got this length.
    Len(u64),
    /// What the log's first so many records did to this file became durable. What happened while
    /// this went on is not among them.
    Sync(usize),
    /// Something that is no file's; it is durable at once.
    Mark,
}

/// What happened to several files, in order.
#[derive(Debug, Default)]
pub struct Log(Mutex<Vec<Record>>);

impl Log {
    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records().len()
    }

    /// Whether nothing has happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records().is_empty()
    }

    /// Records what happened to `file`.
    pub fn push(&self, file: usize, event: Event) {
        self.records().push(Record { file, event });
    }

    /// Takes all records out.
    #[must_use]
    pub fn take(&self) -> Vec<Record> {
        std::mem::take(&mut self.records())
    }

    fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a call fails.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// With this error number, nothing done.
    Errno(i32),
    /// A read or write does about half of what it was asked; other calls go well.
    Short,
}

/// A call that a trap waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Reading anything.
    Read,
    /// Writing to or punching one of these sectors of the file, from the first to before the second.
    Write(u64, u64),
    /// Syncing.
    Sync,
}

impl Call {
    fn writes(self, bytes: Range<u64>) -> bool {
        matches!(self, Call::Write(from, to) if from * SECTOR < bytes.end && bytes.start < to * SECTOR)
    }
}

/// Happens in the middle of a call, which then does what it says.
type Trap = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// A file in memory.
#[derive(Default)]
pub struct MemStorage {
    file: usize,
    log: Arc<Log>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    len: u64,
    image: Image,
    calls: u64,
    fault: Option<(u64, Fault)>,
    /// The sector written last.
    last: u64,
    /// Each waits for so many calls more before its own.
    traps: Vec<(Call, u64, Trap)>,
}

impl MemStorage {
    /// A file with these contents and nothing recorded.
    #[must_use]
    pub fn new(len: u64, image: Image) -> Self {
        MemStorage::recorded(0, Arc::default(), len, image)
    }

    /// A file with these contents whose changes `log` gets as those of `file`.
    #[must_use]
    pub fn recorded(file: usize, log: Arc<Log>, len: u64, image: Image) -> Self {
        let state = Mutex::new(State { len, image, ..State::default() });
        MemStorage { file, log, state }
    }

    /// A file of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut image = Image::new();
        for (sector, chunk) in (0..).zip(bytes.chunks(SECTOR_LEN)) {
            let mut contents = [0; SECTOR_LEN];
            contents[..chunk.len()].copy_from_slice(chunk);
            image.insert(sector, Arc::new(contents));
        }
        MemStorage::new(bytes.len() as u64, image)
    }

    /// Lets call number `call` fail, counted from 0 from now on.
    pub fn fail(&self, call: u64, fault: Fault) {
        let mut state = self.state();
        state.calls = 0;
        state.fault = Some((call, fault));
    }

    /// Lets `trap` happen in the middle of a call like `call`, after `skipped` others like it. A
    /// sync does not cover what happens then; a read or write comes after it. When it fails, so
    /// does the call.
    pub fn trap(
        &self,
        call: Call,
        skipped: u64,
        trap: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) {
        self.state().traps.push((call, skipped, Box::new(trap)));
    }

    /// Forgets the traps that were not sprung.
    pub fn disarm(&self) {
        self.state().traps.clear();
    }

    /// How many calls there were since the start or the last [`fail`](MemStorage::fail).
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// The length and contents as they are now.
    #[must_use]
    pub fn contents(&self) -> (u64, Image) {
        let state = self.state();
        (state.len, state.image.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call; how much of `len` bytes it may do.
    fn call(&self, len: usize) -> io::Result<(MutexGuard<'_, State>, usize)> {
        #[cfg(test)]
        point();
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

    /// Lets happen what waits for this call.
    fn spring(&self, sprung: impl Fn(Call) -> bool) -> io::Result<()> {
        let mut state = self.state();
        let mut due = None;
        for (index, (_, left, _)) in
            state.traps.iter_mut().enumerate().filter(|(_, trap)| sprung(trap.0))
        {
            match left {
                0 => due = due.or(Some(index)),
                _ => *left -= 1,
            }
        }
        let trap = due.map(|index| state.traps.remove(index).2);
        drop(state);
        trap.map_or(Ok(()), |trap| trap())
    }

    fn store(&self, state: &mut State, sectors: Vec<(u64, Option<Sector>)>) {
        apply(&mut state.image, &sectors);
        state.last = sectors.last().map_or(state.last, |(sector, _)| *sector);
        self.log.push(self.file, Event::Write(sectors));
    }
}

/// Whether the bug is seeded that no sync comes after this sector was written.
#[cfg(test)]
fn forgotten(sector: u64) -> bool {
    use crate::seeded::{Bug, Written, seeded};
    seeded(Bug::NoSyncAfter(match sector {
        0..8 => Written::FirstHeader,
        8..16 => Written::SecondHeader,
        16..256 => Written::Bitmap,
        _ => Written::Data,
    }))
}

impl fmt::Debug for MemStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemStorage({})", self.file)
    }
}

/// Stores `sectors` in `image`.
pub fn apply(image: &mut Image, sectors: &[(u64, Option<Sector>)]) {
    for (sector, contents) in sectors {
        match contents {
            None => image.remove(sector),
            Some(contents) => image.insert(*sector, Arc::clone(contents)),
        };
    }
}

/// Cuts `image` off after `len` bytes.
pub fn cut_off(image: &mut Image, len: u64) {
    drop(image.split_off(&len.div_ceil(SECTOR)));
}

impl Storage for MemStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.call(0)?.0.len)
    }

    fn read_at(&self, into: &Target<'_>, at: u64) -> io::Result<usize> {
        self.spring(|call| call == Call::Read)?;
        let (state, len) = self.call(into.len())?;
        let end = state.len.min(at + len as u64);
        let wanted = usize::try_from(end.saturating_sub(at)).expect("at most `len`");
        let mut bytes = vec![0; wanted];
        for (sector, contents) in state.image.range(at / SECTOR..end.div_ceil(SECTOR)) {
            let start = (sector * SECTOR).max(at);
            let stop = ((sector + 1) * SECTOR).min(end);
            let [from, to, skip] = [start - at, stop - at, start - sector * SECTOR]
                .map(|bytes| usize::try_from(bytes).expect("at most `len`"));
            bytes[from..to].copy_from_slice(&contents[skip..skip + to - from]);
        }
        into.copy_from(&bytes);
        Ok(bytes.len())
    }

    /// Takes whole sectors only: a format that wrote less could lose what lies beside it.
    fn write_at(&self, from: &Source<'_>, at: u64) -> io::Result<usize> {
        self.spring(|call| call.writes(at..at + from.len() as u64))?;
        let (mut state, len) = self.call(from.len())?;
        assert!(at.is_multiple_of(SECTOR) && len.is_multiple_of(SECTOR_LEN), "{len} at {at}");
        let mut bytes = vec![0; len];
        from.copy_to(&mut bytes);
        let sectors = bytes.as_chunks::<SECTOR_LEN>().0;
        let contents = |sector: &[u8; _]| (*sector != [0; _]).then(|| Arc::new(*sector));
        let sectors = (at / SECTOR..).zip(sectors.iter().map(contents));
        // What is a hole already stays one, as where one is punched.
        let sectors = sectors.filter(|(at, new)| new.is_some() || state.image.contains_key(at));
        let sectors = sectors.collect();
        self.store(&mut state, sectors);
        state.len = state.len.max(at + len as u64);
        Ok(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.call(0)?.0;
        state.len = len;
        cut_off(&mut state.image, len);
        self.log.push(self.file, Event::Len(len));
        Ok(())
    }

    fn punch_hole(&self, range: Range<u64>) -> io::Result<()> {
        self.spring(|call| call.writes(range.clone()))?;
        let mut state = self.call(0)?.0;
        // What is a hole already stays one, whatever becomes durable.
        let sectors = state.image.range(range.start / SECTOR..range.end / SECTOR);
        let sectors = sectors.map(|(&sector, _)| (sector, None)).collect();
        self.store(&mut state, sectors);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        drop(self.call(0)?);
        let covered = self.log.len();
        self.spring(|call| call == Call::Sync)?;
        #[cfg(test)]
        point();
        #[cfg(test)]
        if forgotten(self.state().last) {
            return Ok(());
        }
        self.log.push(self.file, Event::Sync(covered));
        Ok(())
    }

    fn next_data(&self, at: u64) -> io::Result<Option<Range<u64>>> {
        let state = self.call(0)?.0;
        let next = state.image.range(at / SECTOR..).next();
        Ok(next.map(|(&sector, _)| (sector * SECTOR).max(at)..(sector + 1) * SECTOR))
    }
}
