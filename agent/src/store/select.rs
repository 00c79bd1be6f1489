//! A question in SQL.

use std::collections::BTreeSet;

use rusqlite::ToSql;

use super::usage::{Filter, Key, Question, Relation};
use super::{Dimension, Window};

/// A statement with the texts that it is about.
pub(super) struct Sql {
    pub(super) text: String,
    texts: Vec<String>,
}

impl Sql {
    pub(super) fn parameters(&self) -> Vec<&dyn ToSql> {
        self.texts.iter().map(|text| text as &dyn ToSql).collect()
    }
}

/// The parts of a statement that answers a question.
pub(super) struct Select {
    keys: Vec<String>,
    source: String,
    joins: BTreeSet<&'static str>,
    conditions: Vec<String>,
    texts: Vec<String>,
}

impl Select {
    pub(super) fn new(question: &Question, source: String) -> Self {
        let mut texts = Vec::new();
        let keys = question
            .by
            .iter()
            .map(|by| match &question.kept {
                Some((dimension, kept)) if dimension == by => kept_apart(*by, kept, &mut texts),
                Some(_) | None => by.key().to_owned(),
            })
            .collect();
        let conditions = question
            .filters
            .iter()
            .map(|filter| condition(filter, &mut texts))
            .collect();
        let filtered = question.filters.iter().map(|filter| filter.dimension);
        Self {
            keys,
            source,
            joins: question
                .by
                .iter()
                .copied()
                .chain(filtered)
                .filter_map(Dimension::joined)
                .collect(),
            conditions,
            texts,
        }
    }

    /// The keys of each kind of calls that passes, and its id; NULL in place of periods.
    pub(super) fn by_kind(mut self, by: &[Dimension]) -> Sql {
        for (key, by) in self.keys.iter_mut().zip(by) {
            if by.is_period() {
                *key = "NULL".to_owned();
            }
        }
        self.keys.push("k.usage_key_id".to_owned());
        Sql {
            text: format!(
                "SELECT {} FROM usage_key AS k {}",
                self.keys.join(", "),
                self.rest()
            ),
            texts: self.texts,
        }
    }

    /// With one more table joined.
    pub(super) fn join(mut self, joined: &'static str) -> Self {
        self.joins.insert(joined);
        self
    }

    /// The keys, and the id and `columns` of each kind of calls in them.
    pub(super) fn by_kind_of_sums(mut self, columns: &str) -> Sql {
        self.keys.push("u.usage_key_id".to_owned());
        self.sql(columns)
    }

    /// The keys, and `columns` of each group.
    pub(super) fn sql(self, columns: &str) -> Sql {
        let places: Vec<String> = (1..=self.keys.len()).map(|at| at.to_string()).collect();
        let places = match places.is_empty() {
            // No group where there is no call.
            true => "'all'".to_owned(),
            false => places.join(", "),
        };
        let selected = self.selected(columns);
        Sql {
            text: format!("{selected} GROUP BY {places}"),
            texts: self.texts,
        }
    }

    /// The keys and `columns` of each row of the source.
    pub(super) fn each(self, columns: &str) -> Sql {
        Sql {
            text: self.selected(columns),
            texts: self.texts,
        }
    }

    fn selected(&self, columns: &str) -> String {
        let keys = self
            .keys
            .iter()
            .enumerate()
            .map(|(at, key)| format!("{key} AS key_{}", at + 1));
        let columns = keys
            .chain([columns.to_owned()])
            .collect::<Vec<_>>()
            .join(", ");
        format!(
            "SELECT {columns} FROM ({}) AS u
             JOIN usage_key AS k ON k.usage_key_id = u.usage_key_id {}",
            self.source,
            self.rest(),
        )
    }

    /// What is joined, and the conditions.
    fn rest(&self) -> String {
        let joins: Vec<&str> = self.joins.iter().copied().collect();
        let conditions = match self.conditions.is_empty() {
            true => String::new(),
            false => format!("WHERE {}", self.conditions.join(" AND ")),
        };
        format!("{} {conditions}", joins.join(" "))
    }
}

/// The key of a dimension of which only some values are kept apart.
fn kept_apart(dimension: Dimension, kept: &[Key], texts: &mut Vec<String>) -> String {
    let key = dimension.key();
    let mut any = vec!["0".to_owned()];
    for value in kept {
        match value {
            Key::Unknown => any.push(format!("{key} IS NULL")),
            Key::Number(number) => any.push(format!("{key} = {number}")),
            Key::Text(text) => any.push(format!("{key} = {}", placed(text, texts))),
            Key::Other => {}
        }
    }
    // A blob is no value of any dimension.
    format!("CASE WHEN {} THEN {key} ELSE x'00' END", any.join(" OR "))
}

/// A filter in SQL; its text takes the place behind those that are there.
pub(super) fn condition(filter: &Filter, texts: &mut Vec<String>) -> String {
    let text = filter.dimension.text();
    match (&filter.value, filter.relation) {
        (None, Relation::Is | Relation::Matches) => format!("({text}) IS NULL"),
        (None, Relation::IsNot) => format!("({text}) IS NOT NULL"),
        (Some(value), Relation::Is) => format!("({text}) = {}", placed(value, texts)),
        (Some(value), Relation::IsNot) => format!("({text}) IS NOT {}", placed(value, texts)),
        (Some(value), Relation::Matches) => format!("({text}) GLOB {}", placed(value, texts)),
    }
}

/// The place of a text among the parameters.
fn placed(text: &str, texts: &mut Vec<String>) -> String {
    texts.push(text.to_owned());
    format!("?{}", texts.len())
}

/// With the ends of the window in their places.
pub(super) fn in_window(sql: &str, window: Window) -> String {
    sql.replace("{from}", &window.from_ms.to_string())
        .replace("{until}", &window.until_ms.to_string())
}
