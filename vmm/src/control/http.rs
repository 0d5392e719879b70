//! Just enough HTTP/1.1: bytes to a request, a response to bytes. No I/O here.
//!
//! RFC 9112. Bodies have a Content-Length; chunked ones are refused with 501. Header fields are
//! bounded in number and size, bodies in size.

use blockdev::ErrorKind;
use serde::{Deserialize, Serialize};

use crate::error::{Error, chain};

/// Bytes of a request line with its header fields.
const MAX_HEAD: usize = 8 << 10;
/// Bytes of a body: Firecracker's own limit is 50 KiB, and nothing here needs a hundredth.
const MAX_BODY: usize = 256 << 10;
/// No request is longer.
pub const MAX_REQUEST: usize = MAX_HEAD + MAX_BODY;
const MAX_FIELDS: usize = 32;

/// A complete request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `PUT`, ...
    pub method: String,
    /// With a leading slash, without a query.
    pub path: String,
    /// May be empty.
    pub body: Vec<u8>,
    /// Whether the client sends more after this one.
    pub keep_alive: bool,
}

/// What the bytes received so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Not a whole request yet.
    Partial,
    /// A request that took so many bytes.
    Whole(Request, usize),
    /// No request that can be served; the connection is of no further use.
    Bad(Response),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 204, 400, ...
    pub status: u16,
    /// The methods there are, with a 405.
    pub allow: Option<&'static str>,
    /// JSON, or empty.
    pub body: Vec<u8>,
}

/// How Firecracker words every refusal; the rest is offshoot's own.
#[derive(Debug, Serialize, Deserialize)]
pub struct Fault {
    /// For people.
    pub fault_message: String,
    /// What sort of failure it is; absent where the request itself was at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ErrorKind>,
    /// What a person may try next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub try_next: Option<String>,
}

impl Response {
    /// Done, nothing to say.
    pub fn done() -> Response {
        Response { status: 204, allow: None, body: Vec::new() }
    }

    /// `value` as JSON.
    pub fn json(value: &impl Serialize) -> Response {
        let body = serde_json::to_vec(value).expect("plain structs have a JSON form");
        Response { status: 200, allow: None, body }
    }

    /// Refused, because of `message`.
    pub fn fault(status: u16, message: impl Into<String>) -> Response {
        let fault = Fault { fault_message: message.into(), kind: None, try_next: None };
        Response { status, ..Response::json(&fault) }
    }

    /// Understood, but the machine or the host could not.
    pub fn failed(error: &Error) -> Response {
        let fault = Fault {
            fault_message: chain(error),
            kind: Some(error.kind()),
            try_next: error.advice().map(str::to_owned),
        };
        Response { status: 500, ..Response::json(&fault) }
    }

    /// The bytes to send.
    pub fn encode(&self, keep_alive: bool) -> Vec<u8> {
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nServer: offshoot\r\nConnection: {connection}\r\n",
            self.status,
            reason(self.status)
        );
        if let Some(methods) = self.allow {
            head += &format!("Allow: {methods}\r\n");
        }
        // RFC 9110 section 8.6: never with a 204.
        if self.status != 204 {
            let length = self.body.len();
            head += &format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
        }
        head += "\r\n";
        [head.as_bytes(), &self.body].concat()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        _ => "Internal Server Error",
    }
}

/// Reads one request from the start of `bytes`.
pub fn parse(bytes: &[u8]) -> Parsed {
    match parse_or_fault(bytes) {
        Ok(Some((request, length))) => Parsed::Whole(request, length),
        Ok(None) => Parsed::Partial,
        Err(response) => Parsed::Bad(response),
    }
}

fn parse_or_fault(bytes: &[u8]) -> Result<Option<(Request, usize)>, Response> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let too_large = || Response::fault(431, format!("the head has more than {MAX_HEAD} bytes"));
    let head_len = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
        Ok(_) => return Err(too_large()),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Response::fault(431, format!("more than {MAX_FIELDS} header fields")));
        }
        Err(error) => return Err(Response::fault(400, format!("no HTTP request: {error}"))),
    };
    let body_len = body_length(head.headers)?;
    let length = head_len + body_len;
    let Some(body) = bytes.get(head_len..length) else { return Ok(None) };
    let path = head.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let request = Request {
        method: head.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        body: body.to_vec(),
        keep_alive: keeps_alive(head.version, head.headers),
    };
    Ok(Some((request, length)))
}

fn body_length(fields: &[httparse::Header]) -> Result<usize, Response> {
    if field(fields, "transfer-encoding").next().is_some() {
        return Err(Response::fault(501, "no transfer encoding is understood; send the length"));
    }
    let mut lengths = field(fields, "content-length");
    let Some(length) = lengths.next() else { return Ok(0) };
    let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
    if lengths.next().is_some() || !digits {
        return Err(Response::fault(400, "Content-Length is not one number"));
    }
    let length = str::from_utf8(length).ok().and_then(|digits| digits.parse().ok());
    length
        .filter(|length| *length <= MAX_BODY)
        .ok_or_else(|| Response::fault(413, format!("the body has more than {MAX_BODY} bytes")))
}

fn keeps_alive(version: Option<u8>, fields: &[httparse::Header]) -> bool {
    let says = |word: &str| {
        field(fields, "connection")
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    };
    match version {
        Some(1) => !says("close"),
        _ => says("keep-alive"),
    }
}

fn field<'a>(fields: &'a [httparse::Header], name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> (Request, usize) {
        match parse(bytes) {
            Parsed::Whole(request, length) => (request, length),
            other => panic!("{other:?}"),
        }
    }

    fn refusal(bytes: &[u8]) -> u16 {
        match parse(bytes) {
            Parsed::Bad(response) => response.status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_of_one_stream_come_apart() {
        let first =
            b"PATCH /vm HTTP/1.1\r\nHost: x\r\ncontent-length: 18\r\n\r\n{\"state\":\"Paused\"}";
        let stream = [&first[..], b"GET /?x=1 HTTP/1.1\r\nConnection: foo, Close\r\n\r\n"].concat();
        let (request, length) = whole(&stream);
        assert_eq!((request.method.as_str(), request.path.as_str()), ("PATCH", "/vm"));
        assert_eq!(request.body, br#"{"state":"Paused"}"#);
        assert!(request.keep_alive);
        assert_eq!(length, first.len());
        let (request, _) = whole(&stream[length..]);
        assert_eq!((request.path.as_str(), request.keep_alive), ("/", false));
    }

    #[test]
    fn every_cut_of_a_request_is_partial() {
        let bytes = b"PUT /actions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Parsed::Partial, "{end} bytes");
        }
        assert_eq!(whole(bytes).1, bytes.len());
    }

    #[test]
    fn version_1_0_closes_unless_told_otherwise() {
        assert!(!whole(b"GET / HTTP/1.0\r\n\r\n").0.keep_alive);
        assert!(whole(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").0.keep_alive);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert_eq!(refusal(b"\x16\x03\x01\x00\xa5\x01\x00"), 400);
        assert_eq!(refusal(b"GET / HTTP/1.1\r\nbad header\r\n\r\n"), 400);
        for length in ["-1", "x", "", "1,1", "0x2", "+1"] {
            let bytes = format!("PUT / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
            assert_eq!(refusal(bytes.as_bytes()), 400, "{length}");
        }
        let twice = b"PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
        assert_eq!(refusal(twice), 400);
        assert_eq!(refusal(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), 501);
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_all_here() {
        let body = format!("PUT / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", MAX_BODY + 1);
        assert_eq!(refusal(body.as_bytes()), 413);
        let endless = b"PUT / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n";
        assert_eq!(refusal(endless), 413);
        let long = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'x'; MAX_HEAD]].concat();
        assert_eq!(refusal(&long), 431);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1));
        assert_eq!(refusal(many.as_bytes()), 431);
    }

    #[test]
    fn no_content_has_no_length() {
        let bytes = Response::done().encode(true);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("HTTP/1.1 204 No Content\r\n"));
        assert!(!text.contains("Content-Length"));
        assert!(text.ends_with("\r\n\r\n"));
    }

    #[test]
    fn fault_has_its_length_and_its_words() {
        let bytes = Response::fault(400, "no \"such\" thing").encode(false);
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        assert!(head.contains("Connection: close"));
        assert_eq!(body, r#"{"fault_message":"no \"such\" thing"}"#);
    }
}
