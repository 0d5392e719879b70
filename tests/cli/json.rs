//! docs/json.md against what is printed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::common::store::Store;
use crate::support;

type Keys = BTreeSet<String>;

/// The keys docs/json.md lists under each heading: all, and those that may be absent.
fn documented() -> BTreeMap<String, (Keys, Keys)> {
    let mut sections: BTreeMap<String, (Keys, Keys)> = BTreeMap::new();
    let (mut heading, mut key) = (String::new(), String::new());
    for line in include_str!("../../docs/json.md").lines() {
        if let Some(title) = line.strip_prefix("### ") {
            heading = title.replace('`', "");
        }
        if let Some((name, _)) = line.strip_prefix("- `").and_then(|rest| rest.split_once("`: ")) {
            key = name.to_owned();
            sections.entry(heading.clone()).or_default().0.insert(key.clone());
        }
        if line.contains("absent") && !key.is_empty() {
            sections.entry(heading.clone()).or_default().1.insert(key.clone());
        }
    }
    sections
}

/// The objects a verb prints.
fn printed(store: &Store, words: &[&str]) -> Vec<Value> {
    let mut all = vec!["--format", "json"];
    all.extend(words);
    match serde_json::from_str(&store.ok(all)).expect("it prints JSON") {
        Value::Array(objects) => objects,
        object => vec![object],
    }
}

#[test]
fn every_key_that_is_printed_is_documented_and_the_other_way_round() {
    let store = support::written();
    let docs = documented();
    let check = |section: &str, objects: Vec<Value>| {
        let (keys, optional) = docs.get(section).unwrap_or_else(|| panic!("no section {section}"));
        assert!(!objects.is_empty(), "{section}: nothing was printed");
        for object in objects {
            let found: Keys = object.as_object().expect("an object").keys().cloned().collect();
            let unknown: Vec<_> = found.difference(keys).collect();
            let missing: Vec<_> =
                keys.difference(&found).filter(|k| !optional.contains(*k)).collect();
            assert!(unknown.is_empty(), "{section}: not in docs/json.md: {unknown:?}");
            assert!(missing.is_empty(), "{section}: only in docs/json.md: {missing:?}");
        }
    };
    let file = store.folder().join("web.sealed");
    let file = support::text(&file);
    let verbs: [(&str, &[&str]); 20] = [
        ("A VM's record", &["clone", "web", "copy"]),
        ("An image's record", &["image", "inspect", "tiny"]),
        ("An image's record", &["image", "verify", "tiny"]),
        ("What people say of it", &["note", "web", "mine"]),
        ("What people say of it", &["label", "web", "a=b"]),
        ("ls and ps", &["ls"]),
        ("inspect", &["inspect", "web", "copy"]),
        ("image ls", &["image", "ls"]),
        ("snapshot ls", &["snapshot", "ls", "web"]),
        ("tree", &["tree"]),
        ("df", &["df"]),
        ("check", &["check"]),
        ("doctor", &["doctor"]),
        ("snapshot create", &["snapshot", "create", "web"]),
        ("wait", &["wait", "web"]),
        ("compact", &["compact", "web"]),
        ("export", &["export", "web", "-o", file]),
        ("A VM's record", &["attach", file, "--name", "attached"]),
        ("version", &["version"]),
        ("rm --cascade", &["rm", "--cascade", "--force", "attached"]),
    ];
    for (section, words) in verbs {
        check(section, printed(&store, words));
    }
    assert_eq!(printed(&store, &["image", "verify", "tiny", "tiny"]).len(), 2);
    let mut tested: Keys = verbs.iter().map(|(section, _)| (*section).to_owned()).collect();
    // Only what a killed command left is there to be pruned.
    tested.insert("prune".into());
    let untested: Vec<_> = docs.keys().filter(|section| !tested.contains(*section)).collect();
    assert!(untested.is_empty(), "{untested:?}");
}
