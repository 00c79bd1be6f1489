-- The ledger, version 9: what may be waste is found ahead, so that no report walks over calls of the past.

-- Spans of four hours, numbered from the epoch on, of which all calls were walked over, and the least and the
-- greatest id of these.
CREATE TABLE waste_span (
    span INTEGER PRIMARY KEY,
    first_request_id INTEGER,
    last_request_id INTEGER
);

-- The calls of these spans that may be waste. `kinds` is a sum: 1 a reply that was cut, 2 a duplicate, 4 a call
-- that keeps an idle session warm, and a miss of a cache that had expired (8), whose prefix had changed (16) or
-- that was evicted (32). What it costs is told by the call.
CREATE TABLE waste_request (
    span INTEGER NOT NULL,
    request_id INTEGER NOT NULL,
    kinds INTEGER NOT NULL,
    missing_tokens INTEGER NOT NULL,
    PRIMARY KEY (span, request_id)
) WITHOUT ROWID;
