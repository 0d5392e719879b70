#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    serve::nbd::testing::fuzz(bytes);
});
