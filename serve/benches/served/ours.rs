//! Our server in a process of its own: this program, started again.

use std::fs::File;
use std::io::stdin;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use blockdev::{Stack, StackSpec};
use serve::nbd::{self, Export};
use serve::vhost_user::{self, Settings};
use serve::{Served, Socket};

use crate::client::Protocol;
use crate::report::Result;

/// What this program is told to be a server by.
pub const VERB: &str = "serve-for-the-bench";

/// Serves the stack that the file `spec` describes until stdin is closed, as `offshoot disk serve` does.
pub fn serve(protocol: Protocol, spec: &Path, socket: &Path) -> Result<()> {
    let spec: StackSpec = serde_json::from_reader(File::open(spec)?)?;
    let stack = Stack::open(&spec)?;
    let disk = Served::new(&stack, Arc::new(|_| {}));
    let (size, read_only) = (stack.size(), false);
    let socket = Socket::listen(socket)?;
    let stop = stdin();
    match protocol {
        Protocol::Nbd => {
            let export =
                Export { name: "bench".into(), description: String::new(), size, read_only };
            nbd::serve(&socket, &disk, &export, stop.as_fd())?;
        }
        Protocol::VhostUser => {
            let settings = Settings { id: "bench".into(), size, read_only, queues: 1 };
            vhost_user::serve(&socket, &disk, &settings, stop.as_fd())?;
        }
    }
    Ok(())
}
