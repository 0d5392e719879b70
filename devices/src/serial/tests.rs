//! The port from the guest's side.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;
use crate::virtio::worker::Sleeper;

const DATA: u64 = 0;
const INTERRUPT_ENABLE: u64 = 1;
const MODEM_CONTROL: u64 = 4;
const LINE_STATUS: u64 = 5;

#[derive(Default)]
struct Counter(AtomicU64);

impl Irq for Counter {
    fn raise(&self) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn port() -> (Serial, Arc<Counter>, Sink) {
    let (irq, sink) = (Arc::new(Counter::default()), Sink::default());
    (Serial::new(irq.clone(), Box::new(sink.clone())).unwrap(), irq, sink)
}

fn read(port: &mut Serial, register: u64) -> u8 {
    let mut data = [0];
    port.read(register, &mut data);
    data[0]
}

fn write(port: &mut Serial, register: u64, value: u8) {
    assert_eq!(port.write(register, &[value]), Effect::None);
}

#[test]
fn what_the_guest_sends_comes_out() {
    let (mut port, _, sink) = port();
    for byte in b"hello\n" {
        assert_ne!(read(&mut port, LINE_STATUS) & 0x20, 0, "ready to send");
        write(&mut port, DATA, *byte);
    }
    assert_eq!(*sink.0.lock().unwrap(), b"hello\n");
}

#[test]
fn input_interrupts_and_is_read_in_order() {
    let (mut port, irq, _) = port();
    write(&mut port, INTERRUPT_ENABLE, 1);
    assert_eq!(port.enqueue(b"abc"), 3);
    assert_eq!(irq.0.load(Ordering::SeqCst), 1);
    let bytes = [(); 3].map(|()| read(&mut port, DATA));
    assert_eq!(&bytes, b"abc");
    assert_eq!(read(&mut port, LINE_STATUS) & 1, 0, "nothing left");
}

#[test]
fn full_fifo_takes_nothing_more() {
    let (mut port, ..) = port();
    assert_eq!(port.enqueue(&[1; 1000]), 64);
    assert_eq!(port.enqueue(&[2; 1000]), 0);
    read(&mut port, DATA);
    assert_eq!(port.enqueue(&[3; 1000]), 1);
}

#[test]
fn leaving_loopback_asks_for_input_again() {
    let (mut port, ..) = port();
    let wanted = port.input_wanted().unwrap();
    write(&mut port, MODEM_CONTROL, 0x10);
    let _ = wanted.read();
    assert_eq!(port.enqueue(b"x"), 0, "loopback takes no input");
    write(&mut port, MODEM_CONTROL, 0);
    assert_eq!(wanted.read().unwrap(), 1);
    assert_eq!(port.enqueue(b"x"), 1);
}

#[test]
fn pasted_mebibyte_arrives_whole() {
    let (port, ..) = port();
    let wanted = port.input_wanted().unwrap();
    let port = Arc::new(Mutex::new(port));
    let paste: Vec<u8> =
        (0..1u32 << 20).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let guest = thread::spawn({
        let (port, len) = (port.clone(), paste.len());
        move || {
            let mut received = Vec::new();
            while received.len() < len {
                let mut port = port.lock().unwrap();
                if read(&mut port, LINE_STATUS) & 1 != 0 {
                    received.push(read(&mut port, DATA));
                } else {
                    drop(port);
                    thread::yield_now();
                }
            }
            received
        }
    });
    let sleeper = Sleeper::new().unwrap();
    sleeper.add(&wanted).unwrap();
    let mut rest = &paste[..];
    while !rest.is_empty() {
        let _ = wanted.read();
        let taken = port.lock().unwrap().enqueue(rest);
        rest = &rest[taken..];
        if taken == 0 {
            sleeper.sleep().unwrap();
        }
    }
    assert!(guest.join().unwrap() == paste);
}
