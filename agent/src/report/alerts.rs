//! `bpftok alerts`: what is or was wrong, and who was told.

use serde_json::{Map, Value};

use super::table::{Cell, Column, Table, write_json};
use super::text::{self, Cut, UNKNOWN};
use super::{Asked, Error, Format, Found, JSON_SCHEMA_VERSION, Page, table};
use crate::store::{AlertFilter, AlertRow, DeliveryRow, Reader};

/// Which alerts are listed.
#[derive(Clone, Debug, PartialEq)]
pub enum Listed {
    /// Those that fire.
    Firing,
    /// Those that have not ended, and those of a time.
    Of(Asked),
}

/// Writes the alerts.
///
/// # Errors
/// All of [`Error`].
pub fn alerts(page: &mut Page<'_>, reader: &Reader, listed: &Listed) -> Result<Found, Error> {
    let filter = match listed {
        Listed::Firing => AlertFilter::Firing,
        Listed::Of(asked) => AlertFilter::Since(page.window(asked)?.from_ms),
    };
    let alerts = reader.alerts(filter)?;
    if alerts.is_empty() && page.is_for_people() {
        let when = match listed {
            Listed::Firing => "Nothing is wrong at the moment.",
            Listed::Of(_) => "Nothing was wrong in this time.",
        };
        writeln!(page.out, "{when}")?;
        return Ok(Found::Something);
    }
    let table = list(&alerts);
    if page.format == Format::Json {
        let mut document = document(page);
        document.insert("rows".to_owned(), table.json_rows());
        write_json(page.out, &Value::Object(document))?;
    } else {
        page.table(&table)?;
    }
    Ok(Found::Something)
}

/// Writes one alert, and who was told of it.
///
/// # Errors
/// All of [`Error`].
pub fn alert(page: &mut Page<'_>, reader: &Reader, id: u64) -> Result<Found, Error> {
    let alerts = reader.alerts(AlertFilter::Id(id))?;
    let alert = alerts.first().ok_or(Error::NoAlert { id })?;
    let deliveries = told(&reader.deliveries(id)?);
    match page.format {
        Format::Table | Format::Wide | Format::Md => {
            details(page, alert)?;
            if !deliveries.rows.is_empty() {
                writeln!(page.out)?;
                page.table(&deliveries)?;
            }
        }
        Format::Json => {
            let mut document = document(page);
            document.insert("rows".to_owned(), list(&alerts).json_rows());
            document.insert("deliveries".to_owned(), deliveries.json_rows());
            write_json(page.out, &Value::Object(document))?;
        }
        Format::Ndjson | Format::Csv | Format::Tsv => page.table(&list(&alerts))?,
    }
    Ok(Found::Something)
}

fn document(page: &Page<'_>) -> Map<String, Value> {
    let mut document = Map::new();
    document.insert("schema_version".to_owned(), JSON_SCHEMA_VERSION.into());
    document.insert("generated_at".to_owned(), page.now.to_string().into());
    document
}

/// What it is about, as in `workflow=nightly user=ci`.
fn scope(alert: &AlertRow) -> String {
    let pairs = alert.scope.iter();
    let pairs: Vec<String> = pairs
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(" ")
}

fn state(alert: &AlertRow) -> String {
    match alert.acknowledged_ms {
        Some(_) if alert.state == "firing" => "taken on".to_owned(),
        _ => alert.state.clone(),
    }
}

fn list(alerts: &[AlertRow]) -> Table {
    let host = Column::text("host_name", "HOST", 9, Cut::End);
    let first = alerts.first().map(|alert| &alert.host_name);
    let is_one_host = alerts.iter().all(|alert| Some(&alert.host_name) == first);
    let moment = |ms: Option<i64>| ms.map_or(Cell::Unknown, Cell::Moment);
    let rows = alerts
        .iter()
        .map(|alert| {
            let scope_json = alert.scope.iter();
            let scope_json: Map<String, Value> = scope_json
                .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
                .collect();
            vec![
                Cell::Number(alert.alert_id.into()),
                Cell::Text(alert.host_name.clone()),
                Cell::Text(alert.severity.clone()),
                Cell::Text(alert.state.clone()),
                Cell::Text(state(alert)),
                Cell::Moment(alert.started_ms),
                moment(alert.fired_ms),
                moment(alert.ended_ms),
                Cell::Text(alert.rule.clone()),
                Cell::Text(alert.variant.clone()),
                Cell::text(alert.budget.clone()),
                Cell::Number(Value::Object(scope_json)),
                Cell::Text(scope(alert)),
                Cell::Text(alert.summary.clone()),
                Cell::Number(Value::Object(alert.evidence.clone())),
                moment(alert.acknowledged_ms),
                Cell::text(alert.acknowledged_by.clone()),
                moment(alert.last_notified_ms),
                Cell::Count(alert.delivered_count),
                Cell::Count(alert.waiting_count),
                Cell::Count(alert.given_up_count),
                Cell::Text(alert.fingerprint.clone()),
            ]
        })
        .collect();
    Table {
        columns: vec![
            Column::number("alert_id", "ID", 0),
            Column {
                heading: host.heading.filter(|_| !is_one_host),
                ..host
            },
            Column::text("severity", "SEVERITY", 2, Cut::End),
            Column::hidden("state"),
            Column::text("shown_state", "STATE", 0, Cut::End),
            Column::hidden("started_at"),
            Column::number("fired_at", "SINCE", 1),
            Column::number("ended_at", "UNTIL", 4),
            Column::text("rule", "RULE", 3, Cut::End),
            Column::text("variant", "", 6, Cut::End),
            Column::text("budget", "BUDGET", 5, Cut::End),
            Column::hidden("scope"),
            Column::text("shown_scope", "ABOUT", 7, Cut::End),
            Column::text("summary", "WHAT", 0, Cut::End),
            Column::hidden("evidence"),
            Column::hidden("acknowledged_at"),
            Column::hidden("acknowledged_by"),
            Column::hidden("last_notified_at"),
            Column::hidden("delivered_count"),
            Column::hidden("waiting_count"),
            Column::hidden("given_up_count"),
            Column::hidden("fingerprint"),
        ],
        rows,
        keys: 0,
        totals: None,
    }
}

fn told(deliveries: &[DeliveryRow]) -> Table {
    let moment = |ms: Option<i64>| ms.map_or(Cell::Unknown, Cell::Moment);
    Table {
        columns: vec![
            Column::text("channel", "CHANNEL", 0, Cut::End),
            Column::text("kind", "MESSAGE", 0, Cut::End),
            Column::text("state", "STATE", 0, Cut::End),
            Column::number("created_at", "MADE", 2),
            Column::number("delivered_at", "ARRIVED", 1),
            Column::number("attempts", "TRIES", 3),
            Column::number("next_try_at", "NEXT TRY", 4),
            Column::text("last_error", "ERROR", 5, Cut::End),
        ],
        rows: deliveries
            .iter()
            .map(|delivery| {
                vec![
                    Cell::Text(delivery.channel.clone()),
                    Cell::Text(delivery.kind.clone()),
                    Cell::Text(delivery.state.replace('_', " ")),
                    Cell::Moment(delivery.created_ms),
                    moment(delivery.delivered_ms),
                    Cell::Count(delivery.attempts),
                    moment(delivery.next_try_ms),
                    Cell::text(delivery.last_error.clone()),
                ]
            })
            .collect(),
        keys: 0,
        totals: None,
    }
}

fn details(page: &mut Page<'_>, alert: &AlertRow) -> Result<(), Error> {
    let at = |ms: i64| table::moment(ms, &page.zone, "%Y-%m-%d %H:%M:%S %:z");
    let maybe = |ms: Option<i64>| ms.map_or_else(|| UNKNOWN.to_owned(), at);
    let taken = alert.acknowledged_ms.map(|ms| {
        let by = alert.acknowledged_by.as_deref().unwrap_or_default();
        format!("{} by {by}", at(ms))
    });
    let variant = Some(alert.variant.clone()).filter(|variant| !variant.is_empty());
    let scope = Some(scope(alert)).filter(|scope| !scope.is_empty());
    let mut lines = vec![
        ("Alert", Some(alert.alert_id.to_string())),
        ("What", Some(alert.summary.clone())),
        ("Severity", Some(alert.severity.clone())),
        ("State", Some(alert.state.clone())),
        ("Rule", Some(alert.rule.clone())),
        ("Variant", variant),
        ("Budget", alert.budget.clone()),
        (
            "About",
            Some(scope.unwrap_or_else(|| "the whole host".to_owned())),
        ),
        ("Host", Some(alert.host_name.clone())),
        ("Began", Some(at(alert.started_ms))),
        ("Fired", Some(maybe(alert.fired_ms))),
        ("Over", Some(maybe(alert.ended_ms))),
        ("Taken on", taken),
    ];
    let evidence: Vec<(String, String)> = alert
        .evidence
        .iter()
        .map(|(name, value)| {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), value)
        })
        .collect();
    let words = evidence
        .iter()
        .map(|(name, value)| format!("{name} = {value}"));
    let words: Vec<String> = words.collect();
    let mut words = words.into_iter();
    lines.push(("Evidence", words.next()));
    let more = words.map(|word| ("", Some(word)));
    lines.extend(more);
    for (name, value) in lines {
        if let Some(value) = value {
            let line = format!("{name:<10}{}", text::visible(&value));
            match page.format {
                Format::Md => writeln!(page.out, "{}  ", table::markdown(&line))?,
                Format::Table
                | Format::Wide
                | Format::Json
                | Format::Ndjson
                | Format::Csv
                | Format::Tsv => writeln!(page.out, "{line}")?,
            }
        }
    }
    Ok(())
}
