//! What disks are filled with, so that every byte says where it belongs and who wrote it: the
//! content of a sector is a function of a seed and of its number. Host and guest compile this
//! same file.

/// Bytes in a sector, the unit of addresses.
pub const SECTOR: usize = 512;
/// Bytes in a block, the unit of layers.
pub const BLOCK: usize = 4096;
/// The seed of base images.
pub const BASE_SEED: u64 = u64::from_be_bytes(*b"offshoot");

/// Fills `bytes`, which begin at sector `first`.
pub fn fill(seed: u64, first: u64, bytes: &mut [u8]) {
    for (sector, bytes) in (first..).zip(bytes.chunks_mut(SECTOR)) {
        let key = key(seed, sector);
        for (index, place) in (0..).zip(bytes.chunks_mut(8)) {
            let word = word(key, index).to_le_bytes();
            place.copy_from_slice(&word[..place.len()]);
        }
    }
}

/// Whether `bytes`, which begin at sector `first`, are what [`fill`] writes there: else the
/// index of the first byte that is not, and that byte as it should be.
///
/// # Errors
/// They differ.
pub fn check(seed: u64, first: u64, bytes: &[u8]) -> Result<(), (usize, u8)> {
    for (number, bytes) in bytes.chunks(SECTOR).enumerate() {
        if !is_sector(key(seed, first + number as u64), bytes) {
            let mut wanted = [0; SECTOR];
            fill(seed, first + number as u64, &mut wanted);
            let differs = bytes.iter().zip(&wanted).position(|(byte, wanted)| byte != wanted);
            let at = differs.unwrap_or(0);
            return Err((number * SECTOR + at, wanted[at]));
        }
    }
    Ok(())
}

/// Compares without a branch for each word, which is several times faster.
fn is_sector(key: u64, bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let difference = (0..).zip(words).fold(0, |difference, (index, bytes)| {
        difference | (u64::from_le_bytes(*bytes) ^ word(key, index))
    });
    let last = word(key, words.len() as u64).to_le_bytes();
    difference == 0 && rest == &last[..rest.len()]
}

/// A sector's own start: seed and number, mixed (the finalizer of SplitMix64).
fn key(seed: u64, sector: u64) -> u64 {
    let mut key = seed ^ sector.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}

/// A word of a sector: only operations that vector units have.
fn word(key: u64, index: u64) -> u64 {
    let word = key.wrapping_add(index << 56 | index << 33 | index << 7);
    word ^ (word >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(seed: u64, number: u64) -> [u8; SECTOR] {
        let mut bytes = [0; SECTOR];
        fill(seed, number, &mut bytes);
        bytes
    }

    #[test]
    fn no_two_sectors_share_a_word() {
        let mut words = std::collections::HashSet::new();
        for seed in [BASE_SEED, 0, 1, 2, u64::MAX] {
            for number in (0..512).chain([1 << 40, 1 << 55]) {
                for word in sector(seed, number).as_chunks::<8>().0 {
                    assert!(words.insert(*word), "seed {seed} sector {number}");
                }
            }
        }
    }

    #[test]
    fn the_content_never_changes() {
        // Disks outlive versions.
        assert_eq!(sector(BASE_SEED, 0)[..8], [122, 185, 252, 254, 55, 101, 183, 6]);
        assert_eq!(sector(7, 9)[504..], [137, 84, 72, 71, 161, 106, 109, 142]);
    }

    #[test]
    fn parts_are_as_the_whole() {
        let mut whole = [0; 3 * SECTOR];
        fill(7, 10, &mut whole);
        assert_eq!(whole[SECTOR..2 * SECTOR], sector(7, 11));
        let mut part = [0; 700];
        fill(7, 10, &mut part);
        assert_eq!(part[..], whole[..700]);
        assert_eq!(check(7, 10, &whole), Ok(()));
        assert_eq!(check(7, 10, &part[..697]), Ok(()));
    }

    #[test]
    fn the_first_wrong_byte_is_found() {
        let mut bytes = [0; 4 * SECTOR];
        fill(7, 10, &mut bytes);
        for at in [0, 1, 511, 512, 1999, 2047] {
            let mut wrong = bytes;
            wrong[at..].iter_mut().for_each(|byte| *byte ^= 0x40);
            assert_eq!(check(7, 10, &wrong), Err((at, bytes[at])));
            assert_eq!(check(7, 10, &wrong[..at]), Ok(()));
            assert_eq!(check(7, 10, &wrong[..=at]), Err((at, bytes[at])));
        }
        assert!(check(8, 10, &bytes).is_err());
        assert!(check(7, 11, &bytes).is_err());
    }
}
