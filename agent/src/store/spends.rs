//! What calls take, as budgets and rules see it: read back from what is committed, so that an alert
//! never speaks of usage that is not stored.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_core::budget::{Budget, Budgets, Unit};
use agent_core::llm::Usage;
use agent_core::prices::{Prices, weighted_tokens};
use agent_core::runaway::Seed;
use agent_core::session::ThreadKind;
use agent_core::spend::{Amount, Payer, Spend, Work};
use agent_core::watch::{self, Watch};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

use super::rates::InputRates;
use super::rollup::BUCKET_MS;
use super::{Error, Reader, Writer, from_db};

/// A payer and what it took in a quarter of an hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketSpend {
    /// Beginning of the quarter, in milliseconds since the Unix epoch.
    pub unix_ms: i64,
    /// Whose it is.
    pub payer: Arc<Payer>,
    /// How much it is.
    pub amount: Amount,
}

/// The columns of a payer and of an amount, from a usage key `k` and sums `u`.
const PAID: &str = "w.name, ifnull(k.user_name, k.uid), k.systemd_unit, k.container, c.repo,
    k.client_name, k.provider, k.model, k.task_type, u.requests, u.input_uncached_tokens,
    u.cache_read_tokens, u.cache_write_5m_tokens, u.cache_write_1h_tokens,
    u.cache_write_other_tokens, u.output_tokens, u.cost_nanousd, u.cost_lower_bound_requests,
    u.unpriced_tokens, u.estimated_tokens";

/// Age of a row of a running call at which the agent that wrote it is gone, in milliseconds.
const OPEN_MS: i64 = 15_000;

/// Number of those columns.
const PAID_COLUMNS: usize = 20;

/// What names a usage key's parts.
const PAYERS: &str = "JOIN usage_key AS k ON k.usage_key_id = u.usage_key_id
    JOIN workflow AS w ON w.workflow_id = k.workflow_id
    LEFT JOIN checkout AS c ON c.checkout_id = k.checkout_id";

/// Reads what calls of one host take.
#[derive(Debug)]
pub struct Spends<'a> {
    conn: &'a Connection,
    host_id: i64,
    path: &'a Path,
    rates: InputRates<&'a Prices>,
}

impl Writer {
    /// What calls of this host take, weighted by these prices.
    pub fn spends<'a>(&'a self, prices: &'a Prices) -> Spends<'a> {
        Spends {
            conn: self.connection(),
            host_id: self.host_id(),
            path: self.path(),
            rates: InputRates::new(prices),
        }
    }
}

impl Reader {
    /// What calls of each host of the ledger take, weighted by these prices; with the host's name.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn spends<'a>(&'a self, prices: &'a Prices) -> Result<Vec<(String, Spends<'a>)>, Error> {
        let hosts = || -> rusqlite::Result<Vec<(i64, String)>> {
            self.conn
                .prepare("SELECT host_id, host_name FROM host ORDER BY host_id")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        };
        let hosts = hosts().map_err(|source| Error::sql("read", self.path(), source))?;
        let spends = hosts.into_iter().map(|(host_id, name)| {
            let spends = Spends {
                conn: &self.conn,
                host_id,
                path: self.path(),
                rates: InputRates::new(prices),
            };
            (name, spends)
        });
        Ok(spends.collect())
    }
}

impl Spends<'_> {
    /// What these calls take by what is stored of them, with what ran inside of them as calls of
    /// their own that are no requests. A call that does not count, because another one on this host
    /// made it again, takes nothing and is left out.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn of<'a>(
        &self,
        identities: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Spend>, Error> {
        let mut spends = Vec::new();
        for identity in identities {
            for condition in [
                "r.host_id = ?1 AND r.identity = ?2",
                "r.part_of = (SELECT p.request_id FROM request AS p
                              WHERE p.host_id = ?1 AND p.identity = ?2)",
            ] {
                let found = self.find(condition, params![self.host_id, identity]);
                spends.extend(found.map_err(|source| self.failed(source))?);
            }
        }
        Ok(spends)
    }

    /// What all calls take that began at `since_ms` or later, in their order.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn since(&self, since_ms: i64) -> Result<Vec<Spend>, Error> {
        // The plus keeps the index by host, which finds all calls of a host, out of the search.
        let condition = "+r.host_id = ?1 AND r.started_ms >= ?2";
        self.find(condition, params![self.host_id, since_ms])
            .map_err(|source| self.failed(source))
    }

    /// What all payers took, by quarters of an hour from the one of `from_ms` to before the one of
    /// `until_ms`, in their order.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn by_quarter(
        &self,
        from_ms: i64,
        until_ms: i64,
        mut each: impl FnMut(BucketSpend),
    ) -> Result<(), Error> {
        let failed = |source| self.failed(source);
        let mut statement = self
            .conn
            .prepare_cached(&format!(
                "SELECT {PAID}, u.bucket_start_ms FROM usage_15m AS u {PAYERS}
                 WHERE u.bucket_start_ms >= ?1 AND u.bucket_start_ms < ?2 AND k.host_id = ?3
                 ORDER BY u.bucket_start_ms"
            ))
            .map_err(failed)?;
        let mut rows = statement
            .query(params![
                quarter_of(from_ms),
                quarter_of(until_ms),
                self.host_id
            ])
            .map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let unix_ms: i64 = row.get(PAID_COLUMNS).map_err(failed)?;
            let (payer, amount) = paid(row, unix_ms, &self.rates).map_err(failed)?;
            each(BucketSpend {
                unix_ms,
                payer: Arc::new(payer),
                amount,
            });
        }
        Ok(())
    }

    /// The sessions that began from `from_ms` to before `until_ms`, each as a sum of one session of
    /// the payer of its first call.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn sessions(&self, from_ms: i64, until_ms: i64) -> Result<Vec<BucketSpend>, Error> {
        let read = || -> rusqlite::Result<Vec<_>> {
            self.conn
                .prepare_cached(&format!(
                    "SELECT {PAID}, s.started_ms, min(u.first_ms)
                     FROM session AS s JOIN session_usage AS u ON u.session_id = s.session_id {PAYERS}
                     WHERE +s.host_id = ?1 AND s.started_ms >= ?2 AND s.started_ms < ?3
                       AND s.last_request_ms >= ?2
                     GROUP BY s.session_id ORDER BY s.started_ms"
                ))?
                .query_map(params![self.host_id, from_ms, until_ms], |row| {
                    Ok(BucketSpend {
                        unix_ms: row.get(PAID_COLUMNS)?,
                        payer: Arc::new(payer(row)?),
                        amount: Amount {
                            sessions: 1,
                            ..Amount::default()
                        },
                    })
                })?
                .collect()
        };
        read().map_err(|source| self.failed(source))
    }

    /// Gives budgets all that they need of the ledger to stand as at `now_ms`.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn fill(
        &self,
        budgets: &mut Budgets,
        definitions: &[Budget],
        now_ms: i64,
    ) -> Result<(), Error> {
        let (from_ms, since_ms) = Self::reach(now_ms, watch::history(definitions));
        self.by_quarter(from_ms, since_ms, |sum| {
            budgets.seed(sum.unix_ms, &sum.payer, &sum.amount);
        })?;
        if definitions
            .iter()
            .any(|budget| budget.limit.unit == Unit::Sessions)
        {
            for sum in self.sessions(from_ms, since_ms)? {
                budgets.seed(sum.unix_ms, &sum.payer, &sum.amount);
            }
        }
        for spend in self.since(since_ms)? {
            budgets.book(&spend);
        }
        Ok(())
    }

    /// What the calls take that run, as an agent wrote it within the last seconds.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn open(&self, now_ms: i64) -> Result<Vec<Spend>, Error> {
        let read = || -> rusqlite::Result<Vec<Spend>> {
            self.conn
                .prepare_cached(
                    "SELECT workflow, ifnull(user_name, uid), systemd_unit, container, repo,
                            client_name, provider, model, task_type, 1, input_uncached_tokens,
                            cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
                            cache_write_other_tokens, output_tokens, cost_nanousd,
                            cost_status = 'lower_bound',
                            CASE WHEN cost_nanousd IS NULL THEN
                                ifnull(context_tokens, 0) + ifnull(output_tokens, 0) ELSE 0 END,
                            CASE WHEN usage_source = 'estimated' THEN
                                ifnull(context_tokens, 0) + ifnull(output_tokens, 0) ELSE 0 END,
                            identity, started_ms, updated_ms, session_key, uid, pid, thread_key
                     FROM v_open_call WHERE host_id = ?1 AND updated_ms >= ?2",
                )?
                .query_map(
                    params![self.host_id, now_ms.saturating_sub(OPEN_MS)],
                    |row| open(row, &self.rates),
                )?
                .collect()
        };
        read().map_err(|source| self.failed(source))
    }

    /// From when on what was used is read to know how things stand at `now_ms`: sums from the first
    /// moment, single calls from the second, which begins a quarter of an hour.
    pub fn reach(now_ms: i64, history: Duration) -> (i64, i64) {
        let before = |time: Duration| {
            now_ms.saturating_sub_unsigned(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
        };
        let since_ms = quarter_of(before(Watch::SINGLE));
        (before(history).min(since_ms), since_ms)
    }

    /// Who paid before `before_ms`: every model, and every workflow whose first session is older.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn payers(&self, before_ms: i64, mut each: impl FnMut(Payer)) -> Result<(), Error> {
        let mut read = || -> rusqlite::Result<()> {
            let mut models = self.conn.prepare_cached(
                "SELECT DISTINCT provider, model FROM usage_key
                 WHERE host_id = ?1 AND model IS NOT NULL",
            )?;
            let mut rows = models.query([self.host_id])?;
            while let Some(row) = rows.next()? {
                each(Payer {
                    provider: row.get(0)?,
                    model: row.get(1)?,
                    ..Payer::default()
                });
            }
            let mut workflows = self.conn.prepare_cached(
                "SELECT name FROM workflow WHERE workflow_id IN (
                     SELECT DISTINCT workflow_id FROM session
                     WHERE host_id = ?1 AND started_ms < ?2)",
            )?;
            let mut rows = workflows.query(params![self.host_id, before_ms])?;
            while let Some(row) = rows.next()? {
                each(Payer {
                    workflow: row.get(0)?,
                    ..Payer::default()
                });
            }
            Ok(())
        };
        read().map_err(|source| self.failed(source))
    }

    /// Sessions that began before `since_ms` and go on after `active_ms`, with what their calls before
    /// `since_ms` took.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn long_sessions(&self, since_ms: i64, active_ms: i64) -> Result<Vec<Seed>, Error> {
        let read = || -> rusqlite::Result<Vec<Seed>> {
            let mut statement = self.conn.prepare_cached(&format!(
                "SELECT {PAID}, s.session_id, s.session_key, s.uid, p.pid, s.started_ms,
                        s.last_human_turn_ms
                 FROM session AS s
                 JOIN session_usage AS u ON u.session_id = s.session_id {PAYERS}
                 LEFT JOIN process AS p ON p.process_id = s.process_id
                 WHERE +s.host_id = ?1 AND s.last_request_ms >= ?3 AND s.started_ms < ?2
                 ORDER BY s.session_id, u.first_ms"
            ))?;
            let mut rows = statement.query(params![self.host_id, since_ms, active_ms])?;
            let mut seeds: BTreeMap<i64, Seed> = BTreeMap::new();
            while let Some(row) = rows.next()? {
                let at = |column: usize| PAID_COLUMNS + column;
                let first_unix_ms: i64 = row.get(at(4))?;
                let (payer, amount) = paid(row, first_unix_ms, &self.rates)?;
                let session_id: i64 = row.get(at(0))?;
                let seed = match seeds.entry(session_id) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => {
                        let key: String = row.get(at(1))?;
                        let human: Option<i64> = row.get(at(5))?;
                        new.insert(Seed {
                            session: Arc::from(key),
                            uid: row.get(at(2))?,
                            pid: row.get(at(3))?,
                            payer: Arc::new(payer),
                            first_unix_ms,
                            amount: Amount::default(),
                            human_unix_ms: human.filter(|human| *human < since_ms),
                            requests_since_human: 0,
                        })
                    }
                };
                seed.amount.add(&amount);
            }
            for (session_id, seed) in &mut seeds {
                let condition = "r.session_id = ?1 AND r.started_ms >= ?2";
                for later in self.find(condition, params![session_id, since_ms])? {
                    seed.amount.remove(&later.amount);
                }
                let since_human: i64 = self
                    .conn
                    .prepare_cached(
                        "SELECT count(*) FROM request
                         WHERE session_id = ?1 AND started_ms > ?2 AND started_ms < ?3
                           AND part_of IS NULL AND hop_of IS NULL",
                    )?
                    .query_row(
                        params![
                            session_id,
                            seed.human_unix_ms.unwrap_or(seed.first_unix_ms),
                            since_ms
                        ],
                        |row| row.get(0),
                    )?;
                seed.requests_since_human = from_db(since_human);
            }
            Ok(seeds.into_values().collect())
        };
        read().map_err(|source| self.failed(source))
    }

    fn find(&self, condition: &str, values: impl rusqlite::Params) -> rusqlite::Result<Vec<Spend>> {
        self.conn
            .prepare_cached(&format!(
                "SELECT {PAID}, r.identity, r.started_ms, r.duration_ms, s.session_key, s.uid, p.pid,
                        t.thread_key, t.kind, t.depth, u.context_tokens, f.outcome,
                        r.is_human_turn, r.request_hash, r.tool_signature_hash,
                        s.started_ms = r.started_ms AND r.part_of IS NULL
                 FROM request AS r
                 JOIN request_sums AS u ON u.request_id = r.request_id {PAYERS}
                 JOIN shape AS f ON f.shape_id = r.shape_id
                 JOIN session AS s ON s.session_id = r.session_id
                 LEFT JOIN process AS p ON p.process_id = r.process_id
                 LEFT JOIN thread AS t ON t.thread_id = r.thread_id
                 WHERE {condition} ORDER BY r.started_ms, r.request_id"
            ))?
            .query_map(values, |row| spend(row, &self.rates))?
            .collect()
    }

    fn failed(&self, source: rusqlite::Error) -> Error {
        Error::sql("read", self.path, source)
    }
}

/// Beginning of the quarter of an hour that a moment is in.
const fn quarter_of(unix_ms: i64) -> i64 {
    unix_ms.div_euclid(BUCKET_MS).saturating_mul(BUCKET_MS)
}

fn open(row: &Row<'_>, rates: &InputRates<&Prices>) -> rusqlite::Result<Spend> {
    let at = |column: usize| PAID_COLUMNS + column;
    let started_unix_ms: i64 = row.get(at(1))?;
    let (payer, amount) = paid(row, started_unix_ms, rates)?;
    let text = |column| Ok::<_, rusqlite::Error>(Arc::from(row.get::<_, String>(at(column))?));
    Ok(Spend {
        identity: text(0)?,
        started_unix_ms,
        unix_ms: row.get(at(2))?,
        is_open: true,
        payer: Arc::new(payer),
        amount,
        work: Work {
            session: text(3)?,
            uid: row.get(at(4))?,
            pid: row.get(at(5))?,
            thread: text(6)?,
            thread_kind: ThreadKind::Main,
            depth: 0,
            context_tokens: None,
            window_tokens: None,
            is_compaction: false,
            shows_compaction: false,
            is_conversation: true,
            is_human_turn: false,
            is_complete: false,
            is_failed: false,
            request_hash: None,
            tool_signature: None,
        },
    })
}

fn spend(row: &Row<'_>, rates: &InputRates<&Prices>) -> rusqlite::Result<Spend> {
    let at = |column: usize| PAID_COLUMNS + column;
    let started_unix_ms: i64 = row.get(at(1))?;
    let (payer, mut amount) = paid(row, started_unix_ms, rates)?;
    let begins_session: bool = row.get(at(14))?;
    amount.sessions = u64::from(begins_session);
    let text = |column| -> rusqlite::Result<Arc<str>> {
        let text: Option<String> = row.get(at(column))?;
        Ok(Arc::from(text.unwrap_or_default()))
    };
    let outcome = text(10)?;
    let kind = text(7)?;
    let task = payer.task.as_str();
    let work = Work {
        session: text(3)?,
        uid: row.get(at(4))?,
        pid: row.get(at(5))?,
        thread: text(6)?,
        thread_kind: [
            ThreadKind::Subagent,
            ThreadKind::Background,
            ThreadKind::Auxiliary,
        ]
        .into_iter()
        .find(|known| known.as_str() == &*kind)
        .unwrap_or(ThreadKind::Main),
        depth: row.get::<_, Option<u32>>(at(8))?.unwrap_or(0),
        context_tokens: row.get::<_, Option<i64>>(at(9))?.map(from_db),
        window_tokens: payer
            .model
            .as_deref()
            .and_then(|model| rates.prices().window_tokens(&payer.provider, model)),
        is_compaction: task == "compaction",
        shows_compaction: false,
        is_conversation: agent_core::spend::is_conversation(task),
        is_human_turn: row.get(at(11))?,
        is_complete: &*outcome == "complete",
        is_failed: &*outcome == "error",
        request_hash: row.get::<_, Option<i64>>(at(12))?.map(i64::cast_unsigned),
        tool_signature: row.get::<_, Option<i64>>(at(13))?.map(i64::cast_unsigned),
    };
    let duration_ms: i64 = row.get(at(2))?;
    Ok(Spend {
        identity: text(0)?,
        started_unix_ms,
        unix_ms: started_unix_ms.saturating_add(duration_ms),
        is_open: false,
        payer: Arc::new(payer),
        amount,
        work,
    })
}

fn payer(row: &Row<'_>) -> rusqlite::Result<Payer> {
    Ok(Payer {
        workflow: row.get(0)?,
        user: match row.get_ref(1)? {
            ValueRef::Integer(uid) => Some(uid.to_string()),
            name @ (ValueRef::Null | ValueRef::Text(_) | ValueRef::Real(_) | ValueRef::Blob(_)) => {
                name.as_str_or_null()?.map(str::to_owned)
            }
        },
        unit: row.get(2)?,
        container: row.get(3)?,
        repo: row.get(4)?,
        client: row.get(5)?,
        provider: row.get(6)?,
        model: row.get(7)?,
        task: row.get(8)?,
    })
}

fn paid(
    row: &Row<'_>,
    at_ms: i64,
    rates: &InputRates<&Prices>,
) -> rusqlite::Result<(Payer, Amount)> {
    let payer = payer(row)?;
    let count = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(from_db));
    let usage = Usage {
        input_uncached: count(10)?,
        cache_read: count(11)?,
        cache_write_5m: count(12)?,
        cache_write_1h: count(13)?,
        cache_write_other: count(14)?,
        output: count(15)?,
        ..Usage::default()
    };
    let cost = count(16)?;
    let known = [usage.input(), usage.output];
    let is_known = known.iter().any(Option::is_some);
    let requests = count(9)?.unwrap_or(0);
    let model = payer.model.as_deref();
    let rate = model.and_then(|model| rates.at(&payer.provider, model, at_ms));
    let is_lower = count(17)?.unwrap_or(0) > 0;
    let amount = Amount {
        requests,
        sessions: 0,
        tokens: known.into_iter().flatten().fold(0, u64::saturating_add),
        weighted_tokens: weighted_tokens(&usage, cost, rate).unwrap_or(0),
        cost_nanousd: cost.unwrap_or(0),
        lower_bound_nanousd: if is_lower { cost.unwrap_or(0) } else { 0 },
        unpriced_tokens: count(18)?.unwrap_or(0),
        estimated_tokens: count(19)?.unwrap_or(0),
        unknown_requests: if is_known { 0 } else { requests },
    };
    Ok((payer, amount))
}
