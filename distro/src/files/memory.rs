//! A filesystem made up for a test.

use std::collections::BTreeMap;
use std::io::Write;

use super::{Files, Kind};
use crate::error::{Error, Result};

/// Files by path; folders are there by what is in them.
#[derive(Default)]
pub struct Memory {
    files: BTreeMap<String, Vec<u8>>,
    links: BTreeMap<String, String>,
}

impl Memory {
    pub fn file(mut self, path: &str, text: &str) -> Memory {
        self.files.insert(path.into(), text.into());
        self
    }

    pub fn link(mut self, path: &str, to: &str) -> Memory {
        self.links.insert(path.into(), to.into());
        self
    }

    fn under(&self, path: &str) -> impl Iterator<Item = &str> {
        let paths = self.files.keys().chain(self.links.keys());
        let start = format!("{path}/");
        paths.filter_map(move |path| path.strip_prefix(&start))
    }
}

impl Files for Memory {
    fn kind(&self, path: &str) -> Result<Option<Kind>> {
        let file = self.files.get(path).map(|bytes| Kind::File(bytes.len() as u64));
        let link = self.links.get(path).map(|to| Kind::Link(to.len() as u64));
        let folder = || self.under(path).next().map(|_| Kind::Folder(0));
        Ok(file.or(link).or_else(folder).or(path.is_empty().then_some(Kind::Folder(0))))
    }

    fn names(&self, path: &str, limit: usize) -> Result<Vec<String>> {
        let names = self.under(path).map(|rest| rest.split('/').next().unwrap_or(rest).to_owned());
        let names: std::collections::BTreeSet<_> = names.collect();
        Ok(names.into_iter().take(limit).collect())
    }

    fn link(&self, path: &str) -> Result<String> {
        self.links.get(path).cloned().ok_or_else(|| Error::Missing(path.into()))
    }

    fn copy(&self, path: &str, _: u64, to: &mut dyn Write) -> Result<()> {
        to.write_all(&self.files[path]).map_err(|source| Error::Write { path: path.into(), source })
    }
}
