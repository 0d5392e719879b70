//! The owner map against the plain list of owners, and its file against the document.

use proptest::prelude::*;
use tempfile::tempdir;

use super::*;

fn key(layers: u32, blocks: u64) -> Key {
    Key::test(layers, blocks)
}

/// A map with these owners, repeated to the end.
fn map(owners: &[Owner], chunks: usize) -> Owners {
    let all: Vec<Owner> = owners.iter().copied().cycle().take(chunks * CHUNK).collect();
    Owners { chunks: all.as_chunks().0.iter().map(Chunk::of).collect() }
}

fn owners() -> impl Strategy<Value = Vec<Owner>> {
    let run = (1usize..300, 0u16..6).prop_map(|(len, owner)| vec![owner; len]);
    let runs = prop::collection::vec(run, 1..40).prop_map(|runs| runs.concat());
    let bytes = prop::collection::vec(0u16..6, 1..CHUNK);
    let words = prop::collection::vec(0u16..900, 1..CHUNK);
    let grain = (1usize..20, 0u16..40).prop_map(|(grains, owner)| vec![owner; grains * 16]);
    let grains = prop::collection::vec(grain, 1..250).prop_map(|grains| grains.concat());
    prop_oneof![runs, bytes, words, grains]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_form_answers_like_the_list(list in owners(), start in 0u64..8000, len in 1u64..5000) {
        let map = map(&list, 2);
        let at = |block: u64| list[block as usize % list.len()];
        let (owner, count) = map.run(start..start + len);
        prop_assert!(count >= 1 && count <= len);
        if start < 2 * CHUNK as u64 {
            prop_assert!((start..start + count).all(|block| at(block) == owner));
        }
    }

    #[test]
    fn what_is_saved_is_loaded(list in owners()) {
        let dir = tempdir().unwrap();
        let path = dir.path().join("owners");
        let (map, key) = (map(&list, 2), key(900, 2 * SECTOR_BLOCKS));
        save(&path, &key, &map).unwrap();
        prop_assert_eq!(load(&path, &key), Some(map));
        prop_assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "nothing else is left");
    }
}

#[test]
fn pieces_take_little_memory_however_they_lie() {
    let memory = |piece: usize, layers: u64| {
        let owner =
            |block: usize| ((block / piece) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let list: Vec<Owner> = (0..CHUNK).map(|block| (owner(block) % layers) as Owner).collect();
        map(&list, 1).memory() - size_of::<Chunk>()
    };
    assert_eq!(memory(CHUNK, 9), 0);
    assert_eq!(memory(16, 9), 2 * 9 + 252 / 2);
    assert_eq!(memory(1, 2), 2 * 2 + CHUNK / 8);
    assert_eq!(memory(1, 9), 2 * 9 + CHUNK / 2);
    assert_eq!(memory(1, 900), 2 * CHUNK);
}

#[test]
fn damaged_cut_and_foreign_files_are_no_map() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("owners");
    let list: Vec<Owner> = (0..CHUNK).map(|block| (block / 700) as Owner).collect();
    let right = key(5, SECTOR_BLOCKS);
    save(&path, &right, &map(&list, 1)).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert!(file::decode(&bytes, &right).is_some());
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(file::decode(&bytes, &right).is_none(), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(file::decode(&bytes[..len], &right).is_none(), "{len} bytes");
    }
    for other in [key(4, SECTOR_BLOCKS), key(5, SECTOR_BLOCKS + 1)] {
        assert!(file::decode(&bytes, &other).is_none());
    }
    assert!(load(&dir.path().join("none"), &right).is_none());
    assert!(load(dir.path(), &right).is_none(), "a directory");
}

#[test]
fn owners_past_the_last_layer_are_damage() {
    let bytes = file::encode(&key(3, SECTOR_BLOCKS), &map(&[4], 1));
    assert!(file::decode(&bytes, &key(3, SECTOR_BLOCKS)).is_none());
}
