//! Random disks against a vector of bytes.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{bytes_of, unsealed};
use crate::sealed::{Owned, Reader, apply};
use crate::testing::{Clone, pattern, read, run};
use crate::{Buffers, Engine, Op, Stack, StackSpec, delta};

const BASE: usize = 150_100;
const SECTORS: u64 = 600;
const SIZE: usize = 512 * 600;

#[derive(Clone, Debug)]
enum Step {
    Write { sector: u64, sectors: usize, seed: u8 },
    Zero { sector: u64, sectors: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..SECTORS - 64, 1..64_usize, 0..4_u8).prop_map(|(sector, sectors, seed)| Step::Write {
            sector,
            sectors,
            seed
        }),
        (0..SECTORS - 64, 1..64_u64).prop_map(|(sector, sectors)| Step::Zero { sector, sectors }),
    ]
}

impl Step {
    /// Does it to a model and says what to do to a disk.
    fn perform(&self, model: &mut [u8]) -> Op {
        match *self {
            Step::Write { sector, sectors, seed } => {
                let bytes =
                    if seed == 0 { vec![0; sectors * 512] } else { pattern(sectors * 512, seed) };
                let at = usize::try_from(sector * 512).unwrap();
                model[at..at + bytes.len()].copy_from_slice(&bytes);
                Op::Write { at: sector * 512, from: Buffers::from_vec(bytes) }
            }
            Step::Zero { sector, sectors } => {
                let range = sector * 512..(sector + sectors) * 512;
                let bytes =
                    usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
                model[bytes].fill(0);
                Op::Zero(range)
            }
        }
    }
}

fn content(stack: &Stack) -> Vec<u8> {
    read(&mut *stack.disk(Engine::Sync).unwrap(), 0, SIZE).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_disk_that_was_sealed_and_attached_is_the_same_disk(steps in vec(step(), 0..20)) {
        let base = pattern(BASE, 9);
        let mut model = base.clone();
        model.resize(SIZE, 0);
        let clone = Clone::new(&base, SIZE as u64);
        {
            let stack = clone.open();
            let mut disk = stack.disk(Engine::Sync).unwrap();
            for step in &steps {
                run(&mut *disk, step.perform(&mut model)).unwrap();
            }
            prop_assert!(content(&stack) == model);
        }
        let bytes = bytes_of(&Owned::open(&clone.spec).unwrap());
        for (block, data) in unsealed(&bytes).unwrap() {
            let at = usize::try_from(block * 4096).unwrap();
            let len = data.len().min(SIZE - at);
            prop_assert!(model[at..at + len] == data[..len]);
        }

        let mut reader = Reader::open(&bytes[..], Path::new("in")).unwrap();
        let delta = clone.dir.path().join("attached");
        let parent = delta::Parent::base(&clone.base().identity).unwrap();
        delta::create(&delta, SIZE as u64, &parent).unwrap();
        let spec = StackSpec { delta: Some(delta.clone()), ..clone.spec.clone() };
        let stack = Stack::open(&spec).unwrap();
        apply(&mut reader, &stack, &mut |_| ()).unwrap();
        prop_assert!(content(&stack) == model);
        drop(stack);
        prop_assert!(bytes_of(&Owned::open(&spec).unwrap()) == bytes);
    }
}
