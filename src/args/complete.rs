//! Which names a shell offers for which argument.

use std::any::TypeId;
use std::ffi::OsStr;

use clap::{Arg, Command};
use clap_complete::{ArgValueCompleter, CompletionCandidate};

use crate::store::{Name, Source};

/// What an argument names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An image.
    Image,
    /// A VM.
    Vm,
    /// A snapshot, whoever's.
    Snapshot,
    /// An image or a VM.
    Either,
    /// An image, a VM, or `VM@SNAPSHOT`.
    Source,
}

/// Arguments that give a name to something new.
const NEW: [(&str, &str); 6] = [
    ("import", "name"),
    ("attach", "name"),
    ("run", "name"),
    ("create", "snapshot"),
    ("revert", "keep"),
    ("rename", "new"),
];

/// Verbs for images and VMs alike.
const EITHER: [&str; 7] = ["rename", "note", "label", "protect", "rm", "tree", "df"];

/// Has every argument that names something offer what there is: `names` lists it.
pub fn offer_names(command: Command, names: fn(Kind) -> Vec<String>) -> Command {
    offer(command, false, names)
}

fn offer(command: Command, of_image: bool, names: fn(Kind) -> Vec<String>) -> Command {
    let verb = command.get_name().to_owned();
    let of_image = of_image || verb == "image";
    command
        .mut_args(|arg| match kind(&verb, of_image, &arg) {
            Some(kind) => {
                arg.add(ArgValueCompleter::new(move |typed: &OsStr| matching(names(kind), typed)))
            }
            None => arg,
        })
        .mut_subcommands(|verb| offer(verb, of_image, names))
}

/// What an argument of a verb names, if it names something that is there.
fn kind(verb: &str, of_image: bool, arg: &Arg) -> Option<Kind> {
    let (id, value) = (arg.get_id().as_str(), arg.get_value_parser().type_id());
    if value == TypeId::of::<Source>() {
        return Some(Kind::Source);
    }
    if value != TypeId::of::<Name>() || NEW.contains(&(verb, id)) {
        return None;
    }
    Some(match id {
        "snapshot" => Kind::Snapshot,
        "onto" => Kind::Image,
        _ if of_image => Kind::Image,
        _ if EITHER.contains(&verb) => Kind::Either,
        _ => Kind::Vm,
    })
}

fn matching(names: Vec<String>, typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let names = names.into_iter().filter(|name| name.starts_with(&*typed));
    names.map(CompletionCandidate::new).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    fn kind_of(path: &[&str], id: &str) -> Option<Kind> {
        let root = Cli::command();
        let mut command = &root;
        for verb in path {
            command = command.find_subcommand(verb).expect("a verb");
        }
        let arg = command.get_arguments().find(|arg| arg.get_id() == id).expect("an argument");
        kind(path[path.len() - 1], path[0] == "image", arg)
    }

    #[test]
    fn what_is_there_is_offered_and_new_names_are_not() {
        assert_eq!(kind_of(&["start"], "names"), Some(Kind::Vm));
        assert_eq!(kind_of(&["image", "rm"], "names"), Some(Kind::Image));
        assert_eq!(kind_of(&["rename"], "old"), Some(Kind::Either));
        assert_eq!(kind_of(&["clone"], "source"), Some(Kind::Source));
        assert_eq!(kind_of(&["snapshot", "revert"], "snapshot"), Some(Kind::Snapshot));
        assert_eq!(kind_of(&["rebase"], "onto"), Some(Kind::Image));
        for (path, id) in [
            (&["image", "import"][..], "name"),
            (&["run"], "name"),
            (&["clone"], "name"),
            (&["snapshot", "create"], "snapshot"),
            (&["snapshot", "revert"], "keep"),
            (&["attach"], "name"),
            (&["rename"], "new"),
        ] {
            assert_eq!(kind_of(path, id), None, "{path:?} {id}");
        }
    }
}
