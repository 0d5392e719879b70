//! Chains of deltas, which are sealed as one.

use super::{bytes_of, unsealed};
use crate::delta::{self, Parent};
use crate::sealed::{Owned, Source};
use crate::testing::{Clone, pattern, read, run, write};
use crate::{Engine, Op, Stack, StackSpec};

const SIZE: u64 = 200_704;

fn perform(spec: &StackSpec, writes: &[(u64, u8)]) {
    let stack = Stack::open(spec).unwrap();
    let mut disk = stack.disk(Engine::Sync).unwrap();
    for &(block, seed) in writes {
        write(&mut *disk, block * 4096, &pattern(4096, seed)).unwrap();
    }
    run(&mut *disk, Op::Zero(30 * 4096..31 * 4096)).unwrap();
}

/// The spec after one more delta has been put on top, on which `edit` of its parent shows.
fn grown(clone: &Clone, spec: &StackSpec, edit: impl FnOnce(&mut Parent)) -> StackSpec {
    let (mut spec, old) = (spec.clone(), spec.delta.clone().unwrap());
    let mut parent = delta::inspect(&old).unwrap().as_parent();
    edit(&mut parent);
    let new = clone.dir.path().join(format!("delta-{}", spec.frozen.len()));
    delta::create(&new, SIZE, &parent).unwrap();
    delta::freeze(&old).unwrap();
    spec.frozen.push(old);
    spec.delta = Some(new);
    spec
}

#[test]
fn a_chain_is_the_same_file_as_one_delta_with_its_content() {
    let chain = Clone::new(&pattern(100_000, 1), SIZE);
    perform(&chain.spec, &[(3, 1), (4, 1), (40, 1)]);
    let spec = grown(&chain, &chain.spec, |_| ());
    perform(&spec, &[(4, 2), (24, 2)]);
    let spec = grown(&chain, &spec, |_| ());
    perform(&spec, &[(24, 3)]);

    let single = Clone::new(&pattern(100_000, 1), SIZE);
    perform(&single.spec, &[(3, 1), (4, 2), (24, 3), (40, 1)]);
    let of = |spec: &StackSpec| bytes_of(&Owned::open(spec).unwrap());
    assert!(of(&spec) == of(&single.spec));
}

#[test]
fn what_a_layer_hides_of_those_below_is_not_sealed() {
    let clone = Clone::new(&pattern(100_000, 1), SIZE);
    perform(&clone.spec, &[(1, 1), (20, 1), (40, 1)]);
    // As when the disk was made smaller, in the middle of block 20, and larger again.
    let visible = 20 * 4096 + 1024;
    let spec = grown(&clone, &clone.spec, |parent| parent.visible = visible);
    perform(&spec, &[(2, 2)]);

    let owned = Owned::open(&spec).unwrap();
    assert_eq!(owned.header().base.unwrap().visible, visible);
    let blocks = unsealed(&bytes_of(&owned)).unwrap();
    drop(owned);
    assert_eq!(blocks.keys().copied().collect::<Vec<_>>(), [1, 2, 20, 30]);
    let mut disk = Stack::open(&spec).unwrap().disk(Engine::Sync).unwrap();
    for (block, data) in blocks {
        assert!(read(&mut *disk, block * 4096, 4096).unwrap() == data, "block {block}");
    }
}

#[test]
fn a_disk_without_a_base_says_so() {
    let clone = Clone::new(&[], 4096);
    let delta = clone.dir.path().join("flat");
    delta::create(&delta, SIZE, &Parent::nothing()).unwrap();
    let spec = StackSpec { delta: Some(delta), ..StackSpec::default() };
    perform(&spec, &[(7, 1)]);
    let owned = Owned::open(&spec).unwrap();
    assert_eq!(owned.header().base, None);
    assert_eq!(unsealed(&bytes_of(&owned)).unwrap().len(), 2);
}
