use proptest::prelude::*;

use super::*;
use crate::event::{Direction, Event, Handshake, Plaintext, SocketId};
use crate::stats::Stats;

/// A ClientHello with this host name and these protocols, and an extension of `padding` bytes
/// before them (RFC 8446, section 4.1.2; RFC 6066, section 3; RFC 7301, section 3.1).
pub(crate) fn client_hello(name: &str, protocols: &[&str], padding: usize) -> Vec<u8> {
    let short = |bytes: &[u8]| [&[u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let long = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        [&length[..], bytes].concat()
    };
    let extension = |kind: u16, body: &[u8]| [&kind.to_be_bytes()[..], &long(body)].concat();
    let names: Vec<u8> = protocols
        .iter()
        .flat_map(|name| short(name.as_bytes()))
        .collect();
    let extensions = [
        extension(21, &vec![0; padding]),
        extension(0, &long(&[&[0], &long(name.as_bytes())[..]].concat())),
        extension(16, &long(&names)),
    ]
    .concat();
    let body = [
        &[3, 3][..],
        &[7; 32],
        &short(&[9; 32]),
        &long(&[0x13, 0x01]),
        &short(&[0]),
        &long(&extensions),
    ]
    .concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1], &length[1..], &body].concat();
    [&[22, 3, 1][..], &long(&message)].concat()
}

const PID: u32 = 7;
const HOST: &str = "api.openai.com";
const PEER: &str = "192.0.2.1:443";

const fn at(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * 1_000_000)
}

const fn conn(ssl: u64) -> ConnId {
    ConnId {
        pid: PID,
        ssl,
        since: at(1),
    }
}

fn connected(ms: u64, socket: u64, fd: i32) -> Event {
    Event::Connected {
        at: at(ms),
        socket: SocketId(socket),
        pid: PID,
        comm: "codex".to_owned(),
        uid: 0,
        peer: PEER.parse().ok(),
        fd: Some(fd),
    }
}

fn hello(ms: u64, socket: u64, name: &str) -> Event {
    Event::Hello {
        at: at(ms),
        socket: SocketId(socket),
        pid: PID,
        bytes: Handshake::from(client_hello(name, &["h2"], 0)),
    }
}

fn bound(ms: u64, ssl: u64, socket: u64) -> Event {
    Event::Bound {
        at: at(ms),
        conn: conn(ssl),
        socket: SocketId(socket),
    }
}

fn carried(ms: u64, socket: u64) -> Event {
    Event::Carried {
        at: at(ms),
        socket: SocketId(socket),
    }
}

fn closed(ms: u64, socket: u64, bytes: u64) -> Event {
    Event::SocketClosed {
        at: at(ms),
        socket: SocketId(socket),
        bytes,
    }
}

fn named(ms: u64, ssl: u64, name: &str) -> Event {
    Event::ServerName {
        at: at(ms),
        conn: conn(ssl),
        name: name.to_owned(),
    }
}

fn opened(ms: u64, ssl: u64, fd: Option<i32>) -> Event {
    Event::Opened {
        at: at(ms),
        conn: conn(ssl),
        comm: "codex".to_owned(),
        uid: 0,
        fd,
    }
}

fn freed(ms: u64, ssl: u64) -> Event {
    Event::Closed {
        at: at(ms),
        conn: conn(ssl),
        written: 0,
        read: 0,
    }
}

fn peer(ssl: u64, binding: Binding) -> Finding {
    Finding::Peer {
        conn: conn(ssl),
        peer: PEER.parse().unwrap(),
        binding,
    }
}

fn unprobed(ms: u64, bytes: u64) -> Finding {
    Finding::Unprobed {
        at: at(ms),
        since: at(1),
        pid: PID,
        host: HOST.to_owned(),
        bytes,
    }
}

/// A table, with everything that it found.
struct Run {
    table: Sockets,
    stats: Stats,
    found: Vec<Finding>,
}

impl Run {
    fn new(limits: Limits) -> Self {
        Self {
            table: Sockets::new(limits),
            stats: Stats::default(),
            found: Vec::new(),
        }
    }

    fn of(events: impl IntoIterator<Item = Event>) -> Self {
        let mut run = Self::new(Limits::default());
        run.take(events);
        run
    }

    fn take(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.table.handle(&event, &mut self.stats, &mut self.found);
        }
    }

    fn until(mut self, ms: u64) -> Vec<Finding> {
        self.table.expire(at(ms), &mut self.stats, &mut self.found);
        self.found
    }
}

#[test]
fn a_bound_connection_gets_its_peer_and_the_name_of_the_handshake() {
    let run = Run::of([
        connected(1, 1, 5),
        hello(1, 1, "API.OpenAI.com"),
        opened(2, 0x70, None),
        bound(3, 0x70, 1),
        carried(3, 1),
    ]);
    assert_eq!(run.stats.bound_by_thread, 1);
    let name = Finding::Named {
        at: at(3),
        conn: conn(0x70),
        name: HOST.to_owned(),
    };
    assert_eq!(run.until(100_000), [peer(0x70, Binding::Thread), name]);
}

#[test]
fn a_name_of_its_own_stays() {
    let run = Run::of([
        connected(1, 1, 5),
        hello(1, 1, "front.example"),
        named(2, 0x70, HOST),
        bound(3, 0x70, 1),
    ]);
    assert_eq!(run.until(100_000), [peer(0x70, Binding::Thread)]);
}

#[test]
fn the_first_binding_holds() {
    let run = Run::of([
        connected(1, 1, 5),
        hello(1, 1, HOST),
        connected(1, 2, 6),
        hello(1, 2, HOST),
        named(2, 0x70, HOST),
        named(2, 0x80, HOST),
        bound(3, 0x70, 1),
        bound(4, 0x80, 1),
        bound(5, 0x70, 2),
    ]);
    assert_eq!(run.until(100_000), [peer(0x70, Binding::Thread)]);
}

#[test]
fn a_socket_whose_plaintext_is_not_seen_is_told_once_after_the_time_to_settle() {
    let mut run = Run::of([connected(1, 1, 5), hello(1, 1, HOST), carried(1_000, 1)]);
    assert_eq!(run.table.deadline(), Some(at(6_000)));
    run.table.expire(at(5_999), &mut run.stats, &mut run.found);
    assert_eq!(run.found, []);
    run.table.expire(at(6_000), &mut run.stats, &mut run.found);
    assert_eq!(run.found, [unprobed(6_000, 0)]);
    run.take([carried(9_000, 1), closed(60_000, 1, 4_711)]);
    let bytes = Finding::UnprobedBytes {
        at: at(60_000),
        since: at(1),
        pid: PID,
        host: HOST.to_owned(),
        bytes: 4_711,
    };
    assert_eq!(run.until(100_000), [unprobed(6_000, 0), bytes]);
}

#[test]
fn a_socket_that_is_closed_before_is_told_with_its_bytes() {
    let run = Run::of([
        connected(1, 1, 5),
        hello(1, 1, HOST),
        carried(10, 1),
        closed(500, 1, 4_711),
    ]);
    assert_eq!(run.until(100_000), [unprobed(1_500, 4_711)]);
}

#[test]
fn a_process_that_ends_leaves_no_socket_undecided_even_if_its_close_is_lost() {
    let exit = Event::Exit {
        at: at(500),
        pid: PID,
    };
    let mut run = Run::of([
        connected(1, 1, 5),
        hello(1, 1, HOST),
        carried(10, 1),
        connected(20, 2, 6),
        hello(20, 2, HOST),
        exit.clone(),
    ]);
    run.table.expire(at(2_000), &mut run.stats, &mut run.found);
    assert_eq!(run.found, [unprobed(1_500, 0)]);
    assert_eq!(run.table.len(), (0, 0));

    let run = Run::of([
        connected(1, 1, 5),
        hello(1, 1, HOST),
        carried(10, 1),
        exit,
        closed(501, 1, 12),
    ]);
    assert_eq!(run.until(2_000), [unprobed(1_500, 12)]);
}

#[test]
fn a_handshake_alone_tells_nothing() {
    let run = Run::of([connected(1, 1, 5), hello(1, 1, HOST), closed(90_000, 1, 99)]);
    assert_eq!(run.until(100_000), []);
    let nameless = Run::of([connected(1, 1, 5), carried(1, 1)]);
    assert_eq!(nameless.until(100_000), []);
}

#[test]
fn plaintext_that_comes_late_is_not_told_again() {
    let mut run = Run::of([connected(1, 1, 5), hello(1, 1, HOST), carried(1, 1)]);
    run.table.expire(at(6_000), &mut run.stats, &mut run.found);
    run.take([named(7_000, 0x70, HOST), bound(7_000, 0x70, 1)]);
    assert_eq!(
        run.until(100_000),
        [unprobed(5_001, 0), peer(0x70, Binding::Thread)]
    );
}

#[test]
fn a_connection_to_the_same_host_explains_one_socket() {
    let sockets = |count: u64| {
        (1..=count).flat_map(|number| [connected(1, number, 5), hello(1, number, HOST)])
    };
    let mut run = Run::of(sockets(2));
    run.take([named(2, 0x70, HOST), carried(3, 1), carried(3, 2)]);
    assert_eq!(run.until(100_000), [unprobed(5_003, 0)]);

    // One that is bound explains its own socket only.
    let mut run = Run::of(sockets(2));
    run.take([named(2, 0x70, HOST), bound(2, 0x70, 1), carried(3, 2)]);
    assert_eq!(
        run.until(100_000),
        [peer(0x70, Binding::Thread), unprobed(5_003, 0)]
    );

    // One to another host, or of the time before, explains none.
    let mut run = Run::of([named(0, 0x70, "other.example"), named(0, 0x80, HOST)]);
    run.take([freed(0, 0x80), connected(1, 1, 5), hello(1, 1, HOST)]);
    run.take([carried(3, 1)]);
    assert_eq!(run.until(100_000), [unprobed(5_003, 0)]);
}

#[test]
fn the_host_of_a_request_explains_as_well() {
    let mut run = Run::of([
        connected(1, 1, 5),
        hello(1, 1, HOST),
        opened(2, 0x70, None),
        carried(3, 1),
    ]);
    run.table.request(
        at(4),
        conn(0x70),
        Some(HOST),
        &mut run.stats,
        &mut run.found,
    );
    assert_eq!(run.stats.sockets_unprobed, 0);
    assert_eq!(run.until(100_000), []);
}

#[test]
fn a_connection_ends_some_time_after_its_socket() {
    let events = || {
        [
            connected(1, 1, 5),
            hello(1, 1, HOST),
            named(2, 0x70, HOST),
            bound(3, 0x70, 1),
            closed(1_000, 1, 0),
        ]
    };
    let ended = Finding::Ended {
        at: at(6_000),
        conn: conn(0x70),
    };
    let first = peer(0x70, Binding::Thread);
    assert_eq!(Run::of(events()).until(5_999), std::slice::from_ref(&first));
    assert_eq!(Run::of(events()).until(6_000), [first.clone(), ended]);
    let mut run = Run::of(events());
    run.take([freed(1_001, 0x70)]);
    assert_eq!(run.until(100_000), [first]);
}

#[test]
fn without_handshakes_the_descriptor_tells_or_the_only_socket() {
    // The descriptor is used a second time.
    let run = Run::of([
        connected(1, 1, 5),
        closed(2, 1, 0),
        connected(3, 2, 5),
        connected(3, 3, 6),
        opened(4, 0x70, Some(6)),
        opened(4, 0x80, Some(7)),
    ]);
    assert_eq!(run.found, [peer(0x70, Binding::Descriptor)]);

    let request = |run: &mut Run, ssl| {
        run.table
            .request(at(5), conn(ssl), None, &mut run.stats, &mut run.found);
    };
    let mut run = Run::of([connected(1, 1, 5), opened(2, 0x70, None)]);
    request(&mut run, 0x70);
    request(&mut run, 0x80);
    assert_eq!(run.found, [peer(0x70, Binding::OnlySocket)]);

    let mut run = Run::of([connected(1, 1, 5), connected(1, 2, 6)]);
    request(&mut run, 0x70);
    assert_eq!(run.found, []);

    // Where handshakes are seen, the kernel programs tell who uses a socket.
    let mut run = Run::of([
        connected(1, 1, 5),
        hello(1, 1, HOST),
        opened(2, 0x70, Some(5)),
    ]);
    request(&mut run, 0x70);
    assert_eq!(run.found, []);
}

#[test]
fn a_hello_that_contradicts_itself_is_counted() {
    let mut bytes = client_hello(HOST, &[], 0);
    bytes[5 + 4 + 34] = 255;
    let run = Run::of([
        connected(1, 1, 5),
        Event::Hello {
            at: at(1),
            socket: SocketId(1),
            pid: PID,
            bytes: Handshake::from(bytes),
        },
        carried(1, 1),
    ]);
    assert_eq!(run.stats.hellos_malformed, 1);
    assert_eq!(run.until(100_000), []);
}

#[test]
fn the_oldest_are_forgotten_at_the_limits() {
    let limits = Limits {
        sockets: 3,
        connections: 2,
        ..Limits::default()
    };
    let mut run = Run::new(limits);
    for number in 1..=10 {
        run.take([connected(number, number, 5), hello(number, number, HOST)]);
        run.take([named(number, number, HOST)]);
        assert!(run.table.len() <= (3, 2));
    }
    assert_eq!(run.stats.sockets_evicted, 7);
    run.take([carried(20, 10), carried(20, 1)]);
    assert_eq!(run.stats.sockets_connected, 10);
    assert_eq!(run.until(100_000), []);
}

/// Ten thousand connections that are opened and dropped leave nothing behind.
#[test]
fn sockets_and_connections_that_end_are_forgotten() {
    let mut run = Run::new(Limits::default());
    for round in 1..=10_000_u64 {
        let ms = round * 10;
        run.take([
            connected(ms, round, 5),
            hello(ms, round, HOST),
            opened(ms, round, None),
            bound(ms, round, round),
            carried(ms, round),
            closed(ms + 5, round, 1),
        ]);
        run.table.expire(at(ms), &mut run.stats, &mut run.found);
        let (sockets, connections) = run.table.len();
        // Some 35 seconds of connections are remembered.
        assert!(
            sockets <= 2 && connections <= 3_600,
            "{sockets} {connections}"
        );
        run.found.clear();
    }
    run.table
        .expire(at(1_000_000), &mut run.stats, &mut run.found);
    assert_eq!(run.table.len(), (0, 0));
    assert_eq!(run.table.deadline(), None);
}

/// One thing that happens, to one of a few processes, sockets and connections.
#[derive(Clone, Copy, Debug)]
struct Step {
    process: u32,
    what: u8,
    socket: u64,
    ssl: u64,
    pause_ms: u64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..3_u32, 0..11_u8, 0..4_u64, 0..3_u64, 0..4_000_u64).prop_map(
        |(process, what, socket, ssl, pause_ms)| Step {
            process,
            what,
            socket,
            ssl,
            pause_ms,
        },
    );
    proptest::collection::vec(step, 0..60)
}

/// The event of a step. Each process has its own sockets, as the kernel numbers them.
fn event(step: Step, ms: u64) -> Event {
    let pid = PID + step.process;
    let socket = SocketId(u64::from(step.process) * 100 + step.socket);
    let conn = ConnId {
        pid,
        ssl: step.ssl,
        since: at(1),
    };
    let at = at(ms);
    let name = ["api.openai.com", "api.anthropic.com"][usize::from(step.what % 2)].to_owned();
    match step.what {
        0 | 1 => Event::Connected {
            at,
            socket,
            pid,
            comm: String::new(),
            uid: 0,
            peer: PEER.parse().ok(),
            fd: Some(i32::try_from(step.socket).unwrap()),
        },
        2 | 3 => Event::Hello {
            at,
            socket,
            pid,
            bytes: Handshake::from(client_hello(&name, &[], 0)),
        },
        4 => Event::Bound { at, conn, socket },
        5 => Event::Carried { at, socket },
        6 => Event::SocketClosed {
            at,
            socket,
            bytes: ms,
        },
        7 => Event::Opened {
            at,
            conn,
            comm: String::new(),
            uid: 0,
            fd: Some(i32::try_from(step.socket).unwrap()),
        },
        8 => Event::ServerName { at, conn, name },
        9 => Event::Closed {
            at,
            conn,
            written: 0,
            read: 0,
        },
        _ if step.socket == 0 => Event::Exit { at, pid },
        _ => Event::Chunk {
            at,
            conn,
            direction: Direction::Read,
            offset: 0,
            during_write: None,
            rest: 0,
            bytes: Plaintext::default(),
        },
    }
}

const fn process_of(finding: &Finding) -> u32 {
    match finding {
        Finding::Named { conn, .. } | Finding::Peer { conn, .. } | Finding::Ended { conn, .. } => {
            conn.pid
        }
        Finding::Unprobed { pid, .. } | Finding::UnprobedBytes { pid, .. } => *pid,
    }
}

/// The findings of steps, of one process or of all.
fn findings(steps: &[Step], process: Option<u32>, limits: Limits) -> Vec<Finding> {
    let mut run = Run::new(limits);
    let mut ms = 10;
    for step in steps {
        ms += step.pause_ms;
        run.table.expire(at(ms), &mut run.stats, &mut run.found);
        if process.is_none_or(|process| process == step.process) {
            run.take([event(*step, ms)]);
        }
        let (sockets, connections) = run.table.len();
        assert!(sockets <= limits.sockets && connections <= limits.connections);
    }
    let end = at(ms);
    run.table.finish(end, &mut run.stats, &mut run.found);
    run.found
}

proptest! {
    /// Mix: what other processes do changes nothing.
    #[test]
    fn processes_do_not_touch_each_other(steps in steps()) {
        let together = findings(&steps, None, Limits::default());
        for process in 0..3 {
            let alone = findings(&steps, Some(process), Limits::default());
            let of_it: Vec<_> = together
                .iter()
                .filter(|finding| process_of(finding) == PID + process)
                .cloned()
                .collect();
            prop_assert_eq!(alone, of_it);
        }
    }

    /// Bound and quiet: no order of events breaks a limit or panics.
    #[test]
    fn no_order_of_events_exceeds_the_limits(steps in steps()) {
        let limits = Limits { sockets: 3, connections: 2, ..Limits::default() };
        findings(&steps, None, limits);
    }

    /// Conservation: a socket is told as unprobed at most once, a connection has one peer and ends
    /// once.
    #[test]
    fn nothing_is_told_twice(steps in steps()) {
        let found = findings(&steps, None, Limits::default());
        let connects = steps.iter().filter(|step| step.what < 4).count();
        let unprobed = found.iter().filter(|f| matches!(f, Finding::Unprobed { .. })).count();
        prop_assert!(unprobed <= connects);
        for process in 0..3 {
            for ssl in 0..3 {
                let conn = ConnId { pid: PID + process, ssl, since: at(1) };
                let ends = found
                    .iter()
                    .filter(|f| matches!(f, Finding::Ended { conn: c, .. } if *c == conn))
                    .count();
                let lives = 1 + steps
                    .iter()
                    .filter(|step| step.process == process && step.ssl == ssl)
                    .count();
                prop_assert!(ends <= lives);
            }
        }
    }

    /// Gap: an event that is lost makes no socket unprobed that carried nothing.
    #[test]
    fn a_lost_event_never_makes_a_quiet_socket_unprobed(
        steps in steps(),
        lost in any::<prop::sample::Index>(),
    ) {
        let mut steps: Vec<_> = steps.into_iter().filter(|step| step.what != 5).collect();
        if !steps.is_empty() {
            steps.remove(lost.index(steps.len()));
        }
        let found = findings(&steps, None, Limits::default());
        let is_quiet = found.iter().all(|f| !matches!(f, Finding::Unprobed { .. }));
        prop_assert!(is_quiet);
    }
}
