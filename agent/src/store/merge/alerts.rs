//! Merges alerts, and who was told of them.
//!
//! An alert is the same by host, fingerprint and beginning. What waits to be told is whose agent it is to
//! tell, and stays where it is; so does what does not fire yet, of which nothing may be left.

use rusqlite::Transaction;

pub(super) fn merge(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS map_alert (
             old_id INTEGER PRIMARY KEY, new_id INTEGER, host_id INTEGER NOT NULL
         );
         DELETE FROM temp.map_alert;
         INSERT INTO temp.map_alert (old_id, new_id, host_id)
         SELECT s.alert_id, m.alert_id, h.new_id
         FROM src.alert AS s
         JOIN temp.map_host AS h ON h.old_id = s.host_id
         LEFT JOIN main.alert AS m ON m.host_id = h.new_id AND m.fingerprint = s.fingerprint
              AND m.started_ms = s.started_ms
         WHERE s.state <> 'pending';

         -- The later state stays; that somebody took it on is never taken back.
         UPDATE main.alert AS m SET
             severity = s.severity, state = s.state, summary = s.summary,
             evidence_json = s.evidence_json, fired_ms = s.fired_ms, ended_ms = s.ended_ms,
             last_notified_ms = s.last_notified_ms, notified_severity = s.notified_severity
         FROM temp.map_alert AS a
         JOIN src.alert AS s ON s.alert_id = a.old_id
         WHERE m.alert_id = a.new_id AND (
             (m.state <> 'resolved' AND s.state = 'resolved')
             OR (m.state = 'pending' AND s.state = 'firing')
             OR (m.state = s.state AND ifnull(m.last_notified_ms, 0) < s.last_notified_ms));
         UPDATE main.alert AS m SET
             acknowledged_ms = s.acknowledged_ms, acknowledged_by = s.acknowledged_by
         FROM temp.map_alert AS a
         JOIN src.alert AS s ON s.alert_id = a.old_id
         WHERE m.alert_id = a.new_id AND m.acknowledged_ms IS NULL
           AND s.acknowledged_ms IS NOT NULL;

         -- Where two agents of a host each see it, one of what fires is enough.
         INSERT OR IGNORE INTO main.alert (
             host_id, fingerprint, rule, variant, scope_json, budget, severity, state, summary,
             evidence_json, hold_ms, started_ms, fired_ms, ended_ms, acknowledged_ms,
             acknowledged_by, last_notified_ms, notified_severity)
         SELECT a.host_id, s.fingerprint, s.rule, s.variant, s.scope_json, s.budget, s.severity,
                s.state, s.summary, s.evidence_json, s.hold_ms, s.started_ms, s.fired_ms,
                s.ended_ms, s.acknowledged_ms, s.acknowledged_by, s.last_notified_ms,
                s.notified_severity
         FROM temp.map_alert AS a
         JOIN src.alert AS s ON s.alert_id = a.old_id
         WHERE a.new_id IS NULL
         ORDER BY s.alert_id;

         INSERT INTO main.alert_delivery (
             alert_id, kind, channel, payload_json, state, attempts, created_ms, last_error,
             delivered_ms)
         SELECT m.alert_id, d.kind, d.channel, d.payload_json, d.state, d.attempts, d.created_ms,
                d.last_error, d.delivered_ms
         FROM src.alert_delivery AS d
         JOIN temp.map_alert AS a ON a.old_id = d.alert_id
         JOIN src.alert AS s ON s.alert_id = a.old_id
         JOIN main.alert AS m ON m.host_id = a.host_id AND m.fingerprint = s.fingerprint
              AND m.started_ms = s.started_ms
         LEFT JOIN main.alert_delivery AS e ON e.alert_id = m.alert_id AND e.kind = d.kind
              AND e.channel = d.channel AND e.created_ms = d.created_ms
         WHERE d.state IN ('delivered', 'given_up') AND e.delivery_id IS NULL
         ORDER BY d.delivery_id;",
    )
}
