//! This process's terminal: raw while a guest's console is on it, and always as it was after.

use std::io;
use std::os::fd::AsFd;

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

use crate::output;

/// The terminal on stdin in raw mode. Dropping it puts the terminal back.
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Makes the terminal on stdin raw: every key goes through as it is, Ctrl-C too. `None` when
    /// stdin is no terminal.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn enter() -> io::Result<Option<Raw>> {
        let stdin = io::stdin();
        if !isatty(&stdin) {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin.as_fd(), OptionalActions::Now, &raw)?;
        Ok(Some(Raw { before }))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(io::stdin(), OptionalActions::Now, &self.before) {
            log::warn!("the terminal stays raw, `reset` helps: {error}");
        }
    }
}

/// Whether a terminal may do something else with this character than show it. Lines and tabs are
/// what texts are made of.
pub fn is_control(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
}

/// Asks whoever is at the terminal on stdin a question; anything but a yes is a no. `None` when
/// nobody is.
///
/// # Errors
/// The terminal cannot be read.
pub fn confirm(question: &str) -> io::Result<Option<bool>> {
    let stdin = io::stdin();
    if !isatty(&stdin) {
        return Ok(None);
    }
    output::tell(&format!("{question} [y/N] "));
    let mut answer = String::new();
    stdin.read_line(&mut answer)?;
    Ok(Some(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")))
}
