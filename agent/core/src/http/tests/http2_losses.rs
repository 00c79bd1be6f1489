//! Gaps in connections with many streams, and connections that were joined midway.

use super::frames::*;
use super::*;

fn opened() -> Vec<Step> {
    vec![w([PREFACE.to_vec(), settings()].concat()), r(settings())]
}

#[track_caller]
fn check_after_start(steps: Vec<Step>, expected: &[&str]) {
    let steps: Vec<Step> = opened().into_iter().chain(steps).collect();
    check(&steps, expected);
}

#[test]
fn a_gap_inside_data_costs_its_stream_alone() {
    check_after_start(
        vec![
            w(headers(0, 1, &post("/a"))),
            w(headers(END_STREAM, 3, &post("/b"))),
            w(&data(END_STREAM, 1, "abcdef")[..10]),
            Step::Gap(Written, 3),
            w("ef"),
            r(headers(0, 1, &[OK])),
            r(headers(0, 3, &[OK])),
            r(&data(PADDED | END_STREAM, 3, "\u{2}abc\0\0")[..11]),
            Step::Gap(Read, 4),
            r(data(END_STREAM, 1, "whole")),
        ],
        &[
            "0 Client POST /a",
            "1 Client POST /b",
            "1 > Complete",
            "0 > a",
            "0 > gap 3",
            "0 > ef",
            "0 > Complete",
            "0 < 200",
            "1 < 200",
            "1 < a",
            "1 < gap 2",
            "1 < Complete",
            "0 < whole",
            "0 < Complete",
        ],
    );
}

#[test]
fn a_gap_that_takes_the_length_of_the_padding_takes_the_frame() {
    check_after_start(
        vec![
            w(headers(END_STREAM, 1, &post("/a"))),
            r(headers(0, 1, &[OK])),
            r(&data(PADDED | END_STREAM, 1, "\u{2}abc\0\0")[..9]),
            Step::Gap(Read, 1),
            r("abc\0\0"),
        ],
        &[
            "0 Client POST /a",
            "0 > Complete",
            "0 < 200",
            "0 < gap 0",
            "0 < Complete",
        ],
    );
}

#[test]
fn a_gap_in_compressed_data_loses_the_body() {
    let coded = [post("/a"), literal("content-encoding", "gzip")].concat();
    check_after_start(
        vec![
            w(headers(0, 1, &coded)),
            w(&data(END_STREAM, 1, b"\x1f\x8b\x08rest")[..12]),
            Step::Gap(Written, 4),
            r(headers(END_STREAM, 1, &[OK])),
        ],
        &["0 Client POST /a", "0 > Lost", "0 < 200", "0 < Complete"],
    );
}

#[test]
fn a_gap_in_what_carries_nothing_costs_nothing() {
    check_after_start(
        vec![
            w(headers(END_STREAM, 1, &[POST, 0x84])),
            w(&frame(PING, 0, 0, &[1; 8])[..11]),
            Step::Gap(Written, 6),
            r(&frame(RST_STREAM, 0, 1, &[0; 4])[..9]),
            Step::Gap(Read, 4),
            w(headers(END_STREAM, 3, &[POST, 0x84])),
        ],
        &[
            "0 Client POST /",
            "0 > Complete",
            "0 < GivenUp(Server)",
            "1 Client POST /",
            "1 > Complete",
        ],
    );
}

#[test]
fn a_gap_in_a_head_leaves_its_exchange_without_one_and_later_names_unknown() {
    let first = [vec![POST], added(":path", "/a"), added("user-agent", "c")].concat();
    let second = headers(0, 3, &[vec![POST], added(":path", "/b")].concat());
    check_after_start(
        vec![
            w(headers(END_STREAM, 1, &first)),
            w(&second[..14]),
            Step::Gap(Written, second.len() as u64 - 14),
            w(data(END_STREAM, 3, "{body}")),
            // `/b`, `c` or `/a`: whatever it is, it was not seen.
            w(headers(END_STREAM, 5, &[vec![POST], indexed(62)].concat())),
            w(headers(
                END_STREAM,
                7,
                &[vec![POST], added(":path", "/d")].concat(),
            )),
            w(headers(END_STREAM, 9, &[vec![POST], indexed(62)].concat())),
            w(headers(END_STREAM, 11, &[vec![POST], indexed(63)].concat())),
        ],
        &[
            "0 Client POST /a",
            "0 > Complete",
            "1 Client POST ",
            "1 > {body}",
            "1 > Complete",
            "2 Client POST ",
            "2 > Complete",
            "3 Client POST /d",
            "3 > Complete",
            "4 Client POST /d",
            "4 > Complete",
            "5 Client POST ",
            "5 > Complete",
        ],
    );
}

#[test]
fn a_table_that_is_emptied_is_known_again() {
    let emptied = [resized(0), resized(4_096), vec![POST], added(":path", "/b")].concat();
    let first = headers(END_STREAM, 1, &post("/a"));
    let wrong = headers(END_STREAM, 5, &[vec![POST], indexed(63)].concat());
    let steps = vec![
        w(&first[..first.len() - 1]),
        Step::Gap(Written, 1),
        w(headers(END_STREAM, 3, &emptied)),
        // There is no second entry, so this is no missing name but a broken block.
        w([
            wrong,
            headers(END_STREAM, 7, &[vec![POST], indexed(62)].concat()),
        ]
        .concat()),
    ];
    check_after_start(
        steps,
        &[
            "0 Client POST ",
            "0 > Complete",
            "1 Client POST /b",
            "1 > Complete",
            "2 Client POST ",
            "2 > Complete",
            "3 Client POST ",
            "3 > Complete",
        ],
    );
}

#[test]
fn frames_are_found_again_after_a_gap_and_open_streams_are_told() {
    let [request, response] = exchange(5, "/c", "x", "y");
    check_after_start(
        vec![
            w(headers(0, 1, &post("/a"))),
            w(headers(END_STREAM, 3, &post("/b"))),
            r(headers(0, 3, &[OK])),
            r(data(0, 3, "some")),
            Step::Gap(Read, 100),
            r(data(0, 3, "more")),
            r(data(END_STREAM, 3, "")),
            Step::Gap(Written, 100),
            w(data(END_STREAM, 1, "rest")),
            w(request),
            r(response),
        ],
        &[
            "0 Client POST /a",
            "1 Client POST /b",
            "1 > Complete",
            "1 < 200",
            "1 < some",
            "1 < gap 0",
            "1 < more",
            "1 < Complete",
            "0 > gap 0",
            "0 > rest",
            "0 > Complete",
            "2 Client POST /c",
            "2 > x",
            "2 > Complete",
            "2 < 200",
            "2 < y",
            "2 < Complete",
        ],
    );
}

#[test]
fn a_response_whose_head_was_in_a_gap_is_lost() {
    check_after_start(
        vec![
            w(headers(END_STREAM, 1, &post("/a"))),
            Step::Gap(Read, 100),
            r(data(0, 1, "rest of it")),
            // Sent while the place was lost: its head may have passed as well.
            Step::Gap(Read, 100),
            w(headers(END_STREAM, 3, &post("/b"))),
            r("garbage"),
            r(data(END_STREAM, 3, "rest of it")),
        ],
        &[
            "0 Client POST /a",
            "0 > Complete",
            "0 < Lost",
            "1 Client POST /b",
            "1 > Complete",
            "1 < Lost",
        ],
    );
}

#[test]
fn a_request_whose_end_may_be_lost_ends_with_its_response() {
    check_after_start(
        vec![
            w(headers(0, 1, &post("/a"))),
            Step::Gap(Written, 100),
            r(headers(0, 1, &[OK])),
            r(data(END_STREAM, 1, "answer")),
        ],
        &[
            "0 Client POST /a",
            "0 > gap 0",
            "0 < 200",
            "0 < answer",
            "0 > Lost",
            "0 < Complete",
        ],
    );
}

#[test]
fn a_stream_whose_end_may_be_lost_is_given_up_when_it_stays_silent() {
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
    let steps = opened().into_iter().chain([
        w(headers(END_STREAM, 1, &post("/a"))),
        w(headers(END_STREAM, 3, &post("/b"))),
        r(headers(0, 1, &[OK])),
        r(headers(0, 3, &[OK])),
        Step::Gap(Read, 100),
    ]);
    for step in steps {
        stage.handle(segment(CONN, &step), &mut stats, &mut out);
    }
    for (seconds, bytes) in [
        (60, data(0, 3, "still here")),
        (119, frame(PING, 0, 0, &[0; 8])),
        (121, frame(PING, 0, 0, &[0; 8])),
    ] {
        let later = Segment::Data {
            at: at(2) + std::time::Duration::from_secs(seconds),
            conn: CONN,
            direction: Read,
            bytes: bytes.into(),
        };
        stage.handle(later, &mut stats, &mut out);
    }
    let lines = shown(&out);
    let expected = ["0 < gap 0", "1 < gap 0", "1 < still here", "0 < Lost"];
    assert_eq!(lines[lines.len() - 4..], expected);
}

#[test]
fn the_place_is_found_where_a_call_begins_or_in_the_middle_of_one() {
    let [request, response] = exchange(9, "/a", "x", "y");
    let found = [
        "0 Client POST /a",
        "0 > x",
        "0 > Complete",
        "0 < 200",
        "0 < y",
        "0 < Complete",
    ];
    let rest_of_a_body = "\0\0\u{1}text ".repeat(9).into_bytes();
    for calls in [
        // Alone in a call; behind the rest of another frame; header and payload in two calls.
        vec![request.clone()],
        vec![[rest_of_a_body.clone(), request.clone()].concat()],
        vec![rest_of_a_body, request.clone()],
        vec![
            request[..9].to_vec(),
            request[9..20].to_vec(),
            request[20..].to_vec(),
        ],
        // Behind a part of a block that cannot be decoded.
        vec![
            b"rest of a block".to_vec(),
            frame(CONTINUATION, END_HEADERS, 7, b"more of it"),
            request.clone(),
        ],
    ] {
        let mut steps = opened();
        steps.push(Step::Gap(Written, 1_000));
        steps.extend(calls.iter().map(w));
        steps.push(r(response.clone()));
        check(&steps, &found);
    }
}

#[test]
fn a_long_frame_is_passed_by_while_searching() {
    let [request, response] = exchange(9, "/a", "x", "y");
    let long = data(0, 7, vec![b'z'; 100_000]);
    let mut steps = opened();
    steps.push(Step::Gap(Written, 1));
    steps.extend(long.chunks(16_384).map(w));
    steps.extend([w(request), r(response)]);
    check(
        &steps,
        &[
            "0 Client POST /a",
            "0 > x",
            "0 > Complete",
            "0 < 200",
            "0 < y",
            "0 < Complete",
        ],
    );
}

#[test]
fn what_cannot_be_found_again_is_dismissed() {
    let steps: Vec<Step> = opened()
        .into_iter()
        .chain([
            w(headers(END_STREAM, 1, &post("/a"))),
            Step::Gap(Read, 1),
            r("text ".repeat(210_000)),
            r("end"),
        ])
        .collect();
    let (out, stats) = events(&steps);
    let lines = shown(&out);
    let expected = [
        "0 Client POST /a",
        "0 > Complete",
        "0 < Lost",
        "dismissed Lost",
    ];
    assert_eq!(
        (lines, stats.dismissed_lost),
        (expected.map(str::to_owned).to_vec(), 1)
    );
}

#[test]
fn what_looks_like_frames_and_is_none_is_left_again() {
    let nonsense = [
        headers(0, 7, &post("/a")),
        data(0, 7, "b"),
        frame(DATA, PADDED, 7, &[9, 0]),
    ]
    .concat();
    let [request, response] = exchange(9, "/c", "x", "y");
    let mut steps = opened();
    steps.extend([Step::Gap(Written, 1), w(nonsense), w(request), r(response)]);
    let (out, stats) = events(&steps);
    assert_eq!(
        shown(&out),
        [
            "0 Client POST /a",
            "0 > b",
            "0 > gap 0",
            "1 Client POST /c",
            "1 > x",
            "1 > Complete",
            "1 < 200",
            "1 < y",
            "1 < Complete",
        ]
    );
    assert_eq!(stats.steps_lost, 2);
}

#[test]
fn a_connection_joined_midway_is_followed_from_its_next_request_on() {
    let [request, response] = exchange(9, "/c", "x", "y");
    let dynamic = [vec![POST], indexed(70), added("user-agent", "c/1")].concat();
    let [as_client, as_server] = ["Client", "Server"].map(|role| {
        [
            format!("0 {role} POST /c"),
            "0 > x".to_owned(),
            "0 > Complete".to_owned(),
            "0 < 200".to_owned(),
            "0 < y".to_owned(),
            "0 < Complete".to_owned(),
            format!("1 {role} POST "),
            "1 > Complete".to_owned(),
            "1 < 200".to_owned(),
            "1 < Complete".to_owned(),
            "closed".to_owned(),
        ]
    });
    for (requests, lines) in [(Written, as_client), (Read, as_server)] {
        let ask = |bytes| Step::Bytes(requests, bytes);
        let answer = |bytes| Step::Bytes(requests.opposite(), bytes);
        let steps = [
            answer(b"rest of an answer".to_vec()),
            answer(data(END_STREAM, 5, "to what nobody saw")),
            ask(request.clone()),
            answer(response.clone()),
            // Named long ago.
            ask(headers(END_STREAM, 11, &dynamic)),
            answer(headers(END_STREAM, 11, &[OK])),
            closed(),
        ];
        let (out, stats) = events(&steps);
        assert_eq!(shown(&out), lines);
        assert_eq!(stats.heads_unread, 1);
    }
}

#[test]
fn a_credential_in_a_table_that_was_not_seen_is_unknown_and_not_absent() {
    let [request, response] = exchange(9, "/c", "x", "y");
    let head = |fields: Vec<u8>| {
        [
            vec![POST],
            literal(":path", "/p"),
            literal(":authority", "h"),
            fields,
        ]
        .concat()
    };
    let steps = [
        r(data(END_STREAM, 5, "to what nobody saw")),
        w(request),
        r(response),
        w(headers(END_STREAM, 101, &head(indexed(62)))),
        w(headers(
            END_STREAM,
            103,
            &head([indexed(62), literal("authorization", "Bearer canary")].concat()),
        )),
        w(headers(
            END_STREAM,
            105,
            &head([indexed(62), literal("x-api-key", "canary")].concat()),
        )),
    ];
    let expected = [Scheme::None, Scheme::Unread, Scheme::Other, Scheme::Key];
    assert_eq!(schemes(&events(&steps).0), expected);
}

#[test]
fn an_answer_under_way_when_the_connection_is_joined_tells_the_role_and_is_nobodys() {
    let [request, response] = exchange(9, "/c", "x", "y");
    let steps = [
        r(headers(0, 7, &[vec![OK], indexed(62)].concat())),
        r(data(0, 7, "answer")),
        w(frame(WINDOW_UPDATE, 0, 7, &[0, 0, 0, 9])),
        r(data(END_STREAM, 7, "to what nobody saw")),
        w(request),
        r(response),
    ];
    check_as_called(
        &steps,
        &[
            "0 Client POST /c",
            "0 > x",
            "0 > Complete",
            "0 < 200",
            "0 < y",
            "0 < Complete",
        ],
    );
}

/// Where the place is searched, how calls cut the bytes may matter.
#[track_caller]
fn check_as_called(steps: &[Step], expected: &[&str]) {
    assert_eq!(shown(&events(steps).0), expected);
}

#[test]
fn a_body_without_a_readable_head_is_decompressed_by_its_first_bytes() {
    let gzip =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\xc8\x04\x00\xac\x2a\x93\xd8\x02\x00\x00\x00";
    let steps = [
        w(headers(0, 9, &[vec![POST], indexed(62)].concat())),
        w(data(END_STREAM, 9, gzip)),
        r(headers(0, 9, &[vec![OK], indexed(63)].concat())),
        r(data(END_STREAM, 9, "{\"usage\":1}")),
    ];
    check_as_called(
        &steps,
        &[
            "0 Client POST ",
            "0 > hi",
            "0 > Complete",
            "0 < 200",
            "0 < {\"usage\":1}",
            "0 < Complete",
        ],
    );
}

#[test]
fn a_head_that_names_no_status_is_one_all_the_same_if_it_cannot_be_read() {
    let steps = [
        w(headers(END_STREAM, 9, &[POST, 0x84])),
        r(headers(0, 9, &indexed(63))),
        r(data(END_STREAM, 9, "[answer]")),
    ];
    check_as_called(
        &steps,
        &[
            "0 Client POST /",
            "0 > Complete",
            "0 < 0",
            "0 < [answer]",
            "0 < Complete",
        ],
    );
}

#[test]
fn other_protocols_that_were_joined_midway_are_no_frames() {
    let texts: [&[u8]; 4] = [
        b"data: {\"text\":\"\0\0\x04\"}\n\n",
        // gRPC's length in front of a message.
        b"\0\0\0\0\x05\x0a\x03abc",
        b"\0\0\0\0\0\0\0\0\0",
        b"\x17\x03\x03\0\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    for text in texts {
        let calls: Vec<Step> = (0..40).map(|_| r(text)).collect();
        assert_eq!(events(&calls).0, []);
        let one = [r(text.repeat(40))];
        assert_eq!(events(&one).0, []);
    }
}
