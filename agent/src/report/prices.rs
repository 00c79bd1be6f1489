//! `bpftok prices` and `bpftok reprice`: what things cost, and what has no price.

use agent_core::prices::{About, Line, List, Own, Prices, Rates};
use serde_json::{Map, Value, json};

use super::table::{Cell, Column, Table, moment, write_json};
use super::text::{Cut, count, money};
use super::{Asked, Error, Format, Found, JSON_SCHEMA_VERSION, Page};
use crate::prices::{Candidate, InForce};
use crate::store::{Reader, Repriced, Window};

/// The names of rates in JSON and CSV, as table `price` has them, and their headings, if a person sees
/// them.
const RATES: [(&str, Option<(&str, u8)>); 12] = [
    ("input_uncached_nanousd_per_mtok", Some(("INPUT", 0))),
    ("cache_read_nanousd_per_mtok", Some(("CACHED", 1))),
    ("cache_write_5m_nanousd_per_mtok", Some(("WRITE 5M", 3))),
    ("cache_write_1h_nanousd_per_mtok", Some(("WRITE 1H", 4))),
    ("cache_write_12h_nanousd_per_mtok", None),
    ("cache_write_other_nanousd_per_mtok", None),
    ("output_nanousd_per_mtok", Some(("OUTPUT", 0))),
    ("audio_input_nanousd_per_mtok", None),
    ("audio_output_nanousd_per_mtok", None),
    ("image_input_nanousd_per_mtok", None),
    ("image_output_nanousd_per_mtok", None),
    ("web_search_nanousd_per_1k", None),
];

/// Writes the standard prices of short prompts, of one provider or of all.
///
/// # Errors
/// All of [`Error`].
pub fn list(page: &mut Page<'_>, prices: &Prices, provider: Option<&str>) -> Result<Found, Error> {
    let now_ms = page.now.as_millisecond();
    let mut current: Vec<Line> = Vec::new();
    let wanted = |line: &Line| {
        provider.is_none_or(|provider| line.provider == provider)
            && line.variant.is_none()
            && line.context_over.is_none()
            && line.daily_ms.is_none()
            && line.valid_from_ms.is_none_or(|from_ms| from_ms <= now_ms)
    };
    for line in prices.list().lines().filter(wanted) {
        // A later price of the same model stands in for the earlier one.
        match current.last_mut() {
            Some(last) if last.model == line.model && last.provider == line.provider => {
                *last = line;
            }
            _ => current.push(line),
        }
    }
    let rows = current.iter().map(line_cells).collect();
    lines(page, prices, line_columns(), rows)
}

/// Writes all prices of a model.
///
/// # Errors
/// All of [`Error`].
pub fn show(
    page: &mut Page<'_>,
    prices: &Prices,
    provider: Option<&str>,
    name: &str,
) -> Result<Found, Error> {
    let mut found = prices.list().sold(provider, name);
    if found.is_empty()
        && provider.is_none()
        && let Some((provider, model)) = name.split_once('/')
    {
        found = prices.list().sold(Some(provider), model);
    }
    if found.is_empty() && page.is_for_people() {
        writeln!(
            page.out,
            "No price in the list is for {name:?}: calls of it are unpriced unless an entry [[price]] of\n\
             the configuration fits (`bpftok prices override`). `bpftok prices list` has the names."
        )?;
        return Ok(Found::Nothing);
    }
    let mut columns = line_columns();
    columns.insert(2, Column::text("calls_to", "CALLS TO", 2, Cut::End));
    let rows = found.iter().flat_map(|sold| {
        let calls_to = sold.calls_to.join(", ");
        sold.lines.iter().map(move |line| {
            let mut cells = line_cells(line);
            cells.insert(2, Cell::Text(calls_to.clone()));
            cells
        })
    });
    let rows = rows.collect();
    lines(page, prices, columns, rows)
}

/// Which list is in force.
fn about_json(about: &About) -> Value {
    json!({
        "source": &*about.source,
        "version": &*about.version,
        "as_of": about.as_of_ms.map(super::table::utc),
    })
}

fn about_text(about: &About) -> String {
    let day = about
        .as_of_ms
        .map(|ms| moment(ms, &jiff::tz::TimeZone::UTC, "%Y-%m-%d"));
    format!(
        "{} {}, of {}",
        about.source,
        about.version,
        day.as_deref().unwrap_or("an unknown day")
    )
}

/// What the heading of a report says of the prices in force.
pub(super) fn in_force_text(in_force: &InForce) -> String {
    let about = &in_force.about;
    let day = about
        .as_of_ms
        .map(|ms| moment(ms, &jiff::tz::TimeZone::UTC, "%Y-%m-%d"));
    let age = match in_force.age_days.filter(|_| in_force.is_old) {
        Some(days) => format!(", {} days old", count(days)),
        None => String::new(),
    };
    let own = match in_force.own {
        0 => String::new(),
        some => format!(" · {some} own"),
    };
    format!(
        "prices {} {} ({}{age}){own}",
        about.source,
        about.version,
        day.as_deref().unwrap_or("of an unknown day")
    )
}

/// The same in documents.
pub(super) fn in_force_json(in_force: &InForce) -> Value {
    let about = &in_force.about;
    json!({
        "source": &*about.source,
        "version": &*about.version,
        "as_of": about.as_of_ms.map(super::table::utc),
        "own": in_force.own,
        "is_old": in_force.is_old,
    })
}

fn document(page: &Page<'_>, prices: &Prices) -> Map<String, Value> {
    Map::from_iter([
        (
            "schema_version".to_owned(),
            Value::from(JSON_SCHEMA_VERSION),
        ),
        ("generated_at".to_owned(), Value::from(page.now.to_string())),
        ("list".to_owned(), about_json(&prices.list().about)),
    ])
}

fn rate_columns() -> impl Iterator<Item = Column> {
    RATES.into_iter().map(|(name, shown)| match shown {
        Some((heading, expendable)) => Column::number(name, heading, expendable),
        None => Column::hidden(name),
    })
}

fn rate_cells(rates: &Rates) -> impl Iterator<Item = Cell> {
    let rates = rates.all();
    rates
        .into_iter()
        .map(|rate| rate.map_or(Cell::Unknown, Cell::Rate))
}

fn line_columns() -> Vec<Column> {
    let mut columns = vec![
        Column::text("provider", "PROVIDER", 0, Cut::End),
        Column::text("model", "MODEL", 0, Cut::End),
        Column::text("service_tier", "TIER", 5, Cut::End),
        Column::number("context_over_tokens", "PROMPT OVER", 6),
        Column::text("valid_from", "FROM", 7, Cut::End),
        Column::text("daily_utc", "HOURS", 8, Cut::End),
        Column::text("days", "DAYS", 9, Cut::End),
    ];
    columns.extend(rate_columns());
    columns
}

fn line_cells(line: &Line) -> Vec<Cell> {
    let utc = jiff::tz::TimeZone::UTC;
    let from = line.valid_from_ms.map(|ms| moment(ms, &utc, "%Y-%m-%d"));
    let time = |ms| moment(ms, &utc, "%H:%M");
    let daily = line
        .daily_ms
        .map(|(from, to)| format!("{}-{}", time(from), time(to)));
    let mut cells = vec![
        Cell::Text(line.provider.clone()),
        Cell::Text(line.model.clone()),
        Cell::text(line.variant.map(agent_core::prices::Variant::as_str)),
        line.context_over.map_or(Cell::Unknown, Cell::Count),
        Cell::text(from),
        Cell::text(daily),
        Cell::text(line.is_of_working_days.then_some("working days in China")),
    ];
    cells.extend(rate_cells(&line.rates));
    cells
}

fn lines(
    page: &mut Page<'_>,
    prices: &Prices,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
) -> Result<Found, Error> {
    let found = if rows.is_empty() {
        Found::Nothing
    } else {
        Found::Something
    };
    let table = Table {
        columns,
        rows,
        ..Table::default()
    };
    write(page, prices, &table)?;
    Ok(found)
}

fn write(page: &mut Page<'_>, prices: &Prices, table: &Table) -> Result<(), Error> {
    if page.format == Format::Json {
        let mut document = document(page, prices);
        document.insert("rows".to_owned(), table.json_rows());
        write_json(page.out, &Value::Object(document))?;
        return Ok(());
    }
    page.table(table)?;
    if page.is_for_people() {
        let about = about_text(&prices.list().about);
        writeln!(page.out, "US dollars per million tokens · {about}")?;
    }
    Ok(())
}

/// Writes the prices of one's own that are in force.
///
/// # Errors
/// All of [`Error`].
pub fn own(page: &mut Page<'_>, prices: &Prices) -> Result<Found, Error> {
    let own = prices.own();
    if own.is_empty() && page.is_for_people() {
        writeln!(
            page.out,
            "No price of your own is configured; `bpftok config default` shows how entries [[price]] look."
        )?;
        return Ok(Found::Nothing);
    }
    let mut columns = vec![
        Column::text("provider", "PROVIDER", 0, Cut::End),
        Column::text("model", "MODEL", 0, Cut::End),
        Column::text("like", "LIKE", 2, Cut::End),
        Column::number("factor_thousandths", "THOUSANDTHS", 5),
        Column::number("context_over_tokens", "PROMPT OVER", 6),
        Column::text("valid_from", "FROM", 7, Cut::End),
        Column::text("valid_until", "UNTIL", 8, Cut::End),
    ];
    columns.extend(rate_columns());
    let rows = own.iter().map(|own| {
        let day = |ms: Option<i64>| ms.map(|ms| moment(ms, &jiff::tz::TimeZone::UTC, "%Y-%m-%d"));
        let (like, milli, rates) = match &own.price {
            Own::Rates(rates) => (None, None, *rates),
            Own::Like {
                provider,
                model,
                milli,
            } => {
                let model = model.as_deref().map(|model| format!("/{model}"));
                let like = provider.clone().unwrap_or_default() + &model.unwrap_or_default();
                (Some(like), Some(*milli), Rates::default())
            }
        };
        let mut cells = vec![
            Cell::Text(own.provider.clone().unwrap_or_else(|| "*".to_owned())),
            Cell::Text(own.model.clone()),
            Cell::text(like),
            milli.map_or(Cell::Unknown, Cell::Count),
            own.context_over.map_or(Cell::Unknown, Cell::Count),
            Cell::text(day(own.valid_from_ms)),
            Cell::text(day(own.valid_until_ms)),
        ];
        cells.extend(rate_cells(&rates));
        cells
    });
    let table = Table {
        columns,
        rows: rows.collect(),
        ..Table::default()
    };
    write(page, prices, &table)?;
    Ok(Found::Something)
}

/// Writes which models of a window have no price, and whether the list is old.
///
/// # Errors
/// All of [`Error`].
pub fn check(
    page: &mut Page<'_>,
    reader: &Reader,
    asked: &Asked,
    prices: &Prices,
) -> Result<Found, Error> {
    let window = page.window(asked)?;
    let unpriced = reader.unpriced(window)?;
    let about = &prices.list().about;
    let is_old = (page.prices)().is_old;
    let columns = vec![
        Column::text("provider", "PROVIDER", 0, Cut::End),
        Column::text("model", "MODEL", 0, Cut::End),
        Column::number("requests", "CALLS", 1),
        Column::number("unpriced_tokens", "TOKENS", 0),
        Column::text("last", "LAST", 2, Cut::End),
        Column::text("state", "STATE", 0, Cut::End),
    ];
    let row = |model: &crate::store::Unpriced| {
        let name = model.model.as_deref().unwrap_or_default();
        let is_listed = !prices.list().sold(Some(&model.provider), name).is_empty();
        let state = if is_listed {
            "has a price now"
        } else {
            "no price"
        };
        vec![
            Cell::Text(model.provider.clone()),
            Cell::text(model.model.clone()),
            Cell::Count(model.requests),
            Cell::Count(model.unpriced_tokens),
            Cell::Moment(model.last_ms),
            Cell::Text(state.to_owned()),
        ]
    };
    let table = Table {
        columns,
        rows: unpriced.iter().map(row).collect(),
        ..Table::default()
    };
    if page.format == Format::Json {
        let mut document = document(page, prices);
        document.extend(page.document(window));
        document.insert("is_old".to_owned(), Value::from(is_old));
        document.insert("rows".to_owned(), table.json_rows());
        write_json(page.out, &Value::Object(document))?;
    } else if page.is_for_people() {
        check_text(page, window, &table, about, is_old)?;
    } else {
        page.table(&table)?;
    }
    Ok(Found::Something)
}

fn check_text(
    page: &mut Page<'_>,
    window: Window,
    table: &Table,
    about: &About,
    is_old: bool,
) -> Result<(), Error> {
    writeln!(page.out, "{}\n", page.heading(window))?;
    if table.rows.is_empty() {
        writeln!(
            page.out,
            "Every call of this time whose tokens are known has a price."
        )?;
    } else {
        page.table(table)?;
        writeln!(
            page.out,
            "Entries [[price]] of the configuration give a model a price; `bpftok reprice` gives it to calls\n\
             that were made before."
        )?;
    }
    writeln!(page.out, "list of prices: {}", about_text(about))?;
    if is_old {
        writeln!(
            page.out,
            "The list is old. A later bpftok has a later one, or install it with `bpftok prices update FILE`."
        )?;
    }
    Ok(())
}

/// Says what a list that may be installed changes, and where it was.
///
/// # Errors
/// All of [`Error`].
pub fn update(
    page: &mut Page<'_>,
    prices: &Prices,
    candidate: &Candidate,
    installed: Option<&std::path::Path>,
) -> Result<Found, Error> {
    let old: Vec<Line> = prices.list().lines().collect();
    let new: Vec<Line> = candidate.list.lines().collect();
    let missing = |lines: &[Line], from: &[Line]| {
        let from: std::collections::BTreeSet<String> =
            from.iter().map(|line| format!("{line:?}")).collect();
        lines
            .iter()
            .filter(|line| !from.contains(&format!("{line:?}")))
            .cloned()
            .collect::<Vec<_>>()
    };
    let (added, removed) = (missing(&new, &old), missing(&old, &new));
    let is_in_force = candidate.list.about.as_of_ms >= List::bundled().about.as_of_ms;
    if page.format == Format::Json {
        let mut document = document(page, prices);
        document.insert("sha256".to_owned(), Value::from(candidate.sha256.as_str()));
        document.insert("candidate".to_owned(), about_json(&candidate.list.about));
        document.insert("prices".to_owned(), Value::from(new.len()));
        document.insert("added".to_owned(), Value::from(added.len()));
        document.insert("removed".to_owned(), Value::from(removed.len()));
        document.insert(
            "left_out_models".to_owned(),
            Value::from(candidate.list.left_out),
        );
        let path = installed.map(|path| path.display().to_string());
        document.insert("installed".to_owned(), Value::from(path));
        document.insert(
            "is_in_force".to_owned(),
            Value::from(is_in_force && installed.is_some()),
        );
        write_json(page.out, &Value::Object(document))?;
        return Ok(Found::Something);
    }
    writeln!(page.out, "sha256  {}", candidate.sha256)?;
    writeln!(page.out, "now     {}", about_text(&prices.list().about))?;
    writeln!(page.out, "new     {}", about_text(&candidate.list.about))?;
    for (sign, lines) in [('-', &removed), ('+', &added)] {
        for line in lines.iter().take(SHOWN) {
            let price =
                |rate: Option<u64>| rate.map_or_else(|| "—".to_owned(), super::text::exact_money);
            let tier = line.variant.map_or("", agent_core::prices::Variant::as_str);
            let over = line
                .context_over
                .map(|over| format!(" over {}", count(over)));
            writeln!(
                page.out,
                "{sign} {} {} {tier}{}: input {}, output {}",
                super::text::visible(&line.provider),
                super::text::visible(&line.model),
                over.unwrap_or_default(),
                price(line.rates.input_uncached),
                price(line.rates.output),
            )?;
        }
        if lines.len() > SHOWN {
            writeln!(page.out, "{sign} and {} more", lines.len() - SHOWN)?;
        }
    }
    writeln!(
        page.out,
        "{} prices, {} new or changed, {} gone; {} models are left out",
        new.len(),
        added.len(),
        removed.len(),
        candidate.list.left_out
    )?;
    match installed {
        Some(path) => {
            let effect = if is_in_force {
                "a running agent takes it when it is started again"
            } else {
                "the list that bpftok carries is of a later day, and stays in force"
            };
            writeln!(page.out, "installed as {}; {effect}", path.display())?;
        }
        None => writeln!(page.out, "nothing was installed")?,
    }
    Ok(Found::Something)
}

/// LIMIT: prices that are listed one by one; the numbers are of all.
const SHOWN: usize = 20;

/// Says what came of pricing calls anew.
///
/// # Errors
/// All of [`Error`].
pub fn repriced(
    page: &mut Page<'_>,
    asked: &Asked,
    prices: &Prices,
    run: impl FnOnce(Window) -> Result<(Repriced, bool), crate::store::Error>,
) -> Result<Found, Error> {
    let window = page.window(asked)?;
    let (sum, is_kept) = run(window)?;
    if page.format == Format::Json {
        let mut document = document(page, prices);
        document.extend(page.document(window));
        for (name, value) in [
            ("rows", sum.rows),
            ("priced_rows", sum.priced_rows),
            ("changed_rows", sum.changed_rows),
            ("cost_nanousd", sum.cost_nanousd),
            ("repriced_nanousd", sum.repriced_nanousd),
        ] {
            document.insert(name.to_owned(), Value::from(value));
        }
        document.insert("is_kept".to_owned(), Value::from(is_kept));
        write_json(page.out, &Value::Object(document))?;
    } else {
        writeln!(page.out, "{}\n", page.heading(window))?;
        writeln!(
            page.out,
            "{} calls and models inside of calls, {} with a price by {}",
            count(sum.rows),
            count(sum.priced_rows),
            about_text(&prices.list().about)
        )?;
        writeln!(
            page.out,
            "cost at the time {}, now {}; {} changed",
            money(sum.cost_nanousd),
            money(sum.repriced_nanousd),
            count(sum.changed_rows)
        )?;
        let kept = if is_kept {
            "kept as repriced_nanousd, beside cost_nanousd, which stays"
        } else {
            "nothing was written"
        };
        writeln!(page.out, "{kept}")?;
    }
    Ok(if sum.rows == 0 {
        Found::Nothing
    } else {
        Found::Something
    })
}
