//! A store of the benchmark's own, and the program that works on it.

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::measure::{Took, whole};

/// A store with sparse images whose clones' guests halt at once.
pub struct Store {
    dir: TempDir,
}

impl Store {
    /// An empty one.
    pub fn new() -> Result<Store, Box<dyn Error>> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("kernel"), guest::KERNEL)?;
        Ok(Store { dir })
    }

    /// One with an image of 1 GiB named `base`.
    pub fn with_base() -> Result<Store, Box<dyn Error>> {
        let store = Store::new()?;
        store.import("base", 1 << 30)?;
        Ok(store)
    }

    /// Imports a hole of `bytes` bytes, and returns the file it was imported from.
    pub fn import(&self, name: &str, bytes: u64) -> Result<PathBuf, Box<dyn Error>> {
        let file = self.path().join(format!("{name}.raw"));
        File::create(&file)?.set_len(bytes)?;
        let kernel = self.path().join("kernel");
        let mut import = self.command();
        import.args(["image", "import", "--name", name, "--cmdline", "offshoot.do=hello,idle"]);
        whole(import.arg("--kernel").arg(kernel).arg(&file))?;
        Ok(file)
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn command(&self) -> Command {
        let other = std::env::var_os("OFFSHOOT");
        let mut command =
            Command::new(other.unwrap_or_else(|| env!("CARGO_BIN_EXE_offshoot").into()));
        command.env("OFFSHOOT_ROOT", self.path().join("root"));
        // No current_dir: a static program starts those that have one with `fork`, which takes
        // longer than `vfork`, and others' programs are started without.
        command.env("XDG_RUNTIME_DIR", self.path());
        command
    }

    /// Runs it to its end.
    pub fn run<const N: usize>(&self, args: [&str; N]) -> Result<Took, Box<dyn Error>> {
        whole(self.command().args(args))
    }

    /// Runs a verb of the store's lab to its end.
    pub fn lab<const N: usize>(&self, args: [&str; N]) -> Result<Took, Box<dyn Error>> {
        whole(self.command().arg("lab").args(args).arg("-f").arg(self.path().join("lab.toml")))
    }

    /// Writes a lab of so many idle clones of `base`.
    pub fn write_lab(&self, count: usize, memory: &str) -> Result<(), Box<dyn Error>> {
        let group = format!("source = 'base'\ncount = {count}\nmemory = '{memory}'\n");
        Ok(fs::write(self.path().join("lab.toml"), format!("name = 'x'\n[groups.g]\n{group}"))?)
    }
}

impl Drop for Store {
    /// Ends what still runs.
    fn drop(&mut self) {
        let names = self.command().args(["ps", "-q"]).output();
        let names = names.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let names = names.unwrap_or_default();
        if !names.is_empty() {
            let _ = self.command().args(["stop", "--force"]).args(names.lines()).output();
        }
    }
}
