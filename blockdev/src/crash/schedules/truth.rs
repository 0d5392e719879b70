//! What queues that write at once may find on their disk after a crash. Each sector is written by one
//! of them only.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::crash::model::{Content, Found};
use crate::io::mem::Log;

/// What was done and when, told by all queues.
#[derive(Debug)]
pub(super) struct Truth {
    log: Arc<Log>,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// One more with everything told.
    clock: u64,
    writes: Vec<Write>,
    flushes: Vec<Flush>,
}

#[derive(Clone, Debug)]
struct Write {
    sectors: Range<usize>,
    content: Content,
    /// After how many records of the log.
    begun: usize,
    /// The clock when it was done.
    done: Option<u64>,
}

/// One that has ended well.
#[derive(Debug)]
struct Flush {
    /// The clock when it began.
    begun: u64,
    /// After how many records of the log.
    ended: usize,
}

/// Names a write between its beginning and its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writing(usize);

impl Truth {
    pub(super) fn new(log: Arc<Log>) -> Arc<Truth> {
        Arc::new(Truth { log, told: Mutex::default() })
    }

    /// A write begins; what it is to write.
    pub(super) fn write(&self, sectors: &Range<usize>) -> (Writing, Content) {
        let mut told = self.told();
        let number = told.writes.len();
        let content = 0x4000_0000 + u32::try_from(number).expect("a few");
        let begun = self.log.len();
        told.writes.push(Write { sectors: sectors.clone(), content, begun, done: None });
        (Writing(number), content)
    }

    /// A write has been done.
    pub(super) fn written(&self, write: Writing) {
        let mut told = self.told();
        let now = told.tick();
        told.writes[write.0].done = Some(now);
    }

    /// A flush begins.
    pub(super) fn flush(&self) -> u64 {
        self.told().tick()
    }

    /// The flush that began at `begun` has ended well.
    pub(super) fn flushed(&self, begun: u64) {
        let ended = self.log.len();
        self.told().flushes.push(Flush { begun, ended });
    }

    /// What is wrong with the running disk, which held `before` when all began.
    pub(super) fn check_running(&self, found: &Found, before: &Found) -> Result<(), String> {
        self.told().check(found, before, u64::MAX, usize::MAX)
    }

    /// What is wrong with a disk found after a crash behind `cut` records.
    pub(super) fn check(&self, found: &Found, before: &Found, cut: usize) -> Result<(), String> {
        let told = self.told();
        let covered = told.flushes.iter().filter(|flush| flush.ended <= cut);
        let covered = covered.map(|flush| flush.begun).max().unwrap_or(0);
        told.check(found, before, covered, cut)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// What is wrong with a disk that has all that was done before `covered`, and perhaps of what
    /// began before `cut`.
    fn check(&self, found: &Found, before: &Found, covered: u64, cut: usize) -> Result<(), String> {
        for (sector, content) in found.sectors[..found.size].iter().enumerate() {
            let legal = self.legal(sector, before.sectors[sector], covered, cut);
            if !legal.contains(content) {
                return Err(format!("sector {sector} holds {content:#x}, legal are {legal:x?}"));
            }
        }
        Ok(())
    }

    /// The last write that a flush begun at `covered` makes durable, and what came after.
    fn legal(&self, sector: usize, before: Content, covered: u64, cut: usize) -> Vec<Content> {
        let writes = self.writes.iter().filter(|write| write.sectors.contains(&sector));
        let mut legal = vec![before];
        for write in writes.filter(|write| write.begun <= cut) {
            if write.done.is_some_and(|done| done < covered) {
                legal.clear();
            }
            legal.push(write.content);
        }
        legal
    }
}
