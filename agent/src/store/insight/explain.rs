//! What was spent in a window, by workflow, model, price and session.
//!
//! All of it is made of lasting sums, so that it outlives the calls.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use rusqlite::Row;

use super::columns::Columns;
use crate::store::select::Select;
use crate::store::{Error, Filter, Question, Reader, UsageSum, Window};

/// Classes of tokens that have a price each: uncached input, read from a cache, written to one for
/// five minutes, an hour, twelve hours, another time; and output, last.
pub const CLASSES: usize = 7;

/// Calls of a workflow that have a known cost, and were priced by one price.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PricedUse {
    /// Workflow.
    pub workflow: String,
    /// Provider.
    pub provider: String,
    /// Model, as served.
    pub model: Option<String>,
    /// Tier of the price.
    pub service_tier: Option<String>,
    /// The price is that of prompts longer than this.
    pub context_over: Option<u64>,
    /// Calls, and models inside of calls, of which each cost was rounded.
    pub rows: u64,
    /// Tokens by class.
    pub tokens: [u64; CLASSES],
    /// Billionths of a US dollar per million tokens, by class; `None` where none is listed.
    pub rates: [Option<u64>; CLASSES],
    /// Whether the price is in the ledger; else `rates` say nothing.
    pub has_price: bool,
    /// What they cost, in billionths of a US dollar.
    pub cost_nanousd: u64,
}

/// A session whose cost differs between two windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionChange {
    /// Key.
    pub key: String,
    /// Cost in the earlier window, in billionths of a US dollar.
    pub before_nanousd: u64,
    /// Cost in the later window, in billionths of a US dollar.
    pub now_nanousd: u64,
}

/// What was spent in a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Calls with a known cost by workflow, model and price.
    pub uses: Vec<PricedUse>,
    /// What was used together, as the lines under a report need it.
    pub totals: UsageSum,
    /// Calls more, of which sums do not tell whether they pass.
    pub untold_requests: u64,
    /// Known cost of each session, in billionths of a US dollar.
    costs: HashMap<i64, u64>,
}

/// What tells uses apart: workflow, provider, model and price.
type UseKey = (String, String, Option<String>, Option<i64>);

/// The sums of a kind of calls, in the order in which [`Kind::of`] reads them.
const KIND: &str = "
    max(w.name), max(k.provider), max(k.model), max(k.price_id), sum(u.priced_rows),
    sum(u.cost_nanousd), sum(u.tokenless_cost_nanousd), sum(u.input_uncached_tokens),
    sum(u.cache_read_tokens), sum(u.cache_write_5m_tokens), sum(u.cache_write_1h_tokens),
    sum(u.cache_write_12h_tokens), sum(u.cache_write_other_tokens), sum(u.output_tokens)";

/// A kind of calls, summed up.
struct Kind {
    key: UseKey,
    sum: UseSum,
    /// The cost of those without a token.
    tokenless_nanousd: Option<u64>,
}

/// What has one key, summed up.
#[derive(Clone, Copy, Debug, Default)]
struct UseSum {
    rows: u64,
    cost_nanousd: u64,
    tokens: [u64; CLASSES],
}

impl Kind {
    /// Reads [`KIND`], after the id of the kind; `None` where no cost is known.
    fn of(row: &Row<'_>) -> rusqlite::Result<Option<Self>> {
        let mut columns = Columns::from(row, 1);
        let key = (
            columns.next()?,
            columns.next()?,
            columns.next()?,
            columns.next()?,
        );
        let rows = columns.count()?;
        let cost_nanousd = columns.known()?;
        let tokenless_nanousd = columns.known()?;
        let [uncached, read, for_5m, for_1h] = [
            columns.count()?,
            columns.count()?,
            columns.count()?,
            columns.count()?,
        ];
        let for_12h = columns.count()?;
        // Twelve hours are among the other times.
        let other = columns.count()?.saturating_sub(for_12h);
        let output = columns.count()?;
        Ok(cost_nanousd.map(|cost_nanousd| Self {
            key,
            sum: UseSum {
                rows,
                cost_nanousd: cost_nanousd.saturating_sub(tokenless_nanousd.unwrap_or(0)),
                tokens: [uncached, read, for_5m, for_1h, for_12h, other, output],
            },
            tokenless_nanousd,
        }))
    }
}

impl UseSum {
    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.cost_nanousd = self.cost_nanousd.saturating_add(other.cost_nanousd);
        for (sum, more) in self.tokens.iter_mut().zip(other.tokens) {
            *sum = sum.saturating_add(more);
        }
    }
}

/// A price.
struct Price {
    service_tier: Option<String>,
    context_over: Option<u64>,
    rates: [Option<u64>; CLASSES],
}

impl Reader {
    /// What the calls that began in `window` and pass `filters` cost, and at which prices.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn spent(&self, window: Window, filters: &[Filter]) -> Result<Spent, Error> {
        let question = Question {
            filters: filters.to_vec(),
            ..Question::all(window)
        };
        let select = Select::new(&question, self.source(&question)?)
            .join("JOIN workflow AS w ON w.workflow_id = k.workflow_id");
        let sql = select.by_kind_of_sums(KIND);
        let kinds = self.rows_of(&sql.text, sql.parameters().as_slice(), Kind::of)?;
        Ok(Spent {
            uses: priced(kinds.into_iter().flatten(), &self.prices_by_id()?),
            totals: self.sums(&question)?.only(),
            untold_requests: self.pruned(&question)?,
            costs: self.session_costs(&question)?,
        })
    }

    /// The known cost of each session, of the calls that a question is about.
    fn session_costs(&self, question: &Question) -> Result<HashMap<i64, u64>, Error> {
        let mut costs: HashMap<i64, u64> = HashMap::new();
        let source = self.sessions_or_calls(question)?;
        let sql = Select::new(question, source).each("u.session_id, u.cost_nanousd");
        self.rows_of(&sql.text, sql.parameters().as_slice(), |row| {
            let mut columns = Columns::from(row, 0);
            let session_id = columns.next()?;
            if let Some(more) = columns.known()? {
                let cost = costs.entry(session_id).or_default();
                *cost = cost.saturating_add(more);
            }
            Ok(())
        })?;
        Ok(costs)
    }

    /// The sessions whose cost grew most from one window to a later one, or shrank most where `sign` is
    /// negative; at most `limit`.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn session_changes(
        &self,
        (before, now): (&Spent, &Spent),
        sign: i128,
        limit: usize,
    ) -> Result<Vec<SessionChange>, Error> {
        let cost = |spent: &Spent, id: &i64| spent.costs.get(id).copied().unwrap_or(0);
        let ended = before.costs.keys().filter(|id| !now.costs.contains_key(id));
        let mut changes: Vec<(Reverse<u64>, i64, u64, u64)> = now
            .costs
            .keys()
            .chain(ended)
            .map(|id| (id, cost(before, id), cost(now, id)))
            .filter(|(_, earlier, later)| (i128::from(*later) - i128::from(*earlier)) * sign > 0)
            .map(|(id, earlier, later)| (Reverse(later.abs_diff(earlier)), *id, earlier, later))
            .collect();
        changes.sort_unstable();
        let mut named = Vec::new();
        for (_, id, before_nanousd, now_nanousd) in changes.into_iter().take(limit) {
            named.extend(self.rows_of(
                "SELECT session_key FROM session WHERE session_id = ?1",
                [id],
                |row| {
                    Ok(SessionChange {
                        key: row.get(0)?,
                        before_nanousd,
                        now_nanousd,
                    })
                },
            )?);
        }
        Ok(named)
    }

    /// All prices of the ledger, by id.
    fn prices_by_id(&self) -> Result<HashMap<i64, Price>, Error> {
        let mut prices = HashMap::new();
        self.rows_of(
            "SELECT price_id, service_tier, context_over_tokens,
                    input_uncached_nanousd_per_mtok, cache_read_nanousd_per_mtok,
                    cache_write_5m_nanousd_per_mtok, cache_write_1h_nanousd_per_mtok,
                    cache_write_12h_nanousd_per_mtok, cache_write_other_nanousd_per_mtok,
                    output_nanousd_per_mtok
             FROM price",
            [],
            |row| {
                let mut columns = Columns::from(row, 1);
                let mut price = Price {
                    service_tier: columns.next()?,
                    context_over: columns.known()?,
                    rates: [None; CLASSES],
                };
                for rate in &mut price.rates {
                    *rate = columns.known()?;
                }
                prices.insert(row.get(0)?, price);
                Ok(())
            },
        )?;
        Ok(prices)
    }
}

/// Uses by workflow, model and price, in this order, of sums by kind of calls.
fn priced(kinds: impl Iterator<Item = Kind>, prices: &HashMap<i64, Price>) -> Vec<PricedUse> {
    let mut by_price: BTreeMap<(UseKey, bool), UseSum> = BTreeMap::new();
    for kind in kinds {
        if let Some(cost_nanousd) = kind.tokenless_nanousd {
            let tokenless = UseSum {
                cost_nanousd,
                ..UseSum::default()
            };
            let sum = by_price.entry((kind.key.clone(), false)).or_default();
            sum.add(&tokenless);
        }
        by_price.entry((kind.key, true)).or_default().add(&kind.sum);
    }
    by_price
        .into_iter()
        .map(|(((workflow, provider, model, price_id), _), sum)| {
            let price = price_id.and_then(|id| prices.get(&id));
            PricedUse {
                workflow,
                provider,
                model,
                service_tier: price.and_then(|price| price.service_tier.clone()),
                context_over: price.and_then(|price| price.context_over),
                has_price: price_id.is_some(),
                rates: price.map_or([None; CLASSES], |price| price.rates),
                rows: sum.rows,
                cost_nanousd: sum.cost_nanousd,
                tokens: sum.tokens,
            }
        })
        .collect()
}
