//! The tables that calls and sums refer to: which rows are the same, and what becomes of those that both
//! ledgers have.

use rusqlite::Transaction;

/// How a column tells rows apart.
enum Key {
    /// It is never NULL.
    Exact(&'static str),
    /// What stands for NULL in the index.
    Null(&'static str, &'static str),
    /// All columns do so.
    All,
}

/// A table whose rows have an id of their own, named after it.
struct Table {
    name: &'static str,
    key: &'static [Key],
    /// Columns with ids of other tables.
    refs: &'static [(&'static str, &'static str)],
    /// The column with an id of this table.
    parent: Option<&'static str>,
    /// What a row that both have becomes: `m` is that of the merged ledger, `s` the other one, and
    /// `{column}` the other one's id of another table.
    both: &'static [(&'static str, &'static str)],
}

/// Those that others refer to come first.
const TABLES: [Table; 9] = [
    Table {
        name: "host",
        key: &[Key::Exact("machine_id_hash")],
        refs: &[],
        parent: None,
        both: &[
            ("first_seen_ms", "min(m.first_seen_ms, s.first_seen_ms)"),
            ("last_seen_ms", "max(m.last_seen_ms, s.last_seen_ms)"),
            (
                "host_name",
                "CASE WHEN s.last_seen_ms > m.last_seen_ms THEN s.host_name ELSE m.host_name END",
            ),
            (
                "kernel",
                "CASE WHEN s.last_seen_ms > m.last_seen_ms THEN s.kernel ELSE m.kernel END",
            ),
            (
                "agent_version",
                "CASE WHEN s.last_seen_ms > m.last_seen_ms THEN s.agent_version ELSE m.agent_version END",
            ),
            (
                "requests_pruned_before_ms",
                "coalesce(max(m.requests_pruned_before_ms, s.requests_pruned_before_ms), m.requests_pruned_before_ms, s.requests_pruned_before_ms)",
            ),
        ],
    },
    Table {
        name: "workflow",
        key: &[
            Key::Exact("name"),
            Key::Exact("origin"),
            Key::Null("billing_code", "''"),
        ],
        refs: &[],
        parent: None,
        both: &[],
    },
    Table {
        name: "checkout",
        key: &[
            Key::Exact("git_root"),
            Key::Null("branch", "''"),
            Key::Exact("repo"),
        ],
        refs: &[],
        parent: None,
        both: &[],
    },
    Table {
        name: "price",
        key: &[Key::Exact("price_key")],
        refs: &[],
        parent: None,
        both: &[],
    },
    Table {
        name: "shape",
        key: &[Key::All],
        refs: &[],
        parent: None,
        both: &[],
    },
    Table {
        name: "process",
        key: &[
            Key::Exact("host_id"),
            Key::Exact("boot_id"),
            Key::Exact("pid"),
            Key::Exact("start_time_ticks"),
            Key::Null("exe_path", "''"),
        ],
        refs: &[("host_id", "host")],
        parent: None,
        both: &[
            ("first_seen_ms", "min(m.first_seen_ms, s.first_seen_ms)"),
            ("exited_ms", "ifnull(m.exited_ms, s.exited_ms)"),
        ],
    },
    Table {
        name: "session",
        key: &[
            Key::Exact("host_id"),
            Key::Exact("session_key"),
            Key::Null("uid", "-1"),
        ],
        refs: &[
            ("host_id", "host"),
            ("process_id", "process"),
            ("workflow_id", "workflow"),
        ],
        parent: None,
        both: &[
            ("process_id", "ifnull(m.process_id, {process_id})"),
            ("client_name", "ifnull(m.client_name, s.client_name)"),
            (
                "client_version",
                "CASE WHEN ifnull(m.client_name, s.client_name) IS s.client_name THEN ifnull(m.client_version, s.client_version) ELSE m.client_version END",
            ),
            ("started_ms", "min(m.started_ms, s.started_ms)"),
            (
                "last_request_ms",
                "max(m.last_request_ms, s.last_request_ms)",
            ),
            (
                "peak_context_tokens",
                "coalesce(max(m.peak_context_tokens, s.peak_context_tokens), m.peak_context_tokens, s.peak_context_tokens)",
            ),
            ("workflow_id", "ifnull(m.workflow_id, {workflow_id})"),
            (
                "workflow_conflicts",
                "max(m.workflow_conflicts, s.workflow_conflicts)",
            ),
            ("labels_json", "ifnull(m.labels_json, s.labels_json)"),
            (
                "last_human_turn_ms",
                "coalesce(max(m.last_human_turn_ms, s.last_human_turn_ms), m.last_human_turn_ms, s.last_human_turn_ms)",
            ),
            (
                "compaction_count",
                "max(m.compaction_count, s.compaction_count)",
            ),
            ("resumed_count", "max(m.resumed_count, s.resumed_count)"),
        ],
    },
    Table {
        name: "thread",
        key: &[Key::Exact("session_id"), Key::Exact("thread_key")],
        refs: &[("session_id", "session")],
        parent: Some("parent_thread_id"),
        both: &[
            ("agent_type", "ifnull(m.agent_type, s.agent_type)"),
            ("depth", "max(m.depth, s.depth)"),
        ],
    },
    Table {
        name: "usage_key",
        key: &[Key::All],
        refs: &[
            ("host_id", "host"),
            ("workflow_id", "workflow"),
            ("checkout_id", "checkout"),
            ("price_id", "price"),
        ],
        parent: None,
        both: &[],
    },
];

/// Merges these tables, and notes in `temp.map_*` which row became which.
///
/// # Errors
/// Those of SQLite.
pub(super) fn merge(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    for table in &TABLES {
        let columns = columns(transaction, table.name)?;
        for sql in table.statements(&columns) {
            transaction.execute_batch(&sql)?;
        }
    }
    Ok(())
}

/// The names of a table's columns, without that of its id.
///
/// # Errors
/// Those of SQLite.
pub(super) fn columns(transaction: &Transaction<'_>, table: &str) -> rusqlite::Result<Vec<String>> {
    let own = format!("{table}_id");
    let names = transaction
        .prepare("SELECT name FROM pragma_table_info(?1) ORDER BY cid")?
        .query_map([table], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    Ok(names.into_iter().filter(|name| *name != own).collect())
}

/// What a column of the other ledger's row `s` is in the merged one.
pub(super) fn mapped(column: &str, refs: &[(&str, &str)]) -> String {
    match refs.iter().find(|(name, _)| *name == column) {
        Some((_, table)) => {
            format!("(SELECT new_id FROM temp.map_{table} WHERE old_id = s.{column})")
        }
        None => format!("s.{column}"),
    }
}

impl Table {
    fn statements(&self, columns: &[String]) -> Vec<String> {
        let name = self.name;
        let same = self.same(columns);
        let inserted = columns.join(", ");
        let values: Vec<String> = columns
            .iter()
            .map(|column| match self.parent {
                Some(parent) if parent == column => "NULL".to_owned(),
                _ => mapped(column, self.refs),
            })
            .collect();
        let values = values.join(", ");
        let mut statements = vec![
            format!(
                "CREATE TEMP TABLE IF NOT EXISTS map_{name} (
                     old_id INTEGER PRIMARY KEY, new_id INTEGER NOT NULL);
                 DELETE FROM temp.map_{name};"
            ),
            format!(
                "INSERT INTO main.{name} ({inserted})
                 SELECT {values} FROM src.{name} AS s
                 WHERE NOT EXISTS (SELECT 1 FROM main.{name} AS m WHERE {same})
                 ORDER BY s.{name}_id"
            ),
            format!(
                "INSERT OR IGNORE INTO temp.map_{name}
                 SELECT s.{name}_id, m.{name}_id
                 FROM src.{name} AS s CROSS JOIN main.{name} AS m ON {same}"
            ),
        ];
        if let Some(parent) = self.parent {
            statements.push(format!(
                "UPDATE main.{name} AS m SET {parent} = p.new_id
                 FROM src.{name} AS s
                 JOIN temp.map_{name} AS x ON x.old_id = s.{name}_id
                 JOIN temp.map_{name} AS p ON p.old_id = s.{parent}
                 WHERE m.{name}_id = x.new_id AND m.{parent} IS NULL"
            ));
        }
        if !self.both.is_empty() {
            let both = self.both.iter().map(|(column, value)| {
                let value = self
                    .refs
                    .iter()
                    .fold((*value).to_owned(), |value, (own, _)| {
                        value.replace(&format!("{{{own}}}"), &mapped(own, self.refs))
                    });
                (column, value)
            });
            let (set, differs): (Vec<String>, Vec<String>) = both
                .map(|(column, value)| {
                    (
                        format!("{column} = {value}"),
                        format!("m.{column} IS NOT ({value})"),
                    )
                })
                .unzip();
            statements.push(format!(
                "UPDATE main.{name} AS m SET {}
                 FROM src.{name} AS s JOIN temp.map_{name} AS x ON x.old_id = s.{name}_id
                 WHERE m.{name}_id = x.new_id AND ({})",
                set.join(", "),
                differs.join(" OR ")
            ));
        }
        statements
    }

    /// The condition under which the rows `m` and `s` are the same.
    fn same(&self, columns: &[String]) -> String {
        let terms: Vec<String> = self
            .key
            .iter()
            .flat_map(|key| match key {
                Key::Exact(column) => {
                    vec![format!("m.{column} = {}", mapped(column, self.refs))]
                }
                Key::Null(column, instead) => vec![format!(
                    "ifnull(m.{column}, {instead}) = ifnull({}, {instead})",
                    mapped(column, self.refs)
                )],
                Key::All => columns
                    .iter()
                    .map(|column| format!("m.{column} IS {}", mapped(column, self.refs)))
                    .collect(),
            })
            .collect();
        terms.join(" AND ")
    }
}
