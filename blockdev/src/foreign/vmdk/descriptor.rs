//! The text in a vmdk that says what it is part of.

use super::super::chain::Backing;
use super::super::input::Input;
use super::header::Header;
use crate::Result;

/// Longer than any of one file.
const LONGEST: u64 = 64 << 10;
const NO_PARENT: &str = "ffffffff";
const CONVERT: &str = "convert it: qemu-img convert -f vmdk -O raw FILE disk.raw";

/// Checks that the file is a whole disk, and returns what it says of its parent.
pub(super) fn check(input: &Input, header: &Header) -> Result<Option<Backing>> {
    let at = header.descriptor.start;
    let len = header.descriptor.end - at;
    if at == 0 || len == 0 {
        let what = "it is one of several files that make a disk together";
        return Err(input.unsupported(what, CONVERT));
    }
    if len > LONGEST {
        return Err(input.damaged(at, "its descriptor is too long"));
    }
    let mut bytes = vec![0; usize::try_from(len).expect("at most 64 KiB")];
    input.read(&mut bytes, at)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.split('\0').next().unwrap_or_default();
    let kind = value(text, "createType").unwrap_or_default();
    if !["monolithicSparse", "streamOptimized"].contains(&kind) {
        return Err(input.unsupported(format!("it is a vmdk of the kind {kind:?}"), CONVERT));
    }
    if text.lines().filter(|line| is_extent(line)).count() != 1 {
        return Err(input.unsupported("its disk is spread over several files", CONVERT));
    }
    match value(text, "parentCID") {
        None => Ok(None),
        Some(parent) if parent.eq_ignore_ascii_case(NO_PARENT) => Ok(None),
        Some(_) => {
            let name = value(text, "parentFileNameHint").unwrap_or_default().to_owned();
            Ok(Some(Backing { name, format: Some("vmdk".into()) }))
        }
    }
}

/// The value of a key, without its quotes.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once('=')?;
        (found.trim() == key).then(|| value.trim().trim_matches('"'))
    })
}

fn is_extent(line: &str) -> bool {
    ["RW ", "RDONLY ", "NOACCESS "].iter().any(|access| line.starts_with(access))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_whole_key() {
        let text = "# x\nversion=1\nCID=1\nparentCID = ffffffff\ncreateType=\"monolithicSparse\"\n";
        assert_eq!(value(text, "CID"), Some("1"));
        assert_eq!(value(text, "parentCID"), Some("ffffffff"));
        assert_eq!(value(text, "createType"), Some("monolithicSparse"));
        assert_eq!(value(text, "parentFileNameHint"), None);
        assert!(is_extent("RW 8 SPARSE \"a.vmdk\"") && !is_extent("RWX"));
    }
}
