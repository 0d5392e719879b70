//! `ls` and `ps`: the VMs there are.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use uuid::Uuid;
use vmm::trouble::Trouble;

use super::App;
use crate::monitor::{End, State};
use crate::output::paint::Mark;
use crate::output::table::{self, Align, Cell};
use crate::output::{self, Style, human};
use crate::parallel;
use crate::store::inventory::VmRow;
use crate::store::lineage::Lineage;
use crate::store::{Name, Store, Timestamp, vm};

/// What a list says of a VM. The keys are stable.
#[derive(Serialize)]
pub struct View {
    pub name: Name,
    pub id: String,
    /// Nothing where it needs none.
    pub image: Option<Name>,
    /// What its delta stands on; nothing where it needs nothing.
    pub parent: Option<String>,
    /// Of that, for `tree`.
    #[serde(skip)]
    pub stands_on: Option<Uuid>,
    pub state: &'static str,
    pub pid: Option<u32>,
    pub since: Option<Timestamp>,
    /// Why it is paused, where nobody asked for it.
    pub trouble: Option<Trouble>,
    pub end: Option<End>,
    pub cpus: u16,
    pub memory_mib: u64,
    /// Bytes its delta takes on the disk.
    pub own_bytes: u64,
    pub created: Timestamp,
    pub notes: String,
    pub labels: BTreeMap<String, String>,
    pub protected: bool,
}

/// Lists VMs: all, or those that run.
pub fn ls(app: &App, all: bool) -> Result<()> {
    let mut views = views(&app.store()?)?;
    if !all {
        views.retain(|view| matches!(view.state, "starting" | "running" | "paused"));
    }
    match app.style {
        Style::Json => output::print_json(&views),
        Style::Names => {
            output::print(&views.iter().map(|view| format!("{}\n", view.name)).collect::<String>())
        }
        Style::Table => output::print(&lay_out(&views)),
    }
}

/// All VMs with their states.
pub fn views(store: &Store) -> Result<Vec<View>> {
    views_of(store, |_| true)
}

/// Some VMs with their states.
pub fn views_of(store: &Store, keep: impl Fn(&VmRow) -> bool) -> Result<Vec<View>> {
    let mut rows = store.inventory.vms()?;
    let lineage = store.lineage_of(&rows)?;
    rows.retain(keep);
    Ok(views_with(store, rows, &lineage))
}

/// VMs with their states, several of which are asked for at a time.
pub fn views_with(store: &Store, rows: Vec<VmRow>, lineage: &Lineage) -> Vec<View> {
    let paths = &store.paths;
    let found = parallel::each(&rows, |row| Found::in_dir(&paths.vm(&row.id)));
    rows.into_iter().zip(found).map(|(row, found)| View::new(row, found, lineage)).collect()
}

/// What a VM's directory tells.
struct Found {
    state: Result<State>,
    /// Bytes its delta takes on the disk; nothing where the directory is gone.
    own_bytes: Option<u64>,
}

impl Found {
    fn in_dir(dir: &Path) -> Found {
        let delta = dir.join(vm::DELTA).metadata();
        let own_bytes = match delta {
            Ok(delta) => Some(allocated(&delta)),
            Err(_) => dir.exists().then_some(0),
        };
        Found { state: State::ask(dir), own_bytes }
    }
}

impl View {
    fn new(row: VmRow, Found { state, own_bytes }: Found, lineage: &Lineage) -> View {
        let word = match &state {
            Ok(_) if own_bytes.is_none() => "missing",
            Ok(state) => state.word(),
            Err(_) => "damaged",
        };
        let pid = state.as_ref().ok().and_then(State::pid);
        let (holder, trouble, end) = match state {
            Ok(State::Running(holder) | State::Serving(holder)) => (Some(holder), None, None),
            Ok(State::Paused(holder, trouble)) => (Some(holder), trouble, None),
            Ok(State::Stopped(end)) => (None, None, Some(end)),
            _ => (None, None, None),
        };
        View {
            state: word,
            pid,
            since: holder.map(|holder| holder.since),
            trouble,
            end,
            own_bytes: own_bytes.unwrap_or(0),
            name: row.name,
            id: row.id,
            image: row.image,
            parent: row.parent.map(|parent| lineage.label(parent)),
            stands_on: row.parent,
            cpus: row.cpus,
            memory_mib: row.memory_mib,
            created: row.created,
            notes: row.notes,
            labels: row.labels,
            protected: row.protected,
        }
    }

    /// The state and what belongs to it, in a few words.
    pub fn status(&self) -> Cell {
        let state = self.state();
        let text = if self.protected { format!("{state}, protected") } else { state };
        Cell::marked(text, self.mark())
    }

    fn mark(&self) -> Mark {
        match self.state {
            "running" => Mark::Good,
            "starting" | "busy" | "serving" | "reading" => Mark::Notable,
            "paused" if self.trouble.is_none() => Mark::Notable,
            "paused" | "killed" | "missing" | "damaged" => Mark::Bad,
            _ => Mark::Plain,
        }
    }

    fn state(&self) -> String {
        if let Some(trouble) = &self.trouble {
            return format!("{} ({})", self.state, trouble.reason.as_str());
        }
        match (&self.since, &self.end) {
            (Some(since), _) => format!("{} {}", self.state, human::span(since.age())),
            (_, Some(end)) => format!("{} ({})", self.state, end.status),
            _ => self.state.to_owned(),
        }
    }
}

/// What a file takes on its filesystem; nothing when it is not there.
pub fn bytes_on_disk(path: &Path) -> u64 {
    path.metadata().map_or(0, |file| allocated(&file))
}

fn allocated(file: &Metadata) -> u64 {
    file.blocks() * 512
}

fn lay_out(views: &[View]) -> String {
    use Align::{Left, Right};
    let header = [
        ("NAME", Left),
        ("STATE", Left),
        ("PARENT", Left),
        ("CPUS", Right),
        ("MEMORY", Right),
        ("OWN", Right),
        ("CREATED", Left),
        ("NOTES", Left),
    ];
    table::lay_out(
        header,
        views.iter().map(|view| {
            [
                view.name.to_string().into(),
                view.status(),
                view.parent.clone().unwrap_or_default().into(),
                view.cpus.to_string().into(),
                human::bytes(view.memory_mib << 20).into(),
                human::bytes(view.own_bytes).into(),
                human::ago(view.created.age()).into(),
                view.notes.clone().into(),
            ]
        }),
    )
}
