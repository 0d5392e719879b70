//! A lab's file as TOML has it. What one value can be is checked here, so that the parser says where
//! it is not; what several have to do with each other is checked in [`file`](super::file).

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::args::value;
use crate::store::name::Pattern;
use crate::store::{Name, Source};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub name: Name,
    #[serde(default)]
    pub groups: BTreeMap<Spanned<Name>, Group>,
}

/// One table under `groups`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub source: Text<Source>,
    pub count: Option<Spanned<UpTo<10_000>>>,
    pub names: Option<Spanned<Text<Pattern>>>,
    pub cpus: Option<UpTo<255>>,
    pub memory: Option<Text<MemoryMib>>,
    pub disk_size: Option<Text<Bytes>>,
    pub kernel: Option<Spanned<PathBuf>>,
    pub initrd: Option<Spanned<PathBuf>>,
    pub spec: Option<Spanned<PathBuf>>,
    pub cmdline: Option<Text<Plain>>,
    pub notes: Option<Text<Plain>>,
    #[serde(default)]
    pub labels: BTreeMap<Spanned<Text<Plain>>, Text<Plain>>,
    pub start: Option<bool>,
    #[serde(default)]
    pub ephemeral: bool,
    pub delta_dir: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub after: Vec<Spanned<Name>>,
}

/// What is written as text and means more.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Text<T>(pub T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Text<T>, D::Error> {
        String::deserialize(from)?.parse().map(Text).map_err(D::Error::custom)
    }
}

/// A number from 1.
#[derive(Clone, Copy)]
pub struct UpTo<const MOST: u16>(pub u16);

impl<'de, const MOST: u16> Deserialize<'de> for UpTo<MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<UpTo<MOST>, D::Error> {
        let number = i64::deserialize(from)?;
        let fitting = u16::try_from(number).ok().filter(|number| (1..=MOST).contains(number));
        let wrong = || D::Error::custom(format!("{number} is not from 1 to {MOST}"));
        fitting.map(UpTo).ok_or_else(wrong)
    }
}

/// Guest memory, MiB.
pub struct MemoryMib(pub u64);

impl FromStr for MemoryMib {
    type Err = String;

    fn from_str(text: &str) -> Result<MemoryMib, String> {
        value::memory(text).map(MemoryMib)
    }
}

/// A size.
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Bytes, String> {
        value::size(text).map(Bytes)
    }
}

/// What is printed on terminals, and does nothing to them.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Plain(pub String);

impl FromStr for Plain {
    type Err = String;

    fn from_str(text: &str) -> Result<Plain, String> {
        value::note(text).map(Plain)
    }
}
