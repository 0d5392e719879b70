#![no_main]

use customize::{Guest, Mac, Spec};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(spec) = Spec::parse(text) else { return };
    // What was fit for one clone may be refused for another, and no more.
    let guest = Guest {
        name: "a-longer-name-than-that".into(),
        number: u32::MAX,
        uuid: "b5a1a7a4-4a53-4c6c-9a2a-1f3c0d8f7e61".parse().unwrap(),
        mac: Mac::local([255; 6]),
    };
    if let Ok(rendered) = spec.render(&guest) {
        assert!(!rendered.hostname.contains(char::is_control), "{:?}", rendered.hostname);
        assert!(!rendered.cmdline.contains(char::is_control), "{:?}", rendered.cmdline);
    }
});
