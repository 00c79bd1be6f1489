//! Messages as they should be, and as they should not be.

use super::*;
use crate::http::{Headers, RequestHead, ResponseHead, Role, Scheme};

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn a_request_and_its_response_become_one_exchange() {
    check(
        &[
            Step::Named,
            w("POST /v1/messages?beta=true HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"),
            r("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
            closed(),
        ],
        &[
            "name host",
            "0 Client POST /v1/messages",
            "0 > hello",
            "0 > Complete",
            "0 < 200",
            "0 < hi",
            "0 < Complete",
            "closed",
        ],
    );
}

#[test]
fn who_reads_the_request_is_the_server() {
    let steps = [
        r(GET),
        w("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        closed(),
    ];
    check(
        &steps,
        &[
            "0 Server GET /a",
            "0 > Complete",
            "0 < 200",
            "0 < Complete",
            "closed",
        ],
    );
    let (_, stats) = events(&steps);
    assert_eq!((stats.exchanges, stats.exchanges_server_side), (1, 1));
}

#[test]
fn heads_keep_what_is_allowed() {
    let (out, _) = events(&[
        w(
            "POST http://user:pass@h/p#f HTTP/1.1\r\nHOST: h\r\nX-Api-Key: k\r\nuser-agent:  c/1 \r\n\r\n",
        ),
        r("HTTP/1.1 200\r\nRequest-Id: req_1\r\nSet-Cookie: c\r\nContent-Length: 0\r\n\r\n"),
    ]);
    let mut headers = Headers::default();
    headers.push("host", "h".to_owned());
    headers.push("user-agent", "c/1".to_owned());
    let id = crate::http::ExchangeId {
        conn: CONN,
        number: 0,
    };
    let request = RequestHead {
        method: "POST".to_owned(),
        path: "/p".to_owned(),
        model: None,
        scheme: Scheme::Key,
        headers,
    };
    let mut headers = Headers::default();
    headers.push("request-id", "req_1".to_owned());
    let response = ResponseHead {
        status: 200,
        headers,
    };
    let expected = [
        HttpEvent::Request {
            at: at(2),
            id,
            role: Role::Client,
            head: request,
        },
        HttpEvent::RequestEnd {
            at: at(2),
            id,
            end: BodyEnd::Complete,
        },
        HttpEvent::Response {
            at: at(2),
            id,
            head: response,
        },
        HttpEvent::ResponseEnd {
            at: at(2),
            id,
            end: BodyEnd::Complete,
        },
    ];
    assert_eq!(out, expected);
}

#[test]
fn paths_lose_everything_secret_and_are_cut() {
    let long = format!("/{}", "a".repeat(2_000));
    let cut = format!("/{}", "a".repeat(1_023));
    let table = [
        ("/a/b?key=1", "/a/b"),
        ("/a#f?x", "/a"),
        ("*", "*"),
        ("http://u:p@h:1/x?y", "/x"),
        ("https://h", "/"),
        ("u:p@h:443", "h:443"),
        ("/x://y", "/x://y"),
        (long.as_str(), cut.as_str()),
    ];
    for (target, path) in table {
        let (out, _) = events(&[w(format!("GET {target} HTTP/1.1\r\n\r\n"))]);
        assert_eq!(shown(&out)[0], format!("0 Client GET {path}"));
    }
}

#[test]
fn a_connection_carries_many_exchanges() {
    check(
        &[
            w(GET),
            r("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"),
            w("\r\nGET /b HTTP/1.1\r\n\r\n"),
            r("HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n\r\n"),
            w("GET /c HTTP/1.0\r\n\r\n"),
            r("HTTP/1.0 200 OK\r\n\r\nuntil the end"),
            closed(),
        ],
        &[
            "0 Client GET /a",
            "0 > Complete",
            "0 < 200",
            "0 < a",
            "0 < Complete",
            "1 Client GET /b",
            "1 > Complete",
            "1 < 404",
            "1 < b",
            "1 < Complete",
            "2 Client GET /c",
            "2 > Complete",
            "2 < 200",
            "2 < until the end",
            "2 < Complete",
            "closed",
        ],
    );
}

#[test]
fn pipelined_requests_get_their_responses_in_order() {
    check(
        &[
            w(format!(
                "{GET}HEAD /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\n\r\n"
            )),
            r("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na\
               HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n\
               HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"),
            closed(),
        ],
        &[
            "0 Client GET /a",
            "0 > Complete",
            "1 Client HEAD /b",
            "1 > Complete",
            "2 Client GET /c",
            "2 > Complete",
            "0 < 200",
            "0 < a",
            "0 < Complete",
            "1 < 200",
            "1 < Complete",
            "2 < 304",
            "2 < Complete",
            "closed",
        ],
    );
}

#[test]
fn interim_responses_are_skipped() {
    check(
        &[
            w("POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"),
            r("HTTP/1.1 100 Continue\r\n\r\n"),
            w("ab"),
            r("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
            closed(),
        ],
        &[
            "0 Client POST /a",
            "0 > ab",
            "0 > Complete",
            "0 < 204",
            "0 < Complete",
            "closed",
        ],
    );
}

#[test]
fn chunk_extensions_and_trailers_are_skipped() {
    check(
        &[
            w("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
               3;x=y\r\nabc\r\n00A ; q=\"z\"\r\n0123456789\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n"),
            r("HTTP/1.1 204 No Content\r\n\r\n"),
        ],
        &[
            "0 Client POST /a",
            "0 > abc0123456789",
            "0 > Complete",
            "0 < 204",
            "0 < Complete",
        ],
    );
}

#[test]
fn a_response_may_come_before_its_request_is_over() {
    check(
        &[
            w("POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\nab"),
            r("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"),
            w("cdGET /b HTTP/1.1\r\n\r\n"),
            r("HTTP/1.1 204 No Content\r\n\r\n"),
            closed(),
        ],
        &[
            "0 Client POST /a",
            "0 > ab",
            "0 < 413",
            "0 < no",
            "0 > cd",
            "0 > Complete",
            "0 < Complete",
            "1 Client GET /b",
            "1 > Complete",
            "1 < 204",
            "1 < Complete",
            "closed",
        ],
    );
}

#[test]
fn a_connection_that_ends_cuts_what_is_open() {
    let request = "POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\n";
    check(
        &[w(request), w("ab"), closed()],
        &["0 Client POST /a", "0 > ab", "0 > Cut", "0 < Cut", "closed"],
    );
    check(
        &[
            w(GET),
            r("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"),
            closed(),
        ],
        &[
            "0 Client GET /a",
            "0 > Complete",
            "0 < 200",
            "0 < ab",
            "0 < Cut",
            "closed",
        ],
    );
    check(
        &[
            w(GET),
            r("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"),
            closed(),
        ],
        &[
            "0 Client GET /a",
            "0 > Complete",
            "0 < 200",
            "0 < ab",
            "0 < Cut",
            "closed",
        ],
    );
    check(&[w("GET /a HT"), closed()], &["closed"]);
}

#[test]
fn a_body_until_the_end_is_whole_only_where_the_end_was_seen() {
    for (reason, end) in [
        (EndReason::Closed, "0 < Complete"),
        (EndReason::Exited, "0 < Complete"),
        (EndReason::Replaced, "0 < Cut"),
        (EndReason::Idle, "0 < Cut"),
        (EndReason::Evicted, "0 < Cut"),
        (EndReason::Stopped, "0 < Cut"),
    ] {
        check(
            &[w(GET), r("HTTP/1.1 200 OK\r\n\r\nab"), Step::End(reason)],
            &[
                "0 Client GET /a",
                "0 > Complete",
                "0 < 200",
                "0 < ab",
                end,
                "closed",
            ],
        );
    }
}

#[test]
fn another_protocol_behind_an_upgrade_is_not_read() {
    check(
        &[
            w("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"),
            r("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n\x01\x02"),
            w("\x01\x02"),
            closed(),
        ],
        &[
            "0 Client GET /ws",
            "0 > Complete",
            "0 < 101",
            "0 < Complete",
            "dismissed Upgraded",
            "closed",
        ],
    );
    check(
        &[
            w("CONNECT h:443 HTTP/1.1\r\n\r\n"),
            r("HTTP/1.1 407 No\r\nContent-Length: 1\r\n\r\nx"),
            w("CONNECT h:443 HTTP/1.1\r\n\r\n"),
            r("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\x16\x03"),
            closed(),
        ],
        &[
            "0 Client CONNECT h:443",
            "0 > Complete",
            "0 < 407",
            "0 < x",
            "0 < Complete",
            "1 Client CONNECT h:443",
            "1 > Complete",
            "1 < 200",
            "1 < Complete",
            "dismissed Tunnel",
            "closed",
        ],
    );
}

#[test]
fn what_is_no_http_is_dismissed_at_its_first_bytes() {
    for foreign in [
        "\x16\x03\x01",
        "SSH-2.0-x\r\n",
        "EHLO me\r\n",
        "get / HTTP/1.1\r\n\r\n",
        "\r\n",
        "GET  /",
    ] {
        check(
            &[Step::Named, w(foreign), w(GET), closed()],
            &["name host", "dismissed NotHttp", "closed"],
        );
    }
}

#[test]
fn a_first_line_that_is_no_request_is_none_however_it_is_cut() {
    for foreign in [
        "POST / HTT3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "PRI * HHTTP/1.1\r\nHost: h\r\n\r\n",
        "PRI * HTTP/1.1x\r\n\r\n",
        "POST /a-path-that-is-longer-than-what-tells-an-opening HTTP/3\r\n\r\n",
        "HELLO world\r\n",
    ] {
        check(
            &[Step::Named, w(foreign), closed()],
            &["name host", "dismissed NotHttp", "closed"],
        );
        // Without a handshake they may be the middle of something, on either side.
        let reply = r("HTTP/1.1 204 No\r\n\r\n");
        check(
            &[r(foreign), w(GET), reply, closed()],
            &[
                "0 Client GET /a",
                "0 > Complete",
                "0 < 204",
                "0 < Complete",
                "closed",
            ],
        );
    }
    let request = "PRI * HTTP/1.1\r\n\r\n";
    check(&[w(request)], &["0 Client PRI *", "0 > Complete"]);
    let (_, stats) = events(&[w(b"A a\n".repeat(1 << 18)), w(b"A a\n")]);
    assert_eq!(stats.dismissed_not_http, 1, "they pass by up to the limit");
}

#[test]
fn without_a_handshake_the_first_bytes_may_be_the_middle_of_something() {
    check(
        &[
            r("middle of a reply"),
            w(GET),
            r("HTTP/1.1 204 No\r\n\r\n"),
            closed(),
        ],
        &[
            "0 Client GET /a",
            "0 > Complete",
            "0 < 204",
            "0 < Complete",
            "closed",
        ],
    );
    let mut steps = vec![r([1; 1 << 20]), r([1])];
    let (out, stats) = events(&steps);
    assert_eq!(
        (shown(&out), stats.dismissed_not_http),
        (vec!["dismissed NotHttp".to_owned()], 1)
    );
    steps.pop();
    assert_eq!(events(&steps).0, []);
}

#[test]
fn framing_that_contradicts_itself_is_refused() {
    for fields in [
        "Content-Length: 1\r\nContent-Length: 2\r\n",
        "Content-Length: 1, 2\r\n",
        "Content-Length: \r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +1\r\n",
        "Content-Length: 0x1\r\n",
        "Content-Length: 1 1\r\n",
        "Content-Length: 1.0\r\n",
        "Content-Length: 1,\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 9223372036854775808\r\n",
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: \r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked,\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Host: h\r\n folded\r\n",
        "Host: h\r\n\tfolded\r\n",
        " Host: h\r\n",
        "Host: h\0\r\n",
        "Host\r\n",
        "Ho st: h\r\n",
        ": h\r\n",
        "Host: a\rb\r\n",
        "Host: h\n",
    ] {
        for side in ["request", "response"] {
            let (steps, before): (Vec<Step>, &[&str]) = if side == "request" {
                (vec![w(format!("POST /a HTTP/1.1\r\n{fields}\r\n"))], &[])
            } else {
                (
                    vec![w(GET), r(format!("HTTP/1.1 200 OK\r\n{fields}\r\n"))],
                    &["0 Client GET /a", "0 > Complete", "0 < Refused"],
                )
            };
            let expected = [before, &["dismissed Ambiguous"]].concat();
            check(&steps, &expected);
        }
    }
    // Only a response may last until the connection closes.
    check(
        &[
            w("POST /a HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n"),
            closed(),
        ],
        &["dismissed Ambiguous", "closed"],
    );
    check(
        &[
            w("POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
            closed(),
        ],
        &["dismissed Ambiguous", "closed"],
    );
}

#[test]
fn chunks_that_contradict_themselves_are_refused() {
    for chunks in [
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x1\r\na\r\n",
        " 1\r\na\r\n",
        "1 1\r\na\r\n",
        "1\na\r\n",
        "1\r\nab\r\n",
        "1\r\na\n",
        "1;\x01\r\na\r\n",
        "1;\r\r\na\r\n",
        "00000000000000001\r\na\r\n",
        "ffffffffffffffff\r\n",
        "8000000000000000\r\n",
        "10000000000000000\r\n",
        "0\r\nno field\r\n\r\n",
        "0\r\nA: b\n\r\n",
        "0\r\n folded\r\n\r\n",
    ] {
        let head = "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (out, _) = events(&[w(format!("{head}{chunks}")), w(GET), closed()]);
        let lines = shown(&out);
        let ends = [
            "0 > Refused",
            "0 < Refused",
            "dismissed Ambiguous",
            "closed",
        ];
        assert_eq!(&lines[lines.len() - 4..], ends, "{chunks:?}");
        let (out, _) = events(&singly(&[w(format!("{head}{chunks}")), w(GET), closed()]));
        assert_eq!(shown(&out), lines, "{chunks:?}");
    }
}

#[test]
fn lengths_that_agree_are_one() {
    check(
        &[
            w("POST /a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1, 01\r\n\r\na"),
            r("HTTP/1.1 204 No\r\n\r\n"),
        ],
        &[
            "0 Client POST /a",
            "0 > a",
            "0 > Complete",
            "0 < 204",
            "0 < Complete",
        ],
    );
}

#[test]
fn what_is_over_a_limit_is_dismissed() {
    let line = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(64 << 10));
    check(&[w(line)], &["dismissed OverLimit"]);
    let field = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(64 << 10));
    check(&[w(field)], &["dismissed OverLimit"]);
    let fields = format!("GET / HTTP/1.1\r\n{}\r\n", "a:b\r\n".repeat(129));
    check(&[w(fields)], &["dismissed OverLimit"]);
    let fields = format!("GET / HTTP/1.1\r\n{}\r\n", "a:b\r\n".repeat(128));
    check(&[w(fields)], &["0 Client GET /", "0 > Complete"]);
    let extension = format!("1;{}\r\n", "a".repeat(4 << 10));
    check(
        &[
            w("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            w(extension),
        ],
        &[
            "0 Client POST /",
            "0 > Refused",
            "0 < Refused",
            "dismissed OverLimit",
        ],
    );
    let method = format!("{} / HTTP/1.1\r\n\r\n", "A".repeat(33));
    check(
        &[Step::Named, w(method)],
        &["name host", "dismissed NotHttp"],
    );
    let (out, stats) = events(&[w(GET.repeat(257))]);
    assert_eq!(
        shown(&out).last().map(String::as_str),
        Some("dismissed OverLimit")
    );
    assert_eq!((stats.exchanges, stats.dismissed_over_limit), (256, 1));
}

#[test]
fn a_response_that_nobody_asked_for_answers_nothing() {
    check(
        &[
            w(GET),
            r("HTTP/1.1 204 No\r\n\r\nHTTP/1.1 408 Timeout\r\nContent-Length: 1\r\n\r\nx"),
            closed(),
        ],
        &[
            "0 Client GET /a",
            "0 > Complete",
            "0 < 204",
            "0 < Complete",
            "closed",
        ],
    );
}

#[test]
fn bodies_whose_compression_is_refused_do_not_cost_the_connection() {
    let request = "POST /a HTTP/1.1\r\nContent-Encoding: zstd\r\nContent-Length: 4\r\n\r\njunk";
    let steps = [
        w(request),
        r("HTTP/1.1 200 OK\r\nContent-Encoding: gzip, br\r\nContent-Length: 2\r\n\r\nab"),
        w(GET),
        r("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
        w(GET),
        r("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"),
        closed(),
    ];
    check(
        &steps,
        &[
            "0 Client POST /a",
            "0 > Refused",
            "0 < 200",
            "0 < Refused",
            "1 Client GET /a",
            "1 > Complete",
            "1 < 200",
            "1 < Refused",
            "2 Client GET /a",
            "2 > Complete",
            "2 < 200",
            "2 < Complete",
            "closed",
        ],
    );
    assert_eq!(events(&steps).1.bodies_refused, 3);
}

#[test]
fn segments_of_unknown_connections_are_dropped() {
    let mut stage = Http::new(Limits::default());
    let (mut out, mut stats) = (Vec::new(), Stats::default());
    for step in [Step::Named, w(GET), Step::Gap(Read, 1), closed()] {
        stage.handle(segment(CONN, &step), &mut stats, &mut out);
    }
    assert_eq!(out, []);
}
