//! Where deltas are: in the store, or in a directory elsewhere, on another filesystem perhaps.
//!
//! ```text
//!   vms/<id>/delta                                               the file itself; or
//!   vms/<id>/delta ──symlink──► DIR/offshoot-<random>/<random>
//! ```
//! Every delta has an *entry* in the store, and what becomes of a delta, be it frozen, replaced or
//! removed, becomes of its entry, in the same steps for both kinds. An entry that is a symlink is
//! there before its file and goes after it, so no file elsewhere is without one. Freezing gives it
//! a second name, as it does to any entry; with the last one goes the file. Other symlinks lead
//! nowhere: whoever made the store must not choose what goes with a VM.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::Access;
use uuid::Uuid;

use super::fault;
use super::layer::DELTA;
use super::paths::{Paths, sync_dir};
use crate::failure::{Code, Failure};

/// What the name of a directory elsewhere begins with.
const PREFIX: &str = "offshoot-";

/// Where the deltas of a VM are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// Each in the place of its entry.
    Store,
    /// In this directory, with the layers that were frozen of them.
    Elsewhere(PathBuf),
}

impl Home {
    /// That of the delta with this entry.
    pub fn of(entry: &Path) -> Home {
        let file = file(entry);
        match file.parent().filter(|_| file != entry) {
            Some(dir) => Home::Elsewhere(dir.to_path_buf()),
            None => Home::Store,
        }
    }

    /// A new one in a directory that somebody chose, and that is theirs to sync.
    ///
    /// # Errors
    /// The filesystem refuses.
    pub fn under(dir: &Path) -> Result<Home> {
        let home = dir.join(format!("{PREFIX}{}", Uuid::new_v4().simple()));
        let made = DirBuilder::new().mode(0o700).create(&home);
        made.with_context(|| format!("cannot create {}", home.display()))?;
        Ok(Home::Elsewhere(home))
    }

    /// Where the delta is to be created that is to have this entry.
    ///
    /// # Errors
    /// The filesystem refuses.
    pub fn place(&self, entry: &Path) -> Result<PathBuf> {
        let Home::Elsewhere(dir) = self else { return Ok(entry.to_path_buf()) };
        let file = dir.join(Uuid::new_v4().simple().to_string());
        let linked = symlink(&file, entry);
        linked.with_context(|| format!("cannot create {}", entry.display()))?;
        fault::point("delta-announced");
        Ok(file)
    }

    /// The directory somebody chose, if one was.
    pub fn chosen(&self) -> Option<&Path> {
        match self {
            Home::Store => None,
            Home::Elsewhere(dir) => dir.parent(),
        }
    }

    /// Whether its directory is not there: what it was on is not mounted, perhaps. Nothing can be
    /// told of its deltas then, and so nothing is decided on them.
    pub fn is_away(&self) -> bool {
        matches!(self, Home::Elsewhere(dir) if !matches!(dir.try_exists(), Ok(true)))
    }

    /// Refuses to go on while it is away.
    ///
    /// # Errors
    /// It is.
    pub fn refuse_away(&self) -> Result<(), Failure> {
        match self {
            Home::Elsewhere(dir) if self.is_away() => {
                let what = format!("part of its disk is in {}, which is not there", dir.display());
                let mount = format!("mount what holds {}", dir.parent().unwrap_or(dir).display());
                Err(Failure::new(Code::Integrity, what).hint(mount))
            }
            _ => Ok(()),
        }
    }

    /// Makes durable which files are in it.
    ///
    /// # Errors
    /// The filesystem refuses.
    pub fn sync(&self) -> Result<()> {
        match self {
            Home::Store => Ok(()),
            Home::Elsewhere(dir) => sync_dir(dir),
        }
    }
}

/// The delta with this entry.
pub fn file(entry: &Path) -> PathBuf {
    fs::read_link(entry).ok().filter(|file| is_ours(file)).unwrap_or_else(|| entry.to_path_buf())
}

/// Whether a file elsewhere is called as [`Home::place`] calls them.
fn is_ours(file: &Path) -> bool {
    let is_random =
        |name: &str| Uuid::try_parse(name).is_ok_and(|id| id.simple().to_string() == name);
    let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    let home = file.parent().and_then(name);
    let home = home.as_deref().and_then(|name| name.strip_prefix(PREFIX));
    file.is_absolute()
        && home.is_some_and(is_random)
        && name(file).as_deref().is_some_and(is_random)
}

/// Refuses a directory that cannot hold deltas.
///
/// # Errors
/// It is not there, is none, cannot be written in, or is in the store.
pub(super) fn refuse_unusable(dir: &Path, paths: &Paths) -> Result<(), Failure> {
    let refuse =
        |why: &str| Failure::usage(format!("cannot keep deltas in {}: {why}", dir.display()));
    if !dir.is_dir() {
        return Err(refuse("there is no such directory").hint("make it, or mount it"));
    }
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    if real(dir).starts_with(real(paths.root())) {
        return Err(refuse("it is in the store").hint("leave it out"));
    }
    let access = rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK);
    access.map_err(|error| refuse(&io::Error::from(error).to_string()))
}

/// The entry of a delta that is in this directory of the store, or that this is.
pub(super) fn entry(path: &Path) -> PathBuf {
    match path.is_symlink() {
        true => path.to_path_buf(),
        false => path.join(DELTA),
    }
}

/// Removes a directory of the store or a single entry, and each delta whose last entry that was.
///
/// # Errors
/// The filesystem refuses. What is left still has its entry.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let entry = entry(path);
    if entry.is_symlink() {
        remove_link(&entry)?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        // It was the entry.
        Err(_) if entry == path => Ok(()),
        Err(error) => Err(error),
    }
}

fn remove_link(entry: &Path) -> io::Result<()> {
    let (file, home) = (file(entry), Home::of(entry));
    if fs::symlink_metadata(entry)?.nlink() > 1 || home == Home::Store {
        return fs::remove_file(entry);
    }
    match fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) if home.is_away() => log::warn!("{} is left, for you to delete", file.display()),
        _ => {}
    }
    fault::point("delta-removed");
    fs::remove_file(entry)?;
    // Until that is durable the directory stays: without it the entry would wait for it for ever.
    entry.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
    if let Home::Elsewhere(dir) = home {
        // The last delta takes it along.
        let _ = fs::remove_dir(dir);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry in one directory whose file is in another.
    fn elsewhere(store: &Path, dir: &Path) -> (PathBuf, PathBuf) {
        let entry = store.join(DELTA);
        let file = Home::under(dir).and_then(|home| home.place(&entry)).expect("a place");
        fs::write(&file, "bytes").expect("written");
        (entry, file)
    }

    #[test]
    fn a_file_elsewhere_goes_with_its_last_entry_and_its_directory_with_it() {
        let (store, dir) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
        let (entry, found) = elsewhere(store.path(), dir.path());
        let second = store.path().join("second");
        fs::hard_link(&entry, &second).expect("a link has names, too");
        assert_eq!((file(&entry), file(&second)), (found.clone(), found.clone()));
        remove(&entry).expect("removed");
        assert!(found.is_file());
        remove(&second).expect("removed");
        assert!(!found.exists());
        assert_eq!(fs::read_dir(dir.path()).expect("it stays").count(), 0);
    }

    #[test]
    fn a_link_that_nobody_here_made_is_removed_without_what_it_leads_to() {
        let (store, dir) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
        let random = "0".repeat(32);
        let strange = [
            dir.path().join("file"),
            dir.path().join("offshoot-").join(&random),
            dir.path().join(format!("offshoot-{random}")).join("file"),
            dir.path().join(&random).join(&random),
        ];
        for found in strange {
            fs::create_dir_all(found.parent().expect("a path")).expect("made");
            fs::write(&found, "bytes").expect("written");
            let vm = store.path().join("vm");
            fs::create_dir(&vm).expect("made");
            symlink(&found, vm.join(DELTA)).expect("a link");
            assert_eq!(file(&vm.join(DELTA)), vm.join(DELTA));
            remove(&vm).expect("removed");
            symlink(&found, &vm).expect("a link");
            remove(&vm).expect("removed");
            assert!(found.is_file() && !vm.is_symlink(), "{}", found.display());
        }
    }

    #[test]
    fn a_home_is_away_without_its_directory_and_not_without_a_file() {
        let (store, dir) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
        let (entry, found) = elsewhere(store.path(), dir.path());
        fs::remove_file(found).expect("removed");
        assert!(!Home::of(&entry).is_away());
        fs::remove_dir_all(dir.path()).expect("removed");
        assert!(Home::of(&entry).is_away() && Home::of(&entry).refuse_away().is_err());
        assert!(!Home::of(store.path()).is_away(), "what is in the store never is");
        remove(&entry).expect("whoever decided to forget it can");
    }
}
