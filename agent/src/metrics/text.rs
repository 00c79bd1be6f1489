//! The numbers as text, in the formats that Prometheus reads.

use std::fmt;
use std::sync::Arc;

use agent_core::pipeline::CoverageOutcome;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{self, DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::calls::{KINDS, Labels, Model, OfModel, Sum};
use super::histogram::Histogram;
use super::names::{self, Described, Kind};
use super::{BudgetStatus, Metrics, State};

/// How the numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4, which the textfile collector reads too.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The media type of it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Metrics {
    /// All numbers as they are at `now_unix_ms`.
    pub fn text(&self, format: Format, now_unix_ms: i64) -> String {
        let families = self.lock().families(now_unix_ms);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Families(families)));
        let mut text = String::new();
        let written = match format {
            Format::Prometheus => encoding::prometheus_text::encode(&mut text, &registry),
            Format::OpenMetrics => encoding::text::encode(&mut text, &registry),
        };
        // Writing to a string does not fail.
        written.map_or_else(|fmt::Error| String::new(), |()| text)
    }
}

/// Values of labels in their order.
type LabelValues = Vec<Arc<str>>;

#[derive(Clone, Debug, PartialEq)]
enum Number {
    Count(u64),
    Amount(f64),
    Histogram(Histogram),
}

/// A metric and what it is for each value of its labels.
#[derive(Debug)]
struct Family {
    about: Described,
    series: Vec<(LabelValues, Number)>,
}

impl State {
    /// All metrics that have a value.
    fn families(&mut self, now_ms: i64) -> Vec<Family> {
        let mut families = Vec::with_capacity(names::ALL.len());
        let mut family = |about: Described, series: Vec<(LabelValues, Number)>| {
            if !series.is_empty() {
                families.push(Family { about, series });
            }
        };
        let (sums, models) = (&self.calls.sums, &self.calls.models);
        family(
            names::REQUESTS,
            sums.iter()
                .flat_map(|(labels, sum)| {
                    let requests = sum.requests.iter();
                    requests.map(|(outcome, count)| (with(labels, outcome), Number::Count(*count)))
                })
                .collect(),
        );
        family(
            names::TOKENS,
            sums.iter()
                .flat_map(|(labels, sum)| {
                    let tokens = KINDS.iter().zip(sum.taken.tokens);
                    tokens.map(|(kind, count)| (with(labels, kind), Number::Count(count)))
                })
                .collect(),
        );
        let by_labels = |number: fn(&Sum) -> Number| {
            let series = sums.iter();
            series
                .map(|(labels, sum)| (of(labels), number(sum)))
                .collect()
        };
        family(
            names::REASONING,
            by_labels(|sum| Number::Count(sum.taken.reasoning)),
        );
        family(
            names::COST,
            by_labels(|sum| Number::Amount(dollars(sum.taken.cost_nanousd))),
        );
        let by_model = |number: fn(&OfModel) -> Number| {
            let series = models.iter();
            series
                .map(|((provider, model), of): (&Model, _)| {
                    (vec![Arc::clone(provider), Arc::clone(model)], number(of))
                })
                .collect()
        };
        family(
            names::UNPRICED,
            by_model(|of| Number::Count(of.unpriced_tokens)),
        );
        family(
            names::UNKNOWN,
            by_model(|of| Number::Count(of.requests_without_usage)),
        );
        family(
            names::DURATION,
            by_model(|of| Number::Histogram(of.duration.clone())),
        );
        family(
            names::FIRST_TOKEN,
            by_model(|of| Number::Histogram(of.first_token.clone())),
        );
        family(
            names::CONTEXT,
            by_model(|of| Number::Histogram(of.context.clone())),
        );
        family(
            names::RUNNING,
            self.running
                .iter()
                .map(|(labels, count)| (of(labels), Number::Count(*count)))
                .collect(),
        );
        let idle_ms = self.idle_ms();
        let (sessions, threads) = self.active.count(now_ms, idle_ms);
        family(names::SESSIONS, alone(Number::Amount(sessions as f64)));
        family(names::THREADS, alone(Number::Amount(threads as f64)));
        self.budget_families(&mut family);
        family(
            names::ALERTS,
            self.alerts
                .iter()
                .map(|((rule, severity), count)| {
                    let labels = vec![Arc::from(rule.as_str()), Arc::from(severity.as_str())];
                    (labels, Number::Count(*count))
                })
                .collect(),
        );
        self.quota_families(now_ms, &mut family);
        let by_outcome = |number: fn(&(u64, u64)) -> u64| {
            let series = self.captured.iter();
            series
                .map(|(outcome, sums): (&CoverageOutcome, _)| {
                    (
                        vec![Arc::from(outcome.as_str())],
                        Number::Count(number(sums)),
                    )
                })
                .collect()
        };
        family(names::CAPTURED, by_outcome(|(events, _)| *events));
        family(names::CAPTURED_BYTES, by_outcome(|(_, bytes)| *bytes));
        family(names::LOST, alone(Number::Count(self.lost_records)));
        let ratio = self.coverage_ratio(now_ms);
        family(names::COVERAGE, maybe(ratio.map(Number::Amount)));
        let day = self.about.price_table_unix_ms.map(seconds);
        family(names::PRICE_TABLE, maybe(day.map(Number::Amount)));
        let version = vec![Arc::from(self.about.version)];
        family(names::BUILD, vec![(version, Number::Count(1))]);
        family(
            names::STATUS,
            self.counters
                .iter()
                .map(|(name, value)| (vec![Arc::from(name.as_str())], Number::Amount(*value)))
                .collect(),
        );
        family(
            names::FOLDED,
            self.values
                .folded()
                .iter()
                .map(|(label, count)| (vec![Arc::from(*label)], Number::Count(*count)))
                .collect(),
        );
        families
    }

    fn budget_families(&self, family: &mut impl FnMut(Described, Vec<(LabelValues, Number)>)) {
        let by_budget = |number: fn(&BudgetStatus) -> Option<f64>| {
            let told = self.budgets.iter();
            told.filter_map(|(key, budget)| Some((key.to_vec(), Number::Amount(number(budget)?))))
                .collect()
        };
        family(
            names::BUDGET_LIMIT,
            by_budget(|budget| Some(budget.amount(budget.limit))),
        );
        family(
            names::BUDGET_USED,
            by_budget(|budget| Some(budget.amount(budget.used))),
        );
        family(
            names::BUDGET_AT_LEAST,
            by_budget(|budget| Some(f64::from(u8::from(budget.is_at_least)))),
        );
        family(
            names::BUDGET_REMAINING,
            by_budget(|budget| {
                let is_known = budget.limit > 0;
                is_known.then(|| 1.0 - budget.used as f64 / budget.limit as f64)
            }),
        );
        let burns = self.budgets.iter().flat_map(|(key, budget)| {
            budget.burns.iter().map(|(window, burn)| {
                let labels = key.iter().cloned().chain([Arc::from(window.as_str())]);
                (labels.collect(), Number::Amount(*burn))
            })
        });
        family(names::BUDGET_BURN, burns.collect());
        family(
            names::BUDGET_EXHAUSTION,
            by_budget(|budget| budget.exhausted_unix_ms.map(seconds)),
        );
        family(
            names::BUDGET_RESET,
            by_budget(|budget| budget.reset_unix_ms.map(seconds)),
        );
    }

    fn quota_families(
        &self,
        now_ms: i64,
        family: &mut impl FnMut(Described, Vec<(LabelValues, Number)>),
    ) {
        // What a limit said before it began anew is not known any more.
        let told: Vec<_> = self
            .quotas
            .iter()
            .filter(|(_, quota)| quota.resets_unix_ms.is_none_or(|at| at > now_ms))
            .collect();
        let by_quota = |number: fn(&super::Quota) -> Option<f64>| {
            let told = told.iter();
            told.filter_map(|(key, quota)| Some((key.to_vec(), Number::Amount(number(quota)?))))
                .collect()
        };
        family(names::QUOTA_USED, by_quota(|quota| quota.used));
        family(
            names::QUOTA_RESET,
            by_quota(|quota| quota.resets_unix_ms.map(seconds)),
        );
        family(
            names::QUOTA_SEEN,
            by_quota(|quota| Some(seconds(quota.observed_unix_ms))),
        );
    }
}

impl BudgetStatus {
    /// An amount in the unit.
    fn amount(&self, amount: u64) -> f64 {
        if self.unit == "usd" {
            dollars(amount)
        } else {
            amount as f64
        }
    }
}

fn of(labels: &Labels) -> LabelValues {
    vec![
        Arc::clone(&labels.workflow),
        Arc::clone(&labels.provider),
        Arc::clone(&labels.model),
        Arc::from(labels.task),
    ]
}

fn with(labels: &Labels, last: &str) -> LabelValues {
    let mut values = of(labels);
    values.push(Arc::from(last));
    values
}

fn alone(number: Number) -> Vec<(LabelValues, Number)> {
    vec![(Vec::new(), number)]
}

fn maybe(number: Option<Number>) -> Vec<(LabelValues, Number)> {
    number.map(alone).unwrap_or_default()
}

fn dollars(nanousd: u64) -> f64 {
    nanousd as f64 / 1e9
}

fn seconds(unix_ms: i64) -> f64 {
    unix_ms as f64 / 1e3
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Family { about, series } in &self.0 {
            let (name, kind) = match about.kind {
                // The encoder writes the suffix that belongs to the format.
                Kind::Counter => (about.name.trim_end_matches("_total"), MetricType::Counter),
                Kind::Gauge => (about.name, MetricType::Gauge),
                Kind::Histogram => (about.name, MetricType::Histogram),
                Kind::Mixed => (about.name, MetricType::Unknown),
            };
            let mut metric = encoder.encode_descriptor(name, about.help, None, kind)?;
            for (values, number) in series {
                let labels: Vec<(&str, &str)> = about
                    .labels
                    .iter()
                    .zip(values)
                    .map(|(label, value)| (*label, &**value))
                    .collect();
                if labels.is_empty() {
                    write(about.kind, number, &mut metric)?;
                } else {
                    write(about.kind, number, &mut metric.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

fn write(kind: Kind, number: &Number, metric: &mut MetricEncoder<'_>) -> fmt::Result {
    match (kind, number) {
        (_, Number::Histogram(histogram)) => metric.encode_histogram::<NoLabelSet>(
            histogram.sum,
            histogram.count,
            &histogram.buckets,
            None,
        ),
        (Kind::Counter, Number::Count(count)) => {
            metric.encode_counter::<NoLabelSet, _, u64>(count, None)
        }
        (Kind::Counter, Number::Amount(amount)) => {
            metric.encode_counter::<NoLabelSet, _, u64>(amount, None)
        }
        (_, Number::Count(count)) => metric.encode_gauge(count),
        (_, Number::Amount(amount)) => metric.encode_gauge(amount),
    }
}
