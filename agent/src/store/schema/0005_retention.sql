-- The ledger, version 5: calls of long ago are deleted, and what they added to the sums stays.
--
-- Sums whose calls are all there, or all gone, need nothing more. Where some calls of a quarter of an
-- hour, or of a session, are gone and others are there, the tables pruned_* hold what those that are
-- gone added: sums are made anew of that and of the calls.

-- Calls of the host that began before this may be gone. NULL: none is.
ALTER TABLE host ADD COLUMN requests_pruned_before_ms INTEGER;

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
    reasoning_is_partial INTEGER NOT NULL,
    PRIMARY KEY (bucket_start_ms, usage_key_id)
) WITHOUT ROWID;

CREATE TABLE pruned_session_15m (
    bucket_start_ms INTEGER NOT NULL,
    usage_key_id INTEGER NOT NULL,
    session_id INTEGER NOT NULL,
    PRIMARY KEY (bucket_start_ms, usage_key_id, session_id)
) WITHOUT ROWID;

CREATE TABLE pruned_session (
    session_id INTEGER NOT NULL REFERENCES session (session_id) ON DELETE CASCADE,
    usage_key_id INTEGER NOT NULL REFERENCES usage_key (usage_key_id),
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
    PRIMARY KEY (session_id, usage_key_id)
) WITHOUT ROWID;
