//! What is done to labs' files. docs/testing.md, Fuzzing.

use std::collections::BTreeSet;

use blockdev::fuzz::driver::drive;

use super::*;
use crate::terminal;

#[test]
fn nothing_in_a_labs_file_makes_it_panic_or_contradict_itself() {
    let long = std::env::var("OFFSHOOT_TESTS").is_ok_and(|tests| tests == "long");
    drive("lab", if long { 150_000 } else { 3000 }, lab);
}

fn lab(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let lock = File::open("/dev/null").expect("it is there");
    match parse(&Source { path: Path::new("lab.toml"), text }, lock) {
        Ok(lab) => adds_up(&lab),
        Err(error) => is_placed(text, &error),
    }
}

fn adds_up(lab: &Lab) -> bool {
    let names: BTreeSet<&Name> = lab.clones().map(|(_, name)| name).collect();
    assert_eq!(names.len(), lab.clones().count(), "two clones of one name");
    assert!(names.len() <= MOST, "{} clones", names.len());
    for name in names {
        assert_eq!(name.as_str().parse::<Name>().expect("a name"), *name);
    }
    let mut done: BTreeSet<usize> = BTreeSet::new();
    for stage in &lab.stages {
        let ready = |&group: &usize| lab.groups[group].after.iter().all(|it| done.contains(it));
        assert!(!stage.is_empty() && stage.iter().all(ready), "{:?}", lab.stages);
        done.extend(stage);
    }
    assert!(done.into_iter().eq(0..lab.groups.len()), "{:?}", lab.stages);
    assert_eq!(lab.stages.iter().map(Vec::len).sum::<usize>(), lab.groups.len());
    lab.groups.iter().for_each(|group| makes_clones(&lab.name, group));
    true
}

/// What is asked for is nothing that the command line would not take.
fn makes_clones(lab: &Name, group: &Group) {
    let request = &group.request;
    assert!(!group.names.is_empty());
    assert!(request.cpus.is_none_or(|cpus| (1..=255).contains(&cpus)));
    assert!(request.memory_mib.is_none_or(|mib| (1..=16 << 20).contains(&mib)));
    assert_eq!(request.labels.get(LAB).map(String::as_str), Some(lab.as_str()));
    assert_eq!(request.labels.get(GROUP).map(String::as_str), Some(group.name.as_str()));
    let labels = request.labels.iter();
    assert!(labels.clone().all(|(key, _)| !key.is_empty() && !key.contains('=')));
    let texts = labels.flat_map(|(key, value)| [key, value]).chain([&request.notes]);
    let mut texts = texts.chain(&request.boot.cmdline);
    assert!(texts.all(|text| !text.contains(terminal::is_control)));
    let files = request.boot.kernel.iter().chain(&request.boot.initrd).chain(&request.delta_dir);
    assert!(files.clone().all(|path| path.is_absolute()), "{:?}", files.collect::<Vec<_>>());
}

/// It is said at which of its characters a file is wrong, or at its end.
fn is_placed(text: &str, error: &anyhow::Error) -> bool {
    let said = crate::failure::text(error);
    assert!(!said.contains(terminal::is_control), "{said:?}");
    assert_eq!(crate::failure::code(error), crate::failure::Code::Usage, "{said}");
    let mut place = said.splitn(4, ':');
    assert_eq!(place.next(), Some("lab.toml"), "{said}");
    let mut number = || place.next().and_then(|text| text.parse::<usize>().ok()).expect("a number");
    let (line, column) = (number(), number());
    let lines: Vec<&str> = text.split('\n').collect();
    let wrong = line.checked_sub(1).and_then(|index| lines.get(index)).expect("a line");
    assert!((1..=wrong.chars().count() + 1).contains(&column), "{said}");
    false
}
