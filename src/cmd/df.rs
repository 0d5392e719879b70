//! `df`: what images and VMs take of the disk.

use anyhow::{Result, ensure};

use super::App;
use crate::output::table::{self, Align};
use crate::output::{self, Style, human};
use crate::store::Name;
use crate::store::account::{Kind, Line};

/// Prints the accounts of these, or of all and the total.
pub fn df(app: &App, names: &[Name]) -> Result<()> {
    let store = app.store()?;
    let mut lines = store.accounts()?;
    let is = |line: &Line, name: &Name| line.name.as_deref() == Some(name.as_str());
    for name in names {
        ensure!(lines.iter().any(|line| is(line, name)), store.inventory.no_image_or_vm(name));
    }
    lines.retain(|line| names.is_empty() || names.iter().any(|name| is(line, name)));
    match app.style {
        Style::Json => output::print_json(&lines),
        Style::Names => {
            let names = lines.iter().filter_map(|line| line.name.as_ref());
            output::print(&names.map(|name| format!("{name}\n")).collect::<String>())
        }
        Style::Table => output::print(&lay_out(&lines)),
    }
}

fn lay_out(lines: &[Line]) -> String {
    use Align::{Left, Right};
    let header = [
        ("NAME", Left),
        ("KIND", Left),
        ("VIRTUAL", Right),
        ("SHARED", Right),
        ("PRIVATE", Right),
        ("RECLAIMABLE", Right),
    ];
    let nothing = |line: &&Line| line.kind != Kind::Unneeded || line.account.reclaimable_bytes > 0;
    let rows = lines.iter().filter(nothing).map(|line| {
        let account = line.account;
        let kind = match line.kind {
            Kind::Image => "image",
            Kind::Vm => "vm",
            Kind::Unneeded => "layers nobody needs",
            Kind::Total => "total",
        };
        [
            line.name.clone().unwrap_or_default(),
            kind.to_owned(),
            human::bytes(account.virtual_bytes),
            human::bytes(account.shared_bytes),
            human::bytes(account.private_bytes),
            human::bytes(account.reclaimable_bytes),
        ]
    });
    table::lay_out(header, rows)
}
