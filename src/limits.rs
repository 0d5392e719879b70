//! What the system allows this process.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Lets this process and its children have as many files open as may be: a disk takes two
/// descriptors for each of its layers, and the usual 1024 are few for that.
pub fn raise() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        log::debug!("no more files than usual can be open: {error}");
    }
}
