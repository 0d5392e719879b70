//! What is left when the power is cut after some record of a log.

use crate::io::mem::{Event, Image, Record, Sector, apply, cut_off};

/// The first sector of the data area in a world's deltas.
pub(super) const DATA: u64 = 256;

/// A file's length and contents.
pub(super) type File = (u64, Image);

/// One change of one file that may have become durable or not.
#[derive(Clone, Debug)]
enum Loose {
    Sector(u64, Option<Sector>),
    Len(u64),
}

/// The files after a cut.
pub(super) struct Cut {
    durable: Vec<File>,
    /// In the order it was done.
    loose: Vec<(usize, Loose)>,
}

/// How many subsets are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// All of a few, else none, all, and some at random.
    Sample,
    /// Also each alone, and all but one.
    Singles,
}

/// A small source of numbers that look random.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let x = (self.0 >> 32 ^ self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x ^ x >> 29
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

impl Cut {
    /// After `records`, which began with the files in `start`.
    pub(super) fn after(start: &[File], records: &[Record]) -> Cut {
        let mut durable = start.to_vec();
        let mut synced = vec![0; durable.len()];
        for record in records {
            if let Event::Sync(covered) = record.event {
                synced[record.file] = covered.max(synced[record.file]);
            }
        }
        let mut loose = Vec::new();
        for (at, Record { file, event }) in records.iter().enumerate() {
            let kept = synced.get(*file).is_some_and(|&synced| at < synced);
            match event {
                Event::Write(sectors) if kept => apply(&mut durable[*file].1, sectors),
                Event::Write(sectors) => {
                    let change = |(at, to): &(_, _)| (*file, Loose::Sector(*at, Clone::clone(to)));
                    loose.extend(sectors.iter().map(change));
                }
                Event::Len(len) if kept => set_len(&mut durable[*file], *len),
                Event::Len(len) => loose.push((*file, Loose::Len(*len))),
                Event::Sync(_) | Event::Mark => {}
            }
        }
        Cut { durable, loose }
    }

    pub(super) fn loose(&self) -> usize {
        self.loose.len()
    }

    /// The subset of what is no data of the disk: bits without what they speak of.
    pub(super) fn without_data(&self) -> Vec<bool> {
        let kept = |(_, change): &(usize, Loose)| match change {
            Loose::Sector(sector, _) => *sector < DATA,
            Loose::Len(_) => true,
        };
        self.loose.iter().map(kept).collect()
    }

    /// Whether both copies of a file's header are under way, so that a torn write may leave none.
    pub(super) fn risks_a_header(&self) -> bool {
        let header = |wanted: u64| {
            move |(file, change): &(usize, Loose)| match change {
                Loose::Sector(sector, _) if *sector == wanted => Some(*file),
                _ => None,
            }
        };
        let mut first = self.loose.iter().filter_map(header(0));
        first.any(|file| {
            self.durable[file].1.contains_key(&0)
                && self.loose.iter().filter_map(header(8)).any(|other| other == file)
        })
    }

    /// The files when those of the loose changes became durable that `keep` says.
    pub(super) fn keep(&self, keep: &[bool]) -> Vec<File> {
        let mut files = self.durable.clone();
        for ((file, change), _) in self.loose.iter().zip(keep).filter(|(_, keep)| **keep) {
            match change {
                Loose::Sector(at, to) => {
                    let (len, image) = &mut files[*file];
                    apply(image, &[(*at, to.clone())]);
                    *len = (*len).max((at + 1) * 512);
                }
                Loose::Len(len) => set_len(&mut files[*file], *len),
            }
        }
        files
    }

    /// Which subsets of the loose changes to look at.
    pub(super) fn subsets(&self, effort: Effort, random: &mut Random) -> Vec<Vec<bool>> {
        let count = self.loose.len();
        if count <= 2 {
            let set = |set: usize| (0..count).map(|at| set >> at & 1 == 1).collect();
            return (0..1 << count).map(set).collect();
        }
        let mut subsets = vec![vec![false; count], vec![true; count]];
        subsets.extend((0..2).map(|_| (0..count).map(|_| random.next() & 1 == 1).collect()));
        if effort == Effort::Singles {
            for one in 0..count {
                subsets.push((0..count).map(|at| at == one).collect());
                subsets.push((0..count).map(|at| at != one).collect());
            }
        }
        subsets
    }
}

fn set_len((len, image): &mut File, to: u64) {
    *len = to;
    cut_off(image, to);
}
