PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE meta (
    name TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE host (
    host_id INTEGER PRIMARY KEY,
    machine_id_hash TEXT NOT NULL UNIQUE,
    host_name TEXT NOT NULL,
    kernel TEXT NOT NULL,
    agent_version TEXT NOT NULL,
    first_seen_ms INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL
, requests_pruned_before_ms INTEGER);
INSERT INTO host VALUES(1,'00112233445566778899aabbccddeeff','build-01','6.12.0','0.1.0',1795457893003,1795457893003,NULL);
CREATE TABLE process (
    process_id INTEGER PRIMARY KEY,
    host_id INTEGER NOT NULL REFERENCES host (host_id),
    boot_id TEXT NOT NULL,
    pid INTEGER NOT NULL,
    start_time_ticks INTEGER NOT NULL,
    exe_path TEXT,
    comm TEXT NOT NULL,
    argv0 TEXT,
    uid INTEGER NOT NULL,
    user_name TEXT,
    cwd TEXT,
    cgroup_path TEXT,
    parent_pid INTEGER,
    parent_start_time_ticks INTEGER,
    parent_comm TEXT,
    first_seen_ms INTEGER NOT NULL,
    exited_ms INTEGER
, exe_build_id TEXT, systemd_unit TEXT, container_runtime TEXT, container_id TEXT, container_name TEXT, container_image TEXT, pod_uid TEXT, pod_namespace TEXT, pod_name TEXT, ancestors_json TEXT);
INSERT INTO process VALUES(1,1,'b0071d',7781,8781,'/usr/bin/node','node','node',1001,'dana','/home/dana/src/shop','/user.slice',1,1,'systemd',1793545200000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO process VALUES(2,1,'b0071d',1202,2202,'/usr/bin/python3.12','python3','python3',1000,'app','/home/app/src/shop','/user.slice',1,1,'systemd',1793545260000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE session (
    session_id INTEGER PRIMARY KEY,
    host_id INTEGER NOT NULL REFERENCES host (host_id),
    session_key TEXT NOT NULL,
    uid INTEGER,
    key_source TEXT NOT NULL,
    client_name TEXT,
    client_version TEXT,
    process_id INTEGER REFERENCES process (process_id),
    started_ms INTEGER NOT NULL,
    last_request_ms INTEGER NOT NULL,
    request_count INTEGER NOT NULL,
    peak_context_tokens INTEGER
, workflow_id INTEGER REFERENCES workflow (workflow_id), workflow_conflicts INTEGER NOT NULL DEFAULT 0, labels_json TEXT, human_turn_count INTEGER NOT NULL DEFAULT 0, last_human_turn_ms INTEGER, compaction_count INTEGER NOT NULL DEFAULT 0, resumed_count INTEGER NOT NULL DEFAULT 0);
INSERT INTO session VALUES(1,1,'8f31c2aa-1b2c-4d5e-8f90-a1b2c3d4e5f6',1001,'client_header','claude-code','2.1.0',1,1793545200000,1793545200000,1,1000,1,0,NULL,0,NULL,0,0);
INSERT INTO session VALUES(2,1,'p1202-1',1000,'process_idle','openai-python',NULL,2,1793545260000,1793545260000,1,2000,1,0,NULL,0,NULL,0,0);
CREATE TABLE coverage_minute (
    minute_ms INTEGER NOT NULL,
    host_id INTEGER NOT NULL REFERENCES host (host_id),
    process_id INTEGER REFERENCES process (process_id),
    outcome TEXT NOT NULL,
    events INTEGER NOT NULL,
    bytes INTEGER NOT NULL
);
CREATE TABLE shape (
    shape_id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    client_name TEXT,
    client_version TEXT,
    provider TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    server_name TEXT,
    model_requested TEXT,
    model_served TEXT,
    is_stream INTEGER NOT NULL,
    is_batch INTEGER NOT NULL,
    service_tier TEXT,
    speed TEXT,
    region TEXT,
    billing_kind TEXT NOT NULL,
    http_status INTEGER,
    outcome TEXT NOT NULL,
    stop_reason TEXT,
    aborted_by TEXT,
    usage_source TEXT NOT NULL,
    input_method TEXT,
    input_quality TEXT,
    output_method TEXT,
    output_quality TEXT
, task_type TEXT NOT NULL DEFAULT 'chat');
INSERT INTO shape VALUES(1,'call','claude-code','2.1.0','anthropic','anthropic_messages','api.anthropic.com','claude-opus-5-5','claude-opus-5-5-20260901',1,0,NULL,NULL,NULL,'unknown',200,'complete','end_turn',NULL,'provider',NULL,NULL,NULL,NULL,'chat');
INSERT INTO shape VALUES(2,'call','openai-python',NULL,'openai','openai_chat','api.openai.com','gpt-5.6-sol',NULL,1,0,NULL,NULL,NULL,'unknown',200,'complete','end_turn',NULL,'estimated',NULL,NULL,NULL,NULL,'chat');
CREATE TABLE price (
    price_id INTEGER PRIMARY KEY,
    price_key TEXT NOT NULL UNIQUE,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    service_tier TEXT,
    context_over_tokens INTEGER,
    valid_from_ms INTEGER,
    valid_to_ms INTEGER,
    input_uncached_nanousd_per_mtok INTEGER,
    cache_read_nanousd_per_mtok INTEGER,
    cache_write_5m_nanousd_per_mtok INTEGER,
    cache_write_1h_nanousd_per_mtok INTEGER,
    cache_write_12h_nanousd_per_mtok INTEGER,
    cache_write_other_nanousd_per_mtok INTEGER,
    output_nanousd_per_mtok INTEGER,
    audio_input_nanousd_per_mtok INTEGER,
    audio_output_nanousd_per_mtok INTEGER,
    image_input_nanousd_per_mtok INTEGER,
    image_output_nanousd_per_mtok INTEGER,
    web_search_nanousd_per_1k INTEGER,
    source TEXT NOT NULL,
    source_version TEXT NOT NULL,
    as_of_ms INTEGER
);
CREATE TABLE request (
    request_id INTEGER PRIMARY KEY,
    host_id INTEGER NOT NULL REFERENCES host (host_id),
    identity TEXT NOT NULL,
    -- Where the identity does not end in it.
    response_id TEXT,
    shape_id INTEGER NOT NULL REFERENCES shape (shape_id),
    process_id INTEGER REFERENCES process (process_id),
    session_id INTEGER NOT NULL REFERENCES session (session_id),
    started_ms INTEGER NOT NULL,
    ttft_ms INTEGER,
    duration_ms INTEGER NOT NULL,
    input_uncached_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_write_5m_tokens INTEGER,
    cache_write_1h_tokens INTEGER,
    cache_write_other_tokens INTEGER,
    cache_write_12h_tokens INTEGER,
    output_tokens INTEGER,
    reasoning_tokens INTEGER,
    audio_input_tokens INTEGER,
    audio_output_tokens INTEGER,
    image_input_tokens INTEGER,
    image_output_tokens INTEGER,
    web_searches INTEGER,
    unpriced_units INTEGER,
    cost_nanousd INTEGER,
    cost_status TEXT,
    price_id INTEGER REFERENCES price (price_id),
    provider_cost_nanousd INTEGER,
    repriced_nanousd INTEGER,
    attempt INTEGER,
    retry_of INTEGER REFERENCES request (request_id),
    -- The call that this row's model ran inside of.
    part_of INTEGER REFERENCES request (request_id),
    -- The provider's side of this call to a gateway: that one counts, this one does not.
    hop_of INTEGER REFERENCES request (request_id),
    -- The gateway that made this call for its process.
    via_process_id INTEGER REFERENCES process (process_id)
, usage_key_id INTEGER REFERENCES usage_key (usage_key_id), thread_id INTEGER REFERENCES thread (thread_id), is_human_turn INTEGER NOT NULL DEFAULT 0, tool_call_count INTEGER NOT NULL DEFAULT 0, continues INTEGER, request_hash INTEGER, tool_signature_hash INTEGER);
INSERT INTO request VALUES(1,1,'anthropic:FIX',NULL,1,1,1,1793545200000,390,3200,150,800,50,0,NULL,NULL,50,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,3,NULL,0,0,NULL,NULL,NULL);
INSERT INTO request VALUES(2,1,'openai:chat_1',NULL,2,2,2,1793545260000,390,3200,2000,NULL,NULL,NULL,NULL,NULL,100,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,4,NULL,0,0,NULL,NULL,NULL);
CREATE TABLE rate_limit (
    observed_ms INTEGER NOT NULL,
    host_id INTEGER NOT NULL REFERENCES host (host_id),
    provider TEXT NOT NULL,
    account_hash TEXT,
    limit_name TEXT NOT NULL,
    window_seconds INTEGER,
    used_ratio REAL,
    limit_value INTEGER,
    remaining_value INTEGER,
    resets_ms INTEGER
);
CREATE TABLE checkout (
    checkout_id INTEGER PRIMARY KEY,
    git_root TEXT NOT NULL,
    repo TEXT NOT NULL,
    branch TEXT
);
CREATE TABLE workflow (
    workflow_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    origin TEXT NOT NULL,
    billing_code TEXT
);
INSERT INTO workflow VALUES(1,'unattributed','unattributed',NULL);
CREATE TABLE thread (
    thread_id INTEGER PRIMARY KEY,
    session_id INTEGER NOT NULL REFERENCES session (session_id) ON DELETE CASCADE,
    thread_key TEXT NOT NULL,
    parent_thread_id INTEGER REFERENCES thread (thread_id),
    kind TEXT NOT NULL,
    agent_type TEXT,
    depth INTEGER NOT NULL
);
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
, price_id INTEGER REFERENCES price (price_id), is_priced INTEGER);
INSERT INTO usage_key VALUES(1,1,1,NULL,1001,'dana','claude-code',NULL,NULL,'anthropic','claude-opus-5-5-20260901','chat','unknown','complete',0,NULL,NULL);
INSERT INTO usage_key VALUES(2,1,1,NULL,1000,'app','openai-python',NULL,NULL,'openai','gpt-5.6-sol','chat','unknown','complete',0,NULL,NULL);
INSERT INTO usage_key VALUES(3,1,1,NULL,1001,'dana','claude-code',NULL,NULL,'anthropic','claude-opus-5-5-20260901','chat','unknown','complete',0,NULL,0);
INSERT INTO usage_key VALUES(4,1,1,NULL,1000,'app','openai-python',NULL,NULL,'openai','gpt-5.6-sol','chat','unknown','complete',0,NULL,0);
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
    reasoning_is_partial INTEGER NOT NULL, cache_write_12h_tokens INTEGER, priced_rows INTEGER NOT NULL DEFAULT 0, tokenless_cost_nanousd INTEGER, unhashed_requests INTEGER NOT NULL DEFAULT 0, unthreaded_requests INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (bucket_start_ms, usage_key_id)
) WITHOUT ROWID;
INSERT INTO usage_15m VALUES(1793545200000,3,1,0,0,1,0,0,0,150,800,50,0,NULL,1000,50,NULL,0,1050,NULL,NULL,NULL,NULL,NULL,3200,50,2810,0,0,0,0,0,0,NULL,0,NULL,1,1);
INSERT INTO usage_15m VALUES(1793545200000,4,1,1,0,1,0,0,0,2000,NULL,NULL,NULL,NULL,2000,100,NULL,2100,2100,NULL,NULL,NULL,NULL,NULL,3200,100,2810,0,0,1,1,0,1,NULL,0,NULL,1,1);
CREATE TABLE session_15m (
    bucket_start_ms INTEGER NOT NULL,
    usage_key_id INTEGER NOT NULL,
    session_id INTEGER NOT NULL,
    PRIMARY KEY (bucket_start_ms, usage_key_id, session_id)
) WITHOUT ROWID;
INSERT INTO session_15m VALUES(1793545200000,3,1);
INSERT INTO session_15m VALUES(1793545200000,4,2);
CREATE TABLE pruned_15m (
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
    reasoning_is_partial INTEGER NOT NULL, cache_write_12h_tokens INTEGER, priced_rows INTEGER NOT NULL DEFAULT 0, tokenless_cost_nanousd INTEGER, unhashed_requests INTEGER NOT NULL DEFAULT 0, unthreaded_requests INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (bucket_start_ms, usage_key_id)
) WITHOUT ROWID;
CREATE TABLE pruned_session_15m (
    bucket_start_ms INTEGER NOT NULL,
    usage_key_id INTEGER NOT NULL,
    session_id INTEGER NOT NULL,
    PRIMARY KEY (bucket_start_ms, usage_key_id, session_id)
) WITHOUT ROWID;
CREATE TABLE budget (
    budget_id INTEGER PRIMARY KEY,
    host_id INTEGER NOT NULL REFERENCES host (host_id),
    name TEXT NOT NULL,
    definition_json TEXT NOT NULL,
    origin TEXT NOT NULL,
    changed_ms INTEGER NOT NULL,
    UNIQUE (host_id, name)
);
CREATE TABLE budget_state (
    host_id INTEGER NOT NULL REFERENCES host (host_id),
    budget TEXT NOT NULL,
    scope_value TEXT NOT NULL,
    period_start_ms INTEGER NOT NULL,
    period_end_ms INTEGER,
    unit TEXT NOT NULL,
    limit_amount INTEGER NOT NULL,
    used_amount INTEGER NOT NULL,
    open_amount INTEGER NOT NULL,
    is_lower_bound INTEGER NOT NULL,
    estimated_tokens INTEGER NOT NULL,
    unpriced_tokens INTEGER NOT NULL,
    thresholds_json TEXT NOT NULL,
    burn_5m REAL,
    burn_30m REAL,
    burn_1h REAL,
    burn_6h REAL,
    burn_3d REAL,
    status TEXT NOT NULL,
    forecast_amount INTEGER,
    exhausts_ms INTEGER,
    memory_json TEXT,
    updated_ms INTEGER NOT NULL,
    PRIMARY KEY (host_id, budget, scope_value, period_start_ms)
) WITHOUT ROWID;
CREATE TABLE open_call (
    host_id INTEGER NOT NULL REFERENCES host (host_id),
    identity TEXT NOT NULL,
    started_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    provider TEXT NOT NULL,
    model TEXT,
    workflow TEXT NOT NULL,
    session_key TEXT NOT NULL,
    thread_key TEXT NOT NULL,
    thread_kind TEXT NOT NULL,
    task_type TEXT NOT NULL,
    user_name TEXT,
    uid INTEGER,
    pid INTEGER,
    comm TEXT,
    client_name TEXT,
    systemd_unit TEXT,
    container TEXT,
    repo TEXT,
    usage_source TEXT NOT NULL,
    input_uncached_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_write_5m_tokens INTEGER,
    cache_write_1h_tokens INTEGER,
    cache_write_other_tokens INTEGER,
    output_tokens INTEGER,
    reasoning_tokens INTEGER,
    weighted_tokens INTEGER,
    cost_nanousd INTEGER,
    cost_status TEXT NOT NULL,
    PRIMARY KEY (host_id, identity)
) WITHOUT ROWID;
CREATE TABLE alert (
    alert_id INTEGER PRIMARY KEY,
    host_id INTEGER NOT NULL REFERENCES host (host_id),
    fingerprint TEXT NOT NULL,
    rule TEXT NOT NULL,
    variant TEXT NOT NULL,
    scope_json TEXT NOT NULL,
    budget TEXT,
    severity TEXT NOT NULL,
    state TEXT NOT NULL,
    summary TEXT NOT NULL,
    evidence_json TEXT NOT NULL,
    hold_ms INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    fired_ms INTEGER,
    ended_ms INTEGER,
    acknowledged_ms INTEGER,
    acknowledged_by TEXT,
    last_notified_ms INTEGER,
    notified_severity TEXT
);
CREATE TABLE alert_delivery (
    delivery_id INTEGER PRIMARY KEY,
    alert_id INTEGER REFERENCES alert (alert_id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    channel TEXT NOT NULL,
    payload_json TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    next_try_ms INTEGER,
    last_error TEXT,
    delivered_ms INTEGER
);
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
    reasoning_is_partial INTEGER NOT NULL, cache_write_12h_tokens INTEGER, priced_rows INTEGER NOT NULL DEFAULT 0, tokenless_cost_nanousd INTEGER, unhashed_requests INTEGER NOT NULL DEFAULT 0, unthreaded_requests INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (span_ms, start_ms, usage_key_id)
) WITHOUT ROWID;
INSERT INTO usage_span VALUES(14400000,1793534400000,3,1793545200000,1793545200000,1,0,0,1,0,0,0,150,800,50,0,NULL,1000,50,NULL,0,1050,NULL,NULL,NULL,NULL,NULL,3200,50,2810,0,0,0,0,0,0,NULL,0,NULL,1,1);
INSERT INTO usage_span VALUES(14400000,1793534400000,4,1793545200000,1793545200000,1,1,0,1,0,0,0,2000,NULL,NULL,NULL,NULL,2000,100,NULL,2100,2100,NULL,NULL,NULL,NULL,NULL,3200,100,2810,0,0,1,1,0,1,NULL,0,NULL,1,1);
INSERT INTO usage_span VALUES(86400000,1793491200000,3,1793545200000,1793545200000,1,0,0,1,0,0,0,150,800,50,0,NULL,1000,50,NULL,0,1050,NULL,NULL,NULL,NULL,NULL,3200,50,2810,0,0,0,0,0,0,NULL,0,NULL,1,1);
INSERT INTO usage_span VALUES(86400000,1793491200000,4,1793545200000,1793545200000,1,1,0,1,0,0,0,2000,NULL,NULL,NULL,NULL,2000,100,NULL,2100,2100,NULL,NULL,NULL,NULL,NULL,3200,100,2810,0,0,1,1,0,1,NULL,0,NULL,1,1);
INSERT INTO usage_span VALUES(2764800000,1791590400000,3,1793545200000,1793545200000,1,0,0,1,0,0,0,150,800,50,0,NULL,1000,50,NULL,0,1050,NULL,NULL,NULL,NULL,NULL,3200,50,2810,0,0,0,0,0,0,NULL,0,NULL,1,1);
INSERT INTO usage_span VALUES(2764800000,1791590400000,4,1793545200000,1793545200000,1,1,0,1,0,0,0,2000,NULL,NULL,NULL,NULL,2000,100,NULL,2100,2100,NULL,NULL,NULL,NULL,NULL,3200,100,2810,0,0,1,1,0,1,NULL,0,NULL,1,1);
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
    reasoning_is_partial INTEGER NOT NULL, cache_write_12h_tokens INTEGER, priced_rows INTEGER NOT NULL DEFAULT 0, tokenless_cost_nanousd INTEGER, unhashed_requests INTEGER NOT NULL DEFAULT 0, unthreaded_requests INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (session_id, usage_key_id, process_id, thread_id)
) WITHOUT ROWID;
INSERT INTO session_usage VALUES(1,3,1,0,1793545200000,1793545200000,1,0,0,1,0,0,0,150,800,50,0,NULL,1000,50,NULL,0,1050,NULL,NULL,NULL,NULL,NULL,3200,50,2810,0,0,0,0,0,0,NULL,0,NULL,1,1);
INSERT INTO session_usage VALUES(2,4,2,0,1793545260000,1793545260000,1,1,0,1,0,0,0,2000,NULL,NULL,NULL,NULL,2000,100,NULL,2100,2100,NULL,NULL,NULL,NULL,NULL,3200,100,2810,0,0,1,1,0,1,NULL,0,NULL,1,1);
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
    reasoning_is_partial INTEGER NOT NULL, cache_write_12h_tokens INTEGER, priced_rows INTEGER NOT NULL DEFAULT 0, tokenless_cost_nanousd INTEGER, unhashed_requests INTEGER NOT NULL DEFAULT 0, unthreaded_requests INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (session_id, usage_key_id, process_id, thread_id)
) WITHOUT ROWID;
CREATE TABLE waste_span (
    span INTEGER PRIMARY KEY,
    first_request_id INTEGER,
    last_request_id INTEGER
);
CREATE TABLE waste_request (
    span INTEGER NOT NULL,
    request_id INTEGER NOT NULL,
    kinds INTEGER NOT NULL,
    missing_tokens INTEGER NOT NULL,
    PRIMARY KEY (span, request_id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX process_identity
    ON process (host_id, boot_id, pid, start_time_ticks, ifnull(exe_path, ''));
CREATE UNIQUE INDEX session_identity ON session (host_id, session_key, ifnull(uid, -1));
CREATE UNIQUE INDEX coverage_minute_identity
    ON coverage_minute (minute_ms, host_id, ifnull(process_id, 0), outcome);
CREATE VIEW v_coverage AS
SELECT
    strftime('%Y-%m-%dT%H:%M:%SZ', c.minute_ms / 1000, 'unixepoch') AS minute_utc,
    strftime('%Y-%m-%d %H:%M:%S', c.minute_ms / 1000, 'unixepoch', 'localtime') AS minute_local,
    c.minute_ms,
    h.host_name,
    p.pid,
    p.comm,
    p.exe_path,
    p.user_name,
    c.outcome,
    c.events,
    c.bytes,
    c.host_id,
    c.process_id
FROM coverage_minute AS c
JOIN host AS h ON h.host_id = c.host_id
LEFT JOIN process AS p ON p.process_id = c.process_id;
CREATE INDEX shape_model
    ON shape (model_served, model_requested, provider, client_version, stop_reason);
CREATE UNIQUE INDEX request_identity ON request (host_id, identity);
CREATE INDEX request_started ON request (started_ms);
CREATE INDEX request_session ON request (session_id);
CREATE INDEX request_hop ON request (hop_of) WHERE hop_of IS NOT NULL;
CREATE INDEX request_part ON request (part_of) WHERE part_of IS NOT NULL;
CREATE INDEX request_retry ON request (retry_of) WHERE retry_of IS NOT NULL;
CREATE INDEX rate_limit_latest
    ON rate_limit (host_id, provider, account_hash, limit_name, observed_ms);
CREATE VIEW v_hop AS
SELECT
    r.request_id,
    r.hop_of AS counted_request_id,
    strftime('%Y-%m-%dT%H:%M:%SZ', r.started_ms / 1000, 'unixepoch') AS started_utc,
    strftime('%Y-%m-%d %H:%M:%S', r.started_ms / 1000, 'unixepoch', 'localtime') AS started_local,
    r.started_ms,
    r.duration_ms,
    r.ttft_ms,
    h.host_name,
    p.pid,
    p.comm,
    p.exe_path,
    s.client_name,
    s.client_version,
    s.server_name,
    s.model_requested,
    s.model_served,
    s.http_status,
    s.outcome,
    r.host_id,
    r.process_id,
    r.session_id
FROM request AS r
JOIN shape AS s ON s.shape_id = r.shape_id
JOIN host AS h ON h.host_id = r.host_id
LEFT JOIN process AS p ON p.process_id = r.process_id
WHERE r.hop_of IS NOT NULL;
CREATE VIEW v_quota AS
SELECT
    strftime('%Y-%m-%dT%H:%M:%SZ', q.observed_ms / 1000, 'unixepoch') AS observed_utc,
    strftime('%Y-%m-%d %H:%M:%S', q.observed_ms / 1000, 'unixepoch', 'localtime')
        AS observed_local,
    q.observed_ms,
    h.host_name,
    q.provider,
    q.account_hash,
    q.limit_name,
    q.window_seconds,
    q.used_ratio,
    q.limit_value,
    q.remaining_value,
    strftime('%Y-%m-%dT%H:%M:%SZ', q.resets_ms / 1000, 'unixepoch') AS resets_utc,
    strftime('%Y-%m-%d %H:%M:%S', q.resets_ms / 1000, 'unixepoch', 'localtime') AS resets_local,
    q.resets_ms,
    q.host_id
FROM rate_limit AS q
JOIN host AS h ON h.host_id = q.host_id
JOIN (
    SELECT max(rowid) AS latest
    FROM rate_limit AS l
    WHERE l.observed_ms = (
        SELECT max(o.observed_ms)
        FROM rate_limit AS o
        WHERE o.host_id = l.host_id AND o.provider = l.provider
          AND o.account_hash IS l.account_hash AND o.limit_name = l.limit_name)
    GROUP BY l.host_id, l.provider, l.account_hash, l.limit_name
) AS t ON t.latest = q.rowid;
CREATE UNIQUE INDEX checkout_identity ON checkout (git_root, ifnull(branch, ''), repo);
CREATE UNIQUE INDEX workflow_identity ON workflow (name, origin, ifnull(billing_code, ''));
CREATE INDEX session_last ON session (last_request_ms);
CREATE UNIQUE INDEX thread_identity ON thread (session_id, thread_key);
CREATE INDEX thread_parent ON thread (parent_thread_id) WHERE parent_thread_id IS NOT NULL;
CREATE INDEX usage_key_find ON usage_key (workflow_id, model, task_type, outcome, user_name);
CREATE INDEX request_thread ON request (thread_id, started_ms) WHERE thread_id IS NOT NULL;
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
WHERE r.hop_of IS NULL
;
CREATE VIEW v_request AS
SELECT
    r.request_id,
    strftime('%Y-%m-%dT%H:%M:%SZ', r.started_ms / 1000, 'unixepoch') AS started_utc,
    strftime('%Y-%m-%d %H:%M:%S', r.started_ms / 1000, 'unixepoch', 'localtime') AS started_local,
    r.started_ms,
    r.duration_ms,
    r.ttft_ms,
    h.host_name,
    p.pid,
    p.comm,
    p.exe_path,
    p.uid,
    p.user_name,
    p.cwd,
    p.cgroup_path,
    p.parent_pid,
    p.parent_comm,
    s.session_key,
    s.key_source,
    r.client_name,
    r.client_version,
    r.provider,
    r.endpoint,
    r.server_name,
    r.model_requested,
    r.model_served,
    r.is_stream,
    r.http_status,
    r.outcome,
    r.stop_reason,
    r.usage_source,
    r.input_uncached_tokens,
    r.cache_read_tokens,
    r.cache_write_5m_tokens,
    r.cache_write_1h_tokens,
    r.cache_write_other_tokens,
    r.context_tokens,
    r.output_tokens,
    r.reasoning_tokens,
    r.is_lower_bound,
    r.provider_response_id,
    r.host_id,
    r.process_id,
    r.session_id,
    r.kind,
    r.part_of,
    r.is_call,
    r.attempt,
    r.retry_of,
    r.aborted_by,
    CASE WHEN r.is_stream AND r.duration_ms > r.ttft_ms
         THEN r.output_tokens * 1000.0 / (r.duration_ms - r.ttft_ms)
    END AS output_tokens_per_second,
    r.is_batch,
    r.service_tier,
    r.speed,
    r.region,
    r.billing_kind,
    r.cache_write_12h_tokens,
    r.audio_input_tokens,
    r.audio_output_tokens,
    r.image_input_tokens,
    r.image_output_tokens,
    r.web_searches,
    r.unpriced_units,
    r.input_method,
    r.input_quality,
    r.output_method,
    r.output_quality,
    r.estimated_tokens,
    r.cost_nanousd,
    r.cost_nanousd / 1e9 AS cost_usd,
    r.cost_status,
    r.is_cost_lower_bound,
    r.price_id,
    r.provider_cost_nanousd,
    r.provider_cost_nanousd / 1e9 AS provider_cost_usd,
    r.repriced_nanousd,
    r.repriced_nanousd / 1e9 AS repriced_usd,
    r.via_process_id,
    v.pid AS via_pid,
    v.comm AS via_comm,
    v.exe_path AS via_exe_path,
    w.name AS workflow,
    w.origin AS workflow_origin,
    w.billing_code,
    r.task_type,
    r.thread_id,
    t.kind AS thread_kind,
    t.agent_type,
    t.depth AS thread_depth,
    r.is_human_turn,
    r.tool_call_count,
    r.continues,
    r.request_hash,
    r.tool_signature_hash,
    p.exe_build_id,
    p.systemd_unit,
    p.container_runtime,
    p.container_id,
    p.container_name,
    p.container_image,
    p.pod_uid,
    p.pod_namespace,
    p.pod_name,
    p.ancestors_json,
    c.git_root,
    c.repo,
    c.branch,
    r.usage_key_id
FROM request_derived AS r
JOIN host AS h ON h.host_id = r.host_id
JOIN session AS s ON s.session_id = r.session_id
LEFT JOIN process AS p ON p.process_id = r.process_id
LEFT JOIN process AS v ON v.process_id = r.via_process_id
LEFT JOIN workflow AS w ON w.workflow_id = s.workflow_id
LEFT JOIN thread AS t ON t.thread_id = r.thread_id
LEFT JOIN usage_key AS k ON k.usage_key_id = r.usage_key_id
LEFT JOIN checkout AS c ON c.checkout_id = k.checkout_id;
CREATE VIEW v_session AS
SELECT
    s.session_id,
    s.session_key,
    s.key_source,
    s.client_name,
    s.client_version,
    h.host_name,
    p.pid,
    p.comm,
    p.exe_path,
    s.uid,
    p.user_name,
    p.cwd,
    strftime('%Y-%m-%dT%H:%M:%SZ', s.started_ms / 1000, 'unixepoch') AS started_utc,
    strftime('%Y-%m-%d %H:%M:%S', s.started_ms / 1000, 'unixepoch', 'localtime') AS started_local,
    s.started_ms,
    strftime('%Y-%m-%dT%H:%M:%SZ', s.last_request_ms / 1000, 'unixepoch') AS last_request_utc,
    strftime('%Y-%m-%d %H:%M:%S', s.last_request_ms / 1000, 'unixepoch', 'localtime')
        AS last_request_local,
    s.last_request_ms,
    s.request_count,
    s.peak_context_tokens,
    t.input_uncached_tokens,
    t.cache_read_tokens,
    t.cache_write_5m_tokens,
    t.cache_write_1h_tokens,
    t.cache_write_other_tokens,
    t.output_tokens,
    t.reasoning_tokens,
    t.estimated_requests,
    t.lower_bound_requests,
    s.host_id,
    s.process_id,
    t.cost_nanousd,
    t.cost_nanousd / 1e9 AS cost_usd,
    t.cost_lower_bound_requests,
    t.unpriced_tokens,
    t.estimated_cost_nanousd,
    t.subscription_cost_nanousd,
    t.provider_cost_nanousd,
    t.estimated_tokens,
    t.retry_requests,
    t.aborted_requests,
    w.name AS workflow,
    w.origin AS workflow_origin,
    w.billing_code,
    s.workflow_conflicts,
    s.labels_json,
    s.human_turn_count,
    s.last_human_turn_ms,
    s.compaction_count,
    s.resumed_count,
    (SELECT count(*) FROM thread AS n WHERE n.session_id = s.session_id) AS thread_count,
    (SELECT max(depth) FROM thread AS n WHERE n.session_id = s.session_id) AS max_thread_depth,
    t.context_tokens,
    t.tool_calls,
    (SELECT k.task_type
     FROM session_usage AS u
     JOIN usage_key AS k ON k.usage_key_id = u.usage_key_id
     WHERE u.session_id = s.session_id
     GROUP BY k.task_type
     ORDER BY k.task_type = 'auxiliary', ifnull(sum(u.cost_nanousd), 0) DESC, sum(u.requests) DESC,
              k.task_type
     LIMIT 1) AS task_type,
    CASE WHEN s.request_count <= 1 THEN '1'
         WHEN s.request_count <= 5 THEN '2-5'
         WHEN s.request_count <= 20 THEN '6-20'
         WHEN s.request_count <= 100 THEN '21-100'
         WHEN s.request_count <= 500 THEN '101-500'
         ELSE '501+'
    END AS length_bucket_requests,
    CASE WHEN s.last_request_ms - s.started_ms < 60000 THEN '<1m'
         WHEN s.last_request_ms - s.started_ms < 600000 THEN '1-10m'
         WHEN s.last_request_ms - s.started_ms < 3600000 THEN '10-60m'
         WHEN s.last_request_ms - s.started_ms < 14400000 THEN '1-4h'
         WHEN s.last_request_ms - s.started_ms < 43200000 THEN '4-12h'
         ELSE '12h+'
    END AS length_bucket_duration,
    CASE WHEN s.peak_context_tokens < 32000 THEN '<32k'
         WHEN s.peak_context_tokens < 100000 THEN '32-100k'
         WHEN s.peak_context_tokens < 200000 THEN '100-200k'
         WHEN s.peak_context_tokens < 272000 THEN '200-272k'
         WHEN s.peak_context_tokens >= 272000 THEN '272k+'
    END AS length_bucket_context,
    CASE WHEN s.key_source = 'process_idle' AND p.exited_ms IS NOT NULL THEN 'process_exit'
         WHEN s.last_request_ms + 60000 * ifnull((SELECT CAST(value AS INTEGER) FROM meta
                                                  WHERE name = 'session_idle_minutes'), 30)
              < strftime('%s', 'now') * 1000 THEN 'idle'
    END AS end_reason
FROM session AS s
JOIN host AS h ON h.host_id = s.host_id
LEFT JOIN process AS p ON p.process_id = s.process_id
LEFT JOIN workflow AS w ON w.workflow_id = s.workflow_id
LEFT JOIN (
    SELECT
        u.session_id,
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
        sum(u.estimated_tokens) AS estimated_tokens,
        sum(u.retry_requests) AS retry_requests,
        sum(u.tool_calls) AS tool_calls,
        sum(CASE WHEN k.outcome = 'aborted' THEN u.requests ELSE 0 END) AS aborted_requests
    FROM session_usage AS u
    JOIN usage_key AS k ON k.usage_key_id = u.usage_key_id
    GROUP BY u.session_id
) AS t ON t.session_id = s.session_id;
CREATE VIEW v_thread_tree AS
SELECT
    t.thread_id,
    t.session_id,
    s.session_key,
    t.thread_key,
    t.parent_thread_id,
    t.kind,
    t.agent_type,
    t.depth,
    sum(r.is_call) AS request_count,
    min(r.started_ms) AS started_ms,
    max(r.started_ms) AS last_request_ms,
    sum(r.context_tokens) AS context_tokens,
    sum(r.cache_read_tokens) AS cache_read_tokens,
    sum(r.output_tokens) AS output_tokens,
    max(r.context_tokens) AS peak_context_tokens,
    sum(r.cost_nanousd) AS cost_nanousd,
    sum(r.cost_nanousd) / 1e9 AS cost_usd,
    sum(r.is_cost_lower_bound) AS cost_lower_bound_requests,
    s.host_id
FROM thread AS t
JOIN session AS s ON s.session_id = t.session_id
LEFT JOIN request_derived AS r ON r.thread_id = t.thread_id
GROUP BY t.thread_id;
CREATE VIEW v_hourly AS
SELECT
    strftime('%Y-%m-%d %H:00', bucket_start_ms / 1000, 'unixepoch', 'localtime') AS hour_local,
    host_name,
    provider,
    model,
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
FROM v_usage_15m AS u
GROUP BY 1, host_id, provider, model;
CREATE VIEW v_unit AS
SELECT
    systemd_unit,
    host_name,
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
FROM v_usage_15m AS u
GROUP BY systemd_unit, host_id;
CREATE VIEW v_length_bucket AS
SELECT
    length_bucket_requests,
    count(*) AS session_count,
    sum(request_count) AS request_count,
    sum(context_tokens) AS context_tokens,
    sum(output_tokens) AS output_tokens,
    sum(cost_nanousd) AS cost_nanousd,
    sum(cost_nanousd) / 1e9 AS cost_usd,
    max(cost_nanousd) AS most_cost_nanousd,
    host_id
FROM v_session
GROUP BY length_bucket_requests, host_id;
CREATE VIEW v_cache AS
SELECT
    request_id,
    started_ms,
    session_id,
    thread_id,
    provider,
    model,
    gap_ms,
    left_tokens,
    ifnull(cache_read_tokens, 0) AS cache_read_tokens,
    left_tokens - ifnull(cache_read_tokens, 0) AS missing_tokens,
    CASE WHEN gap_ms > CASE WHEN left_1h_tokens > 0 THEN 3600000 ELSE 300000 END THEN 'expired'
         WHEN continues IS 0 THEN 'prefix_changed'
         ELSE 'evicted'
    END AS cause,
    price_id,
    cache_write_5m_tokens,
    cache_write_1h_tokens,
    cache_write_other_tokens,
    host_id
FROM (
    SELECT
        request_id, started_ms, session_id, thread_id, provider,
        ifnull(model_served, model_requested) AS model, cache_read_tokens, cache_write_5m_tokens,
        cache_write_1h_tokens, cache_write_other_tokens, continues, price_id, host_id, usage_source,
        started_ms - lag(started_ms + duration_ms) OVER before AS gap_ms,
        lag(ifnull(cache_read_tokens, 0) + ifnull(cache_write_5m_tokens, 0)
            + ifnull(cache_write_1h_tokens, 0) + ifnull(cache_write_other_tokens, 0)) OVER before
            AS left_tokens,
        lag(ifnull(cache_write_1h_tokens, 0)) OVER before AS left_1h_tokens,
        lag(ifnull(model_served, model_requested)) OVER before AS model_before
    FROM request_derived
    WHERE is_call AND thread_id IS NOT NULL AND outcome = 'complete'
    WINDOW before AS (PARTITION BY thread_id ORDER BY started_ms, request_id)
)
WHERE left_tokens > 0 AND usage_source = 'provider' AND model IS model_before
  AND ifnull(cache_read_tokens, 0) * 2 < left_tokens;
CREATE VIEW v_unpriced AS
SELECT
    provider,
    ifnull(model_served, model_requested) AS model,
    sum(is_call) AS request_count,
    sum(ifnull(context_tokens, 0) + ifnull(output_tokens, 0)) AS unpriced_tokens,
    min(started_utc) AS first_utc,
    max(started_utc) AS last_utc,
    host_id
FROM v_request
WHERE cost_nanousd IS NULL AND is_cost_lower_bound
GROUP BY host_id, provider, 2;
CREATE VIEW v_aborted AS
SELECT *
FROM v_request
WHERE is_call AND outcome = 'aborted';
CREATE UNIQUE INDEX alert_active ON alert (host_id, fingerprint) WHERE state <> 'resolved';
CREATE INDEX alert_fired ON alert (fired_ms);
CREATE INDEX alert_delivery_alert ON alert_delivery (alert_id);
CREATE INDEX alert_delivery_due ON alert_delivery (next_try_ms) WHERE state IN ('waiting', 'failed');
CREATE INDEX alert_delivery_created ON alert_delivery (created_ms);
CREATE VIEW v_budget AS
SELECT
    h.host_name,
    s.budget,
    s.scope_value,
    b.definition_json,
    b.origin,
    strftime('%Y-%m-%dT%H:%M:%SZ', s.period_start_ms / 1000, 'unixepoch') AS period_start_utc,
    strftime('%Y-%m-%d %H:%M:%S', s.period_start_ms / 1000, 'unixepoch', 'localtime')
        AS period_start_local,
    s.period_start_ms,
    strftime('%Y-%m-%dT%H:%M:%SZ', s.period_end_ms / 1000, 'unixepoch') AS period_end_utc,
    strftime('%Y-%m-%d %H:%M:%S', s.period_end_ms / 1000, 'unixepoch', 'localtime')
        AS period_end_local,
    s.period_end_ms,
    b.budget_id IS NOT NULL AND s.period_start_ms = (
        SELECT max(o.period_start_ms) FROM budget_state AS o
        WHERE o.host_id = s.host_id AND o.budget = s.budget AND o.scope_value = s.scope_value
    ) AS is_current,
    s.unit,
    s.limit_amount,
    s.used_amount,
    s.open_amount,
    CASE WHEN s.unit = 'usd' THEN s.limit_amount / 1e9 END AS limit_usd,
    CASE WHEN s.unit = 'usd' THEN s.used_amount / 1e9 END AS used_usd,
    CASE WHEN s.limit_amount > 0 THEN s.used_amount * 1.0 / s.limit_amount END AS used_ratio,
    s.is_lower_bound,
    s.estimated_tokens,
    s.unpriced_tokens,
    s.thresholds_json,
    s.burn_5m,
    s.burn_30m,
    s.burn_1h,
    s.burn_6h,
    s.burn_3d,
    s.status,
    s.forecast_amount,
    CASE WHEN s.unit = 'usd' THEN s.forecast_amount / 1e9 END AS forecast_usd,
    strftime('%Y-%m-%dT%H:%M:%SZ', s.exhausts_ms / 1000, 'unixepoch') AS exhausts_utc,
    strftime('%Y-%m-%d %H:%M:%S', s.exhausts_ms / 1000, 'unixepoch', 'localtime')
        AS exhausts_local,
    s.exhausts_ms,
    strftime('%Y-%m-%dT%H:%M:%SZ', s.updated_ms / 1000, 'unixepoch') AS updated_utc,
    strftime('%Y-%m-%d %H:%M:%S', s.updated_ms / 1000, 'unixepoch', 'localtime') AS updated_local,
    s.updated_ms,
    s.host_id
FROM budget_state AS s
JOIN host AS h ON h.host_id = s.host_id
LEFT JOIN budget AS b ON b.host_id = s.host_id AND b.name = s.budget;
CREATE VIEW v_open_call AS
SELECT
    o.identity,
    strftime('%Y-%m-%dT%H:%M:%SZ', o.started_ms / 1000, 'unixepoch') AS started_utc,
    strftime('%Y-%m-%d %H:%M:%S', o.started_ms / 1000, 'unixepoch', 'localtime') AS started_local,
    o.started_ms,
    strftime('%Y-%m-%dT%H:%M:%SZ', o.updated_ms / 1000, 'unixepoch') AS updated_utc,
    strftime('%Y-%m-%d %H:%M:%S', o.updated_ms / 1000, 'unixepoch', 'localtime') AS updated_local,
    o.updated_ms,
    h.host_name,
    o.pid,
    o.comm,
    o.uid,
    o.user_name,
    o.systemd_unit,
    o.container,
    o.repo,
    o.client_name,
    o.workflow,
    o.session_key,
    o.thread_key,
    o.thread_kind,
    o.task_type,
    o.provider,
    o.model,
    o.usage_source,
    o.input_uncached_tokens,
    o.cache_read_tokens,
    o.cache_write_5m_tokens,
    o.cache_write_1h_tokens,
    o.cache_write_other_tokens,
    CASE WHEN coalesce(o.input_uncached_tokens, o.cache_read_tokens, o.cache_write_5m_tokens,
                       o.cache_write_1h_tokens, o.cache_write_other_tokens) IS NOT NULL
         THEN ifnull(o.input_uncached_tokens, 0) + ifnull(o.cache_read_tokens, 0)
            + ifnull(o.cache_write_5m_tokens, 0) + ifnull(o.cache_write_1h_tokens, 0)
            + ifnull(o.cache_write_other_tokens, 0)
    END AS context_tokens,
    o.output_tokens,
    o.reasoning_tokens,
    o.weighted_tokens,
    o.cost_nanousd,
    o.cost_nanousd / 1e9 AS cost_usd,
    o.cost_status,
    o.host_id
FROM open_call AS o
JOIN host AS h ON h.host_id = o.host_id;
CREATE VIEW v_alert AS
SELECT
    a.alert_id,
    h.host_name,
    a.fingerprint,
    a.rule,
    a.variant,
    a.scope_json,
    a.budget,
    a.severity,
    a.state,
    a.summary,
    a.evidence_json,
    strftime('%Y-%m-%dT%H:%M:%SZ', a.started_ms / 1000, 'unixepoch') AS started_utc,
    strftime('%Y-%m-%d %H:%M:%S', a.started_ms / 1000, 'unixepoch', 'localtime') AS started_local,
    a.started_ms,
    strftime('%Y-%m-%dT%H:%M:%SZ', a.fired_ms / 1000, 'unixepoch') AS fired_utc,
    strftime('%Y-%m-%d %H:%M:%S', a.fired_ms / 1000, 'unixepoch', 'localtime') AS fired_local,
    a.fired_ms,
    strftime('%Y-%m-%dT%H:%M:%SZ', a.ended_ms / 1000, 'unixepoch') AS ended_utc,
    strftime('%Y-%m-%d %H:%M:%S', a.ended_ms / 1000, 'unixepoch', 'localtime') AS ended_local,
    a.ended_ms,
    strftime('%Y-%m-%dT%H:%M:%SZ', a.acknowledged_ms / 1000, 'unixepoch') AS acknowledged_utc,
    a.acknowledged_ms,
    a.acknowledged_by,
    strftime('%Y-%m-%dT%H:%M:%SZ', a.last_notified_ms / 1000, 'unixepoch') AS last_notified_utc,
    a.last_notified_ms,
    (SELECT count(*) FROM alert_delivery AS d
     WHERE d.alert_id = a.alert_id AND d.state = 'delivered') AS delivered_count,
    (SELECT count(*) FROM alert_delivery AS d
     WHERE d.alert_id = a.alert_id AND d.state IN ('waiting', 'failed')) AS waiting_count,
    (SELECT count(*) FROM alert_delivery AS d
     WHERE d.alert_id = a.alert_id AND d.state = 'given_up') AS given_up_count,
    a.host_id
FROM alert AS a
JOIN host AS h ON h.host_id = a.host_id;
CREATE VIEW v_alert_active AS
SELECT *
FROM v_alert
WHERE state = 'firing';
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
COMMIT;
PRAGMA application_id = 1651537003;
PRAGMA user_version = 9;
