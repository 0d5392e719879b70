//! What the black-box tests share: the real binary with a store of its own, the machine that
//! Linux guests run on, and a way to look into a clone's disk from outside.
#![allow(dead_code, reason = "each test program uses its part")]

pub mod disk;
pub mod filesystem;
pub mod host;
pub mod store;

/// Whether this machine's KVM can be used. Where it cannot, says so and what is left out; where
/// everything must run (CI=true) that is a failure.
pub fn kvm(test: &str) -> bool {
    match vmm::kvm::check() {
        Ok(_) => true,
        Err(error) => {
            eprintln!("NOT TESTED: {test}: {error}");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "CI needs a usable KVM");
            false
        }
    }
}
