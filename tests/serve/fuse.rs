//! A served disk as a file, so that programs that know nothing of NBD work on it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Server, run, text, web};

/// The disk of a server, mounted as a file by libnbd's nbdfuse.
struct Mounted {
    nbdfuse: Child,
    folder: PathBuf,
}

impl Mounted {
    fn new(server: &Server, folder: PathBuf) -> Mounted {
        fs::create_dir(&folder).expect("a folder");
        let ready = folder.with_extension("pid");
        let mut nbdfuse = Command::new("nbdfuse");
        nbdfuse.args(["-P", text(&ready), text(&folder), &server.uri()]).stdin(Stdio::null());
        let mut nbdfuse = nbdfuse.spawn().expect("nbdfuse is installed");
        while !ready.exists() {
            assert!(nbdfuse.try_wait().expect("ours").is_none(), "nbdfuse ended early");
            thread::yield_now();
        }
        Mounted { nbdfuse, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("nbd")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // It unmounts when it is asked to end.
        let _ = kill_process(Pid::from_child(&self.nbdfuse), Signal::TERM);
        let _ = self.nbdfuse.wait();
    }
}

#[test]
fn a_file_system_is_made_on_the_disk_itself_and_is_there_the_next_time() {
    let fuse = fs::File::options().read(true).write(true).open("/dev/fuse");
    if fuse.is_err() || !rustix::process::geteuid().is_root() {
        return eprintln!("NOT TESTED: file systems through nbdfuse: only root has /dev/fuse");
    }
    let store = web();
    let server = Server::start(&store, []);
    let mounted = Mounted::new(&server, store.folder().join("first"));
    run("mkfs.ext4", ["-q", "-F", "-d", "docs", text(&mounted.file())]);
    drop(mounted);
    assert_eq!(server.end(Signal::TERM), Some(0));
    let server = Server::start(&store, ["--read-only"]);
    let mounted = Mounted::new(&server, store.folder().join("second"));
    run("e2fsck", ["-fn", text(&mounted.file())]);
}
