//! Where data lies on every disk that is measured: the same pieces in the same layers on all sides.

/// The disk's length.
pub const DISK: u64 = 64 << 30;
/// From the start of a piece to that of the next.
pub const STRIDE: u64 = 8 << 20;
/// Length of a piece: a qcow2 cluster, so that neither side has to fill anything up.
pub const PIECE: u64 = 64 << 10;
/// How many pieces there are.
pub const PIECES: u64 = DISK / STRIDE;
/// Of the reads and writes measured, unless they are sequential.
pub const BLOCK: u64 = 4096;
/// From one access to the next, in strides: odd, so that all pieces come in turn, and below the
/// 2 GiB that `qemu-img bench` takes for a step.
pub const STEP: u64 = 193;

/// Where piece `index` begins.
pub fn piece_at(index: u64) -> u64 {
    index % PIECES * STRIDE
}

/// The pieces of `layer` in a chain of `depth` deltas over a base, which is layer 0.
pub fn pieces_of(layer: u64, depth: u64) -> impl Iterator<Item = u64> {
    (0..PIECES).filter(move |piece| mixed(*piece) % (depth + 1) == layer)
}

/// The order of `qemu-img bench`: steps from `offset` on, around the disk's end.
pub fn stepped(offset: u64) -> impl FnMut(u64) -> u64 {
    move |index| (offset + index * STEP * STRIDE) % DISK
}

/// Any block of any piece.
pub fn random() -> impl FnMut(u64) -> u64 {
    |index| {
        let dice = mixed(index);
        piece_at(dice) + dice / PIECES % (PIECE / BLOCK) * BLOCK
    }
}

/// The order of `qemu-img bench` with another step.
pub fn scattered(step: u64, len: u64) -> impl FnMut(u64) -> u64 {
    move |index| index * step % len
}

/// A number that looks like chance (splitmix64).
pub fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
