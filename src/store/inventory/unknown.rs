//! Names that nobody has: what may have been meant.

use rusqlite::Connection;

use super::{Inventory, Place};
use crate::failure::Failure;
use crate::store::name::Name;

impl Inventory {
    /// That there is no VM of this name.
    pub fn no_vm(&self, name: &Name) -> Failure {
        match self.find(name) {
            Ok(Place::Image(_)) => Failure::not_found(format!("{name} is an image, not a VM"))
                .hint(format!("offshoot clone {name}; offshoot image --help")),
            _ => nothing(&self.db, "VM", name).hint("offshoot ls -a"),
        }
    }

    /// That there is no image of this name.
    pub fn no_image(&self, name: &Name) -> Failure {
        match self.find(name) {
            Ok(Place::Vm(_)) => Failure::not_found(format!("{name} is a VM, not an image")),
            _ => nothing(&self.db, "image", name),
        }
        .hint("offshoot image ls")
    }

    /// That neither an image nor a VM has this name.
    pub fn no_image_or_vm(&self, name: &Name) -> Failure {
        no_image_or_vm(&self.db, name)
    }
}

/// As [`Inventory::no_image_or_vm`].
pub(super) fn no_image_or_vm(db: &Connection, name: &Name) -> Failure {
    nothing(db, "image or VM", name).hint("offshoot tree")
}

fn nothing(db: &Connection, kind: &str, name: &Name) -> Failure {
    let known = names(db, kind).unwrap_or_default();
    let meant = likeliest(name.as_str(), known.iter().map(String::as_str));
    let question = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
    Failure::not_found(format!("there is no {kind} {name}{question}"))
}

fn names(db: &Connection, kind: &str) -> rusqlite::Result<Vec<String>> {
    let sql = match kind {
        "VM" => "SELECT name FROM vm",
        "image" => "SELECT name FROM image",
        _ => "SELECT name FROM vm UNION ALL SELECT name FROM image",
    };
    let mut all = db.prepare(sql)?;
    all.query_map([], |row| row.get(0))?.collect()
}

/// The one name that takes the fewest slips of the finger to become `typed`: at most one for each
/// three letters. None where several are as near, as are all others of a numbered row.
fn likeliest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let slips = |name| strsim::damerau_levenshtein(typed, name);
    let near = known.map(|name| (slips(name), name));
    let mut near: Vec<_> = near.filter(|(slips, _)| *slips <= typed.len().div_ceil(3)).collect();
    near.sort_unstable();
    match near[..] {
        [(first, _), (second, _), ..] if first == second => None,
        [(_, name), ..] => Some(name),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_meant_if_it_is_the_only_one() {
        let known = || ["debian", "lab-01", "lab-02", "lab-11", "web"].into_iter();
        assert_eq!(likeliest("debain", known()), Some("debian"));
        assert_eq!(likeliest("lab01", known()), Some("lab-01"));
        assert_eq!(likeliest("wbe", known()), Some("web"));
        assert_eq!(likeliest("lab-03", known()), None);
        assert_eq!(likeliest("nosuch", known()), None);
        assert_eq!(likeliest("", known()), None);
    }
}
