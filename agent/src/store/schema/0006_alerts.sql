-- The ledger, version 6: budgets, calls that still run, alerts and who was told of them.

-- Budgets of a host, as last configured or set by a command.
CREATE TABLE budget (
    budget_id INTEGER PRIMARY KEY,
    host_id INTEGER NOT NULL REFERENCES host (host_id),
    name TEXT NOT NULL,
    definition_json TEXT NOT NULL,
    -- 'config' or 'command'.
    origin TEXT NOT NULL,
    changed_ms INTEGER NOT NULL,
    UNIQUE (host_id, name)
);

-- What a budget has used: one row per budget, value of what it is split by ('' for a whole one) and
-- period. Amounts of money are in billionths of a US dollar, all others in their unit.
CREATE TABLE budget_state (
    host_id INTEGER NOT NULL REFERENCES host (host_id),
    budget TEXT NOT NULL,
    scope_value TEXT NOT NULL,
    period_start_ms INTEGER NOT NULL,
    -- NULL: the period moves with the time.
    period_end_ms INTEGER,
    -- 'usd', 'tokens', 'weighted_tokens', 'requests' or 'sessions'.
    unit TEXT NOT NULL,
    limit_amount INTEGER NOT NULL,
    used_amount INTEGER NOT NULL,
    -- The part of used_amount that calls took that still run.
    open_amount INTEGER NOT NULL,
    -- 1: more was used, nobody knows how much.
    is_lower_bound INTEGER NOT NULL,
    estimated_tokens INTEGER NOT NULL,
    unpriced_tokens INTEGER NOT NULL,
    -- Shares of the limit that were told in this period, as a JSON array of numbers.
    thresholds_json TEXT NOT NULL,
    -- How many times as fast as the period passes, by window; NULL: not known.
    burn_5m REAL,
    burn_30m REAL,
    burn_1h REAL,
    burn_6h REAL,
    burn_3d REAL,
    -- 'ok', 'burning' or 'exceeded'.
    status TEXT NOT NULL,
    -- What will be used at the end of the period, and when the limit is reached.
    forecast_amount INTEGER,
    exhausts_ms INTEGER,
    -- What the budget remembers besides.
    memory_json TEXT,
    updated_ms INTEGER NOT NULL,
    PRIMARY KEY (host_id, budget, scope_value, period_start_ms)
) WITHOUT ROWID;

-- Calls that run at the moment, with what they took so far. The agent empties it when it starts.
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

-- What a rule found wrong, from the first moment to the last. At most one row of a fingerprint has
-- not ended.
CREATE TABLE alert (
    alert_id INTEGER PRIMARY KEY,
    host_id INTEGER NOT NULL REFERENCES host (host_id),
    -- Hash of rule, variant, scope and budget.
    fingerprint TEXT NOT NULL,
    rule TEXT NOT NULL,
    variant TEXT NOT NULL,
    -- JSON array of pairs of name and value.
    scope_json TEXT NOT NULL,
    budget TEXT,
    -- 'log', 'ticket' or 'page'.
    severity TEXT NOT NULL,
    -- 'pending', 'firing' or 'resolved'.
    state TEXT NOT NULL,
    summary TEXT NOT NULL,
    evidence_json TEXT NOT NULL,
    hold_ms INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    fired_ms INTEGER,
    ended_ms INTEGER,
    -- Written by `bpftok alerts ack`; nothing else of a ledger is written by another than the agent.
    acknowledged_ms INTEGER,
    acknowledged_by TEXT,
    last_notified_ms INTEGER,
    -- The severity that was last told.
    notified_severity TEXT
);

CREATE UNIQUE INDEX alert_active ON alert (host_id, fingerprint) WHERE state <> 'resolved';
CREATE INDEX alert_fired ON alert (fired_ms);

-- Who is told of it, over which channel, and how far that is. A row stays 'waiting' or 'failed' until
-- the channel took it or it was given up.
CREATE TABLE alert_delivery (
    delivery_id INTEGER PRIMARY KEY,
    -- NULL: several alerts at once.
    alert_id INTEGER REFERENCES alert (alert_id) ON DELETE CASCADE,
    -- 'fire', 'repeat', 'rise', 'resolve' or 'group'.
    kind TEXT NOT NULL,
    channel TEXT NOT NULL,
    payload_json TEXT NOT NULL,
    -- 'waiting', 'failed' (and to be tried again), 'delivered' or 'given_up'.
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    next_try_ms INTEGER,
    -- What went wrong last; never a part of a URL.
    last_error TEXT,
    delivered_ms INTEGER
);

CREATE INDEX alert_delivery_alert ON alert_delivery (alert_id);
CREATE INDEX alert_delivery_due ON alert_delivery (next_try_ms) WHERE state IN ('waiting', 'failed');
CREATE INDEX alert_delivery_created ON alert_delivery (created_ms);

-- One row per budget, value and period.
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

-- One row per call that runs.
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

-- One row per alert, those that wait to fire too.
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

-- Alerts that fire.
CREATE VIEW v_alert_active AS
SELECT *
FROM v_alert
WHERE state = 'firing';
