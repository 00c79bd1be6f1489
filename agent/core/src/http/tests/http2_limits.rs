//! Bounds of what many streams may cost.

use super::frames::*;
use super::http2::{check_after_start, opened, stats_after_start};
use super::*;

#[test]
fn streams_over_the_limit_are_not_followed_and_counted() {
    let mut steps: Vec<Step> = (0..300)
        .map(|number| w(headers(END_STREAM, 2 * number + 1, &post("/a"))))
        .collect();
    // Room again, and the table is still in step.
    steps.push(r(headers(END_STREAM, 1, &[OK])));
    steps.push(w(headers(END_STREAM, 601, &post("/z"))));
    let stats = stats_after_start(steps.clone());
    assert_eq!((stats.exchanges, stats.streams_refused), (257, 44));
    let all: Vec<Step> = opened().into_iter().chain(steps).collect();
    let lines = shown(&events(&all).0);
    assert_eq!(lines[lines.len() - 2], "256 Client POST /z");
}

#[test]
fn a_flood_of_resets_holds_nothing() {
    let steps: Vec<Step> = (0..2_000)
        .flat_map(|number| {
            let stream = 2 * number + 1;
            [
                w(headers(END_STREAM, stream, &post("/a"))),
                w(frame(RST_STREAM, 0, stream, &[0; 4])),
            ]
        })
        .collect();
    let stats = stats_after_start(steps);
    assert_eq!((stats.exchanges, stats.streams_refused), (2_000, 0));
}

/// RELIABILITY A6: small blocks that unfold to much, in each way that the format has. `events`
/// bounds what is held.
#[test]
fn header_bombs_cost_the_stream_and_leave_the_table_in_step() {
    let filler = "x".repeat(3_900);
    let bombs = [
        // One entry of 4 KB named 16,000 times: 60 MB.
        (added("x-bomb", &filler), indexed(62).repeat(16_000)),
        // A long name of 8,000 new entries.
        (
            added(&filler, ""),
            [integer(0x40, 6, 62), string("")].concat().repeat(8_000),
        ),
        // Many short fields, and short Huffman codes.
        (Vec::new(), literal("", "").repeat(5_000)),
        (Vec::new(), [0x04, 0x81, 0x1f].repeat(5_000)),
        // One long value.
        (Vec::new(), literal("x", &"y".repeat(60_000)).repeat(2)),
    ];
    for (fill, bomb) in bombs {
        let fragments: Vec<&[u8]> = bomb.chunks(16_000).collect();
        let fill = [vec![POST], fill].concat();
        let mut steps = vec![w(headers(END_STREAM, 1, &fill))];
        steps.push(w(frame(HEADERS, END_STREAM, 3, &post("/bomb"))));
        for fragment in fragments {
            steps.push(w(frame(CONTINUATION, 0, 3, fragment)));
        }
        steps.push(w(frame(
            CONTINUATION,
            END_HEADERS,
            3,
            &added(":path", "/last"),
        )));
        steps.push(w(headers(
            END_STREAM,
            5,
            &[vec![POST], indexed(62)].concat(),
        )));
        let stats = stats_after_start(steps.clone());
        assert_eq!(
            (stats.exchanges, stats.streams_refused, stats.heads_unread),
            (2, 1, 0)
        );
        let all: Vec<Step> = opened().into_iter().chain(steps).collect();
        assert!(shown(&events(&all).0).contains(&"1 Client POST /last".to_owned()));
    }
}

#[test]
fn a_string_that_cannot_be_held_costs_the_names_behind_it() {
    let endless = [vec![0], string("x"), integer(0, 7, 1 << 20)].concat();
    let mut steps = vec![w(frame(HEADERS, 0, 1, &endless))];
    for _ in 0..5 {
        steps.push(w(frame(CONTINUATION, 0, 1, &[b'y'; 16_000])));
    }
    steps.push(w(frame(CONTINUATION, END_HEADERS, 1, &[b'y'; 9])));
    steps.push(w(headers(END_STREAM, 3, &post("/a"))));
    check_after_start(
        steps,
        &[
            "0 Client  ",
            "1 Client POST /a",
            "1 > Complete",
            "0 > Cut",
            "0 < Cut",
            "1 < Cut",
        ],
    );
}

#[test]
fn a_block_that_never_ends_is_given_up_at_the_deadline() {
    let mut stage = Http::new(Limits::default());
    let (mut out, mut stats) = (Vec::new(), Stats::default());
    stage.handle(
        Segment::Open {
            at: at(2),
            conn: CONN,
        },
        &mut stats,
        &mut out,
    );
    let cut = [vec![POST], added(":path", "/a"), added("user-agent", "c/1")].concat();
    let (first, rest) = cut.split_at(cut.len() - 2);
    for step in [
        w([PREFACE.to_vec(), settings()].concat()),
        w(frame(HEADERS, 0, 1, first)),
    ] {
        stage.handle(segment(CONN, &step), &mut stats, &mut out);
    }
    assert!(stage.buffered_bytes() > 0);
    let deadline = stage.deadline().unwrap();
    stage.expire(deadline, &mut stats, &mut out);
    assert_eq!((stage.buffered_bytes(), stage.deadline()), (0, None));
    for step in [
        w(frame(CONTINUATION, END_HEADERS | END_STREAM, 1, rest)),
        w(headers(END_STREAM, 3, &post("/b"))),
        closed(),
    ] {
        stage.handle(segment(CONN, &step), &mut stats, &mut out);
    }
    let lines = shown(&out);
    assert_eq!(
        lines[lines.len() - 5..],
        [
            "1 Client POST /b",
            "1 > Complete",
            "0 > Cut",
            "0 < Cut",
            "1 < Cut",
        ]
        .into_iter()
        .chain(["closed"])
        .collect::<Vec<_>>()[1..]
    );
}

#[test]
fn tables_count_as_held_and_outlive_a_pause() {
    let mut stage = Http::new(Limits::default());
    let (mut out, mut stats) = (Vec::new(), Stats::default());
    stage.handle(
        Segment::Open {
            at: at(2),
            conn: CONN,
        },
        &mut stats,
        &mut out,
    );
    let first = [vec![POST], added(":path", "/a")].concat();
    let steps = [
        w([PREFACE.to_vec(), settings(), headers(END_STREAM, 1, &first)].concat()),
        r([settings(), headers(END_STREAM, 1, &[OK])].concat()),
    ];
    for step in &steps {
        stage.handle(segment(CONN, step), &mut stats, &mut out);
    }
    assert_eq!(stage.buffered_bytes(), 32 + 5 + 2);
    for _ in 0..3 {
        let deadline = stage.deadline().unwrap();
        stage.expire(deadline, &mut stats, &mut out);
    }
    let again = headers(END_STREAM, 3, &[vec![POST], indexed(62)].concat());
    stage.handle(segment(CONN, &w(again)), &mut stats, &mut out);
    assert!(shown(&out).contains(&"1 Client POST /a".to_owned()));
}

#[test]
fn a_search_holds_only_what_may_be_frames() {
    let mut stage = Http::new(Limits::default());
    let (mut out, mut stats) = (Vec::new(), Stats::default());
    stage.handle(
        Segment::Open {
            at: at(2),
            conn: CONN,
        },
        &mut stats,
        &mut out,
    );
    // A connection of HTTP/1 that was joined in the middle of a reply.
    let text = "data: {\"text\": \"a long reply\"}\n\n".repeat(500);
    for _ in 0..20 {
        stage.handle(segment(CONN, &r(&text)), &mut stats, &mut out);
        assert!(stage.buffered_bytes() < 9);
    }
    // A frame whose end has not come.
    let long = data(0, 7, vec![b'z'; 100_000]);
    for (calls, piece) in (1..).zip(long.chunks(9_000).take(11)) {
        stage.handle(segment(CONN, &r(piece)), &mut stats, &mut out);
        let most = (calls * 9_000).min(40 << 10);
        assert!((1..=most).contains(&stage.buffered_bytes()));
    }
}
