//! Entries of the Boot Loader Specification: `loader/entries/*.conf`, lines of `key value`. Fedora
//! and systemd-boot have them.

use crate::error::Result;
use crate::files::Tree;

/// The most entries that are read.
const MOST: usize = 100;

/// What one entry boots.
pub(crate) struct Entry {
    /// The entry's own file.
    pub file: String,
    /// The kernel's path, as the boot loader sees it.
    pub kernel: String,
    /// Paths of initial ramdisks, in the order in which they are loaded.
    pub initrds: Vec<String>,
    /// The kernel's version; may be empty.
    pub version: String,
    /// The command line.
    pub options: String,
}

/// The entries in `folder/loader/entries` that boot a kernel.
pub(crate) fn read(tree: &Tree, folder: &str) -> Result<Vec<Entry>> {
    let folder = format!("{folder}/loader/entries");
    let mut entries = Vec::new();
    for name in tree.names(&folder)?.iter().filter(|name| name.ends_with(".conf")).take(MOST) {
        let file = format!("{folder}/{name}");
        let text = tree.text(&file)?.unwrap_or_default();
        entries.extend(parse(file, &text));
    }
    Ok(entries)
}

fn parse(file: String, text: &str) -> Option<Entry> {
    let values = |key: &'static str| text.lines().filter_map(move |line| value(line, key));
    let options: Vec<_> = values("options").collect();
    Some(Entry {
        file,
        kernel: values("linux").next()?.to_owned(),
        initrds: values("initrd").take(MOST).map(str::to_owned).collect(),
        version: values("version").next().unwrap_or_default().to_owned(),
        options: options.join(" "),
    })
}

/// The rest of a line that starts with this word.
pub(crate) fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let rest = line.trim().strip_prefix(key)?;
    rest.starts_with(char::is_whitespace).then(|| rest.trim())
}
