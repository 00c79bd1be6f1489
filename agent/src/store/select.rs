//! A question in SQL.

use std::collections::BTreeSet;

use rusqlite::ToSql;

use super::Window;
use super::adding::{Columns, Traits};
use super::dimension::{Detail, Dimension};
use super::usage::{Filter, Key, Question, Relation};

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
    /// `None` where the statement does not tell it.
    keys: Vec<Option<String>>,
    source: String,
    joins: BTreeSet<&'static str>,
    conditions: Vec<String>,
    texts: Vec<String>,
}

/// The column of [`rows`] that is their cost.
pub(super) const COST_AT: usize = 4;
/// The columns of [`rows`] before those of the keys.
pub(super) const ROW_WIDTH: usize = 5;

/// The rows of a source, `u`, that pass: their kind, session, moments and cost; then the keys of those
/// dimensions that kinds of calls do not have, and their texts where these are no lasting names; then
/// `columns`.
pub(super) fn rows(question: &Question, source: &str, columns: &Columns) -> Sql {
    let select = Select::of(question, Dimension::is_of_session);
    let of_session = question.by.iter().filter(|by| by.is_of_session());
    let names = of_session.map(|by| match by.looked_up() {
        Some(_) => "NULL".to_owned(),
        None => by.text().to_owned(),
    });
    let selected =
        ["u.usage_key_id, u.session_id, u.first_ms, u.last_ms, u.cost_nanousd".to_owned()]
            .into_iter()
            .chain(select.keys.iter().flatten().cloned())
            .chain(names)
            .chain([columns.sql()])
            .collect::<Vec<_>>()
            .join(", ");
    let kinds = match columns.has_weights() {
        true => OF_KINDS,
        false => "",
    };
    let text = format!(
        "SELECT {selected} FROM ({source}) AS u {kinds} {}",
        select.rest()
    );
    select.sql(text)
}

/// The kinds of calls, `k`, that pass: their ids, what their [`Traits`] are, and their keys; NULL in
/// place of what is no property of theirs; then what of each detail is.
pub(super) fn kinds(question: &Question) -> Sql {
    let select = Select::of(question, Dimension::is_of_kind);
    let keys = select.keys.iter().map(|key| match key {
        Some(key) => key.as_str(),
        None => "NULL",
    });
    let details = details(question).iter().map(|detail| detail.of_kind());
    let selected = ["k.usage_key_id", Traits::SQL]
        .into_iter()
        .chain(keys)
        .chain(details)
        .collect::<Vec<_>>()
        .join(", ");
    let text = format!("SELECT {selected} FROM usage_key AS k {}", select.rest());
    select.sql(text)
}

/// What else describes the groups of a question.
pub(super) const fn details(question: &Question) -> &'static [Detail] {
    match question.by.as_slice() {
        [only] => only.details(),
        _ => &[],
    }
}

/// What joins their kinds of calls, `k`, to sums `u`.
pub(super) const OF_KINDS: &str = "JOIN usage_key AS k ON k.usage_key_id = u.usage_key_id";

impl Select {
    /// All that a question says, about a source `u` and its kinds of calls `k`.
    pub(super) fn new(question: &Question, source: String) -> Self {
        let mut select = Self::of(question, |_| true);
        select.source = source;
        if let Some((dimension, kept)) = &question.kept {
            for (key, by) in select.keys.iter_mut().zip(&question.by) {
                if by == dimension {
                    *key = Some(kept_apart(*dimension, kept, &mut select.texts));
                }
            }
        }
        select
    }

    /// With one more table joined.
    pub(super) fn join(mut self, joined: &'static str) -> Self {
        self.joins.insert(joined);
        self
    }

    /// The keys, and the id and `columns` of each kind of calls in them.
    pub(super) fn by_kind_of_sums(mut self, columns: &str) -> Sql {
        self.keys.push(Some("u.usage_key_id".to_owned()));
        self.groups(columns)
    }

    /// The keys, and `columns` of each group.
    pub(super) fn groups(self, columns: &str) -> Sql {
        let places: Vec<String> = (1..=self.keys.len()).map(|at| at.to_string()).collect();
        let places = match places.is_empty() {
            // No group where there is no call.
            true => "'all'".to_owned(),
            false => places.join(", "),
        };
        let text = format!("{} GROUP BY {places}", self.selected(columns));
        self.sql(text)
    }

    /// The keys and `columns` of each row of the source.
    pub(super) fn each(self, columns: &str) -> Sql {
        let text = self.selected(columns);
        self.sql(text)
    }

    fn selected(&self, columns: &str) -> String {
        let selected = (self.keys.iter().flatten().map(String::as_str))
            .chain([columns])
            .collect::<Vec<_>>()
            .join(", ");
        let (source, rest) = (&self.source, self.rest());
        format!("SELECT {selected} FROM ({source}) AS u {OF_KINDS} {rest}")
    }

    /// What a question says of those dimensions that `is_told` is true of, about no source.
    fn of(question: &Question, is_told: impl Fn(Dimension) -> bool) -> Self {
        let by = question
            .by
            .iter()
            .map(|by| Some(*by).filter(|by| is_told(*by)));
        let by: Vec<Option<Dimension>> = by.collect();
        let filters = question.filters.iter();
        let filters: Vec<&Filter> = filters.filter(|filter| is_told(filter.dimension)).collect();
        let mut texts = Vec::new();
        let conditions = filters
            .iter()
            .map(|filter| condition(filter, &mut texts))
            .collect();
        let filtered = filters.iter().map(|filter| filter.dimension);
        Self {
            keys: by
                .iter()
                .map(|by| by.map(|by| by.key().to_owned()))
                .collect(),
            source: String::new(),
            joins: by
                .iter()
                .flatten()
                .copied()
                .chain(filtered)
                .filter_map(Dimension::joined)
                .collect(),
            conditions,
            texts,
        }
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

    fn sql(self, text: String) -> Sql {
        Sql {
            text,
            texts: self.texts,
        }
    }
}

/// The key of a dimension of which only some values are kept apart.
fn kept_apart(dimension: Dimension, kept: &BTreeSet<Key>, texts: &mut Vec<String>) -> String {
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
