-- The ledger, version 8: sums are kept apart by price too, so that they tell why two times cost different
-- amounts, also when their calls are gone; and they count the calls of which waste can't be told. Views over
-- days read sums of days.

-- The price of all calls of a kind; NULL where none was found. is_priced tells whether their cost is known,
-- and is NULL of calls that were deleted before this version.
ALTER TABLE usage_key ADD COLUMN price_id INTEGER REFERENCES price (price_id);
ALTER TABLE usage_key ADD COLUMN is_priced INTEGER;

-- Sums of tokens that were written to a cache for twelve hours, which the others hold too; of calls, and
-- models inside of calls, whose cost is known; of the cost of those without a token; and of complete calls
-- without a hash of the request, and without a thread.
ALTER TABLE usage_15m ADD COLUMN cache_write_12h_tokens INTEGER;
ALTER TABLE usage_15m ADD COLUMN priced_rows INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_15m ADD COLUMN tokenless_cost_nanousd INTEGER;
ALTER TABLE usage_15m ADD COLUMN unhashed_requests INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_15m ADD COLUMN unthreaded_requests INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pruned_15m ADD COLUMN cache_write_12h_tokens INTEGER;
ALTER TABLE pruned_15m ADD COLUMN priced_rows INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pruned_15m ADD COLUMN tokenless_cost_nanousd INTEGER;
ALTER TABLE pruned_15m ADD COLUMN unhashed_requests INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pruned_15m ADD COLUMN unthreaded_requests INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_span ADD COLUMN cache_write_12h_tokens INTEGER;
ALTER TABLE usage_span ADD COLUMN priced_rows INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_span ADD COLUMN tokenless_cost_nanousd INTEGER;
ALTER TABLE usage_span ADD COLUMN unhashed_requests INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_span ADD COLUMN unthreaded_requests INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session_usage ADD COLUMN cache_write_12h_tokens INTEGER;
ALTER TABLE session_usage ADD COLUMN priced_rows INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session_usage ADD COLUMN tokenless_cost_nanousd INTEGER;
ALTER TABLE session_usage ADD COLUMN unhashed_requests INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session_usage ADD COLUMN unthreaded_requests INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pruned_session ADD COLUMN cache_write_12h_tokens INTEGER;
ALTER TABLE pruned_session ADD COLUMN priced_rows INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pruned_session ADD COLUMN tokenless_cost_nanousd INTEGER;
ALTER TABLE pruned_session ADD COLUMN unhashed_requests INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pruned_session ADD COLUMN unthreaded_requests INTEGER NOT NULL DEFAULT 0;

-- What each call adds to the sums. For the tables of sums.
DROP VIEW request_sums;
CREATE VIEW request_sums AS
SELECT
    request_id,
    started_ms,
    started_ms - started_ms % 900000 AS bucket_start_ms,
    usage_key_id,
    session_id,
    is_call AS requests,
    is_call AND usage_source = 'estimated' AS estimated_requests,
    is_call AND is_lower_bound AS lower_bound_requests,
    is_cost_lower_bound AS cost_lower_bound_requests,
    is_call AND ifnull(attempt, 1) > 1 AS retry_requests,
    is_human_turn AS human_turns,
    tool_call_count AS tool_calls,
    input_uncached_tokens,
    cache_read_tokens,
    cache_write_5m_tokens,
    cache_write_1h_tokens,
    cache_write_other_tokens,
    context_tokens,
    output_tokens,
    reasoning_tokens,
    estimated_tokens,
    CASE WHEN cost_nanousd IS NULL THEN ifnull(context_tokens, 0) + ifnull(output_tokens, 0)
         ELSE 0 END AS unpriced_tokens,
    cost_nanousd,
    CASE WHEN estimated_tokens > 0 THEN cost_nanousd END AS estimated_cost_nanousd,
    provider_cost_nanousd,
    repriced_nanousd,
    CASE WHEN repriced_nanousd IS NOT NULL THEN ifnull(cost_nanousd, 0) END
        AS repriced_from_nanousd,
    CASE WHEN is_call THEN duration_ms ELSE 0 END AS duration_ms,
    CASE WHEN is_stream AND duration_ms > ttft_ms THEN output_tokens END AS stream_output_tokens,
    CASE WHEN is_stream AND duration_ms > ttft_ms AND output_tokens IS NOT NULL
         THEN duration_ms - ttft_ms END AS stream_ms,
    is_lower_bound AND (context_tokens IS NULL OR input_quality IS 'lower_bound')
        AS context_is_partial,
    is_lower_bound AND (input_uncached_tokens IS NULL OR input_quality IS 'lower_bound')
        AS uncached_is_partial,
    (is_lower_bound OR usage_source = 'estimated') AND cache_read_tokens IS NULL
        AS read_is_partial,
    (is_lower_bound OR usage_source = 'estimated')
        AND coalesce(cache_write_5m_tokens, cache_write_1h_tokens, cache_write_other_tokens) IS NULL
        AS write_is_partial,
    is_lower_bound AND (output_tokens IS NULL OR usage_source = 'provider_partial'
                        OR output_quality IS 'lower_bound') AS output_is_partial,
    (is_lower_bound OR usage_source = 'estimated')
        AND (reasoning_tokens IS NULL OR usage_source = 'provider_partial')
        AS reasoning_is_partial,
    ifnull(process_id, 0) AS process_id,
    ifnull(thread_id, 0) AS thread_id,
    cache_write_12h_tokens,
    cost_nanousd IS NOT NULL AS priced_rows,
    CASE WHEN ifnull(context_tokens, 0) + ifnull(output_tokens, 0) = 0 THEN cost_nanousd END
        AS tokenless_cost_nanousd,
    is_call AND outcome = 'complete' AND request_hash IS NULL AS unhashed_requests,
    is_call AND outcome = 'complete' AND thread_id IS NULL AS unthreaded_requests
FROM request_derived;

-- Each kind of calls becomes one for each price.
CREATE TEMP TABLE priced_key AS
SELECT usage_key_id AS old_id, price_id, cost_nanousd IS NOT NULL AS is_priced,
       (SELECT max(usage_key_id) FROM usage_key) + row_number() OVER (ORDER BY usage_key_id) AS new_id
FROM request
WHERE usage_key_id IS NOT NULL
GROUP BY 1, 2, 3;
CREATE UNIQUE INDEX temp.priced_key_find ON priced_key (old_id, price_id, is_priced);

INSERT INTO usage_key (
    usage_key_id,
    host_id, workflow_id, checkout_id, uid, user_name, client_name, systemd_unit, container,
    provider, model, task_type, billing_kind, outcome, has_tool_call, price_id, is_priced)
SELECT
    p.new_id,
    k.host_id, k.workflow_id, k.checkout_id, k.uid, k.user_name, k.client_name, k.systemd_unit,
    k.container, k.provider, k.model, k.task_type, k.billing_kind, k.outcome, k.has_tool_call,
    p.price_id, p.is_priced
FROM temp.priced_key AS p
JOIN usage_key AS k ON k.usage_key_id = p.old_id;

UPDATE request SET usage_key_id = (
    SELECT p.new_id FROM temp.priced_key AS p
    WHERE p.old_id = request.usage_key_id AND p.price_id IS request.price_id
      AND p.is_priced = (request.cost_nanousd IS NOT NULL))
WHERE usage_key_id IS NOT NULL;
DROP TABLE temp.priced_key;

-- Sums that have calls are made anew of these, and of what deleted ones added; the others stay.
CREATE TEMP TABLE stale_unit AS
SELECT DISTINCT bucket_start_ms AS unit FROM request_sums
UNION SELECT bucket_start_ms FROM pruned_15m;
DELETE FROM usage_15m WHERE bucket_start_ms IN (SELECT unit FROM temp.stale_unit);
INSERT INTO usage_15m (
    bucket_start_ms, usage_key_id,
    requests, estimated_requests, lower_bound_requests, cost_lower_bound_requests, retry_requests,
    human_turns, tool_calls, input_uncached_tokens, cache_read_tokens, cache_write_5m_tokens,
    cache_write_1h_tokens, cache_write_other_tokens, context_tokens, output_tokens,
    reasoning_tokens, estimated_tokens, unpriced_tokens, cost_nanousd, estimated_cost_nanousd,
    provider_cost_nanousd, repriced_nanousd, repriced_from_nanousd, duration_ms,
    stream_output_tokens, stream_ms, context_is_partial, uncached_is_partial, read_is_partial,
    write_is_partial, output_is_partial, reasoning_is_partial, cache_write_12h_tokens, priced_rows,
    tokenless_cost_nanousd, unhashed_requests, unthreaded_requests)
SELECT
    bucket_start_ms, usage_key_id,
    sum(requests), sum(estimated_requests), sum(lower_bound_requests),
    sum(cost_lower_bound_requests), sum(retry_requests), sum(human_turns), sum(tool_calls),
    sum(input_uncached_tokens), sum(cache_read_tokens), sum(cache_write_5m_tokens),
    sum(cache_write_1h_tokens), sum(cache_write_other_tokens), sum(context_tokens),
    sum(output_tokens), sum(reasoning_tokens), sum(estimated_tokens), sum(unpriced_tokens),
    sum(cost_nanousd), sum(estimated_cost_nanousd), sum(provider_cost_nanousd),
    sum(repriced_nanousd), sum(repriced_from_nanousd), sum(duration_ms), sum(stream_output_tokens),
    sum(stream_ms), max(context_is_partial), max(uncached_is_partial), max(read_is_partial),
    max(write_is_partial), max(output_is_partial), max(reasoning_is_partial),
    sum(cache_write_12h_tokens), sum(priced_rows), sum(tokenless_cost_nanousd),
    sum(unhashed_requests), sum(unthreaded_requests)
FROM (
    SELECT
        bucket_start_ms, usage_key_id,
        requests, estimated_requests, lower_bound_requests, cost_lower_bound_requests,
        retry_requests, human_turns, tool_calls, input_uncached_tokens, cache_read_tokens,
        cache_write_5m_tokens, cache_write_1h_tokens, cache_write_other_tokens, context_tokens,
        output_tokens, reasoning_tokens, estimated_tokens, unpriced_tokens, cost_nanousd,
        estimated_cost_nanousd, provider_cost_nanousd, repriced_nanousd, repriced_from_nanousd,
        duration_ms, stream_output_tokens, stream_ms, context_is_partial, uncached_is_partial,
        read_is_partial, write_is_partial, output_is_partial, reasoning_is_partial,
        cache_write_12h_tokens, priced_rows, tokenless_cost_nanousd, unhashed_requests,
        unthreaded_requests
    FROM request_sums
    UNION ALL
    SELECT
        bucket_start_ms, usage_key_id,
        requests, estimated_requests, lower_bound_requests, cost_lower_bound_requests,
        retry_requests, human_turns, tool_calls, input_uncached_tokens, cache_read_tokens,
        cache_write_5m_tokens, cache_write_1h_tokens, cache_write_other_tokens, context_tokens,
        output_tokens, reasoning_tokens, estimated_tokens, unpriced_tokens, cost_nanousd,
        estimated_cost_nanousd, provider_cost_nanousd, repriced_nanousd, repriced_from_nanousd,
        duration_ms, stream_output_tokens, stream_ms, context_is_partial, uncached_is_partial,
        read_is_partial, write_is_partial, output_is_partial, reasoning_is_partial,
        cache_write_12h_tokens, priced_rows, tokenless_cost_nanousd, unhashed_requests,
        unthreaded_requests
    FROM pruned_15m)
GROUP BY bucket_start_ms, usage_key_id;

DELETE FROM session_15m WHERE bucket_start_ms IN (SELECT unit FROM temp.stale_unit);
INSERT INTO session_15m
SELECT bucket_start_ms, usage_key_id, session_id FROM request_sums
UNION SELECT bucket_start_ms, usage_key_id, session_id FROM pruned_session_15m;
DROP TABLE temp.stale_unit;

DELETE FROM usage_span;
INSERT INTO usage_span (
    span_ms, start_ms, usage_key_id, first_ms, last_ms,
    requests, estimated_requests, lower_bound_requests, cost_lower_bound_requests, retry_requests,
    human_turns, tool_calls, input_uncached_tokens, cache_read_tokens, cache_write_5m_tokens,
    cache_write_1h_tokens, cache_write_other_tokens, context_tokens, output_tokens,
    reasoning_tokens, estimated_tokens, unpriced_tokens, cost_nanousd, estimated_cost_nanousd,
    provider_cost_nanousd, repriced_nanousd, repriced_from_nanousd, duration_ms,
    stream_output_tokens, stream_ms, context_is_partial, uncached_is_partial, read_is_partial,
    write_is_partial, output_is_partial, reasoning_is_partial, cache_write_12h_tokens, priced_rows,
    tokenless_cost_nanousd, unhashed_requests, unthreaded_requests)
SELECT
    s.span_ms, u.bucket_start_ms - (u.bucket_start_ms % s.span_ms + s.span_ms) % s.span_ms,
    u.usage_key_id, min(u.bucket_start_ms), max(u.bucket_start_ms),
    sum(requests), sum(estimated_requests), sum(lower_bound_requests),
    sum(cost_lower_bound_requests), sum(retry_requests), sum(human_turns), sum(tool_calls),
    sum(input_uncached_tokens), sum(cache_read_tokens), sum(cache_write_5m_tokens),
    sum(cache_write_1h_tokens), sum(cache_write_other_tokens), sum(context_tokens),
    sum(output_tokens), sum(reasoning_tokens), sum(estimated_tokens), sum(unpriced_tokens),
    sum(cost_nanousd), sum(estimated_cost_nanousd), sum(provider_cost_nanousd),
    sum(repriced_nanousd), sum(repriced_from_nanousd), sum(duration_ms), sum(stream_output_tokens),
    sum(stream_ms), max(context_is_partial), max(uncached_is_partial), max(read_is_partial),
    max(write_is_partial), max(output_is_partial), max(reasoning_is_partial),
    sum(cache_write_12h_tokens), sum(priced_rows), sum(tokenless_cost_nanousd),
    sum(unhashed_requests), sum(unthreaded_requests)
FROM (SELECT 14400000 AS span_ms UNION ALL SELECT 86400000 UNION ALL SELECT 2764800000) AS s
CROSS JOIN usage_15m AS u
GROUP BY 1, 2, 3;

CREATE TEMP TABLE stale_session AS
SELECT DISTINCT session_id FROM request_sums UNION SELECT session_id FROM pruned_session;
DELETE FROM session_usage WHERE session_id IN (SELECT session_id FROM temp.stale_session);
DROP TABLE temp.stale_session;
INSERT INTO session_usage (
    session_id, usage_key_id, process_id, thread_id, first_ms, last_ms,
    requests, estimated_requests, lower_bound_requests, cost_lower_bound_requests, retry_requests,
    human_turns, tool_calls, input_uncached_tokens, cache_read_tokens, cache_write_5m_tokens,
    cache_write_1h_tokens, cache_write_other_tokens, context_tokens, output_tokens,
    reasoning_tokens, estimated_tokens, unpriced_tokens, cost_nanousd, estimated_cost_nanousd,
    provider_cost_nanousd, repriced_nanousd, repriced_from_nanousd, duration_ms,
    stream_output_tokens, stream_ms, context_is_partial, uncached_is_partial, read_is_partial,
    write_is_partial, output_is_partial, reasoning_is_partial, cache_write_12h_tokens, priced_rows,
    tokenless_cost_nanousd, unhashed_requests, unthreaded_requests)
SELECT
    session_id, usage_key_id, process_id, thread_id, min(first_ms), max(last_ms),
    sum(requests), sum(estimated_requests), sum(lower_bound_requests),
    sum(cost_lower_bound_requests), sum(retry_requests), sum(human_turns), sum(tool_calls),
    sum(input_uncached_tokens), sum(cache_read_tokens), sum(cache_write_5m_tokens),
    sum(cache_write_1h_tokens), sum(cache_write_other_tokens), sum(context_tokens),
    sum(output_tokens), sum(reasoning_tokens), sum(estimated_tokens), sum(unpriced_tokens),
    sum(cost_nanousd), sum(estimated_cost_nanousd), sum(provider_cost_nanousd),
    sum(repriced_nanousd), sum(repriced_from_nanousd), sum(duration_ms), sum(stream_output_tokens),
    sum(stream_ms), max(context_is_partial), max(uncached_is_partial), max(read_is_partial),
    max(write_is_partial), max(output_is_partial), max(reasoning_is_partial),
    sum(cache_write_12h_tokens), sum(priced_rows), sum(tokenless_cost_nanousd),
    sum(unhashed_requests), sum(unthreaded_requests)
FROM (
    SELECT
        session_id, usage_key_id, process_id, thread_id, started_ms AS first_ms,
        started_ms AS last_ms,
        requests, estimated_requests, lower_bound_requests, cost_lower_bound_requests,
        retry_requests, human_turns, tool_calls, input_uncached_tokens, cache_read_tokens,
        cache_write_5m_tokens, cache_write_1h_tokens, cache_write_other_tokens, context_tokens,
        output_tokens, reasoning_tokens, estimated_tokens, unpriced_tokens, cost_nanousd,
        estimated_cost_nanousd, provider_cost_nanousd, repriced_nanousd, repriced_from_nanousd,
        duration_ms, stream_output_tokens, stream_ms, context_is_partial, uncached_is_partial,
        read_is_partial, write_is_partial, output_is_partial, reasoning_is_partial,
        cache_write_12h_tokens, priced_rows, tokenless_cost_nanousd, unhashed_requests,
        unthreaded_requests
    FROM request_sums
    UNION ALL
    SELECT
        session_id, usage_key_id, process_id, thread_id, first_ms, last_ms,
        requests, estimated_requests, lower_bound_requests, cost_lower_bound_requests,
        retry_requests, human_turns, tool_calls, input_uncached_tokens, cache_read_tokens,
        cache_write_5m_tokens, cache_write_1h_tokens, cache_write_other_tokens, context_tokens,
        output_tokens, reasoning_tokens, estimated_tokens, unpriced_tokens, cost_nanousd,
        estimated_cost_nanousd, provider_cost_nanousd, repriced_nanousd, repriced_from_nanousd,
        duration_ms, stream_output_tokens, stream_ms, context_is_partial, uncached_is_partial,
        read_is_partial, write_is_partial, output_is_partial, reasoning_is_partial,
        cache_write_12h_tokens, priced_rows, tokenless_cost_nanousd, unhashed_requests,
        unthreaded_requests
    FROM pruned_session)
GROUP BY session_id, usage_key_id, process_id, thread_id;

-- One row per quarter of an hour and what sums are kept apart by.
DROP VIEW v_usage_15m;
CREATE VIEW v_usage_15m AS
SELECT
    strftime('%Y-%m-%dT%H:%M:%SZ', u.bucket_start_ms / 1000, 'unixepoch') AS bucket_utc,
    strftime('%Y-%m-%d %H:%M:%S', u.bucket_start_ms / 1000, 'unixepoch', 'localtime')
        AS bucket_local,
    u.bucket_start_ms,
    h.host_name,
    w.name AS workflow,
    w.origin AS workflow_origin,
    w.billing_code,
    k.uid,
    k.user_name,
    k.client_name,
    k.systemd_unit,
    k.container,
    c.git_root,
    c.repo,
    c.branch,
    k.provider,
    k.model,
    k.task_type,
    k.billing_kind,
    k.outcome,
    k.has_tool_call,
    u.requests AS request_count,
    u.estimated_requests,
    u.lower_bound_requests,
    u.cost_lower_bound_requests,
    u.retry_requests,
    u.human_turns,
    u.tool_calls,
    u.input_uncached_tokens,
    u.cache_read_tokens,
    u.cache_write_5m_tokens,
    u.cache_write_1h_tokens,
    u.cache_write_other_tokens,
    u.context_tokens,
    u.output_tokens,
    u.reasoning_tokens,
    u.estimated_tokens,
    u.unpriced_tokens,
    u.cost_nanousd,
    u.estimated_cost_nanousd,
    u.provider_cost_nanousd,
    u.repriced_nanousd,
    u.repriced_from_nanousd,
    u.duration_ms,
    u.stream_output_tokens,
    u.stream_ms,
    u.context_is_partial,
    u.uncached_is_partial,
    u.read_is_partial,
    u.write_is_partial,
    u.output_is_partial,
    u.reasoning_is_partial,
    u.cost_nanousd / 1e9 AS cost_usd,
    CASE WHEN k.billing_kind = 'subscription' THEN u.cost_nanousd END AS subscription_cost_nanousd,
    u.usage_key_id,
    k.host_id,
    k.workflow_id,
    k.checkout_id,
    k.price_id,
    k.is_priced,
    u.cache_write_12h_tokens,
    u.priced_rows,
    u.tokenless_cost_nanousd,
    u.unhashed_requests,
    u.unthreaded_requests
FROM usage_15m AS u
JOIN usage_key AS k ON k.usage_key_id = u.usage_key_id
JOIN host AS h ON h.host_id = k.host_id
JOIN workflow AS w ON w.workflow_id = k.workflow_id
LEFT JOIN checkout AS c ON c.checkout_id = k.checkout_id;

-- What usage_15m has by days or four hours, where these are of one local day, and by quarters of an hour
-- where they are not. LIMIT -1 keeps SQLite from computing the dates of a span for each of its rows. For the
-- views below, not for other programs.
DROP VIEW usage_of_days;
CREATE VIEW usage_of_days AS
WITH span_day AS (
    SELECT
        start_ms,
        date(start_ms / 1000, 'unixepoch', 'localtime') AS day_local,
        date(start_ms / 1000 + 85500, 'unixepoch', 'localtime') AS last_day_local
    FROM (SELECT DISTINCT start_ms FROM usage_span WHERE span_ms = 86400000)
    LIMIT -1
),
span_of_split_day AS (
    SELECT
        start_ms,
        date(start_ms / 1000, 'unixepoch', 'localtime') AS day_local,
        date(start_ms / 1000 + 13500, 'unixepoch', 'localtime') AS last_day_local
    FROM (
        SELECT DISTINCT s.start_ms
        FROM span_day AS d
        CROSS JOIN usage_span AS s
                ON s.span_ms = 14400000 AND s.start_ms >= d.start_ms
               AND s.start_ms < d.start_ms + 86400000
        WHERE d.day_local <> d.last_day_local
    )
    LIMIT -1
)
SELECT
    u.day_local,
    u.first_ms,
    u.last_ms,
    h.host_name,
    w.name AS workflow,
    w.origin AS workflow_origin,
    w.billing_code,
    k.uid,
    k.user_name,
    c.repo,
    c.branch,
    k.provider,
    k.model,
    k.task_type,
    k.has_tool_call,
    u.requests AS request_count,
    u.estimated_requests,
    u.lower_bound_requests,
    u.cost_lower_bound_requests,
    u.input_uncached_tokens,
    u.cache_read_tokens,
    u.cache_write_5m_tokens,
    u.cache_write_1h_tokens,
    u.cache_write_other_tokens,
    u.context_tokens,
    u.output_tokens,
    u.reasoning_tokens,
    u.estimated_tokens,
    u.unpriced_tokens,
    u.cost_nanousd,
    u.estimated_cost_nanousd,
    u.provider_cost_nanousd,
    CASE WHEN k.billing_kind = 'subscription' THEN u.cost_nanousd END AS subscription_cost_nanousd,
    k.host_id,
    k.workflow_id
FROM (
    SELECT
        d.day_local, s.first_ms, s.last_ms, s.usage_key_id, s.requests, s.estimated_requests,
        s.lower_bound_requests, s.cost_lower_bound_requests, s.input_uncached_tokens,
        s.cache_read_tokens, s.cache_write_5m_tokens, s.cache_write_1h_tokens,
        s.cache_write_other_tokens, s.context_tokens, s.output_tokens, s.reasoning_tokens,
        s.estimated_tokens, s.unpriced_tokens, s.cost_nanousd, s.estimated_cost_nanousd,
        s.provider_cost_nanousd
    FROM span_day AS d
    CROSS JOIN usage_span AS s ON s.span_ms = 86400000 AND s.start_ms = d.start_ms
    WHERE d.day_local = d.last_day_local
    UNION ALL
    SELECT
        f.day_local, s.first_ms, s.last_ms, s.usage_key_id, s.requests, s.estimated_requests,
        s.lower_bound_requests, s.cost_lower_bound_requests, s.input_uncached_tokens,
        s.cache_read_tokens, s.cache_write_5m_tokens, s.cache_write_1h_tokens,
        s.cache_write_other_tokens, s.context_tokens, s.output_tokens, s.reasoning_tokens,
        s.estimated_tokens, s.unpriced_tokens, s.cost_nanousd, s.estimated_cost_nanousd,
        s.provider_cost_nanousd
    FROM span_of_split_day AS f
    CROSS JOIN usage_span AS s ON s.span_ms = 14400000 AND s.start_ms = f.start_ms
    WHERE f.day_local = f.last_day_local
    UNION ALL
    SELECT
        date(q.bucket_start_ms / 1000, 'unixepoch', 'localtime'), q.bucket_start_ms,
        q.bucket_start_ms, q.usage_key_id, q.requests, q.estimated_requests,
        q.lower_bound_requests, q.cost_lower_bound_requests, q.input_uncached_tokens,
        q.cache_read_tokens, q.cache_write_5m_tokens, q.cache_write_1h_tokens,
        q.cache_write_other_tokens, q.context_tokens, q.output_tokens, q.reasoning_tokens,
        q.estimated_tokens, q.unpriced_tokens, q.cost_nanousd, q.estimated_cost_nanousd,
        q.provider_cost_nanousd
    FROM span_of_split_day AS f
    CROSS JOIN usage_15m AS q
            ON q.bucket_start_ms >= f.start_ms AND q.bucket_start_ms < f.start_ms + 14400000
    WHERE f.day_local <> f.last_day_local
) AS u
JOIN usage_key AS k ON k.usage_key_id = u.usage_key_id
JOIN host AS h ON h.host_id = k.host_id
JOIN workflow AS w ON w.workflow_id = k.workflow_id
LEFT JOIN checkout AS c ON c.checkout_id = k.checkout_id;

-- One row per local day, provider and model. The sums come with the latest day first: where the latest few
-- rows are asked for, the sessions of no other day are counted.
DROP VIEW v_daily;
CREATE VIEW v_daily AS
SELECT
    u.day_local,
    u.host_name,
    u.provider,
    u.model,
    u.request_count,
    (SELECT count(DISTINCT a.session_id)
     FROM session_15m AS a
     JOIN usage_key AS k ON k.usage_key_id = a.usage_key_id
     WHERE a.bucket_start_ms BETWEEN u.first_ms AND u.last_ms
       AND k.host_id = u.host_id AND k.provider = u.provider AND k.model IS u.model)
        AS session_count,
    u.input_uncached_tokens,
    u.cache_read_tokens,
    u.cache_write_5m_tokens,
    u.cache_write_1h_tokens,
    u.cache_write_other_tokens,
    u.context_tokens,
    u.output_tokens,
    u.reasoning_tokens,
    u.estimated_requests,
    u.lower_bound_requests,
    u.host_id,
    u.cost_nanousd,
    u.cost_nanousd / 1e9 AS cost_usd,
    u.cost_lower_bound_requests,
    u.unpriced_tokens,
    u.estimated_cost_nanousd,
    u.subscription_cost_nanousd,
    u.provider_cost_nanousd,
    u.estimated_tokens
FROM (
    SELECT
        day_local,
        host_id,
        host_name,
        provider,
        model,
        min(first_ms) AS first_ms,
        max(last_ms) AS last_ms,
        sum(request_count) AS request_count,
        sum(input_uncached_tokens) AS input_uncached_tokens,
        sum(cache_read_tokens) AS cache_read_tokens,
        sum(cache_write_5m_tokens) AS cache_write_5m_tokens,
        sum(cache_write_1h_tokens) AS cache_write_1h_tokens,
        sum(cache_write_other_tokens) AS cache_write_other_tokens,
        sum(context_tokens) AS context_tokens,
        sum(output_tokens) AS output_tokens,
        sum(reasoning_tokens) AS reasoning_tokens,
        sum(estimated_requests) AS estimated_requests,
        sum(lower_bound_requests) AS lower_bound_requests,
        sum(cost_nanousd) AS cost_nanousd,
        sum(cost_lower_bound_requests) AS cost_lower_bound_requests,
        sum(unpriced_tokens) AS unpriced_tokens,
        sum(estimated_cost_nanousd) AS estimated_cost_nanousd,
        sum(subscription_cost_nanousd) AS subscription_cost_nanousd,
        sum(provider_cost_nanousd) AS provider_cost_nanousd,
        sum(estimated_tokens) AS estimated_tokens
    FROM usage_of_days
    GROUP BY -julianday(day_local), day_local, host_id, provider, model
) AS u;
