//! The chip alone.

use proptest::prelude::*;

use super::*;

const VERSION_1: u64 = 1 << VIRTIO_F_VERSION_1;
const SOME_FEATURE: u64 = 1 << 9;

fn chip() -> Registers {
    Registers::new(DeviceKind::Block, VERSION_1 | SOME_FEATURE, &[16, 8])
}

fn accept(chip: &mut Registers, features: u64) {
    for index in [0, 1] {
        chip.write(reg::VIRTIO_MMIO_DRIVER_FEATURES_SEL, index);
        chip.write(reg::VIRTIO_MMIO_DRIVER_FEATURES, word(features, index));
    }
}

/// Through FEATURES_OK, the last step before queues.
fn agreed() -> Registers {
    let mut chip = chip();
    accept(&mut chip, VERSION_1);
    for status in [1, 3, 11] {
        assert_eq!(chip.write(reg::VIRTIO_MMIO_STATUS, status), Action::None);
        assert_eq!(chip.status(), status);
    }
    chip
}

fn status_after(chip: &mut Registers, value: u32) -> u32 {
    chip.write(reg::VIRTIO_MMIO_STATUS, value);
    chip.status()
}

#[test]
fn identity_is_that_of_a_version_2_device() {
    let chip = chip();
    assert_eq!(chip.read(0x000).to_le_bytes(), *b"virt");
    assert_eq!(chip.read(0x004), 2);
    assert_eq!(chip.read(0x008), 2);
    assert_eq!(chip.read(0x0fc), 0);
}

#[test]
fn features_are_offered_by_words() {
    let mut chip = chip();
    assert_eq!(chip.read(reg::VIRTIO_MMIO_DEVICE_FEATURES), 1 << 9);
    chip.write(reg::VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    assert_eq!(chip.read(reg::VIRTIO_MMIO_DEVICE_FEATURES), 1);
    for beyond in [2, 3, u32::MAX] {
        chip.write(reg::VIRTIO_MMIO_DEVICE_FEATURES_SEL, beyond);
        assert_eq!(chip.read(reg::VIRTIO_MMIO_DEVICE_FEATURES), 0);
    }
}

#[test]
fn features_not_offered_are_not_agreed_on() {
    for features in [0, SOME_FEATURE, VERSION_1 | 1 << 3, VERSION_1 | 1 << 63, u64::MAX] {
        let mut chip = chip();
        accept(&mut chip, features);
        assert_eq!(status_after(&mut chip, 11), 3, "{features:#x}");
        assert_eq!(status_after(&mut chip, 15), 3, "DRIVER_OK without FEATURES_OK");
    }
    let mut chip = chip();
    accept(&mut chip, VERSION_1 | SOME_FEATURE);
    assert_eq!(status_after(&mut chip, 11), 11);
}

#[test]
fn features_are_frozen_once_agreed_on() {
    let mut chip = agreed();
    accept(&mut chip, VERSION_1 | SOME_FEATURE);
    assert_eq!(chip.features(), VERSION_1);
}

#[test]
fn steps_cannot_be_skipped() {
    let mut chip = chip();
    accept(&mut chip, VERSION_1);
    assert_eq!(status_after(&mut chip, 4), 0);
    assert_eq!(status_after(&mut chip, 8), 0);
    assert_eq!(status_after(&mut chip, 2), 0);
    assert_eq!(status_after(&mut chip, 1), 1);
    assert_eq!(status_after(&mut chip, 1 | 8), 1);
    assert_eq!(status_after(&mut chip, 3), 3);
    assert_eq!(status_after(&mut chip, 3 | 4), 3);
}

#[test]
fn bits_are_cleared_by_reset_only() {
    let mut chip = agreed();
    for fewer in [1, 3, 8, 4] {
        assert_eq!(status_after(&mut chip, fewer), 11);
    }
    assert_eq!(status_after(&mut chip, 11 | 0x40), 11, "DEVICE_NEEDS_RESET is not the driver's");
    assert_eq!(chip.write(reg::VIRTIO_MMIO_STATUS, 0), Action::Reset);
    assert_eq!((chip.status(), chip.features()), (0, 0));
}

#[test]
fn driver_that_gave_up_gets_no_further() {
    let mut chip = agreed();
    assert_eq!(status_after(&mut chip, 0x80 | 11), 0x8b);
    assert_eq!(chip.write(reg::VIRTIO_MMIO_STATUS, 0x80 | 15), Action::None);
    assert_eq!(chip.status(), 0x8b);
}

#[test]
fn driver_ok_activates_once() {
    let mut chip = agreed();
    assert_eq!(chip.write(reg::VIRTIO_MMIO_STATUS, 15), Action::Activate);
    assert_eq!(chip.write(reg::VIRTIO_MMIO_STATUS, 15), Action::None);
}

fn set_queue(chip: &mut Registers, value: u32) {
    for register in [0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4] {
        chip.write(register, value);
    }
    chip.write(reg::VIRTIO_MMIO_QUEUE_NUM, value);
}

#[test]
fn queues_are_set_up_between_features_ok_and_driver_ok() {
    let mut early = chip();
    set_queue(&mut early, 4);
    early.write(reg::VIRTIO_MMIO_QUEUE_READY, 1);
    assert_eq!(early.queues(), chip().queues());

    let mut chip = agreed();
    chip.write(reg::VIRTIO_MMIO_QUEUE_SEL, 1);
    set_queue(&mut chip, 4);
    chip.write(reg::VIRTIO_MMIO_QUEUE_READY, 1);
    let queue = chip.queues()[1];
    assert_eq!((queue.size, queue.ready), (4, true));
    for address in [queue.desc_table, queue.avail_ring, queue.used_ring] {
        assert_eq!(address, 0x4_0000_0004);
    }
    assert_eq!(chip.queues()[0], agreed().queues()[0]);
}

#[test]
fn ready_queue_is_frozen() {
    let mut chip = agreed();
    set_queue(&mut chip, 4);
    chip.write(reg::VIRTIO_MMIO_QUEUE_READY, 1);
    let before = chip.queues().to_vec();
    set_queue(&mut chip, 8);
    assert_eq!(chip.queues(), before);
}

#[test]
fn queues_are_frozen_after_driver_ok() {
    let mut chip = agreed();
    set_queue(&mut chip, 4);
    chip.write(reg::VIRTIO_MMIO_QUEUE_READY, 1);
    chip.write(reg::VIRTIO_MMIO_STATUS, 15);
    let before = chip.queues().to_vec();
    for queue in [0, 1] {
        chip.write(reg::VIRTIO_MMIO_QUEUE_SEL, queue);
        chip.write(reg::VIRTIO_MMIO_QUEUE_READY, 1 - queue.min(1));
        chip.write(reg::VIRTIO_MMIO_QUEUE_READY, 0);
        set_queue(&mut chip, 8);
    }
    assert_eq!(chip.queues(), before);
}

#[test]
fn queue_that_is_not_there_reads_zero_and_takes_nothing() {
    let mut chip = agreed();
    for queue in [2, 3, u32::MAX] {
        chip.write(reg::VIRTIO_MMIO_QUEUE_SEL, queue);
        set_queue(&mut chip, 4);
        chip.write(reg::VIRTIO_MMIO_QUEUE_READY, 1);
        assert_eq!(chip.read(reg::VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
        assert_eq!(chip.read(reg::VIRTIO_MMIO_QUEUE_READY), 0);
    }
    assert_eq!(chip.queues(), agreed().queues());
}

#[test]
fn queue_size_that_does_not_fit_is_not_cut() {
    let mut chip = agreed();
    chip.write(reg::VIRTIO_MMIO_QUEUE_NUM, 0x1_0008);
    assert_eq!(chip.queues()[0].size, 0, "refused when the driver is ready");
}

#[test]
fn there_is_no_shared_memory() {
    for register in [0xb0, 0xb4, 0xb8, 0xbc] {
        assert_eq!(chip().read(register), u32::MAX);
    }
}

proptest! {
    /// Whatever is written in whatever order: DRIVER_OK stands on FEATURES_OK on DRIVER, with
    /// features that were offered, and reset brings everything back.
    #[test]
    fn any_writes_leave_a_state_the_spec_knows(
        writes in prop::collection::vec((register(), value()), 0..200)
    ) {
        let mut chip = chip();
        for (offset, value) in writes {
            let before = chip.clone();
            let action = chip.write(offset, value);
            let status = chip.status();
            prop_assert!(status & 4 == 0 || status & 8 != 0);
            prop_assert!(status & 8 == 0 || status & 3 == 3);
            prop_assert!(status & 8 == 0 || chip.features() & !(VERSION_1 | SOME_FEATURE) == 0);
            prop_assert_eq!(status & 0x40, 0);
            if before.status() & 4 != 0 && action != Action::Reset {
                prop_assert_eq!(chip.queues(), before.queues());
                prop_assert_eq!(chip.features(), before.features());
            }
            let _ = chip.read(offset);
        }
        prop_assert_eq!(chip.write(reg::VIRTIO_MMIO_STATUS, 0), Action::Reset);
        let fresh = self::chip();
        prop_assert_eq!(chip.queues(), fresh.queues());
    }
}

fn register() -> impl Strategy<Value = u32> {
    prop_oneof![(0..64u32).prop_map(|index| index * 4), Just(reg::VIRTIO_MMIO_STATUS), any::<u32>()]
}

fn value() -> impl Strategy<Value = u32> {
    prop_oneof![prop::sample::select(vec![0, 1, 2, 3, 8, 11, 15, 0x80]), any::<u32>()]
}
