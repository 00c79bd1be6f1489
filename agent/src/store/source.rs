//! Where usage is read from: lasting sums as long as they go, and calls for the rest.

use super::Window;
use super::rollup::{BUCKET_MS, SPANS_MS, bucket, ceil, columns, floor, session_key_of};

/// Which sums of spans that are longer than a quarter of an hour answer a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spans {
    /// All: it does not ask when.
    Any,
    /// Those that reach across none of these moments, which are in order.
    Within(Vec<i64>),
    /// None.
    None,
}

/// The quarters of an hour that a window touches.
pub(super) const fn quarters(window: Window) -> Window {
    Window {
        from_ms: bucket(window.from_ms),
        until_ms: ceil(window.until_ms, BUCKET_MS),
    }
}

/// The whole quarters of an hour inside of a window; none if the end is not after the beginning.
const fn whole_quarters(window: Window) -> (i64, i64) {
    (ceil(window.from_ms, BUCKET_MS), bucket(window.until_ms))
}

/// The moments of a window outside of its whole quarters of an hour, as two ranges.
fn edges(window: Window) -> [(i64, i64); 2] {
    let (first, last) = whole_quarters(window);
    if first < last {
        [(window.from_ms, first), (last, window.until_ms)]
    } else {
        [(window.from_ms, window.until_ms), (0, 0)]
    }
}

/// Ranges of spans of one length.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    span_ms: i64,
    ranges: Vec<(i64, i64)>,
}

/// The whole quarters of an hour of a window, as spans that are as long as they may be.
fn parts(window: Window, spans: &Spans) -> Vec<Part> {
    let (lengths, stops): (&[i64], &[i64]) = match spans {
        Spans::Any => (&SPANS_MS, &[]),
        Spans::Within(stops) => (&SPANS_MS, stops),
        Spans::None => (&[], &[]),
    };
    let mut parts: Vec<Part> = lengths
        .iter()
        .chain(&[BUCKET_MS])
        .map(|span_ms| Part {
            span_ms: *span_ms,
            ranges: Vec::new(),
        })
        .collect();
    let (mut from, last) = whole_quarters(window);
    // A quarter of an hour is of the period that it begins in.
    let stops = stops.iter().map(|stop| ceil(*stop, BUCKET_MS));
    for stop in stops.chain([last]).map(|stop| stop.min(last)) {
        cover(from, stop, &mut parts);
        from = from.max(stop);
    }
    parts
}

/// Covers a range with the longest spans, and what is beside them with shorter ones.
fn cover(from: i64, until: i64, parts: &mut [Part]) {
    let Some((part, shorter)) = parts.split_first_mut() else {
        return;
    };
    let (first, last) = (ceil(from, part.span_ms), floor(until, part.span_ms));
    if first >= last {
        cover(from, until, shorter);
        return;
    }
    cover(from, first, shorter);
    match part.ranges.last_mut() {
        Some((_, end)) if *end == first => *end = last,
        _ => part.ranges.push((first, last)),
    }
    cover(last, until, shorter);
}

/// Sums by kind of call.
pub(super) fn kinds(window: Window, spans: &Spans) -> String {
    let columns = columns();
    let mut arms: Vec<String> = Vec::new();
    for part in parts(window, spans) {
        if part.ranges.is_empty() {
            continue;
        }
        let ranges = part
            .ranges
            .iter()
            .map(|(from, until)| format!("({from}, {until})"))
            .collect::<Vec<_>>()
            .join(", ");
        let (moments, sums, start) = if part.span_ms == BUCKET_MS {
            (
                "bucket_start_ms, bucket_start_ms",
                "usage_15m",
                "bucket_start_ms",
            )
        } else {
            ("first_ms, last_ms", "usage_span", "start_ms")
        };
        let of_span = match part.span_ms {
            BUCKET_MS => String::new(),
            span_ms => format!("t.span_ms = {span_ms} AND "),
        };
        arms.push(format!(
            "SELECT {moments}, usage_key_id, NULL, NULL, NULL, NULL, {columns}
             FROM (VALUES {ranges}) AS range
             CROSS JOIN {sums} AS t
                     ON {of_span}t.{start} >= range.column1 AND t.{start} < range.column2"
        ));
    }
    for (from, until) in edges(window) {
        arms.push(format!(
            "SELECT started_ms, started_ms, usage_key_id, NULL, NULL, NULL, NULL, {columns}
             FROM request_sums WHERE started_ms >= {from} AND started_ms < {until}"
        ));
    }
    // The first names the columns.
    format!(
        "SELECT 0 AS first_ms, 0 AS last_ms, 0 AS usage_key_id, NULL AS session_id,
                NULL AS process_id, NULL AS thread_id, NULL AS ttft_ms, {columns}
         FROM usage_15m WHERE 0
         UNION ALL {}",
        arms.join(" UNION ALL ")
    )
}

/// Which sessions had a call of which kind.
pub(super) fn active_sessions(window: Window) -> String {
    let (first, last) = whole_quarters(window);
    let mut source = format!(
        "SELECT bucket_start_ms AS first_ms, usage_key_id, session_id
         FROM session_15m WHERE bucket_start_ms >= {first} AND bucket_start_ms < {last}"
    );
    for (from, until) in edges(window) {
        source.push_str(&format!(
            " UNION ALL SELECT started_ms, usage_key_id, session_id
             FROM request_sums WHERE started_ms >= {from} AND started_ms < {until}"
        ));
    }
    source
}

/// Sums by session, process, thread and kind of call that lie in a window, of those sessions that
/// `among` is a condition of.
pub(super) fn sessions(window: Window, among: &str) -> String {
    let Window { from_ms, until_ms } = window;
    format!(
        "{} AND first_ms >= {from_ms} AND last_ms < {until_ms} UNION ALL {}",
        sessions_of(window, among),
        cut_sums(window, among)
    )
}

/// The same with all of their calls, those outside of the window too: of the sums that have any in it.
pub(super) fn sessions_of(window: Window, among: &str) -> String {
    let Window { from_ms, until_ms } = window;
    format!(
        "SELECT first_ms, last_ms, usage_key_id, session_id, nullif(process_id, 0) AS process_id,
                nullif(thread_id, 0) AS thread_id, NULL AS ttft_ms, {}
         FROM session_usage
         WHERE {among} AND last_ms >= {from_ms} AND first_ms < {until_ms}",
        columns()
    )
}

/// The calls of a window whose session's sums have calls outside of it too.
pub(super) fn cut_sums(window: Window, among: &str) -> String {
    format!(
        "SELECT r.started_ms AS first_ms, r.started_ms AS last_ms, r.usage_key_id, r.session_id,
                nullif(r.process_id, 0) AS process_id, nullif(r.thread_id, 0) AS thread_id,
                NULL AS ttft_ms, {}
         FROM {}",
        columns_of("r"),
        cut_calls(window, among)
    )
}

/// The calls `r` of a window whose session's sums have calls outside of it too.
pub(super) fn cut_calls(window: Window, among: &str) -> String {
    let Window { from_ms, until_ms } = window;
    let (of_calls, of_sums) = (session_key_of("r"), session_key_of("c"));
    format!(
        "(SELECT DISTINCT session_id AS cut_id FROM session_usage AS c WHERE {among} AND {})
         CROSS JOIN request_sums AS r ON r.session_id = cut_id
         CROSS JOIN session_usage AS c ON ({of_sums}) = ({of_calls})
         WHERE r.started_ms >= {from_ms} AND r.started_ms < {until_ms}
           AND (c.first_ms < {from_ms} OR c.last_ms >= {until_ms})",
        are_cut(window)
    )
}

/// The condition of sums of a session, `c`, some of whose calls lie in a window and some do not.
pub(super) fn are_cut(window: Window) -> String {
    let Window { from_ms, until_ms } = window;
    format!(
        "c.last_ms >= {from_ms} AND c.first_ms < {until_ms}
         AND (c.first_ms < {from_ms} OR c.last_ms >= {until_ms})"
    )
}

fn columns_of(table: &str) -> String {
    let columns = columns();
    let columns: Vec<String> = columns
        .split(", ")
        .map(|column| format!("{table}.{column}"))
        .collect();
    columns.join(", ")
}

/// Calls, and models that ran inside of them.
pub(super) fn calls(window: Window) -> String {
    let columns = columns_of("r");
    format!(
        "SELECT r.started_ms AS first_ms, r.started_ms AS last_ms, r.usage_key_id, r.session_id,
                q.process_id, q.thread_id, q.ttft_ms, {columns}
         FROM request_sums AS r JOIN request AS q ON q.request_id = r.request_id
         WHERE r.started_ms >= {} AND r.started_ms < {}",
        window.from_ms, window.until_ms
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const DAY_MS: i64 = 24 * HOUR_MS;

    fn ranges(window: (i64, i64), spans: &Spans) -> Vec<(i64, Vec<(i64, i64)>)> {
        let (from_ms, until_ms) = window;
        parts(Window { from_ms, until_ms }, spans)
            .into_iter()
            .map(|part| (part.span_ms, part.ranges))
            .collect()
    }

    #[test]
    fn a_window_is_covered_by_the_longest_spans_that_fit() {
        let window = (-BUCKET_MS, 2 * DAY_MS + 5 * HOUR_MS + 1);
        assert_eq!(
            ranges(window, &Spans::Any),
            [
                (32 * DAY_MS, vec![]),
                (DAY_MS, vec![(0, 2 * DAY_MS)]),
                (4 * HOUR_MS, vec![(2 * DAY_MS, 2 * DAY_MS + 4 * HOUR_MS)]),
                (
                    BUCKET_MS,
                    vec![
                        (-BUCKET_MS, 0),
                        (2 * DAY_MS + 4 * HOUR_MS, 2 * DAY_MS + 5 * HOUR_MS)
                    ]
                ),
            ]
        );
        assert_eq!(
            ranges((0, DAY_MS), &Spans::None),
            [(BUCKET_MS, vec![(0, DAY_MS)])]
        );
        assert_eq!(
            ranges((5, 6), &Spans::Any),
            [
                (32 * DAY_MS, vec![]),
                (DAY_MS, vec![]),
                (4 * HOUR_MS, vec![]),
                (BUCKET_MS, vec![])
            ]
        );
    }

    #[test]
    fn days_are_beside_longer_spans_on_both_sides() {
        assert_eq!(
            ranges((-DAY_MS, 65 * DAY_MS), &Spans::Any),
            [
                (32 * DAY_MS, vec![(0, 64 * DAY_MS)]),
                (DAY_MS, vec![(-DAY_MS, 0), (64 * DAY_MS, 65 * DAY_MS)]),
                (4 * HOUR_MS, vec![]),
                (BUCKET_MS, vec![])
            ]
        );
    }

    #[test]
    fn no_span_reaches_across_the_beginning_of_a_day() {
        // Days begin at 23:00 UTC.
        let days = Spans::Within(vec![23 * HOUR_MS, 47 * HOUR_MS]);
        assert_eq!(
            ranges((0, 2 * DAY_MS), &days),
            [
                (32 * DAY_MS, vec![]),
                (DAY_MS, vec![]),
                (4 * HOUR_MS, vec![(0, 20 * HOUR_MS), (DAY_MS, 44 * HOUR_MS)]),
                (
                    BUCKET_MS,
                    vec![(20 * HOUR_MS, DAY_MS), (44 * HOUR_MS, 2 * DAY_MS)]
                ),
            ]
        );
    }
}
