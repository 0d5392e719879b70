//! Progress on stderr, when that is a terminal and nobody asked for quiet.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use indicatif::{
    BinaryBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use crate::console::Signals;

/// A bar that counts bytes; its length is told with the first of them, and until then there is
/// only what is done and for how long.
pub fn bytes(what: String, quiet: bool) -> ProgressBar {
    let bar = bar(what, quiet, "{msg}  {bar:30}  {amount}");
    let style = bar.style().with_key("amount", amount);
    bar.set_style(style);
    bar.unset_length();
    bar
}

/// How much of how much, how fast, how long still.
fn amount(state: &ProgressState, out: &mut dyn fmt::Write) {
    let result = match state.len() {
        None => write!(out, "{}", HumanDuration(state.elapsed())),
        Some(all) => write!(
            out,
            "{} of {}  {}/s  {}",
            BinaryBytes(state.pos()),
            BinaryBytes(all),
            BinaryBytes(per_second(state)),
            HumanDuration(state.eta())
        ),
    };
    // Whoever draws the bar sees that it could not.
    let _ = result;
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes, never negative")]
fn per_second(state: &ProgressState) -> u64 {
    state.per_sec() as u64
}

/// Has a bar of bytes follow what is told, until a signal comes.
pub fn watch(bar: &ProgressBar, signals: &Signals) -> impl FnMut(u64, u64) -> ControlFlow<()> {
    let mut first = true;
    move |done, all| {
        if std::mem::take(&mut first) {
            // What came before (a kernel unpacked, tables read) says nothing of the copy's speed.
            bar.reset_eta();
        }
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
