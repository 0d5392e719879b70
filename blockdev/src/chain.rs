//! Opening the layers of a stack, and that each belongs to the next.

use std::path::{Path, PathBuf};

#[cfg(any(test, feature = "test-support"))]
use crate::base::Base;
use crate::base::OpenBase;
use crate::delta::{BLOCK, Delta, Frozen, Header, Parent, ParentKind, State};
use crate::owners::{self, Key, Owners};
use crate::{Error, Result, StackSpec};

/// Frozen layers in a chain at most: each takes two file descriptors of everybody who opens it.
pub(crate) const MAX_FROZEN: usize = 1000;

/// Layers that are open, locked, and belong together.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) base: Option<OpenBase>,
    /// From the bottom up.
    pub(crate) frozen: Vec<Frozen>,
    pub(crate) delta: Option<Delta>,
}

impl Chain {
    /// Opens what `spec` says, the top first: that one tells whether anybody else is there.
    pub(crate) fn open(spec: &StackSpec) -> Result<Chain> {
        let chain = Chain::open_layers(spec, Delta::open)?;
        chain.check(check_writable)?;
        Ok(chain)
    }

    /// As [`open`](Chain::open), for merging into a top that is frozen.
    pub(crate) fn open_frozen(spec: &StackSpec) -> Result<Chain> {
        let chain = Chain::open_layers(spec, Delta::open_for_merging)?;
        chain.check(check_frozen)?;
        Ok(chain)
    }

    /// Opens what `spec` says, which has no top and may be nothing at all.
    pub(crate) fn open_below(spec: &StackSpec) -> Result<Chain> {
        let chain = Chain::open_layers(&StackSpec { delta: None, ..spec.clone() }, Delta::open)?;
        if chain.base.is_some() || !chain.frozen.is_empty() {
            chain.check(check_writable)?;
        }
        Ok(chain)
    }

    /// Its topmost frozen layer, or its base, as the parent of another delta.
    pub(crate) fn as_parent(&self) -> Result<Parent> {
        match (self.frozen.last(), &self.base) {
            (Some(layer), _) => {
                let header = layer.header();
                Ok(Parent::delta(header.uuid, header.epoch, header.size))
            }
            (None, Some(base)) => Parent::base(base.identity()),
            (None, None) => Ok(Parent::nothing()),
        }
    }

    fn open_layers(spec: &StackSpec, top: impl Fn(&Path) -> Result<Delta>) -> Result<Chain> {
        if spec.frozen.len() > MAX_FROZEN {
            let top = spec.delta.as_ref().or(spec.frozen.last());
            let path = top.cloned().unwrap_or_default();
            return Err(Error::TooDeep { path, layers: spec.frozen.len(), most: MAX_FROZEN });
        }
        let delta = spec.delta.as_deref().map(top).transpose()?;
        let below = || -> Result<_> {
            let base = spec.base.as_ref().map(OpenBase::open).transpose()?;
            let frozen = spec.frozen.iter().map(|path| Frozen::open(path));
            Ok((base, frozen.collect::<Result<_>>()?))
        };
        let (base, frozen) = below().map_err(|error| match &spec.delta {
            Some(delta) => Error::Parent { delta: delta.clone(), source: Box::new(error) },
            None => error,
        })?;
        let delta = delta.map(|delta| if spec.ephemeral { delta.ephemeral() } else { delta });
        Ok(Chain { base, frozen, delta })
    }

    /// That each layer was made on the one below, and `check_top` has nothing against the top.
    fn check(&self, check_top: impl Fn(&Delta) -> Result<()>) -> Result<()> {
        let mut below = self.base.as_ref().map_or(Below::Nothing, Below::Base);
        for layer in &self.frozen {
            below.check(layer.path(), layer.header())?;
            below = Below::Delta(layer.path(), layer.header());
        }
        match (&self.delta, below) {
            (Some(delta), below) => {
                below.check(delta.path(), delta.header())?;
                check_top(delta)
            }
            (None, Below::Delta(path, header)) => check_whole(path, header.state),
            (None, Below::Base(_)) => Ok(()),
            (None, Below::Nothing) => Err(Error::NoLayers),
        }
    }

    /// The merged owner map of the frozen layers, from `path` if it is right there; else it is
    /// built, and left there.
    pub(crate) fn owners(&self, path: Option<&Path>) -> Result<Owners> {
        let Some(top) = self.frozen.last() else { return Ok(Owners::default()) };
        let blocks = top.header().size.div_ceil(BLOCK);
        let key = Key::of(&self.frozen, blocks);
        if let Some(owners) = path.and_then(|path| owners::load(path, &key)) {
            return Ok(owners);
        }
        let owners = owners::build(&self.frozen, blocks)?;
        if let Some(path) = path
            && let Err(error) = owners::save(path, &key, &owners)
        {
            log::debug!("no owner map is left in {}: {error}", path.display());
        }
        Ok(owners)
    }
}

/// What is below a layer.
#[derive(Clone, Copy)]
pub(crate) enum Below<'a> {
    Nothing,
    Base(&'a OpenBase),
    Delta(&'a Path, &'a Header),
}

impl Below<'_> {
    /// That the delta of `header` was made on this.
    pub(crate) fn check(self, delta: &Path, header: &Header) -> Result<()> {
        let found = match self {
            Below::Nothing => Parent::nothing(),
            Below::Base(base) => Parent::base(base.identity())?,
            Below::Delta(_, below) => expected_of(delta, header, below, self.path())?,
        };
        let parent = &header.parent;
        let hex = |digest: &[u8; 32]| blake3::Hash::from_bytes(*digest).to_hex().to_string();
        let facts = [
            ("kind", name(parent.kind).to_owned(), name(found.kind).to_owned()),
            ("uuid", parent.uuid.to_string(), found.uuid.to_string()),
            ("epoch", parent.epoch.to_string(), found.epoch.to_string()),
            ("size", parent.size.to_string(), found.size.to_string()),
            ("digest", hex(&parent.digest), hex(&found.digest)),
        ];
        for (what, expected, found) in facts {
            if expected != found {
                let (delta, base) = (delta.into(), self.path());
                return Err(Error::WrongParent { delta, base, what, expected, found });
            }
        }
        Ok(())
    }

    fn path(self) -> PathBuf {
        match self {
            Below::Nothing => "nothing".into(),
            Below::Base(base) => base.path().into(),
            Below::Delta(path, _) => path.into(),
        }
    }
}

/// What the delta of `header` must pin when `below` is below it. docs/delta-format.md, Life.
fn expected_of(delta: &Path, header: &Header, below: &Header, path: PathBuf) -> Result<Parent> {
    let mut parent = Parent::delta(below.uuid, below.epoch, below.size);
    match below.state {
        State::Live | State::Frozen => {}
        State::Absorbing(child) | State::Absorbed(child) if child == header.uuid => {
            // It pins what was there before the merge began, and owns all that changed since.
            parent.epoch = below.epoch.saturating_sub(1);
            parent.size = header.parent.size;
        }
        State::Absorbed(_) => {}
        State::Absorbing(child) => {
            let (delta, source) = (delta.into(), Box::new(Error::Absorbing { path, child }));
            return Err(Error::Parent { delta, source });
        }
    }
    Ok(parent)
}

fn check_writable(delta: &Delta) -> Result<()> {
    match delta.header().state {
        State::Live => Ok(()),
        // There may be an owner map of what it is as a layer: being written to, it is another.
        State::Frozen | State::Absorbed(_) => Err(Error::Frozen { path: delta.path().into() }),
        state @ State::Absorbing(_) => check_whole(delta.path(), state),
    }
}

fn check_frozen(delta: &Delta) -> Result<()> {
    match delta.header().state {
        State::Frozen | State::Absorbed(_) => Ok(()),
        State::Live => Err(Error::NotFrozen { path: delta.path().into() }),
        state @ State::Absorbing(_) => check_whole(delta.path(), state),
    }
}

/// That a layer means something by itself.
fn check_whole(path: &Path, state: State) -> Result<()> {
    match state {
        State::Absorbing(child) => Err(Error::Absorbing { path: path.into(), child }),
        State::Live | State::Frozen | State::Absorbed(_) => Ok(()),
    }
}

fn name(kind: ParentKind) -> &'static str {
    match kind {
        ParentKind::Nothing => "nothing",
        ParentKind::Base => "base",
        ParentKind::Delta => "delta",
    }
}

/// For a spec without files: what the tests put into storages.
#[cfg(any(test, feature = "test-support"))]
impl Chain {
    /// The layers in these storages, checked as [`open`](Chain::open) does.
    pub(crate) fn load(
        base: Option<(&Base, std::sync::Arc<dyn crate::io::Storage>)>,
        frozen: &[std::sync::Arc<dyn crate::io::Storage>],
        delta: Option<std::sync::Arc<dyn crate::io::Storage>>,
    ) -> Result<Chain> {
        let name = |index: usize| PathBuf::from(format!("layer-{}", index + 1));
        let base = base.map(|(spec, storage)| OpenBase::new(spec, storage));
        let frozen = frozen.iter().enumerate();
        let frozen = frozen.map(|(index, storage)| Frozen::load(&name(index), storage.clone()));
        let frozen = frozen.collect::<Result<_>>()?;
        let delta = delta.map(|storage| Delta::load("delta".as_ref(), storage)).transpose()?;
        Chain { base, frozen, delta }.checked()
    }

    /// Checked as [`open`](Chain::open) does.
    pub(crate) fn checked(self) -> Result<Chain> {
        self.check(check_writable)?;
        Ok(self)
    }
}
