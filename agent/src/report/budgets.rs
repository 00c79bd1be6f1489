//! `bpftok budget`: how budgets stand, and how they stood.

use agent_core::budget::{Budget, Budgets, Period, State, Status, Unit, Window};
use agent_core::prices::Prices;
use serde_json::{Map, Value, json};

use super::table::{Cell, Column, Table, write_json};
use super::text::{self, Cut};
use super::{Error, Format, Found, JSON_SCHEMA_VERSION, Page};
use crate::store::{PastPeriod, Reader};

/// How one value of a budget stands on a host.
struct Standing<'a> {
    host: String,
    budget: &'a Budget,
    status: Status,
}

/// Writes how budgets stand now, computed from the ledger; those of `names` if any are named.
///
/// # Errors
/// All of [`Error`].
pub fn budgets(
    page: &mut Page<'_>,
    reader: &Reader,
    budgets: &[Budget],
    names: &[String],
    prices: &Prices,
) -> Result<Found, Error> {
    let Some(standings) = some_stand(page, reader, budgets, names, prices)? else {
        return Ok(Found::Nothing);
    };
    write(page, &standings)?;
    Ok(Found::Something)
}

/// Writes the budgets that burn or are exceeded, for scripts: nothing if all is well.
///
/// # Errors
/// All of [`Error`].
pub fn check_budgets(
    page: &mut Page<'_>,
    reader: &Reader,
    budgets: &[Budget],
    names: &[String],
    prices: &Prices,
) -> Result<Found, Error> {
    let Some(mut standings) = some_stand(page, reader, budgets, names, prices)? else {
        return Ok(Found::Nothing);
    };
    let worst = standings.iter().map(|standing| standing.status.state).max();
    standings.retain(|standing| standing.status.state > State::Ok);
    if !standings.is_empty() || !page.is_for_people() {
        write(page, &standings)?;
    }
    Ok(match worst {
        Some(State::Exceeded) => Found::Exceeded,
        Some(State::Ticket | State::Page) => Found::Burning,
        Some(State::Ok) | None => Found::Something,
    })
}

/// Writes the periods of budgets, as the agent kept them, the latest first.
///
/// # Errors
/// All of [`Error`].
pub fn budget_history(
    page: &mut Page<'_>,
    reader: &Reader,
    name: Option<&str>,
    since_ms: i64,
) -> Result<Found, Error> {
    let periods = reader.budget_periods(name, since_ms)?;
    if periods.is_empty() && page.is_for_people() {
        writeln!(
            page.out,
            "No period of a budget is kept yet: the agent keeps them while it runs (`bpftok status`)."
        )?;
        return Ok(Found::Nothing);
    }
    let table = Table {
        columns: vec![
            Column::text("host_name", "HOST", 9, Cut::End),
            Column::text("budget", "BUDGET", 0, Cut::End),
            Column::text("scope_value", "OF", 1, Cut::End),
            Column::hidden("period_start"),
            Column::hidden("period_end"),
            Column::text("period", "PERIOD", 0, Cut::End),
            Column::hidden("unit"),
            Column::hidden("used_amount"),
            Column::hidden("limit_amount"),
            Column::hidden("is_lower_bound"),
            Column::number("used", "USED", 0),
            Column::number("limit", "LIMIT", 0),
            Column::number("used_ratio", "SHARE", 0),
            Column::text("told", "TOLD", 3, Cut::End),
            Column::text("state", "STATE", 0, Cut::End),
        ],
        rows: periods.iter().map(|period| past(page, period)).collect(),
        keys: 0,
        totals: None,
    };
    write_table(page, &table)?;
    Ok(match periods.is_empty() {
        true => Found::Nothing,
        false => Found::Something,
    })
}

fn none(budgets: &[Budget], names: &[String]) -> String {
    let missing = names
        .iter()
        .find(|name| budgets.iter().all(|budget| *budget.name != **name));
    match missing {
        Some(name) => format!(
            "No budget is called {}. `bpftok budget` shows all.",
            text::visible(name)
        ),
        None if budgets.is_empty() => "\
No budget is configured. For example:
  sudo bpftok budget set platform-month --limit \"3000 usd\" --period month
  sudo bpftok budget set developer-day --scope user --limit \"60 usd\" --period day
or entries [[budget]] in the configuration (`bpftok config show`)."
            .to_owned(),
        None => "Nothing was used yet of any budget that is split by a value.".to_owned(),
    }
}

/// How budgets stand; where there is none that is written, and `None`.
fn some_stand<'a>(
    page: &mut Page<'_>,
    reader: &Reader,
    budgets: &'a [Budget],
    names: &[String],
    prices: &Prices,
) -> Result<Option<Vec<Standing<'a>>>, Error> {
    let standings = stand(page, reader, budgets, names, prices)?;
    if !standings.is_empty() {
        return Ok(Some(standings));
    }
    if page.is_for_people() {
        writeln!(page.out, "{}", none(budgets, names))?;
    } else {
        write(page, &standings)?;
    }
    Ok(None)
}

/// How the budgets stand on each host of the ledger.
fn stand<'a>(
    page: &Page<'_>,
    reader: &Reader,
    budgets: &'a [Budget],
    names: &[String],
    prices: &Prices,
) -> Result<Vec<Standing<'a>>, Error> {
    let now_ms = page.now.as_millisecond();
    let wanted: Vec<Budget> = budgets
        .iter()
        .filter(|budget| names.is_empty() || names.iter().any(|name| **name == *budget.name))
        .cloned()
        .collect();
    let mut standings = Vec::new();
    for (host, spends) in reader.spends(prices)? {
        let mut meters = Budgets::new(wanted.clone(), &page.zone, now_ms);
        spends.fill(&mut meters, &wanted, now_ms)?;
        let open = spends.open(now_ms)?;
        for status in meters.evaluate(now_ms, &open).statuses {
            let budget = budgets.iter().find(|budget| budget.name == status.budget);
            standings.extend(budget.map(|budget| Standing {
                host: host.clone(),
                budget,
                status,
            }));
        }
    }
    Ok(standings)
}

fn write(page: &mut Page<'_>, standings: &[Standing<'_>]) -> Result<(), Error> {
    let is_one_host = standings
        .iter()
        .all(|standing| standings.first().map(|first| &first.host) == Some(&standing.host));
    let host = Column::text("host_name", "HOST", 9, Cut::End);
    let table = Table {
        columns: vec![
            Column {
                heading: host.heading.filter(|_| !is_one_host),
                ..host
            },
            Column::text("budget", "BUDGET", 0, Cut::End),
            Column::text("scope", "SCOPE", 2, Cut::End),
            Column::hidden("scope_value"),
            Column::text("period", "PERIOD", 3, Cut::End),
            Column::hidden("period_start"),
            Column::hidden("resets_at"),
            Column::hidden("unit"),
            Column::hidden("used_amount"),
            Column::hidden("open_amount"),
            Column::hidden("limit_amount"),
            Column::hidden("is_lower_bound"),
            Column::hidden("unpriced_tokens"),
            Column::hidden("estimated_tokens"),
            Column::hidden("tokens"),
            Column::number("used", "USED", 0),
            Column::number("used_ratio", "SHARE", 1),
            Column::hidden("burn"),
            Column::number("burn_shown", "BURN 1h/6h", 4),
            Column::hidden("forecast_amount"),
            Column::hidden("exhausted_at"),
            Column::number("exhausted", "EXHAUSTED", 5),
            Column::text("state", "STATE", 0, Cut::End),
        ],
        rows: standings
            .iter()
            .map(|standing| row(page, standing))
            .collect(),
        keys: 0,
        totals: None,
    };
    write_table(page, &table)?;
    if page.is_for_people() {
        for standing in standings {
            note(page, standing)?;
        }
    }
    Ok(())
}

fn write_table(page: &mut Page<'_>, table: &Table) -> Result<(), Error> {
    if page.format == Format::Json {
        let mut document = Map::new();
        document.insert("schema_version".to_owned(), JSON_SCHEMA_VERSION.into());
        document.insert("generated_at".to_owned(), page.now.to_string().into());
        document.insert("rows".to_owned(), table.json_rows());
        return write_json(page.out, &Value::Object(document)).map_err(Error::from);
    }
    page.table(table).map_err(Error::from)
}

/// What stands behind the percentage of a budget, where that is not all there is.
fn note(page: &mut Page<'_>, standing: &Standing<'_>) -> Result<(), Error> {
    let amount = &standing.status.amount;
    let name = text::visible(&standing.budget.name).into_owned();
    if standing.budget.limit.unit == Unit::Usd && amount.unpriced_tokens > 0 {
        writeln!(
            page.out,
            "unpriced in {name}: {} tokens (its figure is a lower bound)",
            text::count(amount.unpriced_tokens)
        )?;
    }
    if amount.estimated_tokens > 0 && amount.tokens > 0 {
        writeln!(
            page.out,
            "estimated in {name}: {} of {} tokens were counted here",
            text::count(amount.estimated_tokens),
            text::count(amount.tokens)
        )?;
    }
    Ok(())
}

fn row(page: &Page<'_>, standing: &Standing<'_>) -> Vec<Cell> {
    let Standing {
        host,
        budget,
        status,
    } = standing;
    let scope = match status.scope.first() {
        None => "host".to_owned(),
        Some((name, value)) => format!("{name}={value}"),
    };
    let value = match budget.scope {
        agent_core::budget::Scope::Each(_) => status.scope.first().map(|(_, value)| value.clone()),
        agent_core::budget::Scope::Host | agent_core::budget::Scope::Like(..) => None,
    };
    let burns: Map<String, Value> = status
        .burns
        .iter()
        .map(|(window, burn)| (window.as_str().to_owned(), json!(burn)))
        .collect();
    let burn = |window| {
        status
            .burn(window)
            .map_or_else(|| text::UNKNOWN.to_owned(), |burn| format!("{burn:.1}"))
    };
    let mark = if status.is_at_least { "≥ " } else { "" };
    let used = format!(
        "{mark}{} / {}",
        shown(status.unit, status.used),
        shown(status.unit, status.limit)
    );
    let state = match (status.state, status.open > 0) {
        (state, false) => state.as_str().to_owned(),
        (state, true) => format!("{}, calls run", state.as_str()),
    };
    vec![
        Cell::Text(host.clone()),
        Cell::Text(budget.name.to_string()),
        Cell::Text(scope),
        Cell::text(value),
        Cell::Text(period(page, budget, status)),
        Cell::Moment(status.period_from_unix_ms),
        status.reset_unix_ms.map_or(Cell::Unknown, Cell::Moment),
        Cell::Text(status.unit.as_str().to_owned()),
        Cell::Count(status.used),
        Cell::Count(status.open),
        Cell::Count(status.limit),
        Cell::Number(Value::from(status.is_at_least)),
        Cell::Count(status.amount.unpriced_tokens),
        Cell::Count(status.amount.estimated_tokens),
        Cell::Count(status.amount.tokens),
        Cell::Text(used),
        Cell::Text(format!("{:.0} %", (status.used_ratio() * 100.0).floor())),
        Cell::Number(Value::Object(burns)),
        Cell::Text(format!("{}/{}", burn(Window::Hour), burn(Window::SixHours))),
        status.projected.map_or(Cell::Unknown, Cell::Count),
        status.exhausted_unix_ms.map_or(Cell::Unknown, Cell::Moment),
        status.exhausted_unix_ms.map_or(Cell::Unknown, |ms| {
            Cell::Text(super::table::moment(ms, &page.zone, "%b %d %H:%M"))
        }),
        Cell::Text(state),
    ]
}

/// The period that goes on, in words.
fn period(page: &Page<'_>, budget: &Budget, status: &Status) -> String {
    let format = match budget.period {
        Period::Day => "%b %d",
        Period::Week(_) => "week of %b %d",
        Period::Month(_) => "%b",
        Period::Quarter(_) => "quarter of %b %Y",
        Period::Year { .. } => "%Y",
        Period::Rolling { .. } => return budget.period.to_string(),
    };
    super::table::moment(status.period_from_unix_ms, &page.zone, format)
}

fn shown(unit: Unit, amount: u64) -> String {
    match unit {
        Unit::Usd => text::money(amount),
        Unit::Tokens | Unit::WeightedTokens | Unit::Requests | Unit::Sessions => {
            text::count(amount)
        }
    }
}

fn past(page: &Page<'_>, period: &PastPeriod) -> Vec<Cell> {
    let is_money = period.unit == Unit::Usd.as_str();
    let amount = |amount: u64| match (is_money, period.is_lower_bound) {
        (true, true) => Cell::MoneyAtLeast(amount),
        (true, false) => Cell::Money(amount),
        (false, true) => Cell::AtLeast(amount),
        (false, false) => Cell::Count(amount),
    };
    let ratio = period.used_amount as f64 / period.limit_amount.max(1) as f64;
    let day = |ms: i64| super::table::moment(ms, &page.zone, "%Y-%m-%d");
    let shown = match period.period_end_ms {
        None => "rolling".to_owned(),
        Some(end) => format!("{} – {}", day(period.period_start_ms), day(end)),
    };
    let told: Vec<f64> = serde_json::from_str(&period.thresholds_json).unwrap_or_default();
    let told: Vec<String> = told
        .iter()
        .map(|share| format!("{:.0} %", share * 100.0))
        .collect();
    let limit = match is_money {
        true => Cell::Money(period.limit_amount),
        false => Cell::Count(period.limit_amount),
    };
    vec![
        Cell::Text(period.host_name.clone()),
        Cell::Text(period.budget.clone()),
        Cell::text(Some(&period.scope_value).filter(|value| !value.is_empty())),
        Cell::Moment(period.period_start_ms),
        period.period_end_ms.map_or(Cell::Unknown, Cell::Moment),
        Cell::Text(shown),
        Cell::Text(period.unit.clone()),
        Cell::Count(period.used_amount),
        Cell::Count(period.limit_amount),
        Cell::Number(Value::from(period.is_lower_bound)),
        amount(period.used_amount),
        limit,
        Cell::Text(format!("{:.0} %", (ratio * 100.0).floor())),
        Cell::text(Some(told.join(", ")).filter(|told| !told.is_empty())),
        Cell::Text(period.status.clone()),
    ]
}
