//! Filters, for statements that have parameters of their own.

use std::collections::BTreeSet;

use crate::store::Filter;
use crate::store::dimension::Grain;
use crate::store::select::condition;

/// Parameters that the ends of a window are.
const WINDOW: usize = 2;

/// What calls have to pass, for a statement that has parameters of its own.
pub(super) struct Passing {
    /// Their condition; it stands alone where there is none.
    pub(super) condition: String,
    texts: Vec<String>,
}

impl Passing {
    /// Of calls `r` of the window that the statement's first two parameters are.
    pub(super) fn calls(filters: &[Filter]) -> Self {
        if filters.iter().all(is_told_by_kind) {
            return Self::of(filters, WINDOW, |joins, conditions| {
                format!("r.{}", of_kinds(joins, conditions))
            });
        }
        Self::of(filters, WINDOW, |joins, conditions| {
            format!(
                "r.request_id IN (SELECT u.request_id FROM request AS u
                                  JOIN usage_key AS k ON k.usage_key_id = u.usage_key_id {joins}
                                  WHERE u.started_ms >= ?1 AND u.started_ms < ?2
                                    AND {conditions})"
            )
        })
    }

    /// Of sums by kind of call; `None` where these do not tell what is compared.
    pub(super) fn sums(filters: &[Filter]) -> Option<Self> {
        let is_told = filters.iter().all(is_told_by_kind);
        is_told.then(|| Self::of(filters, 0, of_kinds))
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

fn is_told_by_kind(filter: &Filter) -> bool {
    filter.dimension.grain() == Grain::Kind
}

fn of_kinds(joins: &str, conditions: &str) -> String {
    format!(
        "usage_key_id IN (SELECT k.usage_key_id FROM usage_key AS k {joins} WHERE {conditions})"
    )
}
