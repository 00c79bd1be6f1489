-- The ledger, version 4: the views over workflows, threads and lasting sums.

-- One row per call, and per model that ran inside of one.
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

-- One row per quarter of an hour and what sums are kept apart by.
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
    k.checkout_id
FROM usage_15m AS u
JOIN usage_key AS k ON k.usage_key_id = u.usage_key_id
JOIN host AS h ON h.host_id = k.host_id
JOIN workflow AS w ON w.workflow_id = k.workflow_id
LEFT JOIN checkout AS c ON c.checkout_id = k.checkout_id;

-- One row per session. It is open until nothing came of it for the idle time, or its process ended
-- where nothing but the process tells it; length buckets of an open one are those so far.
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

-- One row per thread of a session, with its totals.
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

-- One row per local day, provider and model.
CREATE VIEW v_daily AS
SELECT
    date(bucket_start_ms / 1000, 'unixepoch', 'localtime') AS day_local,
    host_name,
    provider,
    model,
    sum(request_count) AS request_count,
    (SELECT count(DISTINCT a.session_id)
     FROM session_15m AS a
     JOIN usage_key AS k ON k.usage_key_id = a.usage_key_id
     WHERE date(a.bucket_start_ms / 1000, 'unixepoch', 'localtime')
               = date(min(u.bucket_start_ms) / 1000, 'unixepoch', 'localtime')
       AND a.bucket_start_ms BETWEEN min(u.bucket_start_ms) AND max(u.bucket_start_ms)
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
FROM v_usage_15m AS u
GROUP BY 1, host_id, provider, model;

-- One row per local hour, provider and model.
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

-- One row per local day and workflow.
CREATE VIEW v_workflow_daily AS
SELECT
    date(bucket_start_ms / 1000, 'unixepoch', 'localtime') AS day_local,
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
FROM v_usage_15m AS u
GROUP BY 1, host_id, workflow_id;

-- One row per local day, provider, model, task type and whether a tool was asked for.
CREATE VIEW v_model_daily AS
SELECT
    date(bucket_start_ms / 1000, 'unixepoch', 'localtime') AS day_local,
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
FROM v_usage_15m AS u
GROUP BY 1, host_id, provider, model, task_type, has_tool_call;

-- One row per local day and user.
CREATE VIEW v_user_daily AS
SELECT
    date(bucket_start_ms / 1000, 'unixepoch', 'localtime') AS day_local,
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
FROM v_usage_15m AS u
GROUP BY 1, host_id, uid, user_name;

-- One row per local day, repository and branch.
CREATE VIEW v_repo_daily AS
SELECT
    date(bucket_start_ms / 1000, 'unixepoch', 'localtime') AS day_local,
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
FROM v_usage_15m AS u
GROUP BY 1, host_id, repo, branch;

-- One row per unit of systemd.
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

-- Sessions by how long they are: so many requests.
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

-- Calls that read less than half of what the call before them in their thread left in a cache, and
-- why: `expired` after a pause longer than the cache lives, `prefix_changed` where what came before
-- was not the same, `evicted` otherwise.
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

-- Requests that were sent before, with the same answer asked for: all but the first of each.
CREATE VIEW v_duplicate AS
SELECT request_id, first_request_id, started_ms, after_ms, session_id, request_hash, cost_nanousd,
       host_id
FROM (
    SELECT
        request_id, started_ms, session_id, request_hash, cost_nanousd, host_id,
        first_value(request_id) OVER same AS first_request_id,
        started_ms - lag(started_ms) OVER same AS after_ms
    FROM request_derived
    WHERE is_call AND request_hash IS NOT NULL AND outcome = 'complete'
    WINDOW same AS (PARTITION BY host_id, request_hash ORDER BY started_ms, request_id)
)
WHERE request_id <> first_request_id;

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
        process_id,
        sum(is_call) AS request_count,
        count(DISTINCT session_id) AS session_count,
        sum(input_uncached_tokens) AS input_uncached_tokens,
        sum(cache_read_tokens) AS cache_read_tokens,
        sum(cache_write_5m_tokens) AS cache_write_5m_tokens,
        sum(cache_write_1h_tokens) AS cache_write_1h_tokens,
        sum(cache_write_other_tokens) AS cache_write_other_tokens,
        sum(context_tokens) AS context_tokens,
        sum(output_tokens) AS output_tokens,
        sum(reasoning_tokens) AS reasoning_tokens,
        sum(is_call AND usage_source = 'estimated') AS estimated_requests,
        sum(is_call AND is_lower_bound) AS lower_bound_requests,
        sum(cost_nanousd) AS cost_nanousd,
        sum(is_cost_lower_bound) AS cost_lower_bound_requests,
        sum(CASE WHEN cost_nanousd IS NULL THEN ifnull(context_tokens, 0) + ifnull(output_tokens, 0)
            ELSE 0 END) AS unpriced_tokens,
        sum(CASE WHEN estimated_tokens > 0 THEN cost_nanousd END) AS estimated_cost_nanousd,
        sum(CASE WHEN billing_kind = 'subscription' THEN cost_nanousd END)
            AS subscription_cost_nanousd,
        sum(provider_cost_nanousd) AS provider_cost_nanousd,
        sum(estimated_tokens) AS estimated_tokens
    FROM request_derived
    GROUP BY process_id
) AS t ON t.process_id = p.process_id
LEFT JOIN (
    SELECT process_id, sum(events) AS unprobed_connections
    FROM coverage_minute
    WHERE outcome = 'unprobed'
    GROUP BY process_id
) AS u ON u.process_id = p.process_id;

-- What has no price: one row per provider and model.
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

-- Calls whose reply was cut, by whom, with what is known to have been used.
CREATE VIEW v_aborted AS
SELECT *
FROM v_request
WHERE is_call AND outcome = 'aborted';
