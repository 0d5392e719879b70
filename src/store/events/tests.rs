use std::thread;

use tempfile::TempDir;

use super::*;

fn dir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn event(n: usize) -> Event {
    Event::new("tick").with("n", n)
}

/// What has come since the last look.
fn numbers(events: &mut Events) -> Vec<u64> {
    let mut numbers = Vec::new();
    let read = events.read(None, |line| {
        let value: Value = serde_json::from_slice(line).expect("JSON");
        numbers.push(value["n"].as_u64().expect("a number"));
        Ok::<_, io::Error>(())
    });
    read.expect("read");
    numbers
}

#[test]
fn events_come_in_order_and_each_once() {
    let dir = dir();
    let mut events = Events::open(dir.path()).expect("opened");
    assert!(numbers(&mut events).is_empty());
    tell(dir.path(), (0..3).map(event));
    assert_eq!(numbers(&mut events), [0, 1, 2]);
    tell(dir.path(), [event(3)]);
    assert_eq!(numbers(&mut events), [3]);
    assert_eq!(numbers(&mut Events::open(dir.path()).expect("opened")), [0, 1, 2, 3]);
}

#[test]
fn a_torn_line_is_skipped_and_costs_no_other() {
    let dir = dir();
    tell(dir.path(), [event(0)]);
    let mut log = File::options().append(true).open(dir.path().join(FILE)).expect("a log");
    log.write_all(b"{\"time\":\"2026-").expect("written");
    tell(dir.path(), [event(1)]);
    log.write_all(&[0; 3 * LONGEST]).expect("written");
    log.write_all(b"\n[]\n\n").expect("written");
    tell(dir.path(), [event(2)]);
    assert_eq!(numbers(&mut Events::open(dir.path()).expect("opened")), [0, 1, 2]);
}

#[test]
fn a_line_that_would_be_too_long_loses_its_details_only() {
    let dir = dir();
    tell(dir.path(), [Event::new("tick").with("text", "x".repeat(LONGEST))]);
    let text = fs::read_to_string(dir.path().join(FILE)).expect("a log");
    let line: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&line["event"], &line["cut"]), (&"tick".into(), &true.into()));
}

#[test]
fn a_follower_misses_nothing_while_many_write_and_files_change() {
    const WRITERS: usize = 4;
    const EACH: usize = 150;
    let dir = dir();
    let padding = "x".repeat(LONGEST - 200);
    // Begun long, so that the file changes several times.
    let wide = |n: usize| event(n).with("padding", &padding);
    let mut events = Events::open(dir.path()).expect("opened");
    let mut seen = Vec::new();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (dir, wide) = (dir.path(), &wide);
                scope.spawn(move || {
                    for n in 0..EACH * 3 {
                        tell(dir, [wide(writer * 10_000 + n)]);
                    }
                })
            })
            .collect();
        while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
            seen.extend(numbers(&mut events));
        }
    });
    seen.extend(numbers(&mut events));
    assert!(old(dir.path()).exists(), "the file never changed");
    for writer in 0..WRITERS {
        let own = seen.iter().filter(|&&n| n / 10_000 == writer as u64).map(|n| n % 10_000);
        assert!(own.eq(0..EACH as u64 * 3), "events of writer {writer} are missing");
    }
}

#[test]
fn only_what_happened_since_is_wanted() {
    let dir = dir();
    tell(dir.path(), [event(0)]);
    let mut events = Events::open(dir.path()).expect("opened");
    let later = Timestamp::from_millis(Timestamp::now().millis() + 60_000);
    let read = events.read(Some(later), |_| Err(io::Error::other("it is from before")));
    read.expect("nothing");
}
