//! offshoot: virtual machines whose disks are linked clones.
//!
//! ```text
//!   args ──► cmd/<verb> ──► store (what there is)  +  monitor (what runs)
//!                  └── lab ─────────┴── output, failure (what people see)
//! ```

mod args;
mod cmd;
mod console;
mod failure;
mod lab;
mod limits;
mod monitor;
mod output;
mod parallel;
mod store;
mod terminal;

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    limits::raise();
    // A monitor is this program, too, and has no time for a command line.
    if let Some(duty) = monitor::Duty::of_this_process() {
        log_to_stderr(&std::env::var("OFFSHOOT_LOG").unwrap_or_else(|_| "warn".into()));
        return duty.perform();
    }
    cmd::answer_shell();
    let cli = args::Cli::of_this_process();
    log_to_stderr(&cli.global.log);
    output::choose_colors(cli.global.color);
    match cmd::perform(cli) {
        Ok(status) => ExitCode::from(status),
        Err(error) => ExitCode::from(failure::report(&error)),
    }
}

fn log_to_stderr(filter: &str) {
    env_logger::Builder::new()
        .parse_filters(filter)
        .format(|to, record| {
            let (now, level) = (store::Timestamp::now(), record.level());
            let said = output::harmless(&record.args().to_string());
            writeln!(to, "{now} {level} {}: {said}", record.target())
        })
        .init();
}
