//! The files of a disk's chain, and what the store says of them, until the power is cut.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::cut::File;
use super::model::{self, Content, Found, JUNK, Model, SECTORS, TORN};
use crate::base::{Base, Identity, OpenBase};
use crate::chain::Chain;
use crate::delta::{Delta, Frozen, Parent, ParentKind, State, create_in, load};
use crate::io::Storage;
use crate::io::mem::{Event, Fault, Log, MemStorage, Record};
use crate::layers::Layers;
use crate::owners::{self, Key, Owners};
use crate::{Disk, Engine, Result, Stack};

/// The file of the base that a new disk stands on.
pub(super) const BASE: usize = 0;
/// The file of another one.
pub(super) const OTHER: usize = 1;
/// What a store knows of the two.
type Bases = [Base; 2];

/// Which files a store has: durable, and changed at once, by renaming or removing one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// The machine's delta.
    pub(super) delta: usize,
    /// Where a layer is looked for that another one names as its parent.
    pub(super) layers: Vec<usize>,
    /// The bases that are there.
    pub(super) bases: Vec<usize>,
}

/// What a crash may leave.
#[derive(Clone, Debug)]
pub(super) struct Legal {
    pub(super) places: Places,
    pub(super) model: Model,
    /// Layers that are snapshots, and what they hold.
    pub(super) past: Vec<(usize, Model)>,
    /// Layers that are refused, or one of these, by themselves.
    pub(super) merging: Option<(usize, [Model; 2])>,
    /// The owner map that was left in its file.
    pub(super) map: Option<Arc<Vec<u8>>>,
}

/// Remembers what is legal from when on.
#[derive(Debug)]
pub(super) struct Ledger {
    log: Arc<Log>,
    pub(super) now: Legal,
    /// After how many records.
    moments: Vec<(usize, Legal)>,
    stamp: Content,
}

impl Ledger {
    /// A content nothing else has.
    pub(super) fn stamp(&mut self) -> Content {
        self.stamp += 1;
        self.stamp
    }

    /// What is legal now is so from this record on.
    pub(super) fn note(&mut self) {
        self.moments.push((self.log.len(), self.now.clone()));
    }

    /// The disk is made of other files from now on.
    pub(super) fn move_to(&mut self, places: Places) {
        self.now.places = places;
        self.log.push(BASE, Event::Mark);
        self.note();
    }

    pub(super) fn records(&self) -> usize {
        self.log.len()
    }

    /// What is legal after so many records.
    pub(super) fn at(&self, cut: usize) -> &Legal {
        let done = self.moments.partition_point(|&(records, _)| records <= cut);
        &self.moments[done - 1].1
    }

    /// Forgets what is no longer asked for.
    fn forget(&mut self) {
        self.moments.clear();
        self.note();
    }
}

/// A machine's disk until its power is cut.
pub(super) struct World {
    pub(super) bases: Bases,
    pub(super) log: Arc<Log>,
    /// The files as they were when the world began.
    start: Vec<File>,
    pub(super) files: Vec<Arc<MemStorage>>,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    /// None while the machine is off.
    pub(super) open: Option<Open>,
    pub(super) failing: Option<Failing>,
}

/// A call to one of the files that is to fail while an operation goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failing {
    pub(super) file: usize,
    /// Counted from 0 over all parts of the operation.
    pub(super) call: u64,
    pub(super) fault: Fault,
    /// How many calls there were.
    pub(super) calls: u64,
}

/// A running machine's.
pub(super) struct Open {
    pub(super) stack: Stack,
    pub(super) disk: Box<dyn Disk>,
}

impl World {
    /// A new clone of a base.
    pub(super) fn new() -> World {
        static NEW: LazyLock<(Bases, Vec<File>)> = LazyLock::new(new_clone);
        let (bases, files) = NEW.clone();
        let places = Places { delta: 2, layers: Vec::new(), bases: vec![BASE] };
        let found = Found { size: model::NEW_SIZE, sectors: model::untouched() };
        let model = Model::of(&found);
        let legal = Legal { places, model, past: Vec::new(), merging: None, map: None };
        World::begin(bases, files, legal).expect("a new clone can be used")
    }

    /// A world with these files, switched on.
    pub(super) fn begin(bases: Bases, start: Vec<File>, now: Legal) -> Result<World> {
        let log = Arc::new(Log::default());
        let files = (0..).zip(&start).map(|(file, (len, image))| {
            Arc::new(MemStorage::recorded(file, Arc::clone(&log), *len, image.clone()))
        });
        let files = files.collect();
        let ledger = Ledger {
            log: Arc::clone(&log),
            moments: vec![(0, now.clone())],
            now,
            stamp: 0x8000_0000 | (start.len() as u32) << 16,
        };
        let ledger = Arc::new(Mutex::new(ledger));
        let mut world = World { bases, log, start, files, ledger, open: None, failing: None };
        world.switch_on()?;
        Ok(world)
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn places(&self) -> Places {
        self.ledger().now.places.clone()
    }

    pub(super) fn switch_on(&mut self) -> Result<()> {
        let places = self.places();
        if self.store().is_absorbed(places.delta)? {
            self.store().delta(places.delta)?.thaw()?;
        }
        let chain = self.store().chain(&places, places.delta, Top::Written)?.checked()?;
        let owners = self.store().owners(&chain, &mut self.ledger().now.map)?;
        let stack = Stack::over(Layers::new(chain, owners));
        let disk = stack.disk(Engine::Sync)?;
        self.open = Some(Open { stack, disk });
        Ok(())
    }

    /// The files as a store sees them.
    pub(super) fn store(&self) -> Store<'_> {
        Store { bases: &self.bases, files: &self.files }
    }

    /// A disk for another queue.
    pub(super) fn another_disk(&self) -> Box<dyn Disk> {
        self.open().stack.disk(Engine::Sync).unwrap()
    }

    pub(super) fn open(&self) -> &Open {
        self.open.as_ref().expect("the machine is on")
    }

    /// The file of the delta.
    pub(super) fn top(&self) -> Arc<MemStorage> {
        Arc::clone(&self.files[self.places().delta])
    }

    /// A new, empty file.
    pub(super) fn add_file(&mut self) -> usize {
        let file = self.files.len();
        let log = Arc::clone(&self.log);
        let storage = MemStorage::recorded(file, log, 0, Default::default());
        self.files.push(Arc::new(storage));
        file
    }

    /// Does part of an operation, of which a call may have been chosen to fail.
    pub(super) fn during<T>(&mut self, part: impl FnOnce(&World) -> T) -> T {
        let failing = self.failing;
        let chosen =
            failing.and_then(|it| self.files.get(it.file).map(|file| (it, Arc::clone(file))));
        if let Some((failing, file)) = &chosen {
            file.fail(failing.call.checked_sub(failing.calls).unwrap_or(u64::MAX), failing.fault);
        }
        let result = part(self);
        if let (Some((_, file)), Some(failing)) = (&chosen, &mut self.failing) {
            failing.calls += file.calls();
            file.fail(u64::MAX, Fault::Short);
        }
        result
    }

    /// From here on cuts are asked for.
    pub(super) fn forget(&mut self) -> usize {
        let mut ledger = self.ledger();
        ledger.forget();
        ledger.records()
    }

    /// The files at the start, and what happened since. The machine does no more.
    pub(super) fn cut(&mut self) -> (Vec<File>, Vec<Record>) {
        let records = self.log.take();
        let mut start = self.start.clone();
        start.resize_with(self.files.len(), Default::default);
        (start, records)
    }
}

/// Files in which layers find each other.
#[derive(Clone, Copy)]
pub(super) struct Store<'a> {
    pub(super) bases: &'a Bases,
    pub(super) files: &'a [Arc<MemStorage>],
}

/// What the top of a chain is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Top {
    Written,
    Read,
}

impl Store<'_> {
    pub(super) fn layer(self, file: usize) -> Result<Frozen> {
        Frozen::load(&name(file), Arc::clone(&self.files[file]) as _)
    }

    pub(super) fn delta(self, file: usize) -> Result<Delta> {
        Delta::load(&name(file), Arc::clone(&self.files[file]) as _)
    }

    /// The layers that the one in `file` stands on, as their headers say; not checked.
    pub(super) fn chain(self, places: &Places, file: usize, top: Top) -> Result<Chain> {
        let mut layers = vec![self.layer(file)?];
        let mut parent = layers[0].header().parent.clone();
        while parent.kind == ParentKind::Delta && layers.len() <= self.files.len() {
            let found = places.layers.iter().map(|&file| self.layer(file));
            let found = found.filter_map(Result::ok).find(|it| it.header().uuid == parent.uuid);
            let Some(layer) = found else { break };
            parent = layer.header().parent.clone();
            layers.push(layer);
        }
        let is = |file: &&usize| self.bases[**file].identity.uuid == parent.uuid;
        let base = places.bases.iter().find(is).map(|&file| self.open_base(file));
        layers.reverse();
        let delta = match top {
            Top::Read => None,
            Top::Written => {
                layers.pop();
                Some(self.delta(file)?)
            }
        };
        Ok(Chain { base, frozen: layers, delta })
    }

    /// A chain of no layers.
    pub(super) fn nothing(self) -> Chain {
        Chain { base: None, frozen: Vec::new(), delta: None }
    }

    /// A chain of a base alone.
    pub(super) fn base(self, file: usize) -> Chain {
        Chain { base: Some(self.open_base(file)), ..self.nothing() }
    }

    fn open_base(self, file: usize) -> OpenBase {
        OpenBase::new(&self.bases[file], Arc::clone(&self.files[file]) as _)
    }

    /// The owner map in `map` if it is right, else a new one, which is left there.
    fn owners(self, chain: &Chain, map: &mut Option<Arc<Vec<u8>>>) -> Result<Owners> {
        let Some(top) = chain.frozen.last() else { return Ok(Owners::default()) };
        let key = Key::of(&chain.frozen, top.header().size.div_ceil(4096));
        if let Some(owners) = map.as_ref().and_then(|map| owners::decode(map, &key)) {
            return Ok(owners);
        }
        let owners = chain.owners(None)?;
        *map = Some(Arc::new(owners::encode(&key, &owners)));
        Ok(owners)
    }

    /// Whether it has to be made live before it is written to.
    fn is_absorbed(self, file: usize) -> Result<bool> {
        Ok(matches!(self.layer(file)?.header().state, State::Absorbed(_)))
    }

    /// Reads the disk of the layer in `file`, as the next start would.
    pub(super) fn look(self, legal: &Legal, file: usize, top: Top) -> Result<Found> {
        let top = if self.is_absorbed(file)? { Top::Read } else { top };
        let chain = self.chain(&legal.places, file, top)?.checked()?;
        let owners = self.owners(&chain, &mut legal.map.clone())?;
        read(&Layers::new(chain, owners))
    }
}

/// Two bases and an empty delta on the first.
fn new_clone() -> (Bases, Vec<File>) {
    let contents = [model::base(), model::other_base()];
    let mut number = 0;
    let bases = contents.each_ref().map(|bytes| {
        number += 1;
        let identity = Identity {
            uuid: Uuid::from_u128(number.into()),
            size: bytes.len() as u64,
            digest: blake3::Hash::from_bytes([number; 32]).to_hex().to_string(),
            mtime_ns: 0,
            inode: 0,
        };
        Base { path: format!("base-{number}").into(), identity }
    });
    let delta = MemStorage::default();
    let size = model::size(model::NEW_SIZE);
    create_in(&delta, size, &Parent::base(&bases[BASE].identity).unwrap()).unwrap();
    litter(&delta);
    let [base, other] = contents.map(|bytes| MemStorage::from_bytes(&bytes).contents());
    (bases, vec![base, other, delta.contents()])
}

/// Leaves junk in the data area, as a crash may before any bit is set.
fn litter(delta: &MemStorage) {
    let delta: &dyn Storage = delta;
    let data = load::header(delta, "new".as_ref()).unwrap().data_offset;
    for window in model::windows(model::SECTORS) {
        let at = data + model::bytes(&window).start;
        delta.write_all_at(&model::expand(JUNK).repeat(window.len()), at).unwrap();
    }
    delta.sync().unwrap();
}

/// What a file is called.
fn name(file: usize) -> PathBuf {
    format!("file-{file}").into()
}

/// What is on the disk.
pub(super) fn read(layers: &Layers) -> Result<Found> {
    let size = model::sectors(layers.size());
    let mut sectors = vec![TORN; SECTORS];
    for window in model::windows(size) {
        let range = model::bytes(&window);
        let mut bytes = vec![0xee; (range.end - range.start) as usize];
        layers.read_bytes(&mut bytes, range.start)?;
        for (sector, bytes) in window.zip(bytes.as_chunks().0) {
            sectors[sector] = model::content(bytes);
        }
    }
    Ok(Found { size, sectors })
}
