//! The other end of the control socket, for the command line: one request, one answer, and a
//! limit on how long that may take.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use blockdev::ErrorKind;
use serde::de::DeserializeOwned;

use super::http::Fault;
use super::state::{Instance, MachineConfig, Snapshot};
use crate::layers::{Operation, Status};

/// No answer has more bytes.
const MAX_ANSWER: usize = 64 << 10;

/// Why a machine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens there: the machine is not running.
    #[error("cannot reach the machine at {}", path.display())]
    Unreachable {
        /// The control socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke, or the machine took too long.
    #[error("no answer from the machine at {}", path.display())]
    NoAnswer {
        /// The control socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The machine said no.
    #[error("the machine refused: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its reason.
        message: String,
        /// What sort of reason that is, where the request was not at fault.
        kind: Option<ErrorKind>,
        /// What a person may try next.
        advice: Option<String>,
    },
}

impl Error {
    /// What sort of failure the machine says it is.
    #[must_use]
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Error::Refused { kind, .. } => *kind,
            Error::Unreachable { .. } | Error::NoAnswer { .. } => None,
        }
    }

    /// What a person may try next, as the machine says.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        match self {
            Error::Refused { advice, .. } => advice.as_deref(),
            Error::Unreachable { .. } | Error::NoAnswer { .. } => None,
        }
    }
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// A machine, by its control socket.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
    timeout: Duration,
}

impl Client {
    /// The machine whose control socket is at `path`; each call takes at most `timeout`.
    #[must_use]
    pub fn new(path: &Path, timeout: Duration) -> Client {
        Client { path: path.to_owned(), timeout }
    }

    /// What it is and does.
    ///
    /// # Errors
    /// As every call: it is not there, does not answer in time, or refuses.
    pub fn describe(&self) -> Result<Instance> {
        self.get("/")
    }

    /// What it was made of.
    ///
    /// # Errors
    /// As [`describe`](Client::describe).
    pub fn machine_config(&self) -> Result<MachineConfig> {
        self.get("/machine-config")
    }

    /// Stops its vCPUs and quiesces its devices; done when this returns.
    ///
    /// # Errors
    /// As [`describe`](Client::describe).
    pub fn pause(&self) -> Result<()> {
        self.request("PATCH", "/vm", r#"{"state":"Paused"}"#).map(drop)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// As [`describe`](Client::describe).
    pub fn resume(&self) -> Result<()> {
        self.request("PATCH", "/vm", r#"{"state":"Resumed"}"#).map(drop)
    }

    /// Presses its power button; what follows is up to the guest.
    ///
    /// # Errors
    /// As [`describe`](Client::describe).
    pub fn power_button(&self) -> Result<()> {
        self.request("PUT", "/offshoot/power-button", "").map(drop)
    }

    /// Ends it now, whatever the guest does. Its process ends soon after this returns.
    ///
    /// # Errors
    /// As [`describe`](Client::describe).
    pub fn stop(&self) -> Result<()> {
        self.request("PUT", "/offshoot/stop", "").map(drop)
    }

    /// Freezes the top layer of its first disk and has it go on with the one in `delta`, which is
    /// empty, was made on the other, and has taken its place durably.
    ///
    /// # Errors
    /// As [`describe`](Client::describe). After no answer, the layers' files tell what happened.
    pub fn snapshot(&self, delta: &Path) -> Result<Snapshot> {
        let body = serde_json::json!({ "delta": delta }).to_string();
        let answer = self.request("PUT", "/offshoot/snapshot", &body)?;
        self.understand(&answer)
    }

    /// Makes its first disk `size` bytes long and tells the guest.
    ///
    /// # Errors
    /// As [`describe`](Client::describe).
    pub fn grow(&self, size: u64) -> Result<()> {
        let body = serde_json::json!({ "size": size }).to_string();
        self.request("PUT", "/offshoot/grow", &body).map(drop)
    }

    /// Begins an operation on the layers of its first disk.
    ///
    /// # Errors
    /// As [`describe`](Client::describe); another operation may be under way.
    pub fn begin(&self, operation: &Operation) -> Result<()> {
        let body = serde_json::to_string(operation).expect("it is plain data");
        self.request("PUT", "/offshoot/layers", &body).map(drop)
    }

    /// How far the last such operation is.
    ///
    /// # Errors
    /// As [`describe`](Client::describe).
    pub fn progress(&self) -> Result<Status> {
        self.get("/offshoot/layers")
    }

    /// Breaks it off. It has ended when [`progress`](Client::progress) says so.
    ///
    /// # Errors
    /// As [`describe`](Client::describe).
    pub fn break_off(&self) -> Result<()> {
        self.request("DELETE", "/offshoot/layers", "").map(drop)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let body = self.request("GET", path, "")?;
        self.understand(&body)
    }

    fn understand<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T> {
        serde_json::from_slice(body).map_err(|error| self.no_answer(error.into()))
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Result<Vec<u8>> {
        let unreachable = |source| Error::Unreachable { path: self.path.clone(), source };
        let stream = UnixStream::connect(&self.path).map_err(unreachable)?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(stream, request.as_bytes(), Instant::now() + self.timeout);
        let (status, body) = answer.map_err(|source| self.no_answer(source))?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        Err(match serde_json::from_slice(&body) {
            Ok(Fault { fault_message: message, kind, try_next: advice }) => {
                Error::Refused { status, message, kind, advice }
            }
            Err(_) => {
                let message = format!("no reason given, status {status}");
                Error::Refused { status, message, kind: None, advice: None }
            }
        })
    }

    fn no_answer(&self, source: io::Error) -> Error {
        Error::NoAnswer { path: self.path.clone(), source }
    }
}

/// Sends `request` and reads the answer up to the end of the connection.
fn exchange(
    mut stream: UnixStream,
    request: &[u8],
    deadline: Instant,
) -> io::Result<(u16, Vec<u8>)> {
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => answer.extend_from_slice(&chunk[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
        if answer.len() > MAX_ANSWER {
            return Err(io::Error::other("the answer is too long"));
        }
    }
    parse(&answer).ok_or_else(|| io::Error::other("the answer is no HTTP"))
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(answer).ok()? else { return None };
    Some((head.code?, answer.get(length..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::http::Response;
    use crate::control::socket::{Server, listen};
    use crate::control::state::{Instance, State};
    use crate::machine::Condition;
    use crate::poll::Watch;
    use crate::trouble::{Reason, Trouble};
    use std::thread;

    const TIMEOUT: Duration = Duration::from_secs(30);

    /// Answers one request with `response`, over the real server.
    fn against<T>(response: Response, call: impl FnOnce(Client) -> T) -> T {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        let mut server = Server::new(Some(listen(&path).unwrap())).unwrap();
        let served = thread::spawn(move || {
            let mut answered = false;
            while !answered {
                let mut watch = Watch::default();
                server.watch(&mut watch);
                watch.wait(None).unwrap();
                server.serve(|_| {
                    answered = true;
                    Some(response.clone())
                });
            }
        });
        let result = call(Client::new(&path, TIMEOUT));
        served.join().unwrap();
        result
    }

    #[test]
    fn description_comes_back_as_it_was() {
        let trouble = Trouble { reason: Reason::NoSpace, message: "full".into() };
        let instance = Instance::new("web-3", Condition::Paused);
        let instance = Instance { trouble: Some(trouble), ..instance };
        let response = Response::json(&instance);
        assert!(response.body.windows(6).any(|bytes| bytes == b"Paused"));
        assert_eq!(against(response, |client| client.describe()).unwrap(), instance);
        assert_eq!(instance.state, State::Paused);
    }

    #[test]
    fn refusal_says_why() {
        let error = against(Response::fault(400, "not now"), |client| client.pause()).unwrap_err();
        assert_eq!(error.to_string(), "the machine refused: not now");
        assert_eq!((error.kind(), error.advice()), (None, None));
        let busy = Response::failed(&crate::Error::LayersBusy);
        let error = against(busy, |client| client.grow(1)).unwrap_err();
        assert_eq!(error.kind(), Some(ErrorKind::Busy));
        assert_eq!(error.advice(), Some("wait for it to end"));
    }

    #[test]
    fn absent_machine_is_told_from_a_silent_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        let client = Client::new(&path, Duration::from_millis(1));
        assert!(matches!(client.stop(), Err(Error::Unreachable { .. })));
        let _listener = listen(&path).unwrap();
        assert!(matches!(client.stop(), Err(Error::NoAnswer { .. })));
    }
}
