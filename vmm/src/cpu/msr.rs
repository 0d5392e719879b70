//! Model-specific registers a kernel expects firmware to have set.

use kvm_bindings::{Msrs, kvm_msr_entry};

/// Intel SDM volume 4: MTRRs on, everything write-back unless said otherwise.
const MTRR_DEF_TYPE: u32 = 0x2ff;
const MTRR_ENABLED_WRITE_BACK: u64 = 1 << 11 | 6;
/// Without it Linux believes that `rep movsb` is slow.
const MISC_ENABLE: u32 = 0x1a0;
const MISC_ENABLE_FAST_STRINGS: u64 = 1;

/// What every vCPU starts with.
pub fn at_boot() -> Msrs {
    let entry = |index, data| kvm_msr_entry { index, data, ..Default::default() };
    Msrs::from_entries(&[
        entry(MTRR_DEF_TYPE, MTRR_ENABLED_WRITE_BACK),
        entry(MISC_ENABLE, MISC_ENABLE_FAST_STRINGS),
    ])
    .expect("two entries fit")
}
