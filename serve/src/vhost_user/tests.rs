//! Front ends that are none. A real one is QEMU, in the root package's tests.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use blockdev::{Stack, StackSpec, delta};
use rustix::event::{EventfdFlags, eventfd};
use vhost::vhost_user::message::VhostUserMemoryRegion;

use super::memory::Memory;
use super::{Settings, serve};
use crate::{Served, Socket};

/// Serves an empty disk to `talk`, and returns when both have ended.
fn with_server(talk: impl FnOnce(&dyn Fn() -> UnixStream)) {
    let dir = tempfile::tempdir().unwrap();
    let delta = dir.path().join("delta");
    delta::create(&delta, 1 << 20, &delta::Parent::nothing()).unwrap();
    let spec = StackSpec { delta: Some(delta), ..StackSpec::default() };
    let disk = Served::new(&Stack::open(&spec).unwrap(), Arc::new(|_| {}));
    let settings = Settings { id: "web".into(), size: 1 << 20, read_only: false, queues: 1 };
    let path = dir.path().join("s");
    let socket = Socket::listen(&path).unwrap();
    let stop = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    thread::scope(|scope| {
        let server = scope.spawn(|| serve(&socket, &disk, &settings, stop.as_fd()));
        talk(&|| {
            let stream = UnixStream::connect(&path).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            stream
        });
        rustix::io::write(&stop, &1u64.to_ne_bytes()).unwrap();
        server.join().unwrap().unwrap();
    });
}

/// A message of version 1.
fn message(request: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap();
    [&request.to_le_bytes(), &1u32.to_le_bytes(), &len.to_le_bytes(), body].concat()
}

#[test]
fn garbage_ends_that_front_end_and_the_next_is_served() {
    with_server(|connect| {
        for garbage in [vec![0xee; 64], message(u32::MAX, &[]), message(8, &[0xff; 40])] {
            let mut stream = connect();
            stream.write_all(&garbage).unwrap();
            drop(stream);
        }
        let mut stream = connect();
        // GET_FEATURES
        stream.write_all(&message(1, &[])).unwrap();
        let mut answer = [0; 20];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..4], 1u32.to_le_bytes());
    });
}

#[test]
fn front_ends_that_neither_speak_on_nor_listen_do_not_keep_the_server_from_ending() {
    let mut mute = None;
    with_server(|connect| {
        let stream = mute.insert(connect());
        stream.write_all(&message(1, &[])[..5]).unwrap();
    });
    let mut deaf = None;
    with_server(|connect| {
        let stream = deaf.insert(connect());
        stream.set_nonblocking(true).unwrap();
        while stream.write_all(&message(1, &[])).is_ok() {}
    });
}

#[test]
fn queues_that_are_not_there_are_refused() {
    with_server(|connect| {
        for request in [8, 10, 11] {
            let mut stream = connect();
            stream.write_all(&message(request, &[7, 0, 0, 0, 0, 1, 0, 0])).unwrap();
            drop(stream);
        }
    });
}

#[test]
fn memory_beyond_its_file_is_not_mapped() {
    let file = || {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        file
    };
    let region = |len, offset| VhostUserMemoryRegion {
        guest_phys_addr: 0x1000,
        memory_size: len,
        user_addr: 0x7000,
        mmap_offset: offset,
    };
    let map = |region: VhostUserMemoryRegion, file: File| Memory::map(&[region], vec![file]);
    let memory = map(region(4096, 0), file()).unwrap();
    assert_eq!(memory.translate(0x7010), Some(0x1010));
    assert_eq!(memory.translate(0x8000), None);
    for (len, offset) in [(8192, 0), (4096, 4096), (0, 0), (u64::MAX, 0), (4096, u64::MAX)] {
        assert!(map(region(len, offset), file()).is_err(), "{len} bytes at {offset}");
    }
}
