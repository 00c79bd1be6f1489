//! Filters, for statements that have parameters of their own.

use std::collections::BTreeSet;

use crate::store::Filter;
use crate::store::dimension::Grain;
use crate::store::select::condition;

/// What calls have to pass, for a statement that has parameters of its own.
pub(super) struct Passing {
    /// Their condition; it stands alone where there is none.
    pub(super) condition: String,
    texts: Vec<String>,
}

impl Passing {
    /// Of the calls whose id `id` tells, beside so many parameters.
    pub(super) fn calls(filters: &[Filter], id: &str, parameters: usize) -> Self {
        Self::of(filters, parameters, |joins, conditions| {
            format!(
                "{id} IN (SELECT u.request_id FROM request AS u
                          JOIN usage_key AS k ON k.usage_key_id = u.usage_key_id {joins}
                          WHERE {conditions})"
            )
        })
    }

    /// Of the sums that `usage_key_id` tells, beside so many parameters; `None` where sums do not
    /// tell what is compared.
    pub(super) fn sums(filters: &[Filter], parameters: usize) -> Option<Self> {
        let is_told = |filter: &Filter| filter.dimension.grain() == Grain::Kind;
        filters.iter().all(is_told).then(|| {
            Self::of(filters, parameters, |joins, conditions| {
                format!(
                    "usage_key_id IN (SELECT k.usage_key_id FROM usage_key AS k {joins}
                                      WHERE {conditions})"
                )
            })
        })
    }

    fn of(
        filters: &[Filter],
        parameters: usize,
        condition_of: impl FnOnce(&str, &str) -> String,
    ) -> Self {
        if filters.is_empty() {
            return Self {
                condition: "1".to_owned(),
                texts: Vec::new(),
            };
        }
        let mut texts = vec![String::new(); parameters];
        let conditions: Vec<String> = filters
            .iter()
            .map(|filter| condition(filter, &mut texts))
            .collect();
        let joins: BTreeSet<&str> = filters
            .iter()
            .filter_map(|filter| filter.dimension.joined())
            .collect();
        let joins: Vec<&str> = joins.into_iter().collect();
        Self {
            condition: condition_of(&joins.join(" "), &conditions.join(" AND ")),
            texts: texts.split_off(parameters),
        }
    }

    /// The statement's own parameters and those of the condition.
    pub(super) fn parameters(&self, own: &[i64]) -> impl rusqlite::Params {
        let own = own.iter().copied().map(rusqlite::types::Value::from);
        let texts = self.texts.iter().cloned().map(rusqlite::types::Value::from);
        let all: Vec<rusqlite::types::Value> = own.chain(texts).collect();
        rusqlite::params_from_iter(all)
    }
}
