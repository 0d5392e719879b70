#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    blockdev::fuzz::vmdk(bytes);
});
