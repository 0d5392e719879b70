//! A filesystem's files, and the ways to them. Every length and count is bounded here.

mod ext4;
pub(crate) mod fat;
#[cfg(test)]
pub(crate) mod memory;

use std::io::Write;

use crate::disk::Window;
use crate::error::{Error, Result};

/// As Linux has it.
const LINKS: usize = 40;
/// The longest symbolic link, bytes.
const LINK: u64 = 4096;
/// The largest folder that is looked into, bytes.
const FOLDER: u64 = 16 << 20;
/// The most names taken of a folder.
const NAMES: usize = 10_000;
/// The largest file of settings, bytes.
const TEXT: u64 = 1 << 20;

/// What there is under a name. Lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File(u64),
    Folder(u64),
    Link(u64),
    Other,
}

/// A filesystem. Paths start with `/`, or are empty for its root, and hold no link, `.` or `..`;
/// all folders on the way have been looked at with [`kind`](Files::kind).
pub(crate) trait Files {
    /// What is there; `None` when nothing is.
    fn kind(&self, path: &str) -> Result<Option<Kind>>;
    /// The names in a folder that are UTF-8, at most `limit`.
    fn names(&self, path: &str, limit: usize) -> Result<Vec<String>>;
    /// Where a symbolic link leads.
    fn link(&self, path: &str) -> Result<String>;
    /// Copies a file of `len` bytes.
    fn copy(&self, path: &str, len: u64, to: &mut dyn Write) -> Result<()>;
}

/// A filesystem's files by any path, links followed inside it.
pub(crate) struct Tree(Box<dyn Files>);

impl Tree {
    /// Opens the filesystem of this kind; `None` for those not read here.
    pub fn open(kind: &str, window: &Window) -> Option<Result<Tree>> {
        match kind {
            "ext4" => Some(ext4::Ext4::open(window).map(Tree::new)),
            "FAT" => Some(fat::Fat::open(window).map(Tree::new)),
            _ => None,
        }
    }

    pub fn new(files: impl Files + 'static) -> Tree {
        Tree(Box::new(files))
    }

    /// The file or folder at `path`, links followed, and its path without any.
    pub fn find(&self, path: &str) -> Result<Option<(String, Kind)>> {
        let mut left: Vec<String> = path.rsplit('/').map(str::to_owned).collect();
        let mut at = String::new();
        let mut links = 0;
        let mut kind = self.0.kind("")?;
        while let Some(name) = left.pop() {
            match (name.as_str(), kind) {
                ("" | ".", _) => continue,
                (_, Some(Kind::Folder(len))) if len > FOLDER => return Err(Error::Folder(at)),
                ("..", Some(Kind::Folder(_))) => at.truncate(at.rfind('/').unwrap_or(0)),
                (_, Some(Kind::Folder(_))) => at = format!("{at}/{name}"),
                _ => return Ok(None),
            }
            kind = self.0.kind(&at)?;
            let Some(Kind::Link(len)) = kind else { continue };
            links += 1;
            if links > LINKS || len > LINK {
                return Err(Error::Links(path.to_owned()));
            }
            let to = self.0.link(&at)?;
            at.truncate(if to.starts_with('/') { 0 } else { at.rfind('/').unwrap_or(0) });
            kind = self.0.kind(&at)?;
            left.extend(to.rsplit('/').map(str::to_owned));
        }
        Ok(kind.map(|kind| (at, kind)))
    }

    /// The regular file at `path`: its own path and length.
    pub fn file(&self, path: &str) -> Result<Option<(String, u64)>> {
        Ok(match self.find(path)? {
            Some((path, Kind::File(len))) => Some((path, len)),
            _ => None,
        })
    }

    /// The names in a folder that can be shown, sorted; none where there is no such folder.
    pub fn names(&self, path: &str) -> Result<Vec<String>> {
        let mut names = match self.find(path)? {
            Some((path, Kind::Folder(len))) if len <= FOLDER => self.0.names(&path, NAMES)?,
            Some((path, Kind::Folder(_))) => return Err(Error::Folder(path)),
            _ => Vec::new(),
        };
        names.retain(|name| name.chars().all(|c| c.is_ascii_graphic()));
        names.sort();
        Ok(names)
    }

    /// A file of settings, where there is one. What is not UTF-8 in it is replaced.
    pub fn text(&self, path: &str) -> Result<Option<String>> {
        let Some((path, _)) = self.file(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        self.copy(&path, TEXT, &mut bytes)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Copies a file of at most `limit` bytes.
    pub fn copy(&self, path: &str, limit: u64, to: &mut dyn Write) -> Result<()> {
        let file = self.file(path)?;
        let (path, len) = file.ok_or_else(|| Error::Missing(path.to_owned()))?;
        if len > limit {
            return Err(Error::Large { path, len, limit });
        }
        self.0.copy(&path, len, to)
    }
}

#[cfg(test)]
mod tests;
