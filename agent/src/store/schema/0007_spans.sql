-- The ledger, version 7: sums of longer spans, so that a report of a month or a year reads few rows,
-- and sums of sessions by process and thread.
--
-- A row of usage_span holds what usage_15m has of the quarters of an hour that begin in a span of four
-- hours, a day or 32 days, each counted from the epoch on; never more and never less. Where the days of
-- a report begin at other hours, it takes the spans that lie within them and the quarters beside these.

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
FROM (SELECT 14400000 AS span_ms UNION ALL SELECT 86400000 UNION ALL SELECT 2764800000) AS s
CROSS JOIN usage_15m AS u
GROUP BY 1, 2, 3;

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
    ifnull(thread_id, 0) AS thread_id
FROM request_derived;

-- Sums by session, apart by process and thread: 0 where that is not known, as it is of calls that were
-- deleted before this version.
CREATE TEMP TABLE old_session_usage AS SELECT * FROM session_usage;
CREATE TEMP TABLE old_pruned_session AS SELECT * FROM pruned_session;
DROP TABLE session_usage;
DROP TABLE pruned_session;

CREATE TABLE session_usage (
    session_id INTEGER NOT NULL REFERENCES session (session_id) ON DELETE CASCADE,
    usage_key_id INTEGER NOT NULL REFERENCES usage_key (usage_key_id),
    process_id INTEGER NOT NULL,
    thread_id INTEGER NOT NULL,
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
    PRIMARY KEY (session_id, usage_key_id, process_id, thread_id)
) WITHOUT ROWID;

CREATE TABLE pruned_session (
    session_id INTEGER NOT NULL REFERENCES session (session_id) ON DELETE CASCADE,
    usage_key_id INTEGER NOT NULL REFERENCES usage_key (usage_key_id),
    process_id INTEGER NOT NULL,
    thread_id INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    peak_context_tokens INTEGER,
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
    PRIMARY KEY (session_id, usage_key_id, process_id, thread_id)
) WITHOUT ROWID;

INSERT INTO pruned_session (
    session_id, usage_key_id, process_id, thread_id, first_ms, last_ms, peak_context_tokens,
    requests, estimated_requests, lower_bound_requests, cost_lower_bound_requests,
    retry_requests, human_turns, tool_calls, input_uncached_tokens, cache_read_tokens,
    cache_write_5m_tokens, cache_write_1h_tokens, cache_write_other_tokens, context_tokens,
    output_tokens, reasoning_tokens, estimated_tokens, unpriced_tokens, cost_nanousd,
    estimated_cost_nanousd, provider_cost_nanousd, repriced_nanousd, repriced_from_nanousd,
    duration_ms, stream_output_tokens, stream_ms, context_is_partial, uncached_is_partial,
    read_is_partial, write_is_partial, output_is_partial, reasoning_is_partial)
SELECT
    session_id, usage_key_id, 0, 0, first_ms, last_ms, peak_context_tokens,
    requests, estimated_requests, lower_bound_requests, cost_lower_bound_requests,
    retry_requests, human_turns, tool_calls, input_uncached_tokens, cache_read_tokens,
    cache_write_5m_tokens, cache_write_1h_tokens, cache_write_other_tokens, context_tokens,
    output_tokens, reasoning_tokens, estimated_tokens, unpriced_tokens, cost_nanousd,
    estimated_cost_nanousd, provider_cost_nanousd, repriced_nanousd, repriced_from_nanousd,
    duration_ms, stream_output_tokens, stream_ms, context_is_partial, uncached_is_partial,
    read_is_partial, write_is_partial, output_is_partial, reasoning_is_partial
FROM temp.old_pruned_session;

-- Where no call is left, the sums are what the deleted ones added.
INSERT INTO session_usage (
    session_id, usage_key_id, process_id, thread_id, first_ms, last_ms,
    requests, estimated_requests, lower_bound_requests, cost_lower_bound_requests,
    retry_requests, human_turns, tool_calls, input_uncached_tokens, cache_read_tokens,
    cache_write_5m_tokens, cache_write_1h_tokens, cache_write_other_tokens, context_tokens,
    output_tokens, reasoning_tokens, estimated_tokens, unpriced_tokens, cost_nanousd,
    estimated_cost_nanousd, provider_cost_nanousd, repriced_nanousd, repriced_from_nanousd,
    duration_ms, stream_output_tokens, stream_ms, context_is_partial, uncached_is_partial,
    read_is_partial, write_is_partial, output_is_partial, reasoning_is_partial)
SELECT
    session_id, usage_key_id, 0, 0, first_ms, last_ms,
    requests, estimated_requests, lower_bound_requests, cost_lower_bound_requests,
    retry_requests, human_turns, tool_calls, input_uncached_tokens, cache_read_tokens,
    cache_write_5m_tokens, cache_write_1h_tokens, cache_write_other_tokens, context_tokens,
    output_tokens, reasoning_tokens, estimated_tokens, unpriced_tokens, cost_nanousd,
    estimated_cost_nanousd, provider_cost_nanousd, repriced_nanousd, repriced_from_nanousd,
    duration_ms, stream_output_tokens, stream_ms, context_is_partial, uncached_is_partial,
    read_is_partial, write_is_partial, output_is_partial, reasoning_is_partial
FROM temp.old_session_usage AS u
WHERE NOT EXISTS (SELECT 1 FROM request AS r
                  WHERE r.session_id = u.session_id AND r.hop_of IS NULL);

INSERT INTO session_usage (
    session_id, usage_key_id, process_id, thread_id, first_ms, last_ms,
    requests, estimated_requests, lower_bound_requests, cost_lower_bound_requests,
    retry_requests, human_turns, tool_calls, input_uncached_tokens, cache_read_tokens,
    cache_write_5m_tokens, cache_write_1h_tokens, cache_write_other_tokens, context_tokens,
    output_tokens, reasoning_tokens, estimated_tokens, unpriced_tokens, cost_nanousd,
    estimated_cost_nanousd, provider_cost_nanousd, repriced_nanousd, repriced_from_nanousd,
    duration_ms, stream_output_tokens, stream_ms, context_is_partial, uncached_is_partial,
    read_is_partial, write_is_partial, output_is_partial, reasoning_is_partial)
SELECT
    session_id, usage_key_id, process_id, thread_id, min(first_ms), max(last_ms),
    sum(requests), sum(estimated_requests), sum(lower_bound_requests),
    sum(cost_lower_bound_requests), sum(retry_requests), sum(human_turns), sum(tool_calls),
    sum(input_uncached_tokens), sum(cache_read_tokens), sum(cache_write_5m_tokens),
    sum(cache_write_1h_tokens), sum(cache_write_other_tokens), sum(context_tokens),
    sum(output_tokens), sum(reasoning_tokens), sum(estimated_tokens), sum(unpriced_tokens),
    sum(cost_nanousd), sum(estimated_cost_nanousd), sum(provider_cost_nanousd),
    sum(repriced_nanousd), sum(repriced_from_nanousd), sum(duration_ms),
    sum(stream_output_tokens), sum(stream_ms), max(context_is_partial),
    max(uncached_is_partial), max(read_is_partial), max(write_is_partial),
    max(output_is_partial), max(reasoning_is_partial)
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
        read_is_partial, write_is_partial, output_is_partial, reasoning_is_partial
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
        read_is_partial, write_is_partial, output_is_partial, reasoning_is_partial
    FROM pruned_session)
GROUP BY session_id, usage_key_id, process_id, thread_id;

DROP TABLE temp.old_session_usage;
DROP TABLE temp.old_pruned_session;

-- Complete calls whose request had been answered in the twelve hours before: what is asked anew each
-- night is asked on purpose.
DROP VIEW v_duplicate;
CREATE VIEW v_duplicate AS
SELECT request_id, earlier_request_id, started_ms, after_ms, session_id, request_hash, cost_nanousd,
       host_id
FROM (
    SELECT
        request_id, started_ms, session_id, request_hash, cost_nanousd, host_id,
        lag(request_id) OVER same AS earlier_request_id,
        started_ms - lag(started_ms) OVER same AS after_ms
    FROM request_derived
    WHERE is_call AND request_hash IS NOT NULL AND outcome = 'complete'
    WINDOW same AS (PARTITION BY host_id, request_hash ORDER BY started_ms, request_id)
)
WHERE after_ms <= 43200000;

-- Views over days and processes read few rows too, and those over processes all calls, deleted ones too.
DROP VIEW v_daily;
DROP VIEW v_workflow_daily;
DROP VIEW v_model_daily;
DROP VIEW v_user_daily;
DROP VIEW v_repo_daily;
DROP VIEW v_process;

-- What usage_15m has by four hours, where these are of one local day, and by quarters of an hour where
-- they are not. For the views below, not for other programs.
CREATE VIEW usage_of_days AS
SELECT
    date(u.start_ms / 1000, 'unixepoch', 'localtime') AS day_local,
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
        start_ms, first_ms, last_ms, usage_key_id,
        requests, estimated_requests, lower_bound_requests, cost_lower_bound_requests,
        input_uncached_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
        cache_write_other_tokens, context_tokens, output_tokens, reasoning_tokens,
        estimated_tokens, unpriced_tokens, cost_nanousd, estimated_cost_nanousd,
        provider_cost_nanousd
    FROM usage_span
    WHERE span_ms = 14400000
      AND date(start_ms / 1000, 'unixepoch', 'localtime')
          = date(start_ms / 1000 + 13500, 'unixepoch', 'localtime')
    UNION ALL
    SELECT
        q.bucket_start_ms, q.bucket_start_ms, q.bucket_start_ms, q.usage_key_id,
        q.requests, q.estimated_requests, q.lower_bound_requests, q.cost_lower_bound_requests,
        q.input_uncached_tokens, q.cache_read_tokens, q.cache_write_5m_tokens,
        q.cache_write_1h_tokens, q.cache_write_other_tokens, q.context_tokens, q.output_tokens,
        q.reasoning_tokens, q.estimated_tokens, q.unpriced_tokens, q.cost_nanousd,
        q.estimated_cost_nanousd, q.provider_cost_nanousd
    FROM (
        SELECT DISTINCT start_ms FROM usage_span
        WHERE span_ms = 14400000
          AND date(start_ms / 1000, 'unixepoch', 'localtime')
              <> date(start_ms / 1000 + 13500, 'unixepoch', 'localtime')
    ) AS s
    CROSS JOIN usage_15m AS q
            ON q.bucket_start_ms >= s.start_ms AND q.bucket_start_ms < s.start_ms + 14400000
) AS u
JOIN usage_key AS k ON k.usage_key_id = u.usage_key_id
JOIN host AS h ON h.host_id = k.host_id
JOIN workflow AS w ON w.workflow_id = k.workflow_id
LEFT JOIN checkout AS c ON c.checkout_id = k.checkout_id;

-- One row per local day, provider and model.
CREATE VIEW v_daily AS
SELECT
    day_local,
    host_name,
    provider,
    model,
    sum(request_count) AS request_count,
    (SELECT count(DISTINCT a.session_id)
     FROM session_15m AS a
     JOIN usage_key AS k ON k.usage_key_id = a.usage_key_id
     WHERE a.bucket_start_ms BETWEEN min(u.first_ms) AND max(u.last_ms)
       AND k.host_id = u.host_id AND k.provider = u.provider AND k.model IS u.model)
        AS session_count,
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
    host_id,
    sum(cost_nanousd) AS cost_nanousd,
    sum(cost_nanousd) / 1e9 AS cost_usd,
    sum(cost_lower_bound_requests) AS cost_lower_bound_requests,
    sum(unpriced_tokens) AS unpriced_tokens,
    sum(estimated_cost_nanousd) AS estimated_cost_nanousd,
    sum(subscription_cost_nanousd) AS subscription_cost_nanousd,
    sum(provider_cost_nanousd) AS provider_cost_nanousd,
    sum(estimated_tokens) AS estimated_tokens
FROM usage_of_days AS u
GROUP BY 1, host_id, provider, model;

-- One row per local day and workflow.
CREATE VIEW v_workflow_daily AS
SELECT
    day_local,
    host_name,
    workflow,
    workflow_origin,
    billing_code,
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
    host_id,
    sum(cost_nanousd) AS cost_nanousd,
    sum(cost_nanousd) / 1e9 AS cost_usd,
    sum(cost_lower_bound_requests) AS cost_lower_bound_requests,
    sum(unpriced_tokens) AS unpriced_tokens,
    sum(estimated_cost_nanousd) AS estimated_cost_nanousd,
    sum(subscription_cost_nanousd) AS subscription_cost_nanousd,
    sum(provider_cost_nanousd) AS provider_cost_nanousd,
    sum(estimated_tokens) AS estimated_tokens
FROM usage_of_days AS u
GROUP BY 1, host_id, workflow_id;

-- One row per local day, provider, model, task type and whether a tool was asked for.
CREATE VIEW v_model_daily AS
SELECT
    day_local,
    host_name,
    provider,
    model,
    task_type,
    has_tool_call,
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
    host_id,
    sum(cost_nanousd) AS cost_nanousd,
    sum(cost_nanousd) / 1e9 AS cost_usd,
    sum(cost_lower_bound_requests) AS cost_lower_bound_requests,
    sum(unpriced_tokens) AS unpriced_tokens,
    sum(estimated_cost_nanousd) AS estimated_cost_nanousd,
    sum(subscription_cost_nanousd) AS subscription_cost_nanousd,
    sum(provider_cost_nanousd) AS provider_cost_nanousd,
    sum(estimated_tokens) AS estimated_tokens
FROM usage_of_days AS u
GROUP BY 1, host_id, provider, model, task_type, has_tool_call;

-- One row per local day and user.
CREATE VIEW v_user_daily AS
SELECT
    day_local,
    host_name,
    uid,
    user_name,
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
    host_id,
    sum(cost_nanousd) AS cost_nanousd,
    sum(cost_nanousd) / 1e9 AS cost_usd,
    sum(cost_lower_bound_requests) AS cost_lower_bound_requests,
    sum(unpriced_tokens) AS unpriced_tokens,
    sum(estimated_cost_nanousd) AS estimated_cost_nanousd,
    sum(subscription_cost_nanousd) AS subscription_cost_nanousd,
    sum(provider_cost_nanousd) AS provider_cost_nanousd,
    sum(estimated_tokens) AS estimated_tokens
FROM usage_of_days AS u
GROUP BY 1, host_id, uid, user_name;

-- One row per local day, repository and branch.
CREATE VIEW v_repo_daily AS
SELECT
    day_local,
    host_name,
    repo,
    branch,
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
    host_id,
    sum(cost_nanousd) AS cost_nanousd,
    sum(cost_nanousd) / 1e9 AS cost_usd,
    sum(cost_lower_bound_requests) AS cost_lower_bound_requests,
    sum(unpriced_tokens) AS unpriced_tokens,
    sum(estimated_cost_nanousd) AS estimated_cost_nanousd,
    sum(subscription_cost_nanousd) AS subscription_cost_nanousd,
    sum(provider_cost_nanousd) AS provider_cost_nanousd,
    sum(estimated_tokens) AS estimated_tokens
FROM usage_of_days AS u
GROUP BY 1, host_id, repo, branch;

-- One row per process that was seen, with its totals. A gateway has no totals of the calls that it
-- made for others.
CREATE VIEW v_process AS
SELECT
    p.process_id,
    h.host_name,
    p.pid,
    p.start_time_ticks,
    p.comm,
    p.exe_path,
    p.argv0,
    p.uid,
    p.user_name,
    p.cwd,
    p.cgroup_path,
    p.parent_pid,
    p.parent_comm,
    strftime('%Y-%m-%dT%H:%M:%SZ', p.first_seen_ms / 1000, 'unixepoch') AS first_seen_utc,
    strftime('%Y-%m-%d %H:%M:%S', p.first_seen_ms / 1000, 'unixepoch', 'localtime')
        AS first_seen_local,
    p.first_seen_ms,
    p.exited_ms,
    ifnull(t.request_count, 0) AS request_count,
    t.session_count,
    t.input_uncached_tokens,
    t.cache_read_tokens,
    t.cache_write_5m_tokens,
    t.cache_write_1h_tokens,
    t.cache_write_other_tokens,
    t.context_tokens,
    t.output_tokens,
    t.reasoning_tokens,
    t.estimated_requests,
    t.lower_bound_requests,
    p.boot_id,
    p.host_id,
    ifnull(u.unprobed_connections, 0) AS unprobed_connections,
    t.cost_nanousd,
    t.cost_nanousd / 1e9 AS cost_usd,
    t.cost_lower_bound_requests,
    t.unpriced_tokens,
    t.estimated_cost_nanousd,
    t.subscription_cost_nanousd,
    t.provider_cost_nanousd,
    t.estimated_tokens,
    p.exe_build_id,
    p.systemd_unit,
    p.container_runtime,
    p.container_id,
    p.container_name,
    p.container_image,
    p.pod_uid,
    p.pod_namespace,
    p.pod_name,
    p.ancestors_json
FROM process AS p
JOIN host AS h ON h.host_id = p.host_id
LEFT JOIN (
    SELECT
        u.process_id,
        sum(u.requests) AS request_count,
        count(DISTINCT u.session_id) AS session_count,
        sum(u.input_uncached_tokens) AS input_uncached_tokens,
        sum(u.cache_read_tokens) AS cache_read_tokens,
        sum(u.cache_write_5m_tokens) AS cache_write_5m_tokens,
        sum(u.cache_write_1h_tokens) AS cache_write_1h_tokens,
        sum(u.cache_write_other_tokens) AS cache_write_other_tokens,
        sum(u.context_tokens) AS context_tokens,
        sum(u.output_tokens) AS output_tokens,
        sum(u.reasoning_tokens) AS reasoning_tokens,
        sum(u.estimated_requests) AS estimated_requests,
        sum(u.lower_bound_requests) AS lower_bound_requests,
        sum(u.cost_nanousd) AS cost_nanousd,
        sum(u.cost_lower_bound_requests) AS cost_lower_bound_requests,
        sum(u.unpriced_tokens) AS unpriced_tokens,
        sum(u.estimated_cost_nanousd) AS estimated_cost_nanousd,
        sum(CASE WHEN k.billing_kind = 'subscription' THEN u.cost_nanousd END)
            AS subscription_cost_nanousd,
        sum(u.provider_cost_nanousd) AS provider_cost_nanousd,
        sum(u.estimated_tokens) AS estimated_tokens
    FROM session_usage AS u
    JOIN usage_key AS k ON k.usage_key_id = u.usage_key_id
    GROUP BY u.process_id
) AS t ON t.process_id = p.process_id
LEFT JOIN (
    SELECT process_id, sum(events) AS unprobed_connections
    FROM coverage_minute
    WHERE outcome = 'unprobed'
    GROUP BY process_id
) AS u ON u.process_id = p.process_id;
