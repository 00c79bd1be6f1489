//! What paid for calls, and what calls without a name of one's own have in common.

use rusqlite::Row;

use super::source::{Spans, kinds, sessions};
use super::{Error, Reader, Window, from_db};

/// LIMIT: groups that are read, those with most calls; what is worth a rule is among them.
const GROUPS: u32 = 10_000;

/// What was used by some calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Calls.
    pub requests: u64,
    /// Their input and output, as far as it is known.
    pub tokens: u64,
    /// Their cost as far as it is known, in billionths of a US dollar; `None` if none has a price.
    pub cost_nanousd: Option<u64>,
}

impl Size {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let costs = [self.cost_nanousd, other.cost_nanousd];
        Self {
            requests: self.requests.saturating_add(other.requests),
            tokens: self.tokens.saturating_add(other.tokens),
            cost_nanousd: costs.into_iter().flatten().reduce(u64::saturating_add),
        }
    }
}

/// A workflow that paid for calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenWorkflow {
    /// Name.
    pub name: String,
    /// Where the name comes from.
    pub origin: String,
    /// Code that it is billed under.
    pub billing_code: Option<String>,
    /// What it used.
    pub size: Size,
    /// Start of its last call, in milliseconds since the Unix epoch; where its session went on after
    /// the window, of the quarter of an hour that the call began in.
    pub last_ms: i64,
}

/// Calls of one kind of process, by what the ledger knows of it. Nobody named their workflow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    /// Path of the executable.
    pub exe: Option<String>,
    /// Name of the main thread.
    pub comm: Option<String>,
    /// Path of the cgroup.
    pub cgroup: Option<String>,
    /// Unit of systemd.
    pub unit: Option<String>,
    /// Name of the container.
    pub container_name: Option<String>,
    /// Its image.
    pub container_image: Option<String>,
    /// User.
    pub user: Option<String>,
    /// Repository of git.
    pub repo: Option<String>,
    /// Client.
    pub client: Option<String>,
    /// What they used.
    pub size: Size,
}

impl Reader {
    /// The workflows of the calls that began in `window`, dearest first.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn workflows(&self, window: Window) -> Result<Vec<SeenWorkflow>, Error> {
        let Window { from_ms, until_ms } = window;
        let sql = format!(
            "SELECT w.name, w.origin, w.billing_code, max(max(u.last_ms), ifnull(max(s.last_ms), 0)),
                    sum(u.requests), sum(ifnull(u.context_tokens, 0) + ifnull(u.output_tokens, 0)),
                    sum(u.cost_nanousd)
             FROM ({}) AS u
             JOIN usage_key AS k ON k.usage_key_id = u.usage_key_id
             JOIN workflow AS w ON w.workflow_id = k.workflow_id
             LEFT JOIN (SELECT workflow_id, max(last_request_ms) AS last_ms FROM session
                        WHERE last_request_ms >= {from_ms} AND last_request_ms < {until_ms}
                        GROUP BY workflow_id) AS s ON s.workflow_id = w.workflow_id
             GROUP BY w.name, w.origin, w.billing_code
             ORDER BY 7 DESC, 6 DESC, 5 DESC, 1, 2, 3",
            kinds(window, &Spans::Any)
        );
        self.rows_of(&sql, [], |row| {
            Ok(SeenWorkflow {
                name: row.get(0)?,
                origin: row.get(1)?,
                billing_code: row.get(2)?,
                last_ms: row.get(3)?,
                size: size(row, 4)?,
            })
        })
    }

    /// The kinds of the calls that began in `window` and whose workflow nobody named, those with most
    /// calls first.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn kinds(&self, window: Window) -> Result<Vec<Kind>, Error> {
        let sql = format!(
            "SELECT p.exe_path, p.comm, p.cgroup_path, p.systemd_unit, p.container_name,
                    p.container_image, p.user_name, c.repo, k.client_name, sum(u.requests),
                    sum(ifnull(u.context_tokens, 0) + ifnull(u.output_tokens, 0)),
                    sum(u.cost_nanousd)
             FROM ({}) AS u
             JOIN usage_key AS k ON k.usage_key_id = u.usage_key_id
             JOIN workflow AS w ON w.workflow_id = k.workflow_id
             LEFT JOIN process AS p ON p.process_id = u.process_id
             LEFT JOIN checkout AS c ON c.checkout_id = k.checkout_id
             WHERE w.origin IN ('auto', 'unattributed')
             GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
             ORDER BY 10 DESC, 1, 2, 3, 4, 5, 6, 7, 8, 9
             LIMIT {GROUPS}",
            sessions(window, &self.among(window)?)
        );
        self.rows_of(&sql, [], |row| {
            Ok(Kind {
                exe: row.get(0)?,
                comm: row.get(1)?,
                cgroup: row.get(2)?,
                unit: row.get(3)?,
                container_name: row.get(4)?,
                container_image: row.get(5)?,
                user: row.get(6)?,
                repo: row.get(7)?,
                client: row.get(8)?,
                size: size(row, 9)?,
            })
        })
    }
}

/// Three columns from a place on.
fn size(row: &Row<'_>, place: usize) -> rusqlite::Result<Size> {
    Ok(Size {
        requests: from_db(row.get(place)?),
        tokens: from_db(row.get(place + 1)?),
        cost_nanousd: row.get::<_, Option<i64>>(place + 2)?.map(from_db),
    })
}
