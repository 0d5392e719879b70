//! Reading events back, and following them through a change of files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{FILE, LONGEST, is_named, old};
use crate::store::Timestamp;

/// All events there are, and then those that come.
pub struct Events {
    path: PathBuf,
    old_path: PathBuf,
    /// The older file, as long as it has not been read to its end.
    old: Option<File>,
    file: Option<File>,
    /// What was read of a line that is not whole yet.
    rest: Vec<u8>,
}

/// What every line has.
#[derive(Deserialize)]
struct Heading {
    time: Timestamp,
}

impl Events {
    /// The events of the store at `root`, from the first.
    ///
    /// # Errors
    /// A file is there and cannot be opened.
    pub fn open(root: &Path) -> io::Result<Events> {
        let (path, old_path) = (root.join(FILE), old(root));
        loop {
            let file = open(&path)?;
            let old = open(&old_path)?;
            // It may have got its other name in between.
            if file.as_ref().map_or(Ok(true), |file| is_named(file, &path))? {
                return Ok(Events { path, old_path, old, file, rest: Vec::new() });
            }
        }
    }

    /// Hands each whole line that was told at `since` or later, and that was not read yet, to
    /// `print`, with its newline.
    ///
    /// # Errors
    /// A file cannot be read, or as `print`.
    pub fn read<E: From<io::Error>>(
        &mut self,
        since: Option<Timestamp>,
        mut print: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(mut old) = self.old.take() {
            drain(&mut old, &mut self.rest, since, &mut print)?;
            self.rest.clear();
        }
        loop {
            if self.file.is_none() {
                self.file = open(&self.path)?;
            }
            let Some(file) = &mut self.file else { return Ok(()) };
            // Before it is read: nothing is written to it any more once it has another name.
            let is_last = is_named(file, &self.path)?;
            drain(file, &mut self.rest, since, &mut print)?;
            if is_last {
                return Ok(());
            }
            self.rest.clear();
            // Where the file changed twice meanwhile, there is one in between.
            let next = if is_named(file, &self.old_path)? { None } else { open(&self.old_path)? };
            self.file = next;
        }
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a file to its present end.
fn drain<E: From<io::Error>>(
    file: &mut File,
    rest: &mut Vec<u8>,
    since: Option<Timestamp>,
    print: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut chunk = vec![0; 64 << 10];
    loop {
        let length = file.read(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        rest.extend_from_slice(chunk.get(..length).unwrap_or_default());
        let whole = rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = rest.drain(..whole).collect();
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            if is_wanted(line, since) {
                print(line)?;
            }
        }
        // Nobody writes such a line.
        if rest.len() > LONGEST {
            rest.clear();
        }
    }
}

fn is_wanted(line: &[u8], since: Option<Timestamp>) -> bool {
    match serde_json::from_slice::<Heading>(line) {
        Ok(heading) => since.is_none_or(|since| heading.time >= since),
        Err(_) => false,
    }
}
