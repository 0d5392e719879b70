//! Colours, with restraint: what runs, what wants a look, what is wrong. Text has them always;
//! [`print`](super::print) takes them out where nobody would see them.

use std::fmt::Write;

use anstyle::{AnsiColor, Effects, Style};

/// What something is marked as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// Nothing.
    #[default]
    Plain,
    /// It is as it should be, and worth seeing.
    Good,
    /// It wants a look.
    Notable,
    /// It is wrong.
    Bad,
}

impl Mark {
    fn style(self) -> Style {
        match self {
            Mark::Plain => Style::new(),
            Mark::Good => AnsiColor::Green.on_default(),
            Mark::Notable => AnsiColor::Yellow.on_default(),
            Mark::Bad => AnsiColor::Red.on_default().effects(Effects::BOLD),
        }
    }

    /// Adds `what` to a text, marked.
    pub fn paint(self, text: &mut String, what: &str) {
        let style = self.style();
        write!(text, "{style}{what}{style:#}").expect("a string takes all");
    }

    /// `what`, marked.
    pub fn painted(self, what: &str) -> String {
        let mut text = String::new();
        self.paint(&mut text, what);
        text
    }
}
