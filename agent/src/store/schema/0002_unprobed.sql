-- The ledger, version 2: processes whose connections to providers were not decoded show as such in
-- v_process, where they have no calls.

DROP VIEW v_process;

-- One row per process that was seen, with its totals.
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
