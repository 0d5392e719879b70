#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    distro::fuzz::disk(bytes);
});
