//! `inspect`: everything there is to know about a VM.

use std::path::PathBuf;

use anyhow::{Context, Result};
use blockdev::delta::{Parent, ParentKind};
use serde::Serialize;
use vmm::trouble::Trouble;

use super::{App, each, snapshot};
use crate::monitor::{self, End, State};
use crate::output::{self, Style};
use crate::store::chain::Chain;
use crate::store::lineage::Lineage;
use crate::store::{Name, Store, vm};

/// The keys are stable; absent ones do not apply.
#[derive(Serialize)]
struct View {
    id: String,
    dir: PathBuf,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sockets: Option<PathBuf>,
    /// Why it is paused, where nobody asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<Trouble>,
    vm: vm::Record,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<End>,
    delta: Delta,
    /// The file its delta is, where that is not in its directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    delta_file: Option<PathBuf>,
    /// What it stands on, from the bottom up: an image, then snapshots. Absent where that cannot
    /// be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    lineage: Option<Vec<String>>,
    snapshots: Vec<snapshot::View>,
    /// What the next start asks of its monitor; absent without a kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<vmm::Spec>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Delta {
    Sound { size: u64, owned_blocks: u64, bytes_on_disk: u64, parent: String },
    Bad { error: String },
}

/// Prints it as JSON, or as TOML for people.
pub fn inspect(app: &App, names: &[Name]) -> Result<()> {
    let store = app.store()?;
    let mut views = Vec::new();
    let result = each(names, |name| {
        let view = || {
            let vm = store.vm(name)?;
            let image = store.image_of(&vm);
            let stack = store.stack(&vm);
            let spec =
                image.and_then(|image| monitor::spec(&vm, image.as_ref(), stack?, None)).ok();
            View::new(&store, vm, spec)
        };
        views.push(view().with_context(|| format!("cannot inspect {name}"))?);
        Ok(())
    });
    match app.style {
        Style::Json => output::print_json(&views)?,
        Style::Names | Style::Table => {
            for view in &views {
                output::print(&toml::to_string_pretty(view)?)?;
            }
        }
    }
    result
}

impl View {
    fn new(store: &Store, vm: vm::Vm, spec: Option<vmm::Spec>) -> Result<View> {
        let lineage = store.lineage()?;
        let state = State::ask(&vm.dir)?;
        let word = state.word();
        let pid = state.pid();
        let (holder, trouble, end) = match state {
            State::Running(holder) | State::Serving(holder) => (Some(holder), None, None),
            State::Paused(holder, trouble) => (Some(holder), trouble, None),
            State::Stopped(end) => (None, None, Some(end)),
            _ => (None, None, None),
        };
        Ok(View {
            id: vm.record.id(),
            state: word,
            trouble,
            pid,
            sockets: holder.map(|holder| holder.sockets),
            end,
            delta: Delta::of(&vm),
            delta_file: vm.home().chosen().map(|_| vm.delta()),
            lineage: store.chain(&vm).ok().map(|chain| labels(&chain, &lineage)),
            snapshots: snapshot::views(store, &vm, &lineage)?,
            dir: vm.dir,
            vm: vm.record,
            spec,
        })
    }
}

impl Delta {
    fn of(vm: &vm::Vm) -> Delta {
        match blockdev::delta::inspect(&vm.delta()) {
            Ok(info) => Delta::Sound {
                size: info.size,
                owned_blocks: info.owned_blocks,
                bytes_on_disk: info.bytes_on_disk,
                parent: parent(&info.parent),
            },
            Err(error) => {
                let error = vm.heading().err().unwrap_or_else(|| error.into());
                Delta::Bad { error: crate::failure::text(&error) }
            }
        }
    }
}

/// The digest of a base, the uuid of a layer.
fn parent(parent: &Parent) -> String {
    match parent.kind {
        ParentKind::Nothing => "none".into(),
        ParentKind::Base => blake3::Hash::from_bytes(parent.digest).to_hex().to_string(),
        ParentKind::Delta => parent.uuid.to_string(),
    }
}

fn labels(chain: &Chain, lineage: &Lineage) -> Vec<String> {
    let image = chain.image.iter().map(|image| image.record.name.to_string());
    let frozen = chain.frozen.iter().map(|layer| lineage.label(layer.heading.uuid));
    image.chain(frozen).collect()
}
