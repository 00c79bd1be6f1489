//! The entries `[[budget]]`: limits that are watched.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use agent_core::budget::{
    Budget, Clock, Facet, Filter, Limit, Period, Profile, Scope, Share, Urgency,
};

use super::file::{self, Patterns, Section, Written};
use super::workflow::check_patterns;
use super::{Check, Error, Loaded, with_article};

/// Key of the entries.
pub(super) const KEY: &str = "budget";

/// LIMIT: every call is compared with each entry; a host has a dozen of them.
const MOST: usize = 256;
/// LIMIT: bytes of a name, as of a workflow.
const NAME_BYTES: usize = 128;
/// LIMIT: thresholds of a budget; each tells somebody.
const MOST_THRESHOLDS: usize = 16;
/// LIMIT: channels that a budget is told over.
const MOST_CHANNELS: usize = 16;
/// LIMIT: a threshold, in thousandths of the limit: ten times the limit.
const MOST_SHARE: u32 = 10_000;

const KEYS: &str = "name, scope, where, limit, period, anchor, timezone, profile, thresholds, burn, \
     floor, notify";

/// The budget that a command set, from its entry in JSON.
///
/// # Errors
/// What is wrong with it.
pub fn budget_of(definition_json: &str) -> Result<Budget, String> {
    let entry: toml::Value =
        serde_json::from_str(definition_json).map_err(|error| error.to_string())?;
    let mut document = toml::Table::new();
    document.insert(KEY.to_owned(), toml::Value::Array(vec![entry]));
    match Loaded::parse(Path::new(""), &document.to_string()) {
        Ok(mut loaded) => {
            let budget = loaded.config.budgets.pop();
            budget.ok_or_else(|| "there is no budget in it".to_owned())
        }
        Err(Error::Mistakes { mistakes, .. }) => {
            let told: Vec<String> = mistakes
                .iter()
                .map(|mistake| {
                    let key = mistake.key.rsplit('.').next().unwrap_or_default();
                    format!("{key}: {}", mistake.problem)
                })
                .collect();
            Err(told.join("; "))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The entry of a budget, in JSON.
pub fn definition_of(budget: &Budget) -> String {
    let lines: Vec<String> = show(budget)
        .into_iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    let table: toml::Table = lines.join("\n").parse().unwrap_or_default();
    serde_json::to_string(&table).unwrap_or_default()
}

/// An entry's keys and their values as TOML.
pub(super) fn show(budget: &Budget) -> Vec<(&'static str, String)> {
    let text = |text: &str| toml::Value::from(text).to_string();
    let mut shown = vec![
        ("name", text(&budget.name)),
        ("scope", text(&budget.scope.to_string())),
    ];
    if !budget.filters.is_empty() {
        let filters: Vec<String> = budget
            .filters
            .iter()
            .map(|filter| {
                let patterns = match &filter.patterns[..] {
                    [one] => text(one),
                    many => toml::Value::from(many.to_vec()).to_string(),
                };
                format!("{} = {patterns}", filter.facet.as_str())
            })
            .collect();
        shown.push(("where", format!("{{ {} }}", filters.join(", "))));
    }
    shown.push(("limit", text(&budget.limit.to_string())));
    shown.push(("period", text(&budget.period.to_string())));
    let anchor = budget.period.anchor();
    shown.extend(anchor.map(|anchor| ("anchor", text(&anchor))));
    let thresholds: Vec<String> = budget
        .thresholds
        .iter()
        .map(|share| format!("{}.{:03}", share.0 / 1_000, share.0 % 1_000))
        .collect();
    let floor = Limit {
        amount: budget.floor,
        unit: budget.limit.unit,
    };
    shown.extend([
        ("timezone", text(budget.clock.as_str())),
        ("profile", text(&budget.profile.to_string())),
        ("thresholds", format!("[{}]", thresholds.join(", "))),
        ("burn", text(budget.urgency.as_str())),
        ("floor", text(&floor.to_string())),
        (
            "notify",
            toml::Value::from(budget.notify.clone()).to_string(),
        ),
    ]);
    shown
}

impl Check<'_> {
    /// Takes the entries.
    pub(super) fn budgets(&mut self, written: Written<Vec<Section<file::Budget>>>) {
        let Some(entries) = self.entries(KEY, MOST, written) else {
            return;
        };
        for (key, entry) in entries {
            let Some(budget) = self.budget(&key, entry) else {
                continue;
            };
            let known = &self.loaded.config.budgets;
            if known.iter().any(|known| known.name == budget.name) {
                let problem = format!("{:?} is the name of a budget above", &*budget.name);
                self.mistake(&format!("{key}.name"), problem);
                continue;
            }
            self.loaded.config.budgets.push(budget);
        }
    }

    fn budget(&mut self, key: &str, entry: file::Budget) -> Option<Budget> {
        let before = self.mistakes.len();
        let file::Budget {
            name,
            scope,
            filters,
            limit,
            period,
            anchor,
            timezone,
            profile,
            thresholds,
            burn,
            floor,
            notify,
            unknown,
        } = entry;
        let name = self.member(key, "name", name, "a string", check_name);
        if name.is_none() {
            let problem = "is missing; an entry [[budget]] needs a name and a limit".to_owned();
            self.mistake(&format!("{key}.name"), problem);
        }
        let scope = self.member(key, "scope", scope, "a string", |text: String| {
            Scope::parse(&text).map_err(|wrong| wrong.to_string())
        });
        let filters = self.filters(&format!("{key}.where"), filters);
        let limit = self.member(key, "limit", limit, "a string", |text: String| {
            Limit::parse(&text).map_err(|wrong| wrong.to_string())
        });
        if limit.is_none() {
            let problem = "is missing; say how much, as in \"3000 usd\" or \"1000M tokens\"";
            self.mistake(&format!("{key}.limit"), problem.to_owned());
        }
        let period = self.period(key, period, anchor);
        let clock = self.member(key, "timezone", timezone, "a string", |word: String| {
            [Clock::Local, Clock::Utc]
                .into_iter()
                .find(|clock| clock.as_str() == word)
                .ok_or_else(|| format!("{word:?} is neither \"local\" nor \"utc\""))
        });
        let profile = self.member(key, "profile", profile, "a string", |text: String| {
            Profile::parse(&text).map_err(|wrong| wrong.to_string())
        });
        let wanted = "a list of numbers";
        let thresholds = self.member(key, "thresholds", thresholds, wanted, check_thresholds);
        let urgency = self.member(key, "burn", burn, "a string", |word: String| {
            Urgency::ALL
                .into_iter()
                .find(|urgency| urgency.as_str() == word)
                .ok_or_else(|| format!("{word:?} is none of \"page\", \"ticket\", \"off\""))
        });
        let floor = self.member(key, "floor", floor, "a string", |text: String| {
            let floor = Limit::parse_floor(&text).map_err(|wrong| wrong.to_string())?;
            match limit.flatten() {
                Some(limit) if limit.unit != floor.unit => Err(format!(
                    "is in {}, must be in {} as the limit is",
                    floor.unit.as_str(),
                    limit.unit.as_str()
                )),
                Some(_) | None => Ok(floor.amount),
            }
        });
        let notify = self.member(key, "notify", notify, "a list of strings", check_channels);
        for unknown in unknown.keys() {
            let problem = match Facet::of_name(unknown) {
                Some(_) => format!("stands outside of where; write where = {{ {unknown} = … }}"),
                None => format!("unknown key; [[budget]] has {KEYS}"),
            };
            self.mistake(&format!("{key}.{unknown}"), problem);
        }
        if self.mistakes.len() > before {
            // What is left of it would cover more than was meant.
            return None;
        }
        let scope = scope.flatten().unwrap_or(Scope::Host);
        let plain = Budget::monthly(&name??, limit??);
        Some(Budget {
            filters,
            period: period?,
            clock: clock.flatten().unwrap_or(plain.clock),
            profile: profile.flatten().unwrap_or(plain.profile),
            thresholds: thresholds.flatten().unwrap_or(plain.thresholds),
            urgency: urgency
                .flatten()
                .unwrap_or_else(|| Urgency::default_of(&scope)),
            floor: floor.flatten().unwrap_or(plain.floor),
            notify: notify.flatten().unwrap_or_default(),
            name: plain.name,
            limit: plain.limit,
            scope,
        })
    }

    fn period(
        &mut self,
        key: &str,
        period: Written<String>,
        anchor: Written<String>,
    ) -> Option<Period> {
        let period = self.member(key, "period", period, "a string", |text: String| {
            Period::parse(&text, None)
                .map(|_| text)
                .map_err(|wrong| wrong.to_string())
        });
        let period = match period {
            None => Period::DEFAULT.to_string(),
            Some(written) => written?,
        };
        let anchored = self.member(key, "anchor", anchor, "a string", |anchor: String| {
            Period::parse(&period, Some(&anchor)).map_err(|wrong| wrong.to_string())
        });
        anchored.unwrap_or_else(|| Period::parse(&period, None).ok())
    }

    /// What must hold, in the order of the facets.
    fn filters(
        &mut self,
        key: &str,
        filters: Section<BTreeMap<String, Written<Patterns>>>,
    ) -> Vec<Filter> {
        let mut written = match filters {
            Section::Present(written) => written,
            Section::Absent => return Vec::new(),
            Section::Mistyped(kind) => {
                let kind = with_article(kind);
                let problem = format!("is {kind}, must be a table as in {{ task = \"coding\" }}");
                self.mistake(key, problem);
                return Vec::new();
            }
        };
        let mut filters = Vec::new();
        for facet in Facet::ALL {
            let Some(patterns) = written.remove(facet.as_str()) else {
                continue;
            };
            let wanted = "a pattern or a list of patterns, all strings";
            let patterns = self.member(key, facet.as_str(), patterns, wanted, check_patterns);
            if let Some(patterns) = patterns.flatten() {
                filters.push(Filter { facet, patterns });
            }
        }
        for unknown in written.keys() {
            let known = Facet::ALL.map(Facet::as_str).join(", ");
            let problem = format!("unknown key; where has {known}");
            self.mistake(&format!("{key}.{unknown}"), problem);
        }
        filters
    }
}

fn check_name(name: String) -> Result<Arc<str>, String> {
    let is_name =
        !name.trim().is_empty() && name.len() <= NAME_BYTES && !name.chars().any(char::is_control);
    match is_name {
        true => Ok(Arc::from(name)),
        false => Err(format!("must be of 1 to {NAME_BYTES} bytes")),
    }
}

fn check_thresholds(written: Vec<f64>) -> Result<Vec<Share>, String> {
    if written.len() > MOST_THRESHOLDS {
        return Err(format!(
            "has {} thresholds, at most {MOST_THRESHOLDS} are possible",
            written.len()
        ));
    }
    let share = |part: f64| {
        let thousandths = part * 1_000.0;
        (1..=MOST_SHARE)
            .find(|share| (f64::from(*share) - thousandths).abs() < 1e-6)
            .map(Share)
    };
    let mut shares = Vec::new();
    for part in written {
        let share = share(part).ok_or_else(|| {
            format!("{part} is no share of a limit; write 0.001 to 10, to three places, as in 0.8")
        })?;
        shares.push(share);
    }
    shares.sort_unstable();
    shares.dedup();
    Ok(shares)
}

fn check_channels(names: Vec<String>) -> Result<Vec<String>, String> {
    if names.len() > MOST_CHANNELS {
        return Err(format!(
            "has {} names, at most {MOST_CHANNELS} are possible",
            names.len()
        ));
    }
    let is_name = |name: &String| {
        !name.trim().is_empty() && name.len() <= NAME_BYTES && !name.chars().any(char::is_control)
    };
    match names.iter().all(is_name) {
        true => Ok(names),
        false => Err(format!("must be names of 1 to {NAME_BYTES} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use agent_core::budget::Hours;

    use super::super::tests::{mistakes_of, parse};
    use super::*;

    const BUDGETS: &str = r#"
        [[budget]]
        name = "platform-month"
        limit = "3000 usd"
        [[budget]]
        name = "per-developer-day"
        scope = "user"
        where = { task = ["coding", "agentic"], client = "claude-*" }
        limit = "60 usd"
        period = "day"
        notify = ["ops"]
        [[budget]]
        name = "web-tokens"
        scope = "workflow=claude-code/*"
        limit = "5M weighted-tokens"
        period = "week"
        anchor = "Sun"
        timezone = "utc"
        profile = "business:Sun-Thu 08:30-17:00"
        thresholds = [1, 0.5, 1.25]
        burn = "ticket"
        floor = "10k weighted-tokens"
        [[budget]]
        name = "rolling"
        limit = "500 requests"
        period = "rolling:7d"
        burn = "off"
        thresholds = []
    "#;

    #[test]
    fn budgets_are_taken_in_order_and_shown_as_they_are_meant() {
        let loaded = parse(BUDGETS).unwrap();
        let limit = |text: &str| Limit::parse(text).unwrap();
        let filter = |facet, patterns: &[&str]| Filter {
            facet,
            patterns: patterns.iter().map(|text| (*text).to_owned()).collect(),
        };
        let hours = Hours {
            first: jiff::civil::Weekday::Sunday,
            last: jiff::civil::Weekday::Thursday,
            from_minute: 8 * 60 + 30,
            to_minute: 17 * 60,
        };
        assert_eq!(
            loaded.config.budgets,
            [
                Budget::monthly("platform-month", Limit::usd(3_000)),
                Budget {
                    scope: Scope::Each(Facet::User),
                    filters: vec![
                        filter(Facet::Client, &["claude-*"]),
                        filter(Facet::Task, &["coding", "agentic"]),
                    ],
                    period: Period::Day,
                    urgency: Urgency::Off,
                    notify: vec!["ops".to_owned()],
                    ..Budget::monthly("per-developer-day", Limit::usd(60))
                },
                Budget {
                    scope: Scope::Like(Facet::Workflow, "claude-code/*".to_owned()),
                    period: Period::Week(jiff::civil::Weekday::Sunday),
                    clock: Clock::Utc,
                    profile: Profile::Business(hours),
                    thresholds: vec![Share(500), Share(1_000), Share(1_250)],
                    urgency: Urgency::Ticket,
                    floor: 10_000,
                    ..Budget::monthly("web-tokens", limit("5M weighted-tokens"))
                },
                Budget {
                    period: Period::Rolling { hours: 168 },
                    thresholds: Vec::new(),
                    urgency: Urgency::Off,
                    ..Budget::monthly("rolling", limit("500 requests"))
                },
            ]
        );
        let again = parse(&loaded.show()).unwrap();
        assert_eq!(again.config.budgets, loaded.config.budgets);
    }

    #[test]
    fn all_mistakes_of_budgets_are_told_with_their_remedies() {
        let text = r#"
            [[budget]]
            name = "a"
            limit = "1 usd"
            [[budget]]
            scope = "uid"
            user = "dana"
            where = { task = 5, uid = "x" }
            [[budget]]
            name = "a"
            limit = "1 usd"
            [[budget]]
            name = ""
            limit = "12 euros"
            period = "fortnight"
            anchor = "1"
            timezone = "UTC"
            profile = "night"
            thresholds = [0.5, 0]
            burn = "loud"
            floor = "5 usd"
            notify = [""]
            colour = "red"
            [[budget]]
            name = "b"
            limit = "1M tokens"
            period = "week"
            anchor = "15"
            floor = "5 usd"
            thresholds = "half"
            where = "task"
        "#;
        assert_eq!(
            mistakes_of(text),
            [
                "budget[2].name: is missing; an entry [[budget]] needs a name and a limit",
                "budget[2].scope: \"uid\" is no scope; write \"host\", one of workflow, user, unit, container, repo, model, provider, client, task for a limit of each, or one of them and a pattern as in \"workflow=claude-code/*\"",
                "budget[2].where.task: is an integer, must be a pattern or a list of patterns, all strings",
                "budget[2].where.uid: unknown key; where has workflow, user, unit, container, repo, model, provider, client, task",
                "budget[2].limit: is missing; say how much, as in \"3000 usd\" or \"1000M tokens\"",
                "budget[2].user: stands outside of where; write where = { user = … }",
                "budget[3].name: \"a\" is the name of a budget above",
                "budget[4].name: must be of 1 to 128 bytes",
                "budget[4].limit: \"12 euros\" is no amount; write a number above 0 and one of usd, tokens, weighted-tokens, requests, sessions, as in \"3000 usd\" or \"1000M tokens\"",
                "budget[4].period: \"fortnight\" is no period; write day, week, month, quarter, year, or a length from one hour to 92 days as in \"rolling:7d\" or \"rolling:36h\"",
                "budget[4].timezone: \"UTC\" is neither \"local\" nor \"utc\"",
                "budget[4].profile: \"night\" is no profile; write auto, flat, learned, business, or hours as in \"business:Mon-Fri 09:00-18:00\"",
                "budget[4].thresholds: 0 is no share of a limit; write 0.001 to 10, to three places, as in 0.8",
                "budget[4].burn: \"loud\" is none of \"page\", \"ticket\", \"off\"",
                "budget[4].notify: must be names of 1 to 128 bytes",
                "budget[4].colour: unknown key; [[budget]] has name, scope, where, limit, period, anchor, timezone, profile, thresholds, burn, floor, notify",
                "budget[5].where: is a string, must be a table as in { task = \"coding\" }",
                "budget[5].anchor: \"15\" is nothing where a week begins; write a day of the week as in \"Sun\", of the month as in \"15\" for a month or quarter, of the year as in \"04-01\"",
                "budget[5].thresholds: is a string, must be a list of numbers",
                "budget[5].floor: is in usd, must be in tokens as the limit is",
            ]
        );
    }

    #[test]
    fn limits_of_budgets_hold_at_their_edges() {
        let budgets = |count: usize| -> String {
            let one = |number| format!("[[budget]]\nname = \"b{number}\"\nlimit = \"1 usd\"\n");
            (0..count).map(one).collect()
        };
        assert!(parse(&budgets(MOST)).is_ok());
        assert!(parse(&budgets(MOST + 1)).is_err());
        for (line, is_right) in [
            ("thresholds = [0.001, 10]", true),
            ("thresholds = [0.0001]", false),
            ("thresholds = [10.001]", false),
            ("thresholds = [nan]", false),
            ("period = \"rolling:92d\"", true),
            ("period = \"rolling:93d\"", false),
            ("anchor = \"31\"", true),
            ("anchor = \"32\"", false),
            ("floor = \"0 usd\"", true),
        ] {
            let text = format!("{}{line}", budgets(1));
            assert_eq!(parse(&text).is_ok(), is_right, "{line}");
        }
        let many = |count: usize| format!("{}notify = {:?}", budgets(1), vec!["x"; count]);
        assert!(parse(&many(MOST_CHANNELS)).is_ok());
        assert!(parse(&many(MOST_CHANNELS + 1)).is_err());
    }
}
