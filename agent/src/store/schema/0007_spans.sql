-- The ledger, version 7: sums of longer spans, so that a report of a month or a year reads few rows.
--
-- A row holds what usage_15m has of the quarters of an hour that begin in a span of four hours or of a
-- day, from midnight UTC on; never more and never less. Where the days of a report begin at other
-- hours, it takes the spans that lie within them and the quarters beside these.

CREATE TABLE usage_span (
    span_ms INTEGER NOT NULL,
    start_ms INTEGER NOT NULL,
    usage_key_id INTEGER NOT NULL REFERENCES usage_key (usage_key_id),
    -- Beginnings of the first and the last quarter of an hour with a call.
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    estimated_requests INTEGER NOT NULL,
    lower_bound_requests INTEGER NOT NULL,
    cost_lower_bound_requests INTEGER NOT NULL,
    retry_requests INTEGER NOT NULL,
    human_turns INTEGER NOT NULL,
    tool_calls INTEGER NOT NULL,
    input_uncached_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_write_5m_tokens INTEGER,
    cache_write_1h_tokens INTEGER,
    cache_write_other_tokens INTEGER,
    context_tokens INTEGER,
    output_tokens INTEGER,
    reasoning_tokens INTEGER,
    estimated_tokens INTEGER NOT NULL,
    unpriced_tokens INTEGER NOT NULL,
    cost_nanousd INTEGER,
    estimated_cost_nanousd INTEGER,
    provider_cost_nanousd INTEGER,
    repriced_nanousd INTEGER,
    repriced_from_nanousd INTEGER,
    duration_ms INTEGER NOT NULL,
    stream_output_tokens INTEGER,
    stream_ms INTEGER,
    context_is_partial INTEGER NOT NULL,
    uncached_is_partial INTEGER NOT NULL,
    read_is_partial INTEGER NOT NULL,
    write_is_partial INTEGER NOT NULL,
    output_is_partial INTEGER NOT NULL,
    reasoning_is_partial INTEGER NOT NULL,
    PRIMARY KEY (span_ms, start_ms, usage_key_id)
) WITHOUT ROWID;

INSERT INTO usage_span
SELECT
    s.span_ms, u.bucket_start_ms - (u.bucket_start_ms % s.span_ms + s.span_ms) % s.span_ms,
    u.usage_key_id, min(u.bucket_start_ms), max(u.bucket_start_ms),
    sum(requests), sum(estimated_requests), sum(lower_bound_requests),
    sum(cost_lower_bound_requests), sum(retry_requests), sum(human_turns), sum(tool_calls),
    sum(input_uncached_tokens), sum(cache_read_tokens), sum(cache_write_5m_tokens),
    sum(cache_write_1h_tokens), sum(cache_write_other_tokens), sum(context_tokens),
    sum(output_tokens), sum(reasoning_tokens), sum(estimated_tokens), sum(unpriced_tokens),
    sum(cost_nanousd), sum(estimated_cost_nanousd), sum(provider_cost_nanousd),
    sum(repriced_nanousd), sum(repriced_from_nanousd), sum(duration_ms),
    sum(stream_output_tokens), sum(stream_ms), max(context_is_partial), max(uncached_is_partial),
    max(read_is_partial), max(write_is_partial), max(output_is_partial),
    max(reasoning_is_partial)
FROM (SELECT 14400000 AS span_ms UNION ALL SELECT 86400000) AS s
CROSS JOIN usage_15m AS u
GROUP BY 1, 2, 3;
