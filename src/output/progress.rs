//! Progress on stderr, when that is a terminal and nobody asked for quiet.

use std::ops::ControlFlow;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console::Signals;

/// A bar that counts bytes; its length is told with the first of them.
pub fn bytes(what: String, quiet: bool) -> ProgressBar {
    bar(
        what,
        quiet,
        "{msg}  {bar:30}  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta}",
    )
}

/// Has a bar of bytes follow what is told, until a signal comes.
pub fn watch(bar: &ProgressBar, signals: &Signals) -> impl FnMut(u64, u64) -> ControlFlow<()> {
    move |done, all| {
        bar.set_length(all);
        bar.set_position(done);
        match signals.pending() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// A bar that counts things.
pub fn count(what: String, length: u64, quiet: bool) -> ProgressBar {
    let bar = bar(what, quiet, "{msg}  {bar:30}  {pos} of {len}  {elapsed}");
    bar.set_length(length);
    bar
}

fn bar(what: String, quiet: bool, template: &'static str) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let style = ProgressStyle::with_template(template).expect("the templates above are valid");
    let bar = ProgressBar::with_draw_target(Some(0), target).with_style(style).with_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
