//! What was spent in a window, by workflow, model, price and session.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::cache::{MissCause, Threads};
use super::columns::Columns;
use super::kept::{Kept, NotKept};
use super::met::{MetModel, MetSession};
use crate::store::{Error, Filter, Reader, UsageSum, Window};

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
    /// Calls, and models inside of calls.
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
    /// Workflow.
    pub workflow: String,
    /// Cost in the earlier window, in billionths of a US dollar.
    pub before_nanousd: u64,
    /// Cost in the later window, in billionths of a US dollar.
    pub now_nanousd: u64,
}

/// The calls of a window: what was spent, and why so much.
#[derive(Debug, Default)]
pub struct Spent {
    /// Calls with a known cost by workflow, model and price.
    pub uses: Vec<PricedUse>,
    /// Calls that missed a cache, by cause.
    pub misses: BTreeMap<MissCause, u64>,
    /// What the calls that are kept used together, as the lines under a report need it.
    pub totals: UsageSum,
    /// Calls that are not kept.
    pub not_kept: NotKept,
    /// Known cost of each session, in billionths of a US dollar.
    costs: HashMap<i64, u64>,
    sessions: HashMap<i64, MetSession>,
}

/// What tells uses apart: kind of calls, workflow, price, and whether tokens were used.
type UseKey = (i64, Rc<str>, Option<i64>, bool);

/// What has one key, summed up.
#[derive(Default)]
struct UseSum {
    rows: u64,
    cost_nanousd: u64,
    tokens: [u64; CLASSES],
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
    /// What the calls that began in `window` and pass `filters` cost, and why.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn spent(&self, window: Window, filters: &[Filter]) -> Result<Spent, Error> {
        let sessions = self.met_sessions(window, u32::MAX)?;
        let models = self.met_models()?;
        let nobody: Rc<str> = Rc::from("unattributed");
        let mut threads = Threads::new(self, &models, window.from_ms);
        let mut kept = Kept::new(window);
        let mut sums: HashMap<UseKey, UseSum> = HashMap::new();
        let mut costs: HashMap<i64, u64> = HashMap::new();
        let mut misses = BTreeMap::new();
        self.walk(window, (window, filters), |call, passes| {
            let session = sessions.get(&call.session_id);
            kept.add(&call, passes);
            if call.is_call && call.is_complete {
                let miss = threads.meet(&call, session)?;
                if let Some(miss) = miss.filter(|_| passes) {
                    *misses.entry(miss.cause).or_default() += 1;
                }
            }
            let Some(cost_nanousd) = call.cost_nanousd.filter(|_| passes) else {
                return Ok(());
            };
            let [for_5m, for_1h, for_12h, other] = call.writes();
            let output = call.output.unwrap_or(0);
            let used = UseSum {
                rows: 1,
                cost_nanousd,
                tokens: [
                    call.uncached,
                    call.read,
                    for_5m,
                    for_1h,
                    for_12h,
                    other,
                    output,
                ],
            };
            let workflow = Rc::clone(session.map_or(&nobody, |session| &session.workflow));
            let has_tokens = call.tokens() > 0;
            let key = (call.usage_key_id, workflow, call.price_id, has_tokens);
            sums.entry(key).or_default().add(&used);
            let cost = costs.entry(call.session_id).or_default();
            *cost = cost.saturating_add(cost_nanousd);
            Ok(())
        })?;
        Ok(Spent {
            uses: priced(sums, &models, &self.prices_by_id()?),
            misses,
            not_kept: self.not_kept(&kept, filters)?,
            totals: kept.totals,
            costs,
            sessions,
        })
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
fn priced(
    sums: HashMap<UseKey, UseSum>,
    models: &HashMap<i64, MetModel>,
    prices: &HashMap<i64, Price>,
) -> Vec<PricedUse> {
    let mut by_price: BTreeMap<_, UseSum> = BTreeMap::new();
    for ((usage_key_id, workflow, price_id, has_tokens), sum) in sums {
        let Some(MetModel { provider, model }) = models.get(&usage_key_id) else {
            continue;
        };
        let key = (workflow, provider, model, price_id, has_tokens);
        by_price.entry(key).or_default().add(&sum);
    }
    by_price
        .into_iter()
        .map(|((workflow, provider, model, price_id, _), sum)| {
            let price = price_id.and_then(|id| prices.get(&id));
            PricedUse {
                workflow: workflow.to_string(),
                provider: provider.to_string(),
                model: model.as_ref().map(ToString::to_string),
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

impl Spent {
    /// The sessions whose cost grew most from an earlier window to this one, or shrank most where
    /// `sign` is negative; at most `limit`.
    #[must_use]
    pub fn session_changes(&self, before: &Self, sign: i128, limit: usize) -> Vec<SessionChange> {
        let cost = |spent: &Self, id: &i64| spent.costs.get(id).copied().unwrap_or(0);
        let ended = before
            .costs
            .keys()
            .filter(|id| !self.costs.contains_key(id));
        let mut changes: Vec<(Reverse<u64>, &MetSession, u64, u64)> = self
            .costs
            .keys()
            .chain(ended)
            .map(|id| (id, cost(before, id), cost(self, id)))
            .filter(|(_, earlier, now)| (i128::from(*now) - i128::from(*earlier)) * sign > 0)
            .filter_map(|(id, earlier, now)| {
                let session = self.sessions.get(id).or_else(|| before.sessions.get(id))?;
                Some((Reverse(now.abs_diff(earlier)), session, earlier, now))
            })
            .collect();
        changes.sort_by(|one, other| (one.0, &one.1.key).cmp(&(other.0, &other.1.key)));
        changes
            .into_iter()
            .take(limit)
            .map(|(_, session, before_nanousd, now_nanousd)| SessionChange {
                key: session.key.to_string(),
                workflow: session.workflow.to_string(),
                before_nanousd,
                now_nanousd,
            })
            .collect()
    }
}
