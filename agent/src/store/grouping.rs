//! Which group a row of sums belongs to.
//!
//! A row has the number of its kind of calls, and of its session, process and thread. What all of these
//! are is read once and not joined to each row.

use std::collections::{HashMap, HashSet};

use jiff::tz::TimeZone;
use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::adding::Traits;
use super::dimension::Dimension;
use super::functions::period_start;
use super::rollup::bucket;
use super::select::{self, ROW_WIDTH};
use super::usage::{Key, Question, keys};
use super::{Error, Reader};

/// A kind of calls that counts.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    /// Its row.
    pub(super) id: i64,
    /// What it says of sums.
    pub(super) traits: Traits,
    /// The keys of its group, unknown in place of what is no property of kinds.
    pub(super) keys: Vec<Key>,
    /// What each detail of a group is for it.
    pub(super) details: Vec<Option<String>>,
}

impl Reader {
    /// The kinds of calls that pass the filters of a question, as far as these are about them.
    ///
    /// # Errors
    /// Those of SQLite.
    pub(super) fn counted_kinds(&self, question: &Question) -> Result<Vec<Kind>, Error> {
        let width = question.by.len();
        let details = select::details(question).len();
        let sql = select::kinds(question);
        self.rows_of(&sql.text, sql.parameters().as_slice(), |row| {
            let keys_at = 1 + Traits::WIDTH;
            let details_at = keys_at + width;
            let mut keys = keys(row, keys_at, width)?;
            for (key, by) in keys.iter_mut().zip(&question.by) {
                if by.is_of_kind() && !question.keeps(*by, key) {
                    *key = Key::Other;
                }
            }
            Ok(Kind {
                id: row.get(0)?,
                traits: Traits::read(row, 1)?,
                keys,
                details: (details_at..details_at + details)
                    .map(|column| row.get(column))
                    .collect::<rusqlite::Result<_>>()?,
            })
        })
    }
}

/// A key, with a number in place of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Code {
    Unknown,
    Number(i64),
    Text(usize),
    Other,
}

/// Texts by their numbers, and the other way round.
#[derive(Debug, Default)]
struct Texts {
    numbers: HashMap<String, usize>,
    texts: Vec<String>,
}

impl Texts {
    fn number(&mut self, text: &str) -> usize {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len();
        self.numbers.insert(text.to_owned(), number);
        self.texts.push(text.to_owned());
        number
    }

    fn code(&mut self, key: &Key) -> Code {
        match key {
            Key::Unknown => Code::Unknown,
            Key::Number(number) => Code::Number(*number),
            Key::Text(text) => Code::Text(self.number(text)),
            Key::Other => Code::Other,
        }
    }

    fn key(&self, code: Code) -> Key {
        match code {
            Code::Unknown => Key::Unknown,
            Code::Number(number) => Key::Number(number),
            Code::Text(number) => self
                .texts
                .get(number)
                .cloned()
                .map_or(Key::Unknown, Key::Text),
            Code::Other => Key::Other,
        }
    }
}

/// Where the code of a dimension comes from.
#[derive(Debug)]
enum Part {
    /// The beginning of a period, by the quarters of an hour in it: a quarter is of the period that it
    /// begins in.
    Period(Dimension, HashMap<i64, i64>),
    /// The kind of calls, and its code at this place.
    Kind(usize),
    /// A column of the row, and the values that are kept apart, if not all are.
    Column(usize, Option<HashSet<Code>>),
}

/// The groups of a question, numbered in the order in which they are met.
#[derive(Debug)]
pub(super) struct Grouping<'a> {
    question: &'a Question,
    zone: &'a TimeZone,
    /// Places among the kinds that count, and their codes.
    kinds: HashMap<i64, (usize, Vec<Code>)>,
    texts: Texts,
    parts: Vec<Part>,
    numbers: HashMap<Vec<Code>, usize>,
    /// The group of the last row, and its number.
    last: Option<(Vec<Code>, usize)>,
    /// Codes of the row at hand.
    codes: Vec<Code>,
}

/// The group of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the group; the first row of the next group has the next number.
    pub(super) number: usize,
    /// Place of the kind of calls among those that count.
    pub(super) kind: usize,
}

impl<'a> Grouping<'a> {
    pub(super) fn new(reader: &'a Reader, question: &'a Question, kinds: &[Kind]) -> Self {
        let mut texts = Texts::default();
        let kinds = kinds
            .iter()
            .enumerate()
            .map(|(at, kind)| {
                let codes = kind.keys.iter().map(|key| texts.code(key)).collect();
                (kind.id, (at, codes))
            })
            .collect();
        let mut column = ROW_WIDTH;
        let mut parts = Vec::new();
        for (at, by) in question.by.iter().enumerate() {
            parts.push(if by.is_period() {
                Part::Period(*by, HashMap::new())
            } else if by.is_of_kind() {
                Part::Kind(at)
            } else {
                let kept = match &question.kept {
                    Some((dimension, kept)) if dimension == by => {
                        Some(kept.iter().map(|key| texts.code(key)).collect())
                    }
                    Some(_) | None => None,
                };
                column += 1;
                Part::Column(column - 1, kept)
            });
        }
        Self {
            question,
            zone: reader.zone(),
            kinds,
            texts,
            parts,
            numbers: HashMap::new(),
            last: None,
            codes: Vec::new(),
        }
    }

    /// The column after those that the groups are told by.
    pub(super) fn width(&self) -> usize {
        let by = self.question.by.iter();
        ROW_WIDTH + 2 * by.filter(|by| by.is_of_session()).count()
    }

    /// The group of a row of [`select::rows`]; `None` if its kind does not count.
    pub(super) fn place(&mut self, row: &Row<'_>) -> rusqlite::Result<Option<Place>> {
        let id: i64 = row.get(0)?;
        let Some((kind, of_kind)) = self.kinds.get(&id) else {
            return Ok(None);
        };
        self.codes.clear();
        for part in &mut self.parts {
            self.codes.push(match part {
                Part::Period(by, starts) => {
                    let quarter_ms = bucket(row.get(2)?);
                    let start = starts.entry(quarter_ms).or_insert_with(|| {
                        period_start(*by, quarter_ms, self.zone).unwrap_or(quarter_ms)
                    });
                    Code::Number(*start)
                }
                Part::Kind(at) => of_kind.get(*at).copied().unwrap_or(Code::Unknown),
                Part::Column(column, kept) => {
                    let code = match row.get_ref(*column)? {
                        ValueRef::Null => Code::Unknown,
                        ValueRef::Integer(number) => Code::Number(number),
                        ValueRef::Text(text) => {
                            Code::Text(self.texts.number(&String::from_utf8_lossy(text)))
                        }
                        ValueRef::Real(_) | ValueRef::Blob(_) => Code::Other,
                    };
                    match kept {
                        Some(kept) if !kept.contains(&code) => Code::Other,
                        Some(_) | None => code,
                    }
                }
            });
        }
        let kind = *kind;
        let number = self.number();
        Ok(Some(Place { number, kind }))
    }

    fn number(&mut self) -> usize {
        if let Some((last, number)) = &self.last
            && *last == self.codes
        {
            return *number;
        }
        let number = match self.numbers.get(&self.codes) {
            Some(number) => *number,
            None => {
                let next = self.numbers.len();
                self.numbers.insert(self.codes.clone(), next);
                next
            }
        };
        let (last, last_number) = self.last.get_or_insert_default();
        last.clone_from(&self.codes);
        *last_number = number;
        number
    }

    /// The keys of the last row's group.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.codes
            .iter()
            .map(|code| self.texts.key(*code))
            .collect()
    }

    /// The names of the last row's group, as far as the row tells them.
    pub(super) fn names(&self, row: &Row<'_>) -> rusqlite::Result<Vec<Option<String>>> {
        let columns = (self.width() - ROW_WIDTH) / 2;
        let mut names = Vec::new();
        for (part, code) in self.parts.iter().zip(&self.codes) {
            names.push(match (part, code) {
                (_, Code::Other | Code::Unknown) | (Part::Period(..), _) => None,
                (Part::Column(column, _), Code::Number(_)) => row.get(column + columns)?,
                (Part::Kind(_) | Part::Column(..), code) => match self.texts.key(*code) {
                    Key::Text(text) => Some(text),
                    Key::Unknown | Key::Number(_) | Key::Other => None,
                },
            });
        }
        Ok(names)
    }
}
