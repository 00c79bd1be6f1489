//! Gaps, and connections that were joined midway.

use super::*;

const GET: &str = "GET /a HTTP/1.1\r\n\r\n";
const NEXT: &str = "GET /next HTTP/1.1\r\n\r\n";
const DONE: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// The steps, and behind them an exchange that must be found again.
#[track_caller]
fn check_found_again(mut steps: Vec<Step>, expected: &[&str], number: u64) {
    steps.extend([w(NEXT), r(DONE), closed()]);
    let found = [
        format!("{number} Client GET /next"),
        format!("{number} > Complete"),
        format!("{number} < 204"),
        format!("{number} < Complete"),
        "closed".to_owned(),
    ];
    let expected: Vec<&str> = expected
        .iter()
        .copied()
        .chain(found.iter().map(String::as_str))
        .collect();
    check(&steps, &expected);
}

#[test]
fn a_gap_inside_a_plain_body_is_told_and_the_body_goes_on() {
    check_found_again(
        vec![
            w("POST /a HTTP/1.1\r\nContent-Length: 6\r\n\r\na"),
            Step::Gap(Written, 3),
            w("ef"),
            r("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\na"),
            Step::Gap(Read, 3),
            r("ef\r\n0\r\n\r\n"),
        ],
        &[
            "0 Client POST /a",
            "0 > a",
            "0 > gap 3",
            "0 > ef",
            "0 > Complete",
            "0 < 200",
            "0 < a",
            "0 < gap 3",
            "0 < ef",
            "0 < Complete",
        ],
        1,
    );
}

#[test]
fn a_gap_up_to_the_end_of_a_body_ends_it() {
    check_found_again(
        vec![
            w("POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\na"),
            Step::Gap(Written, 3),
            r("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"),
            Step::Gap(Read, 4),
        ],
        &[
            "0 Client POST /a",
            "0 > a",
            "0 > gap 3",
            "0 > Complete",
            "0 < 200",
            "0 < gap 4",
            "0 < Complete",
        ],
        1,
    );
}

#[test]
fn a_gap_in_a_body_until_the_end_is_told() {
    check(
        &[
            w(GET),
            r("HTTP/1.1 200 OK\r\n\r\na"),
            Step::Gap(Read, 9),
            r("b"),
            closed(),
        ],
        &[
            "0 Client GET /a",
            "0 > Complete",
            "0 < 200",
            "0 < a",
            "0 < gap 9",
            "0 < b",
            "0 < Complete",
            "closed",
        ],
    );
}

#[test]
fn a_gap_inside_a_compressed_body_loses_the_body_only() {
    check_found_again(
        vec![
            w("POST /a HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\n\x1f"),
            Step::Gap(Written, 3),
            w("abcde"),
            r("HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\n"),
            Step::Gap(Read, 4),
        ],
        &["0 Client POST /a", "0 > Lost", "0 < 200", "0 < Lost"],
        1,
    );
}

#[test]
fn a_gap_beyond_a_body_loses_the_exchange() {
    for (head, gap) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na", 4),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na",
            4,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na",
            1,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r",
            1,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1",
            1,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
            1,
        ),
    ] {
        check_found_again(
            vec![w(GET), r(head), Step::Gap(Read, gap), r("rest of it")],
            &[
                "0 Client GET /a",
                "0 > Complete",
                "0 < 200",
                "0 < a",
                "0 < Lost",
            ],
            1,
        );
    }
}

#[test]
fn a_gap_in_a_response_head_loses_the_exchange() {
    for (before, gap) in [
        ("", 1),
        ("HTTP/1.1 2", 3),
        ("HTTP/1.1 100 Continue\r\n\r\n", 2),
    ] {
        let steps = vec![
            w(GET),
            r(before),
            Step::Gap(Read, gap),
            r("tent-Length: 1\r\n\r\na"),
        ];
        let steps = steps.into_iter().filter(|step| *step != r("")).collect();
        check_found_again(steps, &["0 Client GET /a", "0 > Complete", "0 < Lost"], 1);
    }
}

#[test]
fn a_gap_in_a_request_head_loses_that_request() {
    check_found_again(
        vec![
            w("GET /lost HT"),
            Step::Gap(Written, 5),
            w("\r\n\r\n"),
            r(DONE),
        ],
        &[],
        0,
    );
}

#[test]
fn a_response_after_a_loss_answers_no_request_before_it() {
    // The gap may hold the response to /a, the request for /b and more.
    check_found_again(
        vec![w(GET), Step::Gap(Read, 500), r(DONE)],
        &["0 Client GET /a", "0 > Complete", "0 < Lost"],
        1,
    );
    // The response to /a was lost whole, which shows only behind the next request.
    check_found_again(
        vec![
            w(GET),
            w("GET /b HTTP/1.1\r\n\r\n"),
            Step::Gap(Read, 500),
            r(DONE),
        ],
        &[
            "0 Client GET /a",
            "0 > Complete",
            "1 Client GET /b",
            "1 > Complete",
            "0 < Lost",
            "1 < Lost",
        ],
        2,
    );
}

#[test]
fn a_second_loss_before_a_response_is_found_loses_that_one_too() {
    // The first gap loses /a. The second one hides the response to /b, and the request for /c is
    // lost unseen: the response that comes then answers /c.
    check_found_again(
        vec![
            w(GET),
            Step::Gap(Read, 5),
            r("x"),
            w("GET /b HTTP/1.1\r\n\r\n"),
            Step::Gap(Read, 40),
            r(DONE),
            Step::Gap(Written, 23),
        ],
        &[
            "0 Client GET /a",
            "0 > Complete",
            "0 < Lost",
            "1 Client GET /b",
            "1 > Complete",
            "1 < Lost",
        ],
        2,
    );
}

#[test]
fn a_lost_request_takes_its_response_with_it() {
    check_found_again(
        vec![
            w(GET),
            r(DONE),
            r("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb"),
            Step::Gap(Written, 30),
        ],
        &["0 Client GET /a", "0 > Complete", "0 < 204", "0 < Complete"],
        1,
    );
    check_found_again(
        vec![w(GET), Step::Gap(Written, 30), r(DONE), r(DONE)],
        &["0 Client GET /a", "0 > Complete", "0 < Lost"],
        1,
    );
}

#[test]
fn a_client_that_pipelines_is_given_up_at_a_loss() {
    check(
        &[
            w(GET.repeat(3)),
            r(DONE),
            Step::Gap(Read, 5),
            r(DONE),
            w(NEXT),
            r(DONE),
            closed(),
        ],
        &[
            "0 Client GET /a",
            "0 > Complete",
            "1 Client GET /a",
            "1 > Complete",
            "2 Client GET /a",
            "2 > Complete",
            "0 < 204",
            "0 < Complete",
            "1 < Lost",
            "2 < Lost",
            "dismissed Ambiguous",
            "closed",
        ],
    );
}

#[test]
fn a_connection_joined_midway_waits_for_a_message() {
    // In the middle of a request, between request and response, in the middle of a reply.
    check_found_again(vec![Step::Gap(Written, 9), w("{\"a\":1}"), r(DONE)], &[], 0);
    check_found_again(
        vec![Step::Gap(Written, 9), Step::Gap(Read, 9), r(DONE)],
        &[],
        0,
    );
    check_found_again(
        vec![Step::Gap(Read, 9), r("data: x\n\n"), r("data: y\n\n")],
        &[],
        0,
    );
    check_found_again(
        vec![Step::Gap(Read, 9), r("HTTP/1.0"), r(" nonsense")],
        &[],
        0,
    );
}

#[test]
fn a_segment_that_only_looks_like_a_message_is_skipped() {
    for looks_like in [
        "GET /x and more\r\n",
        "GET /x HTTP/1.1\r\nbroken\r\n\r\n",
        "POST ",
    ] {
        check_found_again(
            vec![Step::Gap(Written, 9), w(looks_like), w("\r\n\r\n\0")],
            &[],
            0,
        );
    }
    check_found_again(
        vec![
            w(GET),
            Step::Gap(Read, 9),
            w(GET),
            r("HTTP/1.1 2xx\r\n\r\n"),
            r("HTTP/9"),
            r("HTTP/1.1 99 x\r\n\r\n"),
        ],
        &[
            "0 Client GET /a",
            "0 > Complete",
            "0 < Lost",
            "1 Client GET /a",
            "1 > Complete",
            "1 < Lost",
        ],
        2,
    );
}

#[test]
fn a_message_found_again_may_come_in_pieces() {
    check(
        &[
            Step::Gap(Written, 9),
            w("GE"),
            w("T /next HTTP"),
            w("/1.1\r\n\r\n"),
            r("HTT"),
            r("P/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"),
            closed(),
        ],
        &[
            "0 Client GET /next",
            "0 > Complete",
            "0 < 200",
            "0 < a",
            "0 < Complete",
            "closed",
        ],
    );
}

#[test]
fn a_loss_at_the_end_leaves_a_body_cut() {
    check(
        &[
            w(GET),
            r("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na"),
            Step::Gap(Read, 3),
            closed(),
        ],
        &[
            "0 Client GET /a",
            "0 > Complete",
            "0 < 200",
            "0 < a",
            "0 < gap 3",
            "0 < Cut",
            "closed",
        ],
    );
}
