//! The sums of both ledgers: made of the calls of both where all are there, else of the side that counts
//! most of them.

use rusqlite::Transaction;

use super::super::rollup::{BUCKET_MS, SPANS_MS, added_up, columns, differences};

/// By what sums are kept.
struct Grain {
    name: &'static str,
    sums: &'static str,
    pruned: &'static str,
    /// The column that tells one from the other.
    unit: &'static str,
    /// What it is here, of a row `s` of the other ledger.
    mapped: &'static str,
    /// What else tells its sums apart, beside the kind of call, and what that is here, of a row `s`.
    parts: &'static [(&'static str, &'static str)],
    /// Columns beside the sums, and how calls make them.
    beside: &'static str,
    beside_of_calls: &'static str,
    /// The calls `r` of a unit `t`.
    calls: String,
    /// When a unit `t` began.
    began: &'static str,
    /// One more column of what deleted calls added, and where it comes from.
    peak: [&'static str; 2],
}

fn grains() -> [Grain; 2] {
    [
        Grain {
            name: "15m",
            sums: "usage_15m",
            pruned: "pruned_15m",
            unit: "bucket_start_ms",
            mapped: "s.bucket_start_ms",
            parts: &[],
            beside: "",
            beside_of_calls: "",
            calls: format!("r.started_ms >= t.unit AND r.started_ms < t.unit + {BUCKET_MS}"),
            began: "t.unit",
            peak: ["", ""],
        },
        Grain {
            name: "session",
            sums: "session_usage",
            pruned: "pruned_session",
            unit: "session_id",
            mapped: "(SELECT new_id FROM temp.map_session WHERE old_id = s.session_id)",
            parts: &[
                (
                    "process_id",
                    "ifnull((SELECT new_id FROM temp.map_process WHERE old_id = s.process_id), 0)",
                ),
                (
                    "thread_id",
                    "ifnull((SELECT new_id FROM temp.map_thread WHERE old_id = s.thread_id), 0)",
                ),
            ],
            beside: "first_ms, last_ms,",
            beside_of_calls: "min(r.started_ms), max(r.started_ms),",
            calls: "r.session_id = t.unit".to_owned(),
            began: "(SELECT started_ms FROM main.session WHERE session_id = t.unit)",
            peak: [
                "peak_context_tokens,",
                "(SELECT peak_context_tokens FROM main.session AS e WHERE e.session_id = t.session_id),",
            ],
        },
    ]
}

/// Makes the tables that merging works with, before anything is merged.
///
/// # Errors
/// Those of SQLite.
pub(super) fn prepare(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    for grain in &grains() {
        let name = grain.name;
        let sums = grain.sums;
        let key = grain.key("");
        transaction.execute_batch(&format!(
            "DROP TABLE IF EXISTS temp.touched_{name};
             CREATE TEMP TABLE touched_{name} (
                 host_id INTEGER NOT NULL, unit INTEGER NOT NULL, choice TEXT,
                 PRIMARY KEY (host_id, unit)) WITHOUT ROWID;
             DROP TABLE IF EXISTS temp.calls_{name};
             CREATE TEMP TABLE calls_{name} AS SELECT * FROM main.{sums} WHERE 0;
             CREATE INDEX temp.calls_{name}_unit ON calls_{name} ({key});
             DROP TABLE IF EXISTS temp.from_{name};
             CREATE TEMP TABLE from_{name} AS SELECT * FROM main.{sums} WHERE 0;
             CREATE INDEX temp.from_{name}_unit ON from_{name} ({key});
             DROP TABLE IF EXISTS temp.sides_{name};
             CREATE TEMP TABLE sides_{name} (
                 side TEXT NOT NULL, host_id INTEGER NOT NULL, unit INTEGER NOT NULL,
                 requests INTEGER, output INTEGER, context INTEGER,
                 PRIMARY KEY (side, host_id, unit)) WITHOUT ROWID;"
        ))?;
    }
    transaction.execute_batch(
        "DROP TABLE IF EXISTS temp.pruned_here;
         CREATE TEMP TABLE pruned_here AS
         SELECT host_id, requests_pruned_before_ms FROM main.host;",
    )
}

/// Notes of each host before when calls may have been deleted: in the merged ledger as it was, and on any
/// side.
///
/// # Errors
/// Those of SQLite.
pub(super) fn prepare_hosts(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "DROP TABLE IF EXISTS temp.merged_host;
         CREATE TEMP TABLE merged_host AS
         SELECT h.host_id,
                ifnull((SELECT p.requests_pruned_before_ms FROM temp.pruned_here AS p
                        WHERE p.host_id = h.host_id), -9223372036854775808) AS pruned_here_ms,
                ifnull(h.requests_pruned_before_ms, -9223372036854775808) AS pruned_ms
         FROM main.host AS h;
         CREATE UNIQUE INDEX temp.merged_host_id ON merged_host (host_id);",
    )
}

/// Merges the sums that calls changed, and those in which the ledgers differ.
///
/// # Errors
/// Those of SQLite.
pub(super) fn merge(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    for grain in &grains() {
        transaction.execute_batch(&grain.gather())?;
        transaction.execute_batch(&grain.choose())?;
        transaction.execute_batch(&grain.replace())?;
    }
    transaction.execute_batch(&sessions_of_quarters())?;
    for span_ms in SPANS_MS {
        transaction.execute_batch(&spans(span_ms))?;
    }
    transaction.execute_batch(SESSIONS)
}

impl Grain {
    /// What tells the sums apart, in a table with this name.
    fn key(&self, table: &str) -> String {
        let parts = self.parts.iter().map(|(column, _)| *column);
        let columns = [self.unit, "usage_key_id"].into_iter().chain(parts);
        let columns: Vec<String> = columns
            .map(|column| match table {
                "" => column.to_owned(),
                table => format!("{table}.{column}"),
            })
            .collect();
        columns.join(", ")
    }

    /// The same sums in two tables.
    fn is_same(&self, one: &str, other: &str) -> String {
        format!("({}) = ({})", self.key(one), self.key(other))
    }

    /// Puts the sums of the other ledger, and those of the calls, where they can be compared.
    fn gather(&self) -> String {
        let Self {
            name,
            sums,
            unit,
            mapped,
            beside,
            beside_of_calls,
            calls,
            ..
        } = self;
        let (columns, added_up) = (columns(), added_up());
        let (key, is_same) = (self.key(""), self.is_same("m", "f"));
        let mapped: Vec<&str> = [*mapped, "k.new_id"]
            .into_iter()
            .chain(self.parts.iter().map(|(_, mapped)| *mapped))
            .collect();
        let mapped = mapped.join(", ");
        let of_calls = self.key("r").replacen(&format!("r.{unit}"), "t.unit", 1);
        format!(
            "INSERT INTO temp.from_{name} ({key}, {beside} {columns})
             SELECT {mapped}, {beside} {columns}
             FROM src.{sums} AS s JOIN temp.map_usage_key AS k ON k.old_id = s.usage_key_id;

             INSERT OR IGNORE INTO temp.touched_{name} (host_id, unit)
             SELECT k.host_id, f.{unit}
             FROM temp.from_{name} AS f
             JOIN main.usage_key AS k ON k.usage_key_id = f.usage_key_id
             LEFT JOIN main.{sums} AS m ON {is_same}
             WHERE m.requests IS NOT f.requests OR m.output_tokens IS NOT f.output_tokens
                OR m.context_tokens IS NOT f.context_tokens
                OR m.cost_nanousd IS NOT f.cost_nanousd;

             INSERT INTO temp.calls_{name} ({key}, {beside} {columns})
             SELECT {of_calls}, {beside_of_calls} {added_up}
             FROM (SELECT DISTINCT unit FROM temp.touched_{name}) AS t
             CROSS JOIN main.request_sums AS r ON {calls}
             GROUP BY {of_calls};"
        )
    }

    /// Says for each unit of a host which side has its sums.
    fn choose(&self) -> String {
        let Self {
            name,
            sums,
            unit,
            began,
            ..
        } = self;
        let side = |side: &str, table: &str| {
            format!(
                "INSERT INTO temp.sides_{name}
                 SELECT '{side}', t.host_id, t.unit, sum(m.requests), ifnull(sum(m.output_tokens), 0),
                        ifnull(sum(m.context_tokens), 0)
                 FROM temp.touched_{name} AS t
                 CROSS JOIN {table} AS m ON m.{unit} = t.unit
                 CROSS JOIN main.usage_key AS k
                         ON k.usage_key_id = m.usage_key_id AND k.host_id = t.host_id
                 GROUP BY t.host_id, t.unit;"
            )
        };
        let of = |side: &str| {
            format!(
                "LEFT JOIN temp.sides_{name} AS {side}
                        ON {side}.side = '{side}' AND {side}.host_id = t.host_id
                       AND {side}.unit = t.unit"
            )
        };
        format!(
            "{} {} {}
             UPDATE temp.touched_{name} AS x SET choice = v.choice
             FROM (SELECT t.host_id, t.unit, CASE
                       WHEN {began} >= p.pruned_ms THEN 'calls'
                       WHEN ifnull(c.requests, 0) >= max(ifnull(i.requests, 0), ifnull(f.requests, 0))
                       THEN 'calls'
                       WHEN (ifnull(f.requests, 0), ifnull(f.output, 0), ifnull(f.context, 0))
                          > (ifnull(i.requests, 0), ifnull(i.output, 0), ifnull(i.context, 0))
                       THEN 'from'
                       ELSE 'into' END AS choice
                   FROM temp.touched_{name} AS t
                   JOIN temp.merged_host AS p ON p.host_id = t.host_id
                   {} {} {}) AS v
             WHERE x.host_id = v.host_id AND x.unit = v.unit;",
            side("c", &format!("temp.calls_{name}")),
            side("i", &format!("main.{sums}")),
            side("f", &format!("temp.from_{name}")),
            of("c"),
            of("i"),
            of("f"),
        )
    }

    /// Puts the chosen sums in place, and what of them no call accounts for where it is looked for.
    fn replace(&self) -> String {
        let Self {
            name,
            sums,
            pruned,
            unit,
            beside,
            peak: [peak, peak_of_session],
            ..
        } = self;
        let columns = columns();
        let key = self.key("");
        let (of_row, of_total) = (self.key("m"), self.key("t"));
        let is_counted = self.is_same("c", "t");
        let beside_of_total = beside
            .replace("first_ms", "t.first_ms")
            .replace("last_ms", "t.last_ms");
        let put = |choice: &str, table: &str| {
            format!(
                "INSERT INTO main.{sums} ({key}, {beside} {columns})
                 SELECT {of_row}, {beside} {columns}
                 FROM temp.touched_{name} AS t
                 CROSS JOIN {table} AS m ON m.{unit} = t.unit
                 CROSS JOIN main.usage_key AS k
                         ON k.usage_key_id = m.usage_key_id AND k.host_id = t.host_id
                 WHERE t.choice = '{choice}';"
            )
        };
        format!(
            "DELETE FROM main.{sums} WHERE ({key}) IN (
                 SELECT {of_row}
                 FROM temp.touched_{name} AS t
                 CROSS JOIN main.{sums} AS m ON m.{unit} = t.unit
                 CROSS JOIN main.usage_key AS k
                         ON k.usage_key_id = m.usage_key_id AND k.host_id = t.host_id
                 WHERE t.choice <> 'into');
             {} {}
             DELETE FROM main.{pruned}
             WHERE {unit} IN (SELECT unit FROM temp.touched_{name});
             INSERT INTO main.{pruned} ({key}, {beside} {peak} {columns})
             SELECT {of_total}, {beside_of_total} {peak_of_session} {}
             FROM (SELECT DISTINCT unit FROM temp.touched_{name}) AS u
             CROSS JOIN main.{sums} AS t ON t.{unit} = u.unit
             LEFT JOIN temp.calls_{name} AS c ON {is_counted}
             WHERE EXISTS (SELECT 1 FROM temp.calls_{name} AS e WHERE e.{unit} = u.unit)
               AND (t.requests > ifnull(c.requests, 0)
                    OR ifnull(t.output_tokens, 0) > ifnull(c.output_tokens, 0)
                    OR ifnull(t.context_tokens, 0) > ifnull(c.context_tokens, 0)
                    OR ifnull(t.cost_nanousd, 0) > ifnull(c.cost_nanousd, 0));",
            put("calls", &format!("temp.calls_{name}")),
            put("from", &format!("temp.from_{name}")),
            differences("t", "c"),
        )
    }
}

/// Makes the sums of the spans anew that have a quarter of an hour whose sums may have changed.
fn spans(span_ms: i64) -> String {
    let (columns, added_up) = (columns(), added_up());
    format!(
        "DROP TABLE IF EXISTS temp.touched_span;
         CREATE TEMP TABLE touched_span (start_ms INTEGER PRIMARY KEY);
         INSERT OR IGNORE INTO temp.touched_span
         SELECT unit - (unit % {span_ms} + {span_ms}) % {span_ms} FROM temp.touched_15m;
         DELETE FROM main.usage_span
         WHERE span_ms = {span_ms} AND start_ms IN (SELECT start_ms FROM temp.touched_span);
         INSERT INTO main.usage_span
             (span_ms, start_ms, usage_key_id, first_ms, last_ms, {columns})
         SELECT {span_ms}, t.start_ms, u.usage_key_id, min(u.bucket_start_ms),
                max(u.bucket_start_ms), {added_up}
         FROM temp.touched_span AS t
         CROSS JOIN main.usage_15m AS u
                 ON u.bucket_start_ms >= t.start_ms AND u.bucket_start_ms < t.start_ms + {span_ms}
         GROUP BY t.start_ms, u.usage_key_id;"
    )
}

/// Which sessions had a call in a quarter of an hour. The plus keeps the index by host, which finds all
/// calls of a host, out of the search for those of a quarter.
fn sessions_of_quarters() -> String {
    format!("
    DELETE FROM main.session_15m WHERE (bucket_start_ms, usage_key_id, session_id) IN (
        SELECT m.bucket_start_ms, m.usage_key_id, m.session_id
        FROM temp.touched_15m AS t
        CROSS JOIN main.session_15m AS m ON m.bucket_start_ms = t.unit
        CROSS JOIN main.usage_key AS k
                ON k.usage_key_id = m.usage_key_id AND k.host_id = t.host_id
        WHERE t.choice <> 'into');
    INSERT OR IGNORE INTO main.session_15m
    SELECT DISTINCT t.unit, r.usage_key_id, r.session_id
    FROM temp.touched_15m AS t
    CROSS JOIN main.request AS r
            ON r.started_ms >= t.unit AND r.started_ms < t.unit + {BUCKET_MS} AND +r.host_id = t.host_id
    WHERE t.choice = 'calls' AND r.hop_of IS NULL;
    INSERT OR IGNORE INTO main.session_15m
    SELECT s.bucket_start_ms, k.usage_key_id, e.new_id
    FROM src.session_15m AS s
    JOIN temp.map_usage_key AS x ON x.old_id = s.usage_key_id
    JOIN main.usage_key AS k ON k.usage_key_id = x.new_id
    JOIN temp.map_session AS e ON e.old_id = s.session_id
    JOIN temp.touched_15m AS t ON t.host_id = k.host_id AND t.unit = s.bucket_start_ms
    WHERE t.choice = 'from';
    DELETE FROM main.pruned_session_15m
    WHERE bucket_start_ms IN (SELECT unit FROM temp.touched_15m);
    INSERT INTO main.pruned_session_15m
    SELECT m.* FROM main.session_15m AS m
    WHERE m.bucket_start_ms IN (SELECT unit FROM temp.touched_15m)
      AND EXISTS (SELECT 1 FROM main.pruned_15m AS p
                  WHERE p.bucket_start_ms = m.bucket_start_ms
                    AND p.usage_key_id = m.usage_key_id);")
}

/// The counters of sessions; those without calls, from which others took them, go.
const SESSIONS: &str = "
    UPDATE main.session AS e SET request_count = v.requests, human_turn_count = v.human_turns
    FROM (SELECT t.unit, sum(u.requests) AS requests, sum(u.human_turns) AS human_turns
          FROM temp.touched_session AS t
          CROSS JOIN main.session_usage AS u ON u.session_id = t.unit GROUP BY t.unit) AS v
    WHERE e.session_id = v.unit
      AND (e.request_count <> v.requests OR e.human_turn_count <> v.human_turns);
    DELETE FROM main.session
    WHERE session_id IN (SELECT unit FROM temp.touched_session)
      AND NOT EXISTS (SELECT 1 FROM main.request AS r WHERE r.session_id = session.session_id)
      AND NOT EXISTS (SELECT 1 FROM main.session_usage AS u
                      WHERE u.session_id = session.session_id);";
