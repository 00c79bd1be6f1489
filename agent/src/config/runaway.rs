//! Sections `[runaway]`, `[spike]` and `[rules]`: from what on somebody should look.

use std::ops::RangeInclusive;
use std::time::Duration;

use agent_core::prices::nanousd_of;
use agent_core::runaway::Settings as Runaway;
use agent_core::spike::Settings as Spike;
use agent_core::upkeep::Settings as Rules;

use super::file::{self, Section, Written};
use super::price::dollars;
use super::{Check, Config, check_range};

/// LIMIT: patterns of what works alone; a host has some dozens of workflows.
const MOST_PATTERNS: usize = 64;
/// LIMIT: bytes of a pattern, the longest name of a file.
const PATTERN_BYTES: usize = 256;
/// LIMIT: a week without a human is a figure that was mistyped beyond.
const MINUTES: RangeInclusive<i64> = 1..=10_080;
/// LIMIT: no model takes more in ten minutes.
const TOKENS: RangeInclusive<i64> = 0..=1_000_000_000_000;
/// LIMIT: more can't be told apart from never; 0 is that.
const COUNT: RangeInclusive<i64> = 0..=1_000_000;
const THREADS: RangeInclusive<i64> = 0..=200;
const REPEATS: RangeInclusive<i64> = 0..=64;
const REPLIES: RangeInclusive<i64> = 0..=20;
const PERCENT: RangeInclusive<i64> = 0..=100;

const RUNAWAY_KEYS: &str = "rate_weighted_tokens, parallel_requests, new_threads, thread_depth, \
     repeat_tool_calls, duplicate_requests, compactions, full_context_requests, session_usd_per_hour, \
     session_usd, unattended_minutes, unattended_requests, unattended";
const SPIKE_KEYS: &str = "enabled, min_weighted_tokens, min_usd";
const RULES_KEYS: &str = "coverage_percent, price_list, quota_ticket_percent, quota_page_percent, \
     new_models, new_workflow_usd_per_day, unattributed_usd_per_day, error_percent, events_lost";

/// The keys of the three sections and their values as TOML.
pub(super) fn show(config: &Config) -> Vec<(&'static str, String)> {
    let (runaway, spike, rules) = (&config.runaway, &config.spike, &config.rules);
    let unattended = toml::Value::from(runaway.unattended_names.clone()).to_string();
    vec![
        (
            "runaway.rate_weighted_tokens",
            runaway.weighted_tokens.to_string(),
        ),
        (
            "runaway.parallel_requests",
            runaway.parallel_requests.to_string(),
        ),
        ("runaway.new_threads", runaway.new_threads.to_string()),
        ("runaway.thread_depth", runaway.thread_depth.to_string()),
        (
            "runaway.repeat_tool_calls",
            runaway.repeat_tool_calls.to_string(),
        ),
        (
            "runaway.duplicate_requests",
            runaway.duplicate_requests.to_string(),
        ),
        ("runaway.compactions", runaway.compactions.to_string()),
        (
            "runaway.full_context_requests",
            runaway.full_requests.to_string(),
        ),
        (
            "runaway.session_usd_per_hour",
            dollars(runaway.hour_nanousd),
        ),
        ("runaway.session_usd", dollars(runaway.session_nanousd)),
        (
            "runaway.unattended_minutes",
            (runaway.unattended.as_secs() / 60).to_string(),
        ),
        (
            "runaway.unattended_requests",
            runaway.unattended_requests.to_string(),
        ),
        ("runaway.unattended", unattended),
        ("spike.enabled", spike.is_on.to_string()),
        (
            "spike.min_weighted_tokens",
            spike.least_weighted_tokens.to_string(),
        ),
        ("spike.min_usd", dollars(spike.least_nanousd)),
        ("rules.coverage_percent", rules.coverage_percent.to_string()),
        (
            "rules.price_list",
            (!rules.price_list_max_age.is_zero()).to_string(),
        ),
        (
            "rules.quota_ticket_percent",
            rules.quota_ticket_percent.to_string(),
        ),
        (
            "rules.quota_page_percent",
            rules.quota_page_percent.to_string(),
        ),
        ("rules.new_models", rules.new_models.to_string()),
        (
            "rules.new_workflow_usd_per_day",
            dollars(rules.new_workflow_nanousd),
        ),
        (
            "rules.unattributed_usd_per_day",
            dollars(rules.unattributed_nanousd),
        ),
        ("rules.error_percent", rules.error_percent.to_string()),
        ("rules.events_lost", rules.events_lost.to_string()),
    ]
}

impl Check<'_> {
    pub(super) fn runaway(&mut self, section: Section<file::Runaway>) {
        let Some(section) = self.section("runaway", section) else {
            return;
        };
        let mut runaway: Runaway = self.loaded.config.runaway.clone();
        for (key, written, range, place) in [
            (
                "runaway.rate_weighted_tokens",
                section.rate_weighted_tokens,
                TOKENS,
                &mut runaway.weighted_tokens,
            ),
            (
                "runaway.parallel_requests",
                section.parallel_requests,
                COUNT,
                &mut runaway.parallel_requests,
            ),
            (
                "runaway.new_threads",
                section.new_threads,
                THREADS,
                &mut runaway.new_threads,
            ),
            (
                "runaway.thread_depth",
                section.thread_depth,
                COUNT,
                &mut runaway.thread_depth,
            ),
            (
                "runaway.repeat_tool_calls",
                section.repeat_tool_calls,
                REPLIES,
                &mut runaway.repeat_tool_calls,
            ),
            (
                "runaway.duplicate_requests",
                section.duplicate_requests,
                REPEATS,
                &mut runaway.duplicate_requests,
            ),
            (
                "runaway.compactions",
                section.compactions,
                REPEATS,
                &mut runaway.compactions,
            ),
            (
                "runaway.full_context_requests",
                section.full_context_requests,
                COUNT,
                &mut runaway.full_requests,
            ),
            (
                "runaway.unattended_requests",
                section.unattended_requests,
                COUNT,
                &mut runaway.unattended_requests,
            ),
        ] {
            self.count(key, written, &range, "(0 is never)", place);
        }
        let (hour, all) = (section.session_usd_per_hour, section.session_usd);
        self.money(
            "runaway.session_usd_per_hour",
            hour,
            &mut runaway.hour_nanousd,
        );
        self.money("runaway.session_usd", all, &mut runaway.session_nanousd);
        let minutes = section.unattended_minutes;
        let mut alone = runaway.unattended.as_secs() / 60;
        self.count(
            "runaway.unattended_minutes",
            minutes,
            &MINUTES,
            "minutes",
            &mut alone,
        );
        runaway.unattended = Duration::from_secs(alone * 60);
        let wanted = "a list of strings";
        let patterns = section.unattended;
        let patterns = self.value("runaway.unattended", patterns, wanted, check_patterns);
        runaway.unattended_names = patterns.unwrap_or(runaway.unattended_names);
        self.loaded.config.runaway = runaway;
        self.unknown("runaway", &section.unknown, RUNAWAY_KEYS);
    }

    pub(super) fn spike(&mut self, section: Section<file::Spike>) {
        let Some(section) = self.section("spike", section) else {
            return;
        };
        let mut spike: Spike = self.loaded.config.spike;
        self.flag("spike.enabled", section.enabled, &mut spike.is_on);
        let tokens = section.min_weighted_tokens;
        let place = &mut spike.least_weighted_tokens;
        self.count(
            "spike.min_weighted_tokens",
            tokens,
            &TOKENS,
            "weighted tokens",
            place,
        );
        self.money("spike.min_usd", section.min_usd, &mut spike.least_nanousd);
        self.loaded.config.spike = spike;
        self.unknown("spike", &section.unknown, SPIKE_KEYS);
    }

    /// After the section of prices, which says how old a list may be.
    pub(super) fn rules(&mut self, section: Section<file::Rules>) {
        let mut rules: Rules = self.loaded.config.rules;
        rules.price_list_max_age = self.loaded.config.price_max_age;
        self.loaded.config.rules = rules;
        let Some(section) = self.section("rules", section) else {
            return;
        };
        for (key, written, place) in [
            (
                "rules.coverage_percent",
                section.coverage_percent,
                &mut rules.coverage_percent,
            ),
            (
                "rules.quota_ticket_percent",
                section.quota_ticket_percent,
                &mut rules.quota_ticket_percent,
            ),
            (
                "rules.quota_page_percent",
                section.quota_page_percent,
                &mut rules.quota_page_percent,
            ),
            (
                "rules.error_percent",
                section.error_percent,
                &mut rules.error_percent,
            ),
        ] {
            self.count(key, written, &PERCENT, "percent (0 is never)", place);
        }
        let (of_new, of_nobody) = (
            section.new_workflow_usd_per_day,
            section.unattributed_usd_per_day,
        );
        self.money(
            "rules.new_workflow_usd_per_day",
            of_new,
            &mut rules.new_workflow_nanousd,
        );
        self.money(
            "rules.unattributed_usd_per_day",
            of_nobody,
            &mut rules.unattributed_nanousd,
        );
        self.flag(
            "rules.new_models",
            section.new_models,
            &mut rules.new_models,
        );
        self.flag(
            "rules.events_lost",
            section.events_lost,
            &mut rules.events_lost,
        );
        let mut is_told = true;
        self.flag("rules.price_list", section.price_list, &mut is_told);
        if !is_told {
            rules.price_list_max_age = Duration::ZERO;
        }
        let (ticket, page) = (rules.quota_ticket_percent, rules.quota_page_percent);
        if page > 0 && ticket > page {
            let problem = "must be no less than quota_ticket_percent; write 0 to wake nobody";
            self.mistake("rules.quota_page_percent", problem.to_owned());
        }
        self.loaded.config.rules = rules;
        self.unknown("rules", &section.unknown, RULES_KEYS);
    }

    fn count(
        &mut self,
        key: &'static str,
        written: Written<i64>,
        range: &RangeInclusive<i64>,
        unit: &str,
        place: &mut u64,
    ) {
        let checked = self.value(key, written, "an integer", |number| {
            check_range(number, range, unit)
        });
        *place = checked.unwrap_or(*place);
    }

    fn money(&mut self, key: &'static str, written: Written<f64>, place: &mut u64) {
        let checked = self.value(key, written, "a number", |dollars| {
            nanousd_of(dollars)
                .ok_or_else(|| "must be a number of US dollars from 0 to 1000000".to_owned())
        });
        *place = checked.unwrap_or(*place);
    }

    fn flag(&mut self, key: &'static str, written: Written<bool>, place: &mut bool) {
        let checked = self.value(key, written, "true or false", Ok);
        *place = checked.unwrap_or(*place);
    }
}

fn check_patterns(patterns: Vec<String>) -> Result<Vec<String>, String> {
    let count = patterns.len();
    if count > MOST_PATTERNS {
        return Err(format!(
            "has {count} patterns, at most {MOST_PATTERNS} are possible"
        ));
    }
    let is_pattern = |pattern: &String| {
        (1..=PATTERN_BYTES).contains(&pattern.len()) && !pattern.chars().any(char::is_control)
    };
    if !patterns.iter().all(is_pattern) {
        return Err(format!(
            "must be of 1 to {PATTERN_BYTES} bytes each; \"*\" stands for any text, \"?\" for one character"
        ));
    }
    Ok(patterns)
}
