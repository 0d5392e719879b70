//! What the records of a store can say. They may have been damaged, edited by hand, or made by
//! somebody else; what is not sound is neither read nor written.

use std::collections::BTreeMap;

use crate::terminal;

/// The most vCPUs, as on the command line.
const CPUS: u16 = 255;
/// The most guest memory, MiB: 16 TiB.
pub const MEMORY_MIB: u64 = 16 << 20;
/// Of a BLAKE3 digest.
const DIGEST_LEN: usize = 64;
/// Of what names a VM's directory.
const ID_LEN: usize = 16;

/// Something in a file, of which not all that has the right form makes sense.
pub trait Sound {
    /// Looks at every value that is used without being looked at again.
    ///
    /// # Errors
    /// Why it is none.
    fn check(&self) -> Result<(), String>;
}

/// Refuses a machine that the command line would not make.
pub fn machine(cpus: u16, memory_mib: u64) -> Result<(), String> {
    if !(1..=CPUS).contains(&cpus) {
        return Err("a machine has 1 to 255 vCPUs".into());
    }
    match (1..=MEMORY_MIB).contains(&memory_mib) {
        true => Ok(()),
        false => Err("a machine has 1 MiB to 16 TiB of memory".into()),
    }
}

/// Refuses texts that do things to the terminal they are printed on.
pub fn texts<'a>(mut texts: impl Iterator<Item = &'a String>) -> Result<(), String> {
    match texts.any(|text| text.contains(terminal::is_control)) {
        true => Err("there are control characters in it".into()),
        false => Ok(()),
    }
}

/// Keys and values alike.
pub fn words(labels: &BTreeMap<String, String>) -> impl Iterator<Item = &String> {
    labels.iter().flat_map(|(key, value)| [key, value])
}

/// Refuses digests that are none: one of them is part of a path.
pub fn digests<'a>(mut digests: impl Iterator<Item = &'a String>) -> Result<(), String> {
    digests.try_for_each(|text| digest(text))
}

/// Refuses what is no digest.
pub fn digest(text: &str) -> Result<(), String> {
    match is_hex(text, DIGEST_LEN) {
        true => Ok(()),
        false => Err(format!("{text:?} is no digest")),
    }
}

/// Refuses what names no VM's directory.
pub fn id(text: &str) -> Result<(), String> {
    match is_hex(text, ID_LEN) {
        true => Ok(()),
        false => Err(format!("{text:?} is no VM's id")),
    }
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
