//! How the program fails: an exit code, what was attempted and why, and what to try next.

use std::fmt::{self, Display};
use std::io;

use blockdev::ErrorKind;
use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
use serde::{Deserialize, Serialize};
use vmm::control::client;

use crate::output::{self, paint::Mark};

/// Exit codes. 120 to 123 are a machine's own ends, see [`vmm::Exit::status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// It failed, and nothing below says it better.
    Failed = 1,
    /// The command makes no sense.
    Usage = 2,
    /// There is no such image, VM or file.
    NotFound = 3,
    /// It is in use, its name is taken, or others depend on it.
    InUse = 4,
    /// Data is not what it was, or not what it says.
    Integrity = 5,
    /// No space left.
    NoSpace = 6,
    /// KVM is absent or forbidden.
    NoKvm = 7,
    /// The time given was up.
    Timeout = 124,
    /// `run` failed before its guest ran.
    Early = 125,
    /// Ended by Ctrl-C.
    Interrupted = 130,
}

/// A failure with its own exit code; a link in an [`anyhow::Error`] chain.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure of any kind; `message` says what is wrong, in one line.
    pub fn new(code: Code, message: impl Display) -> Failure {
        Failure { code, message: message.to_string(), hint: None }
    }

    /// Something named is not there.
    pub fn not_found(message: impl Display) -> Failure {
        Failure::new(Code::NotFound, message)
    }

    /// Something is used by another, so this cannot be done to it.
    pub fn in_use(message: impl Display) -> Failure {
        Failure::new(Code::InUse, message)
    }

    /// What was asked makes no sense.
    pub fn usage(message: impl Display) -> Failure {
        Failure::new(Code::Usage, message)
    }

    /// Adds the next thing to try.
    pub fn hint(self, hint: impl Display) -> Failure {
        Failure { hint: Some(hint.to_string()), ..self }
    }

    /// Adds another thing to try.
    pub fn or_hint(self, other: impl Display) -> Failure {
        let hint = self.hint.as_deref().map_or(String::new(), |hint| format!("{hint}, or "));
        self.hint(format!("{hint}{other}"))
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Several failures of one command, each about another VM.
#[derive(Debug)]
pub struct Several(pub Vec<anyhow::Error>);

impl Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of them failed", self.0.len())
    }
}

impl std::error::Error for Several {}

/// One error of all that failed, if anything did.
///
/// # Errors
/// Something did.
pub fn all(mut errors: Vec<anyhow::Error>) -> anyhow::Result<()> {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        _ => Err(Several(errors).into()),
    }
}

/// As many names as a message holds.
pub const FEW: usize = 8;

/// Names for a message: all where they are few, else the first and how many more there are.
pub fn few<T: Display>(names: &[T]) -> String {
    let all = names.iter().take(FEW).map(T::to_string).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(FEW) {
        0 => all,
        more => format!("{all} and {more} more"),
    }
}

/// The process's stdout was closed by its reader: the end of the work, not a failure.
#[derive(Debug)]
pub struct StdoutClosed;

impl Display for StdoutClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the output any more")
    }
}

impl std::error::Error for StdoutClosed {}

/// The exit code an error means.
pub fn code(error: &anyhow::Error) -> Code {
    if let Some(Several(errors)) = error.downcast_ref() {
        return errors.first().map_or(Code::Failed, code);
    }
    // The outermost, be it an error or the context of one: contexts are no links of the chain.
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.code;
    }
    error.chain().find_map(code_of_link).unwrap_or(Code::Failed)
}

fn code_of_link(link: &(dyn std::error::Error + 'static)) -> Option<Code> {
    if let Some(error) = link.downcast_ref::<io::Error>() {
        return code_of_io(error.kind());
    }
    if let Some(error) = link.downcast_ref::<blockdev::Error>() {
        return code_of_disk(error.kind());
    }
    if let Some(error) = link.downcast_ref::<blockdev::sealed::Error>() {
        return code_of_disk(error.kind());
    }
    if let Some(error) = link.downcast_ref::<client::Error>() {
        // That its socket is not there does not mean that the VM is not.
        return Some(error.kind().and_then(code_of_disk).unwrap_or(Code::Failed));
    }
    match link.downcast_ref::<vmm::Error>() {
        Some(vmm::Error::Kvm(_)) => return Some(Code::NoKvm),
        // A layer of a disk that exists is not looked for, it is lost.
        Some(vmm::Error::Disk { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Some(Code::Integrity);
        }
        _ => {}
    }
    let error = link.downcast_ref::<rusqlite::Error>()?;
    if is_nonsense(error) {
        return Some(Code::Integrity);
    }
    // Its index in shared memory could not grow, for which there is no other reason.
    if error.sqlite_error()?.extended_code == SQLITE_IOERR_SHMSIZE {
        return Some(Code::NoSpace);
    }
    match error.sqlite_error_code()? {
        ErrorCode::DiskFull => Some(Code::NoSpace),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Some(Code::Integrity),
        ErrorCode::DatabaseBusy => Some(Code::InUse),
        _ => None,
    }
}

/// Whether a row of the inventory holds what nobody writes there.
fn is_nonsense(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    matches!(
        error,
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..)
    )
}

fn code_of_io(kind: io::ErrorKind) -> Option<Code> {
    match kind {
        io::ErrorKind::NotFound => Some(Code::NotFound),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(Code::NoSpace),
        _ => None,
    }
}

/// The exit code that failures of this kind have, if they have one of their own.
pub fn code_of_disk(kind: ErrorKind) -> Option<Code> {
    match kind {
        ErrorKind::NotFound => Some(Code::NotFound),
        ErrorKind::Busy | ErrorKind::Exists => Some(Code::InUse),
        ErrorKind::Integrity => Some(Code::Integrity),
        ErrorKind::NoSpace => Some(Code::NoSpace),
        ErrorKind::Interrupted => Some(Code::Interrupted),
        _ => None,
    }
}

/// Whether a filesystem is mounted so that nothing on it can be written.
fn is_read_only(link: &(dyn std::error::Error + 'static)) -> bool {
    let of_io = link.downcast_ref::<io::Error>().map(io::Error::kind);
    let of_database = link.downcast_ref::<rusqlite::Error>().and_then(|it| it.sqlite_error_code());
    of_io == Some(io::ErrorKind::ReadOnlyFilesystem) || of_database == Some(ErrorCode::ReadOnly)
}

/// The whole chain in one line, no part of it twice, and nothing in it that does things to a terminal:
/// files of strangers are quoted in it, and called as they like.
pub fn text(error: &anyhow::Error) -> String {
    let mut text = String::new();
    // What SQLite has for a number, its parent says in words.
    let links = error.chain().filter(|link| !link.is::<rusqlite::ffi::Error>());
    for link in links.map(|link| output::harmless(&link.to_string())) {
        if text.ends_with(&link) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&link);
    }
    text
}

/// What to try where a filesystem is full.
const MAKE_ROOM: &str = "make room on that filesystem; offshoot df says what the store takes of it";

/// The next thing to try, when a link of the chain knows it.
pub fn hint(error: &anyhow::Error) -> Option<&str> {
    let outermost = error.downcast_ref::<Failure>().and_then(|failure| failure.hint.as_deref());
    outermost.or_else(|| error.chain().find_map(hint_of_link))
}

fn hint_of_link<'a>(link: &'a (dyn std::error::Error + 'static)) -> Option<&'a str> {
    if let Some(error) = link.downcast_ref::<blockdev::sealed::Error>() {
        return error.advice();
    }
    if let Some(client::Error::Unreachable { .. }) = link.downcast_ref() {
        return Some("offshoot ps; one that runs without its sockets: offshoot stop, then start");
    }
    if is_read_only(link) {
        return Some("mount it for writing, or use another store: --root DIR");
    }
    if link.downcast_ref().is_some_and(is_nonsense) {
        return Some("offshoot doctor --fix");
    }
    let of_failure = link.downcast_ref::<Failure>().and_then(|failure| failure.hint.as_deref());
    let of_disk = || link.downcast_ref::<blockdev::Error>().and_then(|error| error.advice());
    let of_machine = || link.downcast_ref::<client::Error>().and_then(advice_of_monitor);
    let own = of_failure.or_else(of_disk).or_else(of_machine);
    own.or_else(|| (code_of_link(link) == Some(Code::NoSpace)).then_some(MAKE_ROOM))
}

/// What to try where a monitor does not answer: it is stopped, or waits for the host.
const WAKE_IT: &str = "kill -CONT its process, which offshoot ps --format json has, if that was \
    stopped; offshoot stop --force ends it, and what its guest had flushed is kept";

fn advice_of_monitor(error: &client::Error) -> Option<&str> {
    match error {
        client::Error::NoAnswer { source, .. } if source.kind() == io::ErrorKind::TimedOut => {
            Some(WAKE_IT)
        }
        error => error.advice(),
    }
}

/// Prints an error for people, once, and returns what the process is to end with.
pub fn report(error: &anyhow::Error) -> u8 {
    if error.is::<StdoutClosed>() {
        return 0;
    }
    match error.downcast_ref::<Several>() {
        Some(Several(errors)) => errors.iter().for_each(print),
        None => print(error),
    }
    code(error) as u8
}

fn print(error: &anyhow::Error) {
    output::tell(&format!("{} {}\n", Mark::Bad.painted("offshoot:"), text(error)));
    if let Some(hint) = hint(error) {
        output::tell(&format!("{} {hint}\n", Mark::Notable.painted("try:")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_under_other_context_gives_code_and_hint() {
        let failure = Failure::not_found("there is no image x").hint("offshoot image ls");
        let error = anyhow::Error::new(failure).context("cannot clone x");
        assert_eq!(code(&error), Code::NotFound);
        assert_eq!(hint(&error), Some("offshoot image ls"));
        assert_eq!(text(&error), "cannot clone x: there is no image x");
    }

    #[test]
    fn a_failure_as_context_gives_the_code_and_what_it_is_about_the_hint() {
        let failure = Failure::not_found("there is no image x").hint("offshoot image ls");
        let early = Failure::new(Code::Early, "cannot run x");
        let error = anyhow::Error::new(failure).context(early);
        assert_eq!(code(&error), Code::Early);
        assert_eq!(hint(&error), Some("offshoot image ls"));
    }

    #[test]
    fn a_full_disk_is_recognised_at_any_depth() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = anyhow::Error::new(full).context("cannot write base").context("cannot import");
        assert_eq!(code(&error), Code::NoSpace);
    }

    #[test]
    fn a_monitors_failure_has_the_code_and_the_hint_it_would_have_here() {
        let refused = |kind, advice: Option<&str>| client::Error::Refused {
            status: 500,
            message: "why".into(),
            kind,
            advice: advice.map(str::to_owned),
        };
        let full = anyhow::Error::new(refused(Some(ErrorKind::NoSpace), None)).context("cannot");
        assert_eq!((code(&full), hint(&full)), (Code::NoSpace, Some(MAKE_ROOM)));
        let busy = anyhow::Error::new(refused(Some(ErrorKind::Busy), Some("wait"))).context("no");
        assert_eq!((code(&busy), hint(&busy)), (Code::InUse, Some("wait")));
        let older = anyhow::Error::new(refused(None, None));
        assert_eq!((code(&older), hint(&older)), (Code::Failed, None));
    }

    #[test]
    fn a_vm_whose_socket_is_gone_is_there_all_the_same() {
        let source = io::ErrorKind::NotFound.into();
        let error = client::Error::Unreachable { path: "/run/c".into(), source };
        let error = error.into();
        assert_eq!(code(&error), Code::Failed);
        assert!(hint(&error).is_some_and(|hint| hint.contains("offshoot stop, then start")));
    }

    #[test]
    fn what_a_stranger_wrote_does_nothing_to_the_terminal() {
        let error = anyhow::anyhow!("unknown field `\x1b]0;owned\x07`\r").context("a\tb\nc");
        assert_eq!(text(&error), "a\tb\nc: unknown field `\\u{1b}]0;owned\\u{7}`\\r");
    }

    #[test]
    fn of_many_names_the_first_and_the_number_of_the_rest_are_said() {
        let names: Vec<u32> = (1..=1000).collect();
        assert_eq!(few(&names[..3]), "1, 2, 3");
        assert_eq!(few(&names[..8]), "1, 2, 3, 4, 5, 6, 7, 8");
        assert_eq!(few(&names), "1, 2, 3, 4, 5, 6, 7, 8 and 992 more");
    }

    #[test]
    fn a_cause_its_parent_repeats_is_printed_once() {
        let error = anyhow::anyhow!("disk on fire").context("cannot start: disk on fire");
        assert_eq!(text(&error), "cannot start: disk on fire");
    }
}
