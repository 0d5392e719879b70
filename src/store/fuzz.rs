//! What is done to everything in TOML that a store or a sealed file may hold: records and settings.
//! docs/testing.md, Fuzzing.

use std::path::Path;

use blockdev::fuzz::driver::{drive, folder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Value;

use super::paths::{Paths, decode, encode};
use super::settings::Settings;
use super::sound::{MEMORY_MIB, Sound};
use super::{Name, image, layer, vm};
use crate::failure;
use crate::terminal;

/// Whether some bytes are a thing of one kind, which then adds up.
type Body = fn(&[u8]) -> bool;

/// How many mutations some seconds are good for, or minutes.
fn count(few: u64) -> u64 {
    let long = std::env::var("OFFSHOOT_TESTS").is_ok_and(|tests| tests == "long");
    if long { few * 50 } else { few }
}

#[test]
fn nothing_in_a_record_makes_it_panic_or_contradict_itself() {
    drive("record", count(3000), record);
}

#[test]
fn each_recorded_input_is_accepted_as_what_it_is() {
    let bodies: [(&str, Body); 4] =
        [("vm", a_vm), ("layer", a_layer), ("image", an_image), ("settings", settings)];
    let mut seen = [0; 4];
    for entry in std::fs::read_dir(folder("record")).expect("a corpus") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).expect("a file");
        for (index, (kind, body)) in bodies.iter().enumerate() {
            let is_one = name.starts_with(kind);
            assert!(!is_one || body(&bytes), "{name}");
            seen[index] += usize::from(is_one);
        }
    }
    assert!(seen.iter().all(|&seeds| seeds > 1), "{seen:?}");
}

/// Reads any bytes as each of them; says whether they were one.
fn record(bytes: &[u8]) -> bool {
    let bodies: [Body; 4] = [a_vm, a_layer, an_image, settings];
    bodies.map(|body| body(bytes)).contains(&true)
}

fn a_vm(bytes: &[u8]) -> bool {
    let Some(record) = read::<vm::Record>(bytes) else { return false };
    let paths = Paths::new(Path::new("/store")).expect("it is absolute");
    for (place, folder) in record
        .image
        .iter()
        .map(|digest| (paths.image(digest), paths.images()))
        .chain([(paths.vm(&record.id()), paths.vms())])
    {
        assert_eq!(place.parent(), Some(&*folder), "it is elsewhere");
        assert!(place.file_name().is_some(), "it is no place");
    }
    assert!((1..=255).contains(&record.cpus) && (1..=MEMORY_MIB).contains(&record.memory_mib));
    is_valid(&record.name);
    assert_eq!(customize::hostname::check(&record.identity().hostname), Ok(()));
    true
}

fn a_layer(bytes: &[u8]) -> bool {
    let Some(record) = read::<layer::Record>(bytes) else { return false };
    assert!(record.vm.len() == 16 && !record.vm.contains(['/', '.']), "{:?}", record.vm);
    record.name.iter().chain([&record.origin]).for_each(is_valid);
    true
}

fn an_image(bytes: &[u8]) -> bool {
    let Some(record) = read::<image::Record>(bytes) else { return false };
    is_valid(&record.name);
    let digests = [&record.digest, &record.base.digest].into_iter();
    for digest in digests.chain(&record.kernel).chain(&record.initrd) {
        assert!(blake3::Hash::from_hex(digest).is_ok(), "{digest:?}");
    }
    true
}

fn settings(bytes: &[u8]) -> bool {
    let path = Path::new("file");
    let settings = match Settings::decode(bytes, path) {
        Ok(settings) => settings,
        Err(error) => return refused(&error),
    };
    assert!((1..=255).contains(&settings.cpus) && (1..=MEMORY_MIB).contains(&settings.memory_mib));
    let text = settings.encode().expect("what was read can be written");
    is_harmless(&toml::from_str(&text).expect("TOML"));
    assert_eq!(Settings::decode(text.as_bytes(), path).expect("it comes back"), settings);
    true
}

/// A record, that comes back as it is.
fn read<T: DeserializeOwned + Serialize + Sound>(bytes: &[u8]) -> Option<T> {
    let path = Path::new("record.toml");
    let record: T = match decode(bytes, path) {
        Ok(record) => record,
        Err(error) => {
            refused(&error);
            return None;
        }
    };
    let text = encode(&record).expect("what was read can be written");
    is_harmless(&toml::from_str(&text).expect("TOML"));
    let again: T = decode(text.as_bytes(), path).expect("it comes back");
    assert_eq!(encode(&again).expect("it can be written once more"), text);
    Some(again)
}

/// What is said of what is no record says where it is and shows nothing but text.
fn refused(error: &anyhow::Error) -> bool {
    let said = failure::text(error);
    assert!(said.contains("record.toml") || said.contains("the settings in file"), "{said:?}");
    assert!(!said.contains(terminal::is_control), "{said:?}");
    assert!(matches!(failure::code(error), failure::Code::Integrity | failure::Code::Failed));
    false
}

fn is_valid(name: &Name) {
    assert_eq!(name.as_str().parse::<Name>().expect("a name"), *name);
}

/// Nothing that is printed as it is does things to a terminal.
fn is_harmless(value: &Value) {
    /// Paths, which people gave, and what was found on a disk: they are printed as TOML.
    const QUOTED: [&str; 3] = ["kernel", "initrd", "found"];
    match value {
        Value::String(text) => assert!(!text.contains(terminal::is_control), "{text:?}"),
        Value::Array(values) => values.iter().for_each(is_harmless),
        Value::Table(table) => {
            for (key, value) in table.iter().filter(|(key, _)| !QUOTED.contains(&key.as_str())) {
                assert!(!key.contains(terminal::is_control), "{key:?}");
                is_harmless(value);
            }
        }
        _ => {}
    }
}
