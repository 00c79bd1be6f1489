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
);
INSERT INTO host VALUES(1,'00112233445566778899aabbccddeeff','build-01','6.12.0','0.1.0',1795457893003,1795457893003);
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
);
INSERT INTO process VALUES(1,1,'b0071d',7781,8781,'/usr/bin/node','node','node',1001,'dana','/home/dana/src/shop','/user.slice',1,1,'systemd',1793545200000,NULL);
INSERT INTO process VALUES(2,1,'b0071d',1202,2202,'/usr/bin/python3.12','python3','python3',1000,'app','/home/app/src/shop','/user.slice',1,1,'systemd',1793545260000,NULL);
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
);
INSERT INTO session VALUES(1,1,'8f31c2aa-1b2c-4d5e-8f90-a1b2c3d4e5f6',1001,'client_header','claude-code','2.1.0',1,1793545200000,1793545200000,1,1000);
INSERT INTO session VALUES(2,1,'p1202-1',1000,'process_idle','openai-python',NULL,2,1793545260000,1793545260000,1,2000);
CREATE TABLE request (
    request_id INTEGER PRIMARY KEY,
    host_id INTEGER NOT NULL REFERENCES host (host_id),
    identity TEXT NOT NULL,
    process_id INTEGER REFERENCES process (process_id),
    session_id INTEGER NOT NULL REFERENCES session (session_id),
    started_ms INTEGER NOT NULL,
    ttft_ms INTEGER,
    duration_ms INTEGER NOT NULL,
    client_name TEXT,
    client_version TEXT,
    provider TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    server_name TEXT,
    model_requested TEXT,
    model_served TEXT,
    is_stream INTEGER NOT NULL,
    http_status INTEGER,
    outcome TEXT NOT NULL,
    stop_reason TEXT,
    usage_source TEXT NOT NULL,
    input_uncached_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_write_5m_tokens INTEGER,
    cache_write_1h_tokens INTEGER,
    cache_write_other_tokens INTEGER,
    output_tokens INTEGER,
    reasoning_tokens INTEGER,
    provider_response_id TEXT
);
INSERT INTO request VALUES(1,1,'anthropic:FIX',1,1,1793545200000,390,3200,'claude-code','2.1.0','anthropic','anthropic_messages','api.anthropic.com','claude-opus-5-5','claude-opus-5-5-20260901',1,200,'complete','end_turn','provider',150,800,50,0,NULL,50,NULL,'FIX');
INSERT INTO request VALUES(2,1,'openai:chat_1',2,2,1793545260000,390,3200,'openai-python',NULL,'openai','openai_chat','api.openai.com','gpt-5.6-sol',NULL,1,200,'complete','end_turn','estimated',2000,NULL,NULL,NULL,NULL,100,NULL,'chat_1');
CREATE TABLE coverage_minute (
    minute_ms INTEGER NOT NULL,
    host_id INTEGER NOT NULL REFERENCES host (host_id),
    process_id INTEGER REFERENCES process (process_id),
    outcome TEXT NOT NULL,
    events INTEGER NOT NULL,
    bytes INTEGER NOT NULL
);
CREATE UNIQUE INDEX process_identity
    ON process (host_id, boot_id, pid, start_time_ticks, ifnull(exe_path, ''));
CREATE UNIQUE INDEX session_identity ON session (host_id, session_key, ifnull(uid, -1));
CREATE UNIQUE INDEX request_identity ON request (host_id, identity);
CREATE INDEX request_started ON request (started_ms);
CREATE INDEX request_session ON request (session_id);
CREATE UNIQUE INDEX coverage_minute_identity
    ON coverage_minute (minute_ms, host_id, ifnull(process_id, 0), outcome);
CREATE VIEW request_derived AS
SELECT
    r.*,
    CASE WHEN coalesce(r.input_uncached_tokens, r.cache_read_tokens, r.cache_write_5m_tokens,
                       r.cache_write_1h_tokens, r.cache_write_other_tokens) IS NOT NULL
         THEN ifnull(r.input_uncached_tokens, 0) + ifnull(r.cache_read_tokens, 0)
            + ifnull(r.cache_write_5m_tokens, 0) + ifnull(r.cache_write_1h_tokens, 0)
            + ifnull(r.cache_write_other_tokens, 0)
    END AS context_tokens,
    CASE r.usage_source
         WHEN 'provider' THEN 0
         WHEN 'provider_partial' THEN 1
         WHEN 'estimated' THEN r.input_uncached_tokens IS NULL OR r.output_tokens IS NULL
         -- A refused call used nothing.
         ELSE NOT (r.http_status IS NOT NULL AND r.http_status >= 400)
    END AS is_lower_bound
FROM request AS r
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
    r.session_id
FROM request_derived AS r
JOIN host AS h ON h.host_id = r.host_id
JOIN session AS s ON s.session_id = r.session_id
LEFT JOIN process AS p ON p.process_id = r.process_id;
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
    s.process_id
FROM session AS s
JOIN host AS h ON h.host_id = s.host_id
LEFT JOIN process AS p ON p.process_id = s.process_id
LEFT JOIN (
    SELECT
        session_id,
        sum(input_uncached_tokens) AS input_uncached_tokens,
        sum(cache_read_tokens) AS cache_read_tokens,
        sum(cache_write_5m_tokens) AS cache_write_5m_tokens,
        sum(cache_write_1h_tokens) AS cache_write_1h_tokens,
        sum(cache_write_other_tokens) AS cache_write_other_tokens,
        sum(output_tokens) AS output_tokens,
        sum(reasoning_tokens) AS reasoning_tokens,
        sum(usage_source = 'estimated') AS estimated_requests,
        sum(is_lower_bound) AS lower_bound_requests
    FROM v_request
    GROUP BY session_id
) AS t ON t.session_id = s.session_id;
CREATE VIEW v_daily AS
SELECT
    date(started_ms / 1000, 'unixepoch', 'localtime') AS day_local,
    host_name,
    provider,
    ifnull(model_served, model_requested) AS model,
    count(*) AS request_count,
    count(DISTINCT session_id) AS session_count,
    sum(input_uncached_tokens) AS input_uncached_tokens,
    sum(cache_read_tokens) AS cache_read_tokens,
    sum(cache_write_5m_tokens) AS cache_write_5m_tokens,
    sum(cache_write_1h_tokens) AS cache_write_1h_tokens,
    sum(cache_write_other_tokens) AS cache_write_other_tokens,
    sum(context_tokens) AS context_tokens,
    sum(output_tokens) AS output_tokens,
    sum(reasoning_tokens) AS reasoning_tokens,
    sum(usage_source = 'estimated') AS estimated_requests,
    sum(is_lower_bound) AS lower_bound_requests,
    host_id
FROM v_request
GROUP BY 1, host_id, provider, 4;
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
    ifnull(u.unprobed_connections, 0) AS unprobed_connections
FROM process AS p
JOIN host AS h ON h.host_id = p.host_id
LEFT JOIN (
    SELECT
        process_id,
        count(*) AS request_count,
        count(DISTINCT session_id) AS session_count,
        sum(input_uncached_tokens) AS input_uncached_tokens,
        sum(cache_read_tokens) AS cache_read_tokens,
        sum(cache_write_5m_tokens) AS cache_write_5m_tokens,
        sum(cache_write_1h_tokens) AS cache_write_1h_tokens,
        sum(cache_write_other_tokens) AS cache_write_other_tokens,
        sum(context_tokens) AS context_tokens,
        sum(output_tokens) AS output_tokens,
        sum(reasoning_tokens) AS reasoning_tokens,
        sum(usage_source = 'estimated') AS estimated_requests,
        sum(is_lower_bound) AS lower_bound_requests
    FROM v_request
    GROUP BY process_id
) AS t ON t.process_id = p.process_id
LEFT JOIN (
    SELECT process_id, sum(events) AS unprobed_connections
    FROM coverage_minute
    WHERE outcome = 'unprobed'
    GROUP BY process_id
) AS u ON u.process_id = p.process_id;
COMMIT;
PRAGMA application_id = 1651537003;
PRAGMA user_version = 2;
