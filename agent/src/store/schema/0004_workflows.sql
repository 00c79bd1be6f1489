-- The ledger, version 4: workflows, threads, task types, and sums that last longer than calls.
--
-- usage_15m holds the sums of all calls by quarter of an hour, so that days of every time zone come
-- out exactly, whatever became of the calls; session_usage those by session. Both are made of the
-- same columns, those of request_sums.

DROP VIEW v_aborted;
DROP VIEW v_unpriced;
DROP VIEW v_process;
DROP VIEW v_daily;
DROP VIEW v_session;
DROP VIEW v_request;
DROP VIEW request_derived;

ALTER TABLE process ADD COLUMN exe_build_id TEXT;
ALTER TABLE process ADD COLUMN systemd_unit TEXT;
ALTER TABLE process ADD COLUMN container_runtime TEXT;
ALTER TABLE process ADD COLUMN container_id TEXT;
ALTER TABLE process ADD COLUMN container_name TEXT;
ALTER TABLE process ADD COLUMN container_image TEXT;
ALTER TABLE process ADD COLUMN pod_uid TEXT;
ALTER TABLE process ADD COLUMN pod_namespace TEXT;
ALTER TABLE process ADD COLUMN pod_name TEXT;
-- The parent chain, nearest first: a JSON array of objects with pid, comm and exe.
ALTER TABLE process ADD COLUMN ancestors_json TEXT;

-- A working tree of git with the branch that was checked out.
CREATE TABLE checkout (
    checkout_id INTEGER PRIMARY KEY,
    git_root TEXT NOT NULL,
    repo TEXT NOT NULL,
    branch TEXT
);

CREATE UNIQUE INDEX checkout_identity ON checkout (git_root, ifnull(branch, ''), repo);

-- The named unit of work that pays.
CREATE TABLE workflow (
    workflow_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    origin TEXT NOT NULL,
    billing_code TEXT
);

CREATE UNIQUE INDEX workflow_identity ON workflow (name, origin, ifnull(billing_code, ''));

INSERT INTO workflow (name, origin) VALUES ('unattributed', 'unattributed');

ALTER TABLE session ADD COLUMN workflow_id INTEGER REFERENCES workflow (workflow_id);
-- Calls that would have had another workflow than the session has from its first one.
ALTER TABLE session ADD COLUMN workflow_conflicts INTEGER NOT NULL DEFAULT 0;
-- The labels of the marker: a JSON object.
ALTER TABLE session ADD COLUMN labels_json TEXT;
ALTER TABLE session ADD COLUMN human_turn_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN last_human_turn_ms INTEGER;
ALTER TABLE session ADD COLUMN compaction_count INTEGER NOT NULL DEFAULT 0;
-- How often it went on after a pause longer than the idle time.
ALTER TABLE session ADD COLUMN resumed_count INTEGER NOT NULL DEFAULT 0;

UPDATE session SET workflow_id = 1;

CREATE INDEX session_last ON session (last_request_ms);

-- A line of calls inside a session; the main one has an empty key.
CREATE TABLE thread (
    thread_id INTEGER PRIMARY KEY,
    session_id INTEGER NOT NULL REFERENCES session (session_id) ON DELETE CASCADE,
    thread_key TEXT NOT NULL,
    parent_thread_id INTEGER REFERENCES thread (thread_id),
    kind TEXT NOT NULL,
    agent_type TEXT,
    depth INTEGER NOT NULL
);

CREATE UNIQUE INDEX thread_identity ON thread (session_id, thread_key);
CREATE INDEX thread_parent ON thread (parent_thread_id) WHERE parent_thread_id IS NOT NULL;

ALTER TABLE shape ADD COLUMN task_type TEXT NOT NULL DEFAULT 'chat';

-- What sums are kept apart by.
CREATE TABLE usage_key (
    usage_key_id INTEGER PRIMARY KEY,
    host_id INTEGER NOT NULL REFERENCES host (host_id),
    workflow_id INTEGER NOT NULL REFERENCES workflow (workflow_id),
    checkout_id INTEGER REFERENCES checkout (checkout_id),
    uid INTEGER,
    user_name TEXT,
    client_name TEXT,
    systemd_unit TEXT,
    container TEXT,
    provider TEXT NOT NULL,
    model TEXT,
    task_type TEXT NOT NULL,
    billing_kind TEXT NOT NULL,
    outcome TEXT NOT NULL,
    has_tool_call INTEGER NOT NULL
);

CREATE INDEX usage_key_find ON usage_key (workflow_id, model, task_type, outcome, user_name);

ALTER TABLE request ADD COLUMN usage_key_id INTEGER REFERENCES usage_key (usage_key_id);
ALTER TABLE request ADD COLUMN thread_id INTEGER REFERENCES thread (thread_id);
ALTER TABLE request ADD COLUMN is_human_turn INTEGER NOT NULL DEFAULT 0;
ALTER TABLE request ADD COLUMN tool_call_count INTEGER NOT NULL DEFAULT 0;
-- Whether it goes on from the call before it in its thread, with nothing changed before the end.
ALTER TABLE request ADD COLUMN continues INTEGER;
-- Hashes by a key that is nowhere kept: equal ones mean equal requests, or equal tools asked for.
ALTER TABLE request ADD COLUMN request_hash INTEGER;
ALTER TABLE request ADD COLUMN tool_signature_hash INTEGER;

CREATE INDEX request_thread ON request (thread_id, started_ms) WHERE thread_id IS NOT NULL;

-- Sums by quarter of an hour, for ever. Those that are NULL are unknown; one that is_partial misses
-- something that was used.
CREATE TABLE usage_15m (
    bucket_start_ms INTEGER NOT NULL,
    usage_key_id INTEGER NOT NULL REFERENCES usage_key (usage_key_id),
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
    PRIMARY KEY (bucket_start_ms, usage_key_id)
) WITHOUT ROWID;

-- The same by session.
CREATE TABLE session_usage (
    session_id INTEGER NOT NULL REFERENCES session (session_id) ON DELETE CASCADE,
    usage_key_id INTEGER NOT NULL REFERENCES usage_key (usage_key_id),
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
    PRIMARY KEY (session_id, usage_key_id)
) WITHOUT ROWID;

-- Which sessions had a call in a quarter of an hour.
CREATE TABLE session_15m (
    bucket_start_ms INTEGER NOT NULL,
    usage_key_id INTEGER NOT NULL,
    session_id INTEGER NOT NULL,
    PRIMARY KEY (bucket_start_ms, usage_key_id, session_id)
) WITHOUT ROWID;

-- Calls that count, with what follows from their columns. context_tokens is the whole input;
-- is_lower_bound is 1 where tokens were used that no column holds, is_cost_lower_bound where they,
-- or a price, are missing from the cost; estimated_tokens were counted here, of whole calls or of
-- replies that were cut. Rows of another kind than 'call' are models that ran
-- inside of a call: their tokens and cost count, they are no calls. For the views below, not for
-- other programs.
CREATE VIEW request_derived AS
SELECT
    r.request_id,
    r.host_id,
    r.identity,
    r.process_id,
    r.session_id,
    r.started_ms,
    r.ttft_ms,
    r.duration_ms,
    s.kind,
    s.client_name,
    s.client_version,
    s.provider,
    s.endpoint,
    s.server_name,
    s.model_requested,
    s.model_served,
    s.is_stream,
    s.is_batch,
    s.service_tier,
    s.speed,
    s.region,
    s.billing_kind,
    s.http_status,
    s.outcome,
    s.stop_reason,
    s.aborted_by,
    s.usage_source,
    s.input_method,
    s.input_quality,
    s.output_method,
    s.output_quality,
    r.input_uncached_tokens,
    r.cache_read_tokens,
    r.cache_write_5m_tokens,
    r.cache_write_1h_tokens,
    r.cache_write_other_tokens,
    r.cache_write_12h_tokens,
    r.output_tokens,
    r.reasoning_tokens,
    r.audio_input_tokens,
    r.audio_output_tokens,
    r.image_input_tokens,
    r.image_output_tokens,
    r.web_searches,
    r.unpriced_units,
    r.cost_nanousd,
    r.cost_status,
    r.price_id,
    r.provider_cost_nanousd,
    r.repriced_nanousd,
    r.attempt,
    r.retry_of,
    r.part_of,
    r.via_process_id,
    s.task_type,
    r.usage_key_id,
    r.thread_id,
    r.is_human_turn,
    r.tool_call_count,
    r.continues,
    r.request_hash,
    r.tool_signature_hash,
    s.kind = 'call' AS is_call,
    -- The identity is the provider and the response's id, where that tells it from all others.
    CASE WHEN r.response_id IS NOT NULL THEN r.response_id
         WHEN s.kind = 'call'
          AND substr(r.identity, 1, length(s.provider) + 1) = s.provider || ':'
         THEN substr(r.identity, length(s.provider) + 2)
    END AS provider_response_id,
    CASE WHEN coalesce(r.input_uncached_tokens, r.cache_read_tokens, r.cache_write_5m_tokens,
                       r.cache_write_1h_tokens, r.cache_write_other_tokens) IS NOT NULL
         THEN ifnull(r.input_uncached_tokens, 0) + ifnull(r.cache_read_tokens, 0)
            + ifnull(r.cache_write_5m_tokens, 0) + ifnull(r.cache_write_1h_tokens, 0)
            + ifnull(r.cache_write_other_tokens, 0)
    END AS context_tokens,
    CASE s.usage_source
         WHEN 'provider' THEN 0
         WHEN 'provider_partial' THEN 1
         WHEN 'estimated' THEN r.input_uncached_tokens IS NULL OR r.output_tokens IS NULL
             OR s.input_quality IS 'lower_bound' OR s.output_quality IS 'lower_bound'
         -- A refused call used nothing.
         ELSE NOT (s.http_status IS NOT NULL AND s.http_status >= 400)
    END AS is_lower_bound,
    CASE WHEN s.usage_source = 'estimated'
         THEN ifnull(r.input_uncached_tokens, 0) + ifnull(r.output_tokens, 0)
         WHEN s.output_method IS NOT NULL THEN ifnull(r.output_tokens, 0)
         ELSE 0
    END AS estimated_tokens,
    CASE WHEN s.usage_source = 'none' AND s.http_status IS NOT NULL AND s.http_status >= 400 THEN 0
         WHEN r.cost_nanousd IS NULL OR r.cost_status IS NULL THEN 1
         ELSE r.cost_status IN ('unpriced', 'lower_bound')
    END AS is_cost_lower_bound
FROM request AS r
JOIN shape AS s ON s.shape_id = r.shape_id
WHERE r.hop_of IS NULL;

-- What each of them adds to the sums. For the tables of sums.
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
        AND (reasoning_tokens IS NULL OR usage_source = 'provider_partial') AS reasoning_is_partial
FROM request_derived;

-- The calls of before belong to no workflow.
INSERT INTO usage_key (
    host_id, workflow_id, uid, user_name, client_name, provider, model, task_type, billing_kind,
    outcome, has_tool_call)
SELECT DISTINCT
    r.host_id, 1, p.uid, p.user_name, r.client_name, r.provider,
    ifnull(r.model_served, r.model_requested), r.task_type, r.billing_kind, r.outcome, 0
FROM request_derived AS r
LEFT JOIN process AS p ON p.process_id = r.process_id;

UPDATE request SET usage_key_id = (
    SELECT k.usage_key_id
    FROM shape AS s
    LEFT JOIN process AS p ON p.process_id = request.process_id
    JOIN usage_key AS k
      ON k.workflow_id = 1 AND k.host_id = request.host_id AND k.uid IS p.uid
     AND k.user_name IS p.user_name AND k.client_name IS s.client_name
     AND k.provider = s.provider AND k.model IS ifnull(s.model_served, s.model_requested)
     AND k.task_type = s.task_type AND k.billing_kind = s.billing_kind AND k.outcome = s.outcome
    WHERE s.shape_id = request.shape_id)
WHERE hop_of IS NULL;

INSERT INTO usage_15m
SELECT
    bucket_start_ms, usage_key_id,
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
FROM request_sums
GROUP BY bucket_start_ms, usage_key_id;

INSERT INTO session_usage
SELECT
    session_id, usage_key_id, min(started_ms), max(started_ms),
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
FROM request_sums
GROUP BY session_id, usage_key_id;

INSERT INTO session_15m
SELECT DISTINCT bucket_start_ms, usage_key_id, session_id FROM request_sums;
