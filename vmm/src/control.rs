//! The control socket: HTTP/1.1 and JSON, with Firecracker's paths for what there is. The whole
//! protocol is in docs/control-api.md.
//!
//! ```text
//!   client ──► socket ──► http ──► api ──► Call ──► the machine ──► Response ──► socket
//!              bytes      request  route
//! ```

mod api;
mod http;
mod socket;

pub mod client;
pub mod state;

pub use api::Call;
pub use client::Client;
pub use http::Response;
pub use socket::{Server, listen};
