//! What is read while a write is under way comes after that write, within limits.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::{ONE, any_event, at, bytes, chunk, conn, data, end, gap, open, run, segments};
use crate::connection::{EndReason, Limits, Segment};
use crate::event::{ConnId, Direction, Event};

use Direction::{Read, Written};

/// What is read while the write that began at `write` is under way.
fn read_during(write: u64, time: u64, conn: ConnId, offset: u64, text: &str) -> Event {
    Event::Chunk {
        at: at(time),
        conn,
        direction: Read,
        offset,
        during_write: Some(write),
        rest: 0,
        bytes: bytes(text),
    }
}

/// What is written by a call of which `rest` bytes follow.
fn part(rest: u64, time: u64, conn: ConnId, offset: u64, text: &str) -> Event {
    Event::Chunk {
        at: at(time),
        conn,
        direction: Written,
        offset,
        during_write: None,
        rest,
        bytes: bytes(text),
    }
}

#[test]
fn an_answer_that_overtakes_its_write_comes_after_all_chunks_of_it() {
    let (out, stats) = segments(&[
        read_during(0, 3, ONE, 0, "an"),
        part(2, 5, ONE, 0, "req"),
        read_during(0, 4, ONE, 2, "sw"),
        part(0, 5, ONE, 3, "st"),
        chunk(6, ONE, Read, 4, "er"),
    ]);
    let expected = [
        open(3, ONE),
        data(5, ONE, Written, "req"),
        data(5, ONE, Written, "st"),
        data(3, ONE, Read, "an"),
        data(4, ONE, Read, "sw"),
        data(6, ONE, Read, "er"),
    ];
    assert_eq!(out, expected);
    assert_eq!((stats.reads_held, stats.reads_given_up), (2, 0));
}

#[test]
fn what_is_read_behind_a_write_that_is_here_does_not_wait() {
    let (out, stats) = segments(&[
        part(0, 2, ONE, 0, "abc"),
        read_during(0, 1, ONE, 0, "x"),
        read_during(2, 3, ONE, 1, "y"),
    ]);
    let expected = [
        open(2, ONE),
        data(2, ONE, Written, "abc"),
        data(1, ONE, Read, "x"),
        data(3, ONE, Read, "y"),
    ];
    assert_eq!((out.as_slice(), stats.reads_held), (expected.as_slice(), 0));
}

/// A write that is tried again, or one that the ring lost: the read that comes next tells.
#[test]
fn a_write_that_moved_nothing_is_not_waited_for_any_longer() {
    let (out, stats) = segments(&[
        read_during(0, 1, ONE, 0, "a"),
        chunk(2, ONE, Read, 1, "b"),
        read_during(0, 3, ONE, 2, "c"),
        read_during(7, 4, ONE, 3, "d"),
        chunk(5, ONE, Written, 7, "w"),
    ]);
    let expected = [
        open(1, ONE),
        data(1, ONE, Read, "a"),
        data(2, ONE, Read, "b"),
        data(3, ONE, Read, "c"),
        gap(5, ONE, Written, 7),
        data(5, ONE, Written, "w"),
        data(4, ONE, Read, "d"),
    ];
    assert_eq!(out, expected);
    assert_eq!((stats.reads_held, stats.reads_given_up), (3, 0));
}

#[test]
fn a_write_that_takes_too_long_is_given_up_once() {
    let limits = Limits {
        held: Duration::from_nanos(10),
        ..Limits::default()
    };
    let two = conn(2, 0x20, 1);
    let (mut stage, out, mut stats) = run(
        limits,
        &[
            read_during(0, 1, ONE, 0, "early"),
            chunk(10, two, Written, 0, "x"),
        ],
    );
    assert_eq!(
        out,
        [open(1, ONE), open(10, two), data(10, two, Written, "x")]
    );
    assert_eq!(stage.deadline(), Some(at(11)));
    let mut out = Vec::new();
    stage.expire(at(11), &mut stats, &mut out);
    assert_eq!(out, [data(1, ONE, Read, "early")]);
    out.clear();
    for event in [
        read_during(0, 12, ONE, 5, " error"),
        part(0, 30, ONE, 0, "upload"),
        // The next write is waited for again, however late it comes, while nothing else does.
        read_during(6, 31, ONE, 11, "b"),
        part(0, 99, ONE, 6, "a"),
    ] {
        stage.handle(&event, &mut stats, &mut out);
    }
    let expected = [
        data(12, ONE, Read, " error"),
        data(30, ONE, Written, "upload"),
        data(99, ONE, Written, "a"),
        data(31, ONE, Read, "b"),
    ];
    assert_eq!(out, expected);
    assert_eq!((stats.reads_held, stats.reads_given_up), (2, 1));
}

#[test]
fn any_event_that_is_late_enough_ends_the_wait() {
    let limits = Limits {
        held: Duration::from_nanos(10),
        ..Limits::default()
    };
    let two = conn(2, 0x20, 1);
    let (_, out, stats) = run(
        limits,
        &[
            read_during(0, 1, ONE, 0, "a"),
            chunk(11, two, Written, 0, "x"),
        ],
    );
    assert_eq!(out.last(), Some(&data(1, ONE, Read, "a")));
    assert_eq!(stats.reads_given_up, 1);
}

#[test]
fn what_is_held_back_is_bounded_for_each_connection_and_for_all() {
    let one = size_of::<Segment>() + 10;
    let limits = Limits {
        held_bytes: 2 * one,
        held_bytes_of_all: 3 * one,
        ..Limits::default()
    };
    let (two, ten) = (conn(2, 0x20, 1), "0123456789");
    let (stage, out, stats) = run(
        limits,
        &[
            read_during(0, 1, ONE, 0, ten),
            read_during(0, 2, ONE, 10, ten),
            read_during(0, 3, two, 0, ten),
            // That of the oldest goes on, and what it reads from now on.
            read_during(0, 4, two, 10, ten),
            read_during(0, 5, ONE, 20, ten),
            // More than one connection may hold.
            read_during(0, 6, two, 20, ten),
        ],
    );
    let expected = [
        open(1, ONE),
        open(3, two),
        data(1, ONE, Read, ten),
        data(2, ONE, Read, ten),
        data(5, ONE, Read, ten),
        data(3, two, Read, ten),
        data(4, two, Read, ten),
        data(6, two, Read, ten),
    ];
    assert_eq!(out, expected);
    assert_eq!((stage.held_bytes(), stage.deadline().is_some()), (0, true));
    assert_eq!((stats.reads_held, stats.reads_given_up), (5, 2));
}

#[test]
fn what_is_held_back_comes_before_the_end_of_its_connection() {
    let two = conn(1, 0x10, 9);
    let closed = Event::Closed {
        at: at(2),
        conn: ONE,
        written: 0,
        read: 3,
    };
    for (last, reason) in [
        (closed, EndReason::Closed),
        (Event::Exit { at: at(2), pid: 1 }, EndReason::Exited),
        (chunk(2, two, Read, 0, "new"), EndReason::Replaced),
    ] {
        let (stage, out, stats) = run(
            Limits::default(),
            &[read_during(0, 1, ONE, 0, "abc"), last.clone()],
        );
        let expected = [open(1, ONE), data(1, ONE, Read, "abc"), end(2, ONE, reason)];
        assert_eq!(out.get(..3), Some(expected.as_slice()), "{last:?}");
        assert_eq!((stage.held_bytes(), stats.gaps), (0, 0));
    }
}

#[test]
fn nothing_of_an_ignored_connection_is_held_back() {
    let (mut stage, _, mut stats) =
        run(Limits::default(), &[read_during(0, 1, ONE, 0, "a secret")]);
    stage.ignore(ONE);
    assert_eq!(stage.held_bytes(), 0);
    let mut out = Vec::new();
    stage.handle(&read_during(0, 2, ONE, 8, "b"), &mut stats, &mut out);
    stage.handle(&part(0, 3, ONE, 0, "c"), &mut stats, &mut out);
    assert_eq!((out.as_slice(), stage.held_bytes()), ([].as_slice(), 0));
}

/// A write, as its chunks, and what is read after it, of which some may come before its chunks do.
#[derive(Clone, Debug)]
struct Turn {
    written: Vec<usize>,
    read: Vec<usize>,
    /// For the first reads: how many chunks of the write are in the ring before each.
    overtaken: Vec<usize>,
}

fn any_turn() -> impl Strategy<Value = Turn> {
    (
        proptest::collection::vec(1..5usize, 1..4),
        proptest::collection::vec(1..5usize, 0..4),
        proptest::collection::vec(0..4usize, 0..4),
    )
        .prop_map(|(written, read, mut overtaken)| {
            overtaken.sort_unstable();
            Turn {
                written,
                read,
                overtaken,
            }
        })
}

/// The events of all turns in the order of the calls, and in that of the ring.
fn schedule(turns: &[Turn]) -> (Vec<Event>, Vec<Event>) {
    let (mut ordered, mut raced) = (Vec::new(), Vec::new());
    let opened = Event::Opened {
        at: at(0),
        conn: ONE,
        comm: String::new(),
        uid: 0,
        fd: None,
    };
    ordered.push(opened.clone());
    raced.push(opened);
    let (mut written, mut read, mut time) = (0, 0, 0);
    for turn in turns {
        time += 1;
        let start = written;
        let mut rest: usize = turn.written.iter().sum();
        let mut chunks = Vec::new();
        for length in &turn.written {
            rest -= length;
            let text = "w".repeat(*length);
            chunks.push(part(rest as u64, time, ONE, written, &text));
            written += *length as u64;
        }
        ordered.extend(chunks.iter().cloned());
        let mut chunks = chunks.into_iter();
        let mut sent = 0;
        for (index, length) in turn.read.iter().enumerate() {
            let text = "r".repeat(*length);
            ordered.push(chunk(time, ONE, Read, read, &text));
            match turn.overtaken.get(index) {
                Some(before) => {
                    while sent < *before {
                        raced.extend(chunks.next());
                        sent += 1;
                    }
                    raced.push(read_during(start, time, ONE, read, &text));
                }
                None => {
                    raced.extend(chunks.by_ref());
                    raced.push(chunk(time, ONE, Read, read, &text));
                }
            }
            read += *length as u64;
        }
        raced.extend(chunks);
    }
    (ordered, raced)
}

proptest! {
    /// Order: reads that return before the write that they answer change nothing.
    #[test]
    fn a_race_of_two_threads_changes_nothing(turns in proptest::collection::vec(any_turn(), 0..8)) {
        let (ordered, raced) = schedule(&turns);
        let (expected, _) = segments(&ordered);
        let (out, stats) = segments(&raced);
        prop_assert_eq!(out, expected);
        prop_assert_eq!(stats.reads_given_up, 0);
    }

    /// Order: whatever is held back, given up or told about writes, each direction is as it would be
    /// without.
    #[test]
    fn holding_back_moves_no_byte_of_a_direction(
        events in proptest::collection::vec(any_event(), 0..80),
    ) {
        let limits = Limits {
            held: Duration::from_nanos(5),
            held_bytes: 2 * size_of::<Segment>() + 9,
            held_bytes_of_all: 3 * size_of::<Segment>() + 9,
            ..Limits::default()
        };
        let plain: Vec<Event> = events
            .iter()
            .cloned()
            .map(|mut event| {
                if let Event::Chunk { during_write, .. } = &mut event {
                    *during_write = None;
                }
                event
            })
            .collect();
        let directions = |events: &[Event]| {
            let (mut stage, mut out, mut stats) = run(limits, events);
            stage.finish(at(60), &mut stats, &mut out);
            let mut directions: BTreeMap<(ConnId, Option<Direction>), Vec<Segment>> =
                BTreeMap::new();
            for segment in out {
                let key = match &segment {
                    Segment::Data { conn, direction, .. } | Segment::Gap { conn, direction, .. } => {
                        (*conn, Some(*direction))
                    }
                    Segment::Open { conn, .. }
                    | Segment::ServerName { conn, .. }
                    | Segment::End { conn, .. } => (*conn, None),
                };
                directions.entry(key).or_default().push(segment);
            }
            directions
        };
        prop_assert_eq!(directions(&events), directions(&plain));
    }
}
