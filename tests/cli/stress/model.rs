//! What must hold of the VMs that one worker made, as its commands reported.

use std::collections::BTreeMap;

/// What became of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is there; the seed of what is on its disk, where that is known.
    There(Option<u64>),
    /// It is not.
    Gone,
    /// A command that would have made or removed it was killed.
    Unknown,
}

/// What one worker knows.
#[derive(Debug, Default)]
pub struct Model {
    pub vms: BTreeMap<String, Fate>,
    /// Commands that ended as none may.
    pub surprises: Vec<String>,
    pub commands: usize,
    pub killed: usize,
}

impl Model {
    /// VMs whose disks can be compared.
    pub fn readable(&self) -> impl Iterator<Item = (&str, u64)> {
        self.vms.iter().filter_map(|(name, fate)| match fate {
            Fate::There(Some(data)) => Some((name.as_str(), *data)),
            _ => None,
        })
    }

    /// The names of VMs that may be there.
    pub fn candidates(&self) -> Vec<String> {
        let there = self.vms.iter().filter(|(_, fate)| **fate != Fate::Gone);
        there.map(|(name, _)| name.clone()).collect()
    }

    /// What is on a disk, where that is known.
    pub fn data(&self, name: &str) -> Option<u64> {
        match self.vms.get(name) {
            Some(Fate::There(data)) => *data,
            _ => None,
        }
    }

    pub fn set(&mut self, name: &str, fate: Fate) {
        self.vms.insert(name.to_owned(), fate);
    }

    /// Its disk is not what it was; whether it is there does not change.
    pub fn forget_data(&mut self, name: &str) {
        if let Some(Fate::There(data)) = self.vms.get_mut(name) {
            *data = None;
        }
    }
}

/// Random numbers that a seed determines: splitmix64.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64, stream: u64) -> Dice {
        Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(stream << 32))
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let place = self.below(u64::try_from(all.len()).expect("a length"));
        all.get(usize::try_from(place).expect("a place"))
    }
}
