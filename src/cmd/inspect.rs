//! `inspect`: everything there is to know about a VM.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

use super::{App, each};
use crate::monitor::{self, End, State};
use crate::output::{self, Style};
use crate::store::{Name, vm};

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
    vm: vm::Record,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<End>,
    delta: Delta,
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
            let image = store.image_with(&vm.record.image);
            let spec = image.and_then(|image| monitor::spec(&vm, &image, None)).ok();
            View::new(vm, spec)
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
    fn new(vm: vm::Vm, spec: Option<vmm::Spec>) -> Result<View> {
        let state = State::ask(&vm.dir)?;
        let word = state.word();
        let (holder, end) = match state {
            State::Running(holder) | State::Paused(holder) | State::Serving(holder) => {
                (Some(holder), None)
            }
            State::Stopped(end) => (None, Some(end)),
            State::Created | State::Starting | State::Killed => (None, None),
        };
        Ok(View {
            id: vm.record.id(),
            state: word,
            pid: holder.as_ref().map(|holder| holder.pid),
            sockets: holder.map(|holder| holder.sockets),
            end,
            delta: Delta::of(&vm),
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
                parent: blake3::Hash::from_bytes(info.parent.digest).to_hex().to_string(),
            },
            Err(error) => Delta::Bad { error: crate::failure::text(&error.into()) },
        }
    }
}
