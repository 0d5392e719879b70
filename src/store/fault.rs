//! Where a test can have this process die, as a power failure or `kill -9` would.

/// Ends the process at once where `OFFSHOOT_TEST_DIE_AT` names this point. Release builds have no
/// such points.
pub fn point(name: &str) {
    #[cfg(debug_assertions)]
    if std::env::var_os("OFFSHOOT_TEST_DIE_AT").is_some_and(|wanted| wanted == name) {
        let myself = rustix::process::getpid();
        let _ = rustix::process::kill_process(myself, rustix::process::Signal::KILL);
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}
