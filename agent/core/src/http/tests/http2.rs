//! Streams as they should be, and as they should not be.

use super::frames::*;
use super::*;
use crate::http::{Headers, RequestHead, ResponseHead, Role};

/// The beginning of both directions, as a client sees it.
pub(super) fn opened() -> Vec<Step> {
    vec![
        Step::Named,
        w([PREFACE.to_vec(), settings()].concat()),
        r(settings()),
    ]
}

#[track_caller]
pub(super) fn check_after_start(steps: Vec<Step>, expected: &[&str]) {
    let steps: Vec<Step> = opened()
        .into_iter()
        .chain(steps)
        .chain([closed()])
        .collect();
    let expected: Vec<&str> = ["name host"]
        .into_iter()
        .chain(expected.iter().copied())
        .chain(["closed"])
        .collect();
    check(&steps, &expected);
}

#[track_caller]
pub(super) fn stats_after_start(steps: Vec<Step>) -> Stats {
    let steps: Vec<Step> = opened().into_iter().chain(steps).collect();
    events(&steps).1
}

#[test]
fn a_stream_is_one_exchange() {
    let [request, response] = exchange(1, "/v1/messages?beta=true", "hello", "hi");
    check_after_start(
        vec![w(request), r(response)],
        &[
            "0 Client POST /v1/messages",
            "0 > hello",
            "0 > Complete",
            "0 < 200",
            "0 < hi",
            "0 < Complete",
        ],
    );
}

#[test]
fn parallel_streams_are_numbered_in_the_order_of_their_requests() {
    check_after_start(
        vec![
            w(headers(0, 1, &post("/a"))),
            w(headers(END_STREAM, 7, &post("/b"))),
            w(data(0, 1, "a")),
            r(headers(0, 7, &[OK])),
            r(data(0, 7, "B1")),
            w(data(END_STREAM, 1, "a")),
            r(headers(0, 1, &[OK])),
            r(data(END_STREAM, 1, "A")),
            r(data(END_STREAM, 7, "B2")),
        ],
        &[
            "0 Client POST /a",
            "1 Client POST /b",
            "1 > Complete",
            "0 > a",
            "1 < 200",
            "1 < B1",
            "0 > a",
            "0 > Complete",
            "0 < 200",
            "0 < A",
            "0 < Complete",
            "1 < B2",
            "1 < Complete",
        ],
    );
}

#[test]
fn heads_keep_what_is_allowed() {
    let request = [
        vec![POST],
        literal(":scheme", "https"),
        literal(":authority", "user:pass@api.example:8443"),
        literal(":path", "/p?key=canary#f"),
        literal("host", "other.example"),
        literal("authorization", "Bearer canary"),
        literal("x-api-key", "canary"),
        literal("cookie", "canary"),
        literal("user-agent", "c/1"),
    ]
    .concat();
    let response = [
        vec![OK],
        literal("request-id", "req_1"),
        literal("set-cookie", "canary"),
    ]
    .concat();
    let steps = [
        w([
            PREFACE.to_vec(),
            settings(),
            headers(END_STREAM, 1, &request),
        ]
        .concat()),
        r([settings(), headers(END_STREAM, 1, &response)].concat()),
    ];
    let (out, _) = events(&steps);
    let mut allowed = Headers::default();
    allowed.push("host", "api.example:8443".to_owned());
    allowed.push("user-agent", "c/1".to_owned());
    let id = crate::http::ExchangeId {
        conn: CONN,
        number: 0,
    };
    let mut of_response = Headers::default();
    of_response.push("request-id", "req_1".to_owned());
    let expected = [
        HttpEvent::Request {
            at: at(2),
            id,
            role: Role::Client,
            head: RequestHead {
                method: "POST".to_owned(),
                path: "/p".to_owned(),
                model: None,
                scheme: Scheme::Key,
                headers: allowed,
            },
        },
        HttpEvent::RequestEnd {
            at: at(2),
            id,
            end: BodyEnd::Complete,
        },
        HttpEvent::Response {
            at: at(2),
            id,
            head: ResponseHead {
                status: 200,
                headers: of_response,
            },
        },
        HttpEvent::ResponseEnd {
            at: at(2),
            id,
            end: BodyEnd::Complete,
        },
    ];
    assert_eq!(out, expected);
    assert!(!format!("{out:?}").contains("canary"));
}

#[test]
fn names_and_values_of_the_tables_are_followed() {
    let first = [
        vec![POST],
        added(":path", "/first"),
        added("session-id", "one"),
    ]
    .concat();
    let second = [vec![POST], indexed(63), indexed(62)].concat();
    let third = [
        vec![POST],
        // A new value under an old name, which moves the others by one.
        integer(0x40, 6, 63),
        string("/third"),
        indexed(63),
    ]
    .concat();
    let steps = [
        w([PREFACE.to_vec(), settings()].concat()),
        w(headers(END_STREAM, 1, &first)),
        w(headers(END_STREAM, 3, &second)),
        w(headers(END_STREAM, 5, &third)),
    ];
    let heads: Vec<(String, Option<String>)> = events(&steps)
        .0
        .into_iter()
        .filter_map(|event| {
            if let HttpEvent::Request { head, .. } = event {
                let session = head.headers.first("session-id").map(str::to_owned);
                Some((head.path, session))
            } else {
                None
            }
        })
        .collect();
    let one = Some("one".to_owned());
    let expected = ["/first", "/first", "/third"].map(|path| (path.to_owned(), one.clone()));
    assert_eq!(heads, expected);
}

#[test]
fn of_a_credential_only_the_class_passes_and_stands_in_the_tables() {
    let path = literal(":path", "/p");
    let head = |fields: Vec<u8>| [vec![POST], path.clone(), fields].concat();
    let steps = [
        w([PREFACE.to_vec(), settings()].concat()),
        w(headers(
            END_STREAM,
            1,
            &head(added("authorization", "Bearer ya29.canary")),
        )),
        w(headers(END_STREAM, 3, &head(indexed(62)))),
        // Another value under the name in the table.
        w(headers(
            END_STREAM,
            5,
            &head([integer(0x00, 4, 62), string("AWS4-HMAC-SHA256 canary")].concat()),
        )),
        w(headers(END_STREAM, 7, &head(Vec::new()))),
    ];
    let expected = [
        Scheme::GoogleToken,
        Scheme::GoogleToken,
        Scheme::AwsSignature,
        Scheme::None,
    ];
    assert_eq!(schemes(&events(&steps).0), expected);
}

#[test]
fn the_table_obeys_the_sizes_in_the_blocks_and_the_settings_of_the_receiver() {
    let add = |value: &str| [vec![POST], added(":path", value)].concat();
    let use_it = [vec![POST], indexed(62)].concat();
    let steps = |size: usize, server: Vec<u8>| {
        vec![
            w([PREFACE.to_vec(), settings()].concat()),
            r(server),
            w(headers(END_STREAM, 1, &add("/a"))),
            w(headers(
                END_STREAM,
                3,
                &[resized(size), use_it.clone()].concat(),
            )),
        ]
    };
    let path_of_second = |steps: &[Step]| shown(&events(steps).0)[2].clone();
    let table_size = |size| setting(1, size);
    // An entry counts 32 beside its name and value.
    let kept = path_of_second(&steps(39, settings()));
    assert_eq!(kept, "1 Client POST /a");
    assert_eq!(path_of_second(&steps(4_096, settings())), kept);
    assert_eq!(path_of_second(&steps(65_536, table_size(65_536))), kept);
    // Evicted, allowed by nobody, beyond our limit: not a guess, but unknown.
    for unknown in [
        steps(38, settings()),
        steps(4_097, settings()),
        steps(65_537, table_size(1 << 20)),
    ] {
        assert_eq!(path_of_second(&unknown), "1 Client POST ");
        assert_eq!(events(&unknown).1.heads_unread, 1);
    }
}

#[test]
fn blocks_may_be_cut_padded_and_have_priorities() {
    let block = post("/a");
    let (one, rest) = block.split_at(3);
    let (two, three) = rest.split_at(4);
    let padded = [vec![5], vec![0x80, 0, 0, 0, 16], one.to_vec(), vec![0; 5]].concat();
    check_after_start(
        vec![
            w(frame(
                HEADERS,
                END_STREAM | PADDED | WITH_PRIORITY,
                1,
                &padded,
            )),
            w(frame(CONTINUATION, 0, 1, two)),
            w(frame(CONTINUATION, 0, 1, &[])),
            w(frame(CONTINUATION, END_HEADERS, 1, three)),
            r(headers(0, 1, &[OK])),
            r(data(PADDED, 1, b"\x03hi\0\0\0")),
            r(data(PADDED, 1, b"\x03\0\0\0")),
            r(data(END_STREAM, 1, "")),
        ],
        &[
            "0 Client POST /a",
            "0 > Complete",
            "0 < 200",
            "0 < hi",
            "0 < Complete",
        ],
    );
}

#[test]
fn frames_that_carry_nothing_are_skipped() {
    let [request, response] = exchange(1, "/a", "x", "y");
    check_after_start(
        vec![
            w(frame(PRIORITY, 0, 3, &[0; 5])),
            w(frame(WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0])),
            w(request),
            r(frame(SETTINGS, 1, 0, &[])),
            r(frame(PING, 0, 0, &[7; 8])),
            r(frame(0xa, 0, 0, b"altsvc")),
            r(frame(0xff, 0xff, 99, &[9; 99])),
            w(frame(PING, 1, 0, &[7; 8])),
            r(response),
        ],
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
fn interim_responses_and_trailers_are_no_part_of_the_content() {
    check_after_start(
        vec![
            w(headers(0, 1, &post("/a"))),
            r(headers(0, 1, &literal(":status", "100"))),
            w(data(0, 1, "body")),
            w(headers(END_STREAM, 1, &literal("x-check", "1"))),
            r(headers(0, 1, &literal(":status", "103"))),
            r(headers(0, 1, &[OK])),
            r(data(0, 1, "answer")),
            r(headers(END_STREAM, 1, &literal("grpc-status", "0"))),
        ],
        &[
            "0 Client POST /a",
            "0 > body",
            "0 > Complete",
            "0 < 200",
            "0 < answer",
            "0 < Complete",
        ],
    );
}

#[test]
fn limits_are_told_by_heads_and_not_by_trailers() {
    let limit = |value| literal("x-ratelimit-limit-tokens", value);
    let steps = opened().into_iter().chain([
        w(headers(END_STREAM, 1, &post("/a"))),
        r(headers(
            0,
            1,
            &[literal(":status", "103"), limit("1")].concat(),
        )),
        r(headers(0, 1, &[vec![OK], limit("2")].concat())),
        r(data(0, 1, "answer")),
        r(headers(END_STREAM, 1, &limit("3"))),
    ]);
    let (out, _) = events(&steps.collect::<Vec<_>>());
    let told: Vec<(&str, &str)> = out
        .iter()
        .filter_map(|event| {
            if let HttpEvent::Response { head, .. } = event {
                Some(head)
            } else {
                None
            }
        })
        .flat_map(|head| head.headers.limits())
        .collect();
    assert_eq!(told, [("x-ratelimit-limit-tokens", "2")]);
}

#[test]
fn responses_without_content_end_with_their_head() {
    check_after_start(
        vec![
            w(headers(
                END_STREAM,
                1,
                &[literal(":method", "HEAD"), literal(":path", "/a")].concat(),
            )),
            r(headers(
                END_STREAM,
                1,
                &[vec![OK], literal("content-encoding", "gzip")].concat(),
            )),
            w(headers(END_STREAM, 3, &[GET, 0x84])),
            r(headers(END_STREAM, 3, &[0x89])),
            w(headers(END_STREAM, 5, &[GET, 0x84])),
            r(headers(0, 5, &[0x8b])),
            r(data(END_STREAM, 5, "")),
        ],
        &[
            "0 Client HEAD /a",
            "0 > Complete",
            "0 < 200",
            "0 < Complete",
            "1 Client GET /",
            "1 > Complete",
            "1 < 204",
            "1 < Complete",
            "2 Client GET /",
            "2 > Complete",
            "2 < 304",
            "2 < Complete",
        ],
    );
}

#[test]
fn a_tunnel_ends_its_exchange_and_not_the_connection() {
    let connect = [
        literal(":method", "CONNECT"),
        literal(":authority", "h:443"),
    ]
    .concat();
    let extended = [
        literal(":method", "CONNECT"),
        literal(":protocol", "websocket"),
        literal(":path", "/chat"),
    ]
    .concat();
    let [request, response] = exchange(5, "/a", "", "y");
    let steps = vec![
        w(headers(0, 1, &connect)),
        r(headers(0, 1, &[OK])),
        w(data(0, 1, "GET / HTTP/1.1\r\n\r\n")),
        r(data(0, 1, "HTTP/1.1 200 OK\r\n\r\n")),
        w(headers(0, 3, &extended)),
        r(headers(0, 3, &[OK])),
        r(data(0, 3, "\u{1}\u{2}")),
        w(request),
        r(response),
    ];
    assert_eq!(stats_after_start(steps.clone()).tunnels, 2);
    check_after_start(
        steps,
        &[
            "0 Client CONNECT h:443",
            "0 < 200",
            "0 > Cut",
            "0 < Complete",
            "1 Client CONNECT /chat",
            "1 < 200",
            "1 > Cut",
            "1 < Complete",
            "2 Client POST /a",
            "2 > Complete",
            "2 < 200",
            "2 < y",
            "2 < Complete",
        ],
    );
}

#[test]
fn a_reset_ends_one_stream() {
    let [request, response] = exchange(5, "/c", "x", "y");
    check_after_start(
        vec![
            w(headers(0, 1, &post("/a"))),
            w(headers(END_STREAM, 3, &post("/b"))),
            r(headers(0, 3, &[OK])),
            r(data(0, 3, "some")),
            w(frame(RST_STREAM, 0, 3, &[0, 0, 0, 8])),
            // Under way when the reset was sent.
            r(data(END_STREAM, 3, "more")),
            // An answer before all was asked, and the request to stop asking.
            r(headers(0, 1, &[OK])),
            r(data(END_STREAM, 1, "early")),
            r(frame(RST_STREAM, 0, 1, &[0, 0, 0, 0])),
            w(data(END_STREAM, 1, "late")),
            w(request),
            r(response),
        ],
        &[
            "0 Client POST /a",
            "1 Client POST /b",
            "1 > Complete",
            "1 < 200",
            "1 < some",
            "1 < GivenUp(Client)",
            "0 < 200",
            "0 < early",
            "0 > GivenUp(Server)",
            "0 < Complete",
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
fn a_farewell_ends_the_streams_that_will_not_be_answered() {
    check_after_start(
        vec![
            w(headers(END_STREAM, 1, &post("/a"))),
            w(headers(END_STREAM, 3, &post("/b"))),
            r(frame(
                GOAWAY,
                0,
                0,
                &[0, 0, 0, 1, 0, 0, 0, 0, b'b', b'y', b'e'],
            )),
            w(frame(GOAWAY, 0, 0, &[0; 8])),
            r(headers(0, 1, &[OK])),
            r(data(END_STREAM, 1, "A")),
        ],
        &[
            "0 Client POST /a",
            "0 > Complete",
            "1 Client POST /b",
            "1 > Complete",
            "1 < Cut",
            "0 < 200",
            "0 < A",
            "0 < Complete",
        ],
    );
}

#[test]
fn what_is_open_is_cut_when_the_connection_ends() {
    check_after_start(
        vec![
            w(headers(END_STREAM, 1, &post("/a"))),
            w(headers(0, 3, &post("/b"))),
            r(headers(0, 1, &[OK])),
            r(data(0, 1, "A")),
        ],
        &[
            "0 Client POST /a",
            "0 > Complete",
            "1 Client POST /b",
            "0 < 200",
            "0 < A",
            "0 < Cut",
            "1 > Cut",
            "1 < Cut",
        ],
    );
}

#[test]
fn promised_streams_are_no_exchanges_and_their_blocks_are_decoded() {
    let promise = [vec![0, 0, 0, 2], vec![GET], added("request-id", "pushed")].concat();
    check_after_start(
        vec![
            w(headers(END_STREAM, 1, &post("/a"))),
            r(frame(PUSH_PROMISE, END_HEADERS, 1, &promise)),
            r(headers(0, 2, &[OK])),
            r(data(END_STREAM, 2, "pushed")),
            // What the promise added is named.
            r(headers(END_STREAM, 1, &[vec![OK], indexed(62)].concat())),
        ],
        &[
            "0 Client POST /a",
            "0 > Complete",
            "0 < 200",
            "0 < Complete",
        ],
    );
}

#[test]
fn who_reads_the_preface_is_the_server() {
    let [request, response] = exchange(1, "/a", "x", "y");
    let lines = [
        "0 Server POST /a",
        "0 > x",
        "0 > Complete",
        "0 < 200",
        "0 < y",
        "0 < Complete",
        "closed",
    ];
    let preface = [PREFACE.to_vec(), settings()].concat();
    let after: Vec<Step> = vec![r(request), w(response), closed()];
    let first = [vec![r(preface.clone()), w(settings())], after.clone()].concat();
    check(&first, &lines);
    assert_eq!(events(&first).1.exchanges_server_side, 1);
    // A server may send its settings at once, before anything was read.
    let settings_first = [vec![w(settings()), r(preface)], after].concat();
    let (out, _) = events(&settings_first);
    assert_eq!(shown(&out), lines);
    let named: Vec<Step> = [vec![Step::Named], settings_first].concat();
    let lines: Vec<&str> = ["name host"].into_iter().chain(lines).collect();
    check(&named, &lines);
    // In the middle of the preface.
    let mut between = named;
    let Some(Step::Bytes(_, preface)) = between.get_mut(2) else {
        unreachable!()
    };
    let start = preface.drain(..5).collect::<Vec<u8>>();
    between.insert(1, r(start));
    check(&between, &lines);
}

#[test]
fn bodies_are_decompressed() {
    let gzip =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\xc8\x04\x00\xac\x2a\x93\xd8\x02\x00\x00\x00";
    let coded = |first: Vec<u8>| [first, literal("content-encoding", "gzip")].concat();
    let (one, two) = gzip.split_at(9);
    check_after_start(
        vec![
            w(headers(0, 1, &coded(post("/a")))),
            w(data(0, 1, one)),
            w(data(END_STREAM, 1, two)),
            r(headers(0, 1, &coded(vec![OK]))),
            r(data(0, 1, one)),
            r(data(END_STREAM, 1, "\u{7f}")),
        ],
        &[
            "0 Client POST /a",
            "0 > hi",
            "0 > Complete",
            "0 < 200",
            "0 < Refused",
        ],
    );
}

#[test]
fn what_no_peer_accepts_ends_the_reading() {
    for broken in [
        // Padding longer than the frame, and none at all.
        data(PADDED, 1, b"\x06abcde"),
        frame(DATA, PADDED, 1, &[]),
        // Exchanges without a stream.
        data(0, 0, "a"),
        headers(0, 0, &[OK]),
        frame(RST_STREAM, 0, 0, &[0; 4]),
        // A block that goes on without having begun, or in another stream, or in another frame.
        frame(CONTINUATION, END_HEADERS, 1, &[OK]),
        [
            frame(HEADERS, 0, 1, &[OK]),
            frame(CONTINUATION, END_HEADERS, 3, &[]),
        ]
        .concat(),
        [frame(HEADERS, 0, 1, &[OK]), frame(PING, 0, 0, &[0; 8])].concat(),
        // Too short for its own fields, or for a whole number of them.
        frame(SETTINGS, 0, 0, &[0; 7]),
        frame(HEADERS, WITH_PRIORITY | END_HEADERS, 1, &[0; 4]),
        frame(GOAWAY, 0, 0, &[0; 7]),
    ] {
        let steps = vec![w(headers(END_STREAM, 1, &post("/a"))), r(broken)];
        assert_eq!(stats_after_start(steps.clone()).dismissed_ambiguous, 1);
        check_after_start(
            steps,
            &[
                "0 Client POST /a",
                "0 > Complete",
                "0 < Refused",
                "dismissed Ambiguous",
            ],
        );
    }
    let no_preface = [Step::Named, w("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"), closed()];
    check(&no_preface, &["name host", "dismissed Ambiguous", "closed"]);
}

#[test]
fn a_broken_block_costs_the_names_behind_it_and_never_makes_wrong_ones() {
    for broken in [
        // No such entry, index 0, an endless number, a string beyond its block, bad padding of a
        // Huffman code.
        indexed(63),
        indexed(0),
        vec![0xff; 8],
        vec![0x04, 0x05, b'/'],
        vec![0x04, 0x81, 0x00],
    ] {
        let first = [vec![POST], added(":path", "/a")].concat();
        let second = [vec![POST], broken].concat();
        let third = [vec![POST], indexed(62)].concat();
        let fourth = [vec![POST], added(":path", "/d"), indexed(63)].concat();
        let fifth = [vec![POST], indexed(62)].concat();
        check_after_start(
            [first, second, third, fourth, fifth]
                .iter()
                .zip([1, 3, 5, 7, 9])
                .map(|(block, stream)| w(headers(END_STREAM, stream, block)))
                .collect(),
            &[
                "0 Client POST /a",
                "0 > Complete",
                "1 Client POST ",
                "1 > Complete",
                "2 Client POST ",
                "2 > Complete",
                "3 Client POST /d",
                "3 > Complete",
                "4 Client POST /d",
                "4 > Complete",
                "0 < Cut",
                "1 < Cut",
                "2 < Cut",
                "3 < Cut",
                "4 < Cut",
            ],
        );
    }
}

#[test]
fn streams_that_contradict_the_protocol_cost_only_themselves() {
    let [request, response] = exchange(9, "/b", "x", "y");
    check_after_start(
        vec![
            // An even number, a number that is over, trailers of nothing.
            w(headers(END_STREAM, 2, &post("/even"))),
            w(headers(END_STREAM, 5, &post("/a"))),
            w(headers(END_STREAM, 3, &post("/late"))),
            w(headers(END_STREAM, 7, &literal("x", "y"))),
            // A response that is a request, content without a head, a head without a status.
            r(headers(END_STREAM, 5, &post("/wrong"))),
            r(headers(END_STREAM, 11, &[OK])),
            r(data(END_STREAM, 5, "headless")),
            w(request),
            r(response),
            w(headers(END_STREAM, 11, &post("/c"))),
            r(headers(END_STREAM, 11, &literal("x", "y"))),
        ],
        &[
            "0 Client POST /a",
            "0 > Complete",
            "0 < Refused",
            "1 Client POST /b",
            "1 > x",
            "1 > Complete",
            "1 < 200",
            "1 < y",
            "1 < Complete",
            "2 Client POST /c",
            "2 > Complete",
            "2 < Refused",
        ],
    );
}
