//! What a report can be asked for.

use crate::store::{Dimension, Filter, Relation, Sum, UsageSum};

/// What groups are ordered and compared by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Metric {
    /// What calls cost.
    #[default]
    Cost,
    /// Input and output.
    Tokens,
    /// Input and output, by what they cost beside uncached input.
    WeightedTokens,
    /// Calls.
    Requests,
    /// Output.
    Output,
}

impl Metric {
    /// Its name on the command line and in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Tokens => "tokens",
            Self::WeightedTokens => "weighted-tokens",
            Self::Requests => "requests",
            Self::Output => "output",
        }
    }

    /// The sums that it is made of, besides the number of calls.
    pub(super) const fn sums(self) -> &'static [&'static str] {
        match self {
            Self::Cost => &["cost_nanousd", "cost_lower_bound_requests"],
            Self::Tokens => &[
                "context_tokens",
                "context_is_partial",
                "output_tokens",
                "output_is_partial",
            ],
            Self::WeightedTokens => &["weighted_tokens", "context_is_partial", "output_is_partial"],
            Self::Requests => &[],
            Self::Output => &["output_tokens", "output_is_partial"],
        }
    }

    /// How much of it a group has.
    pub(super) fn of(self, sum: &UsageSum) -> Sum {
        match self {
            Self::Cost => sum.cost,
            Self::Tokens => Sum {
                value: match (sum.context.value, sum.output.value) {
                    (None, None) => None,
                    (context, output) => {
                        Some(context.unwrap_or(0).saturating_add(output.unwrap_or(0)))
                    }
                },
                is_lower_bound: sum.context.is_lower_bound || sum.output.is_lower_bound,
            },
            Self::WeightedTokens => sum.weighted,
            Self::Requests => Sum {
                value: Some(sum.requests),
                is_lower_bound: false,
            },
            Self::Output => sum.output,
        }
    }
}

/// What is wanted of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// What calls are put together by: one or two dimensions.
    pub by: Vec<Dimension>,
    /// Which calls count.
    pub filters: Vec<Filter>,
    /// What groups are ordered by.
    pub metric: Metric,
    /// So many values are kept apart, the others are one.
    pub top: Option<usize>,
}

/// A text that is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoFilter {
    /// It has none of the operators.
    #[error("write KEY=VALUE, KEY!=VALUE or KEY~PATTERN, as in client=claude-code or repo~web-*")]
    NoOperator,
    /// The key is no dimension.
    #[error("{key:?} is nothing to choose by; use one of {}", keys().join(", "))]
    NoKey {
        /// What was written.
        key: String,
    },
}

fn keys() -> Vec<&'static str> {
    Dimension::ALL
        .into_iter()
        .filter(|dimension| !dimension.is_period())
        .map(Dimension::name)
        .collect()
}

/// Reads a filter: `KEY=VALUE`, `KEY!=VALUE`, `KEY~PATTERN`. Without a value, or with `—` as reports
/// show it, it is about what is not known.
///
/// # Errors
/// All of [`NoFilter`].
pub fn filter(text: &str) -> Result<Filter, NoFilter> {
    let at = text.find(['=', '~']).ok_or(NoFilter::NoOperator)?;
    let (before, rest) = text.split_at(at);
    let (key, relation) = match (before.strip_suffix('!'), rest.starts_with('=')) {
        (Some(key), true) => (key, Relation::IsNot),
        (None, true) => (before, Relation::Is),
        (_, false) => (before, Relation::Matches),
    };
    let value: String = rest.chars().skip(1).collect();
    let dimension = Dimension::named(key.trim())
        .filter(|dimension| !dimension.is_period())
        .ok_or_else(|| NoFilter::NoKey {
            key: key.to_owned(),
        })?;
    Ok(Filter {
        dimension,
        relation,
        value: (!value.is_empty() && value != super::text::UNKNOWN).then_some(value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_key_an_operator_and_a_value_with_any_sign_in_it() {
        let read =
            |text| filter(text).map(|filter| (filter.dimension, filter.relation, filter.value));
        let value = |text: &str| Some(text.to_owned());
        assert_eq!(
            read("workflow=a=b~c"),
            Ok((Dimension::Workflow, Relation::Is, value("a=b~c")))
        );
        assert_eq!(
            read("repo!=x!=y"),
            Ok((Dimension::Repo, Relation::IsNot, value("x!=y")))
        );
        assert_eq!(
            read("model~claude-*"),
            Ok((Dimension::Model, Relation::Matches, value("claude-*")))
        );
        assert_eq!(read("repo="), Ok((Dimension::Repo, Relation::Is, None)));
        assert_eq!(
            read("repo!=—"),
            Ok((Dimension::Repo, Relation::IsNot, None))
        );
        assert_eq!(read("repo"), Err(NoFilter::NoOperator));
        for wrong in ["day=2026-11-01", "moon=1", "=x", "repo!~x"] {
            assert!(
                matches!(read(wrong), Err(NoFilter::NoKey { .. })),
                "{wrong}"
            );
        }
    }
}
