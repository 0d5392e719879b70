//! What a sealed file says of the machine its disk belongs to: TOML, with no name, time or path of
//! the store it comes from. docs/sealed-format.md, Settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use blockdev::base::Digest;
use serde::{Deserialize, Serialize};

use super::sound::{self, Sound};
use super::vm::{Record, Vm};
use crate::failure::{Code, Failure};

/// Of what this program writes and knows.
const VERSION: u32 = 1;

/// A machine without its disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Of this table's layout.
    version: u32,
    /// The image it was cloned from; empty where it needs none.
    pub image: Digest,
    /// vCPUs.
    pub cpus: u16,
    /// Guest memory, MiB.
    pub memory_mib: u64,
    /// What people wrote about it.
    pub notes: String,
    /// The kernel's command line, where it is not the image's.
    pub cmdline: Option<String>,
    /// BLAKE3 of a kernel that is not the image's, and did not travel.
    pub kernel: Option<Digest>,
    /// BLAKE3 of an initial ramdisk that is not the image's, and did not travel.
    pub initrd: Option<Digest>,
    /// `key=value` pairs people gave it.
    pub labels: BTreeMap<String, String>,
}

impl Settings {
    /// Those of a VM.
    ///
    /// # Errors
    /// A kernel of its own cannot be read.
    pub fn of(vm: &Vm) -> Result<Settings> {
        let (kernel, initrd) = (vm.kernel(), vm.initrd());
        let vm = &vm.record;
        let digest = |path: &Option<PathBuf>| path.as_deref().map(digest).transpose();
        Ok(Settings {
            version: VERSION,
            image: vm.image.clone().unwrap_or_default(),
            cpus: vm.cpus,
            memory_mib: vm.memory_mib,
            notes: vm.notes.clone(),
            cmdline: vm.boot.cmdline.clone(),
            kernel: digest(&kernel)?,
            initrd: digest(&initrd)?,
            labels: own_labels(vm),
        })
    }

    /// As they stand in a sealed file.
    ///
    /// # Errors
    /// They cannot be written as TOML.
    pub fn encode(&self) -> Result<String> {
        toml::to_string(self).context("cannot write its settings as TOML")
    }

    /// The settings in the sealed file `path`.
    ///
    /// # Errors
    /// They are none, make no machine, or are of a newer version.
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Settings> {
        let damaged = |why: &str| {
            let what = format!("the settings in {} cannot be used: {why}", path.display());
            Failure::new(Code::Integrity, what)
        };
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("they are not text"))?;
        let head: Head = toml::from_str(text).map_err(|error| damaged(error.message()))?;
        if head.version > VERSION {
            let what = format!("the settings in {} are of a newer version", path.display());
            return Err(Failure::new(Code::Failed, what).hint("a newer offshoot").into());
        }
        let settings: Settings = toml::from_str(text).map_err(|error| damaged(error.message()))?;
        settings.check().map_err(|why| damaged(&why))?;
        Ok(settings)
    }
}

impl Sound for Settings {
    fn check(&self) -> Result<(), String> {
        sound::machine(self.cpus, self.memory_mib)?;
        let own = [&self.notes, &self.image].into_iter().chain(&self.cmdline);
        let digests = self.kernel.iter().chain(&self.initrd);
        sound::texts(sound::words(&self.labels).chain(own).chain(digests))
    }
}

/// Which lab it is of says nothing in another store.
fn own_labels(vm: &Record) -> BTreeMap<String, String> {
    let mut labels = vm.labels.clone();
    labels.retain(|key, _| !crate::lab::LABELS.contains(&key.as_str()));
    labels
}

fn digest(path: &Path) -> Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| hasher.update_reader(file).map(drop));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            version: VERSION,
            image: "00".repeat(32),
            cpus: 2,
            memory_mib: 512,
            notes: "line one\nline two".into(),
            cmdline: Some("quiet \"a b\"".into()),
            kernel: None,
            initrd: None,
            labels: [("b", "2"), ("a", "1")].map(|(k, v)| (k.into(), v.into())).into(),
        }
    }

    fn decode(text: &str) -> Result<Settings> {
        Settings::decode(text.as_bytes(), Path::new("file"))
    }

    #[test]
    fn settings_come_back_as_they_were() {
        let settings = settings();
        assert_eq!(decode(&settings.encode().expect("TOML")).expect("settings"), settings);
    }

    #[test]
    fn settings_beyond_the_command_lines_limits_are_refused() {
        let bad = |change: fn(&mut Settings)| {
            let mut settings = settings();
            change(&mut settings);
            let error = decode(&settings.encode().expect("TOML")).expect_err("it is refused");
            assert_eq!(crate::failure::code(&error), Code::Integrity, "{error}");
        };
        bad(|settings| settings.cpus = 0);
        bad(|settings| settings.cpus = 256);
        bad(|settings| settings.memory_mib = 0);
        bad(|settings| settings.memory_mib = u64::MAX >> 1);
        bad(|settings| settings.notes = "\x1b]0;owned\x07".into());
        bad(|settings| drop(settings.labels.insert("k\r".into(), String::new())));
        bad(|settings| settings.cmdline = Some("a\0b".into()));
        bad(|settings| settings.initrd = Some("\x1b[2J".into()));
    }

    #[test]
    fn what_is_no_table_is_damage_and_a_newer_one_is_not() {
        for text in ["", "version = 1", "version = 1\nother = 2", "\u{feff}[", "version = -1"] {
            let error = decode(text).expect_err("it is refused");
            assert_eq!(crate::failure::code(&error), Code::Integrity, "{error}");
        }
        let error = decode("version = 2\nnew = true").expect_err("it is refused");
        assert_eq!(crate::failure::code(&error), Code::Failed, "{error}");
    }
}
