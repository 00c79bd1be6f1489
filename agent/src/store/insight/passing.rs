//! Filters, for statements that are about calls or sums `r`.

use std::collections::BTreeSet;

use crate::store::Filter;
use crate::store::dimension::Grain;
use crate::store::select::condition;

/// What calls have to pass.
pub(super) struct Passing {
    /// Their condition; it stands alone where there is none.
    pub(super) condition: String,
    /// The statement's only parameters.
    texts: Vec<String>,
}

impl Passing {
    /// Of calls.
    pub(super) fn calls(filters: &[Filter]) -> Self {
        Self::sums(filters).unwrap_or_else(|| {
            Self::of(filters, |joins, conditions| {
                format!(
                    "EXISTS (SELECT 1 FROM request AS u
                             JOIN usage_key AS k ON k.usage_key_id = u.usage_key_id {joins}
                             WHERE u.request_id = r.request_id AND {conditions})"
                )
            })
        })
    }

    /// All pass.
    pub(super) fn all() -> Self {
        Self {
            condition: "1".to_owned(),
            texts: Vec::new(),
        }
    }

    /// Of sums by kind of call; `None` where these do not tell what is compared.
    pub(super) fn sums(filters: &[Filter]) -> Option<Self> {
        let is_told = filters
            .iter()
            .all(|filter| filter.dimension.grain() == Grain::Kind);
        is_told.then(|| {
            Self::of(filters, |joins, conditions| {
                format!(
                    "r.usage_key_id IN (SELECT k.usage_key_id FROM usage_key AS k {joins}
                                        WHERE {conditions})"
                )
            })
        })
    }

    fn of(filters: &[Filter], condition_of: impl FnOnce(&str, &str) -> String) -> Self {
        if filters.is_empty() {
            return Self::all();
        }
        let mut texts = Vec::new();
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
            texts,
        }
    }

    pub(super) fn parameters(&self) -> impl rusqlite::Params {
        rusqlite::params_from_iter(&self.texts)
    }
}
