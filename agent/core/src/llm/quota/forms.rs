//! The forms in which providers tell limits.

use super::field::{self, Fields};
use super::{Limit, Share};

/// A limit that has a field for each of its parts.
struct Form {
    name: &'static str,
    /// Time that it is for, where its name says so.
    window_seconds: Option<u64>,
    /// Field of that time, where one says so.
    window: Option<Window>,
    used: Used,
    limit: &'static str,
    remaining: &'static str,
    resets: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Window {
    Seconds(&'static str),
    Minutes(&'static str),
}

/// How it is told what is used.
#[derive(Clone, Copy)]
enum Used {
    /// By what is left.
    Remaining,
    /// As a share, 1 for all; the other field says in a word whether all is.
    Share(&'static str, &'static str),
    /// In per cent.
    Percent(&'static str),
}

const MINUTE: Option<u64> = Some(60);
const HOUR: Option<u64> = Some(3_600);
const DAY: Option<u64> = Some(86_400);
const WEEK: Option<u64> = Some(7 * 86_400);

/// A limit by what is left of it.
const fn counted(
    name: &'static str,
    window_seconds: Option<u64>,
    limit: &'static str,
    remaining: &'static str,
    resets: &'static [&'static str],
) -> Form {
    Form {
        name,
        window_seconds,
        window: None,
        used: Used::Remaining,
        limit,
        remaining,
        resets,
    }
}

impl Form {
    /// The same with a field that tells the time that it is for.
    const fn with_window(mut self, window: Window) -> Self {
        self.window = Some(window);
        self
    }

    /// The same with a field that tells what is used.
    const fn with_used(mut self, used: Used) -> Self {
        self.used = used;
        self
    }

    fn read(&self, fields: &Fields<'_>) -> Limit {
        let told_seconds = self.window.and_then(|window| match window {
            Window::Seconds(name) => fields.count(name),
            Window::Minutes(name) => fields.count(name)?.checked_mul(60),
        });
        let limit = fields.count(self.limit);
        let remaining = fields.count(self.remaining);
        let used = match self.used {
            Used::Remaining => remaining.and_then(|remaining| Share::used(remaining, limit?)),
            Used::Percent(name) => fields.text(name).and_then(|text| field::share(text, 100.0)),
            Used::Share(name, status) => {
                let told = fields.text(name).and_then(|text| field::share(text, 1.0));
                let is_all = fields.text(status) == Some("rejected");
                told.or_else(|| is_all.then_some(Share(Share::WHOLE)))
            }
        };
        Limit {
            window_seconds: told_seconds
                .filter(|seconds| *seconds > 0)
                .or(self.window_seconds),
            used,
            limit,
            remaining,
            resets: self.resets.iter().find_map(|name| fields.reset(name)),
            ..Limit::named(self.name, None)
        }
    }
}

/// Builds the fields of a form from what stands before and behind the part that they name.
macro_rules! x_ratelimit {
    ($name:literal, $window:expr, $behind:literal) => {
        counted(
            $name,
            $window,
            concat!("x-ratelimit-limit", $behind),
            concat!("x-ratelimit-remaining", $behind),
            &[concat!("x-ratelimit-reset", $behind)],
        )
    };
}

/// The same for Anthropic, whose names end with the part.
macro_rules! anthropic {
    ($name:literal, $before:literal) => {
        counted(
            $name,
            None,
            concat!("anthropic-", $before, "-limit"),
            concat!("anthropic-", $before, "-remaining"),
            &[concat!("anthropic-", $before, "-reset")],
        )
    };
}

/// A window of a plan of Claude.
macro_rules! unified {
    ($name:literal, $window:expr) => {
        counted(
            concat!("unified-", $name),
            $window,
            "",
            "",
            &[concat!("anthropic-ratelimit-unified-", $name, "-reset")],
        )
        .with_used(Used::Share(
            concat!("anthropic-ratelimit-unified-", $name, "-utilization"),
            concat!("anthropic-ratelimit-unified-", $name, "-status"),
        ))
    };
}

/// A window of a plan of ChatGPT.
macro_rules! codex {
    ($name:literal) => {
        counted(
            concat!("codex-", $name),
            None,
            "",
            "",
            &[
                concat!("x-codex-", $name, "-reset-at"),
                concat!("x-codex-", $name, "-reset-after-seconds"),
            ],
        )
        .with_used(Used::Percent(concat!("x-codex-", $name, "-used-percent")))
        .with_window(Window::Minutes(concat!(
            "x-codex-",
            $name,
            "-window-minutes"
        )))
    };
}

/// The forms, plans first. Sources: the providers' documentation of their limits; for plans and
/// where there is none, what clients read.
const FORMS: &[Form] = &[
    unified!("5h", Some(5 * 3_600)),
    unified!("7d", WEEK),
    unified!("7d_opus", WEEK),
    unified!("7d_sonnet", WEEK),
    unified!("overage", None),
    codex!("primary"),
    codex!("secondary"),
    anthropic!("requests", "ratelimit-requests"),
    anthropic!("tokens", "ratelimit-tokens"),
    anthropic!("input-tokens", "ratelimit-input-tokens"),
    anthropic!("output-tokens", "ratelimit-output-tokens"),
    anthropic!("fast-input-tokens", "fast-input-tokens"),
    anthropic!("fast-output-tokens", "fast-output-tokens"),
    anthropic!("priority-input-tokens", "priority-input-tokens"),
    anthropic!("priority-output-tokens", "priority-output-tokens"),
    // OpenAI, and Azure and GitHub with the time; Groq, xAI, Together, Fireworks, NVIDIA and others.
    x_ratelimit!("requests", None, "-requests")
        .with_window(Window::Seconds("x-ratelimit-renewalperiod-requests")),
    x_ratelimit!("tokens", None, "-tokens")
        .with_window(Window::Seconds("x-ratelimit-renewalperiod-tokens")),
    x_ratelimit!("project-requests", None, "-project-requests"),
    x_ratelimit!("project-tokens", None, "-project-tokens"),
    // Cerebras, SambaNova, Mistral.
    x_ratelimit!("requests-minute", MINUTE, "-requests-minute"),
    x_ratelimit!("requests-hour", HOUR, "-requests-hour"),
    x_ratelimit!("requests-day", DAY, "-requests-day"),
    x_ratelimit!("requests-month", None, "-requests-month"),
    x_ratelimit!("tokens-minute", MINUTE, "-tokens-minute"),
    x_ratelimit!("tokens-hour", HOUR, "-tokens-hour"),
    x_ratelimit!("tokens-day", DAY, "-tokens-day"),
    x_ratelimit!("tokens-month", None, "-tokens-month"),
    x_ratelimit!("requests-minute", MINUTE, "-req-minute"),
    x_ratelimit!("requests-day", DAY, "-req-day"),
    x_ratelimit!("requests-month", None, "-req-month"),
    counted(
        "size-minute",
        MINUTE,
        "x-ratelimitbysize-limit-minute",
        "x-ratelimitbysize-remaining-minute",
        &["ratelimitbysize-reset"],
    ),
    counted(
        "size-month",
        None,
        "x-ratelimitbysize-limit-month",
        "x-ratelimitbysize-remaining-month",
        &[],
    ),
    // OpenRouter, and gateways.
    x_ratelimit!("requests", None, ""),
    // draft-ietf-httpapi-ratelimit-headers up to 06.
    counted(
        "ratelimit",
        None,
        "ratelimit-limit",
        "ratelimit-remaining",
        &["ratelimit-reset"],
    ),
];

/// Quotas of GitHub Copilot, each in one field of parameters.
const SNAPSHOTS: [(&str, &str, Option<u64>); 6] = [
    (
        "premium_interactions",
        "x-quota-snapshot-premium_interactions",
        None,
    ),
    ("premium_models", "x-quota-snapshot-premium_models", None),
    ("chat", "x-quota-snapshot-chat", None),
    ("completions", "x-quota-snapshot-completions", None),
    ("session", "x-usage-ratelimit-session", None),
    ("weekly", "x-usage-ratelimit-weekly", WEEK),
];

/// Names of the policies of one response, in their order: their own names are anybody's words.
/// LIMIT: four policies; the draft's examples have two.
const POLICIES: [&str; 4] = ["ratelimit", "ratelimit-2", "ratelimit-3", "ratelimit-4"];

/// All limits of a head, of which some may say nothing. None is named twice.
pub(super) fn limits(fields: &Fields<'_>) -> Vec<Limit> {
    let forms = FORMS.iter().map(|form| form.read(fields));
    let snapshots = SNAPSHOTS
        .iter()
        .filter_map(|(name, field, window)| snapshot(Limit::named(name, *window), fields, field));
    let mut limits: Vec<Limit> = Vec::new();
    for limit in forms.chain(snapshots).chain(policies(fields)) {
        let is_new = limits.iter().all(|other| other.name != limit.name);
        if limit.is_told() && is_new {
            limits.push(limit);
        }
    }
    limits
}

/// `ent=1500&ov=0.0&ovPerm=false&rem=31.3&rst=2026-04-01T00%3A00%3A00Z`: what one is entitled to, what
/// was used beyond, what is left in per cent, when it begins anew. A negative number is no limit.
fn snapshot(named: Limit, fields: &Fields<'_>, field: &str) -> Option<Limit> {
    let text = fields.text(field)?;
    let parameter = |name: &str| {
        let mut parameters = text.split('&').filter_map(|part| part.split_once('='));
        parameters.find(|(n, _)| *n == name).map(|(_, value)| value)
    };
    let limit = field::count(parameter("ent")?)?;
    let remaining = parameter("rem").and_then(|text| field::share(text, 100.0));
    let within = remaining.and_then(|share| Share::WHOLE.checked_sub(share.0));
    let beyond = parameter("ov").and_then(field::count).unwrap_or(0);
    let used = match Share::used(0, limit) {
        Some(_) if beyond > 0 => {
            let millionths = u128::from(limit.saturating_add(beyond)) * u128::from(Share::WHOLE)
                / u128::from(limit);
            u32::try_from(millionths).ok().filter(|m| *m <= Share::MOST)
        }
        Some(_) | None => within,
    };
    let moment = parameter("rst").map(|text| text.replace("%3A", ":").replace("%3a", ":"));
    Some(Limit {
        used: used.map(Share),
        limit: Some(limit),
        resets: moment.and_then(|text| field::reset(&text)),
        ..named
    })
}

/// `RateLimit-Policy: "burst";q=100;w=60` and `RateLimit: "burst";r=50;t=30`
/// (draft-ietf-httpapi-ratelimit-headers from 08 on), or `RateLimit: limit=100, remaining=50, reset=5`
/// (07).
fn policies(fields: &Fields<'_>) -> Vec<Limit> {
    let text = fields.text("ratelimit").unwrap_or_default();
    let policies = fields.text("ratelimit-policy").unwrap_or_default();
    let counted = |limit: Limit| Limit {
        used: limit
            .remaining
            .and_then(|remaining| Share::used(remaining, limit.limit?)),
        ..limit
    };
    if text
        .split(',')
        .any(|item| item.trim().starts_with("limit="))
    {
        // Members of a dictionary look like the parameters of one item.
        let item = text.replace(',', ";");
        return vec![counted(Limit {
            window_seconds: parameter(policies, "w"),
            limit: parameter(&item, "limit"),
            remaining: parameter(&item, "remaining"),
            resets: text_parameter(&item, "reset").and_then(field::reset),
            ..Limit::named("ratelimit", None)
        })];
    }
    let items = POLICIES.iter().zip(text.split(','));
    let limits = items.map(|(name, item)| {
        let of_name = |policy: &&str| policy_name(policy) == policy_name(item);
        let policy = policies.split(',').find(of_name).unwrap_or_default();
        counted(Limit {
            window_seconds: parameter(policy, "w"),
            limit: parameter(policy, "q"),
            remaining: parameter(item, "r"),
            resets: text_parameter(item, "t").and_then(field::reset),
            ..Limit::named(name, None)
        })
    });
    limits.collect()
}

fn policy_name(item: &str) -> &str {
    item.split(';').next().unwrap_or_default().trim()
}

/// The value of a parameter of an item.
fn text_parameter<'a>(item: &'a str, name: &str) -> Option<&'a str> {
    let mut parameters = item.split(';').filter_map(|part| part.split_once('='));
    let found = parameters.find(|(n, _)| n.trim() == name);
    found.map(|(_, value)| value.trim())
}

/// The same as a number.
fn parameter(item: &str, name: &str) -> Option<u64> {
    text_parameter(item, name).and_then(field::count)
}

/// The fields that are read, for the test that compares them with the list of the HTTP stage.
#[cfg(test)]
pub(super) fn names() -> Vec<&'static str> {
    let mut names = vec!["retry-after", "ratelimit", "ratelimit-policy"];
    for form in FORMS {
        names.extend([form.limit, form.remaining]);
        names.extend(form.resets);
        match form.window {
            Some(Window::Seconds(name) | Window::Minutes(name)) => names.push(name),
            None => {}
        }
        match form.used {
            Used::Remaining => {}
            Used::Percent(name) => names.push(name),
            Used::Share(name, status) => names.extend([name, status]),
        }
    }
    names.extend(SNAPSHOTS.iter().map(|(_, field, _)| field));
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    names
}
