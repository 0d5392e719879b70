//! `image`: import, export, ls, inspect, verify, rm.

mod import;

use anyhow::{Context, Result};

use super::export::write_disk;
use super::{App, distinct, each};
use crate::args::{self, Format};
use crate::output::table::{self, Align};
use crate::output::{self, Style, human, progress};
use crate::store::Name;
use crate::store::image::Record;
use crate::store::inventory::ImageRow;

/// Does what was asked with images.
pub fn image(app: &App, verb: args::Image, formats: &[Format]) -> Result<()> {
    match verb {
        args::Image::Import(args) => import::import(app, args, formats),
        args::Image::Export(args) => export(app, &args, formats),
        args::Image::Ls => ls(app),
        args::Image::Inspect(args) => inspect(app, &args.names),
        args::Image::Verify(args) => verify(app, &args.names),
        args::Image::Rm(args) => rm(app, &args.names),
    }
}

fn export(app: &App, args: &args::ImageExport, formats: &[Format]) -> Result<()> {
    let export = || {
        let image = app.store()?.image(&args.name)?;
        let mut source = blockdev::base::source(&image.base())?;
        write_disk(app, &mut source, &args.file, formats)
    };
    export().with_context(|| format!("cannot export image {}", args.name))
}

fn ls(app: &App) -> Result<()> {
    let rows = app.store()?.inventory.images()?;
    match app.style {
        Style::Json => output::print_json(&rows),
        Style::Names => {
            output::print(&rows.iter().map(|row| format!("{}\n", row.name)).collect::<String>())
        }
        Style::Table => output::print(&lay_out(&rows)),
    }
}

fn lay_out(rows: &[ImageRow]) -> String {
    let (left, right) = (Align::Left, Align::Right);
    let header = [
        ("NAME", left),
        ("SIZE", right),
        ("CLONES", right),
        ("CREATED", left),
        ("DIGEST", left),
        ("NOTES", left),
    ];
    table::lay_out(
        header,
        rows.iter().map(|row| {
            [
                row.name.to_string(),
                human::bytes(row.size),
                row.clones.to_string(),
                human::ago(row.created.age()),
                human::digest(&row.digest).to_owned(),
                row.notes.clone(),
            ]
        }),
    )
}

fn inspect(app: &App, names: &[Name]) -> Result<()> {
    let store = app.store()?;
    let mut records: Vec<Record> = Vec::new();
    let result = each(names, |name| {
        let image = store.image(name).with_context(|| format!("cannot inspect image {name}"))?;
        records.push(image.record);
        Ok(())
    });
    match app.style {
        Style::Json => output::print_json(&records)?,
        Style::Names | Style::Table => {
            for record in &records {
                output::print(&toml::to_string_pretty(record)?)?;
            }
        }
    }
    result
}

fn verify(app: &App, names: &[Name]) -> Result<()> {
    let mut store = app.store()?;
    let mut records: Vec<Record> = Vec::new();
    let result = each(names, |name| {
        let bar = progress::bytes(format!("verifying {name}"), app.quiet);
        let verified = store.verify_image(name, &mut |done, all| {
            bar.set_length(all);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        let verified = verified.and_then(|image| store.adopt_base(&image).map(|()| image));
        let image = verified.with_context(|| format!("cannot verify image {name}"))?;
        match app.style {
            Style::Table => {
                output::print(&format!("{name}: unchanged ({})\n", image.record.base.digest))
            }
            Style::Names => output::print(&format!("{name}\n")),
            Style::Json => {
                records.push(image.record);
                Ok(())
            }
        }
    });
    if app.style == Style::Json {
        output::print_json(&records)?;
    }
    result
}

fn rm(app: &App, names: &[Name]) -> Result<()> {
    let mut store = app.store()?;
    let names: Vec<Name> = distinct(names).cloned().collect();
    each(&names, |name| {
        store.remove_image(name).with_context(|| format!("cannot remove image {name}"))
    })
}
