//! Which model of a list a call's model is.
//!
//! In this order: the name itself or another one that the list gives; the name without the date at
//! its end; the name without the provider before it, both ways again. A name that only holds or begins
//! with that of a listed model is another model.

use std::collections::BTreeSet;

use super::list::{List, Model};

/// Names of providers here, and in lists. A provider that is not here has its own name there.
const LISTED: &[(&str, &[&str])] = &[
    // It sells others' models at their list prices.
    (
        "azure",
        &[
            "azure",
            "openai",
            "anthropic",
            "deepseek",
            "x-ai",
            "moonshotai",
        ],
    ),
    ("bedrock", &["aws"]),
    ("copilot", &["github-copilot"]),
    ("moonshot", &["moonshotai"]),
    ("voyage", &["voyageai"]),
    ("xai", &["x-ai"]),
];

/// Providers who sell nothing of their own and charge what the one before the slash does.
const PASSING_ON: &[&str] = &["vercel"];

/// What stands before the model in names that a cloud gives to its deployments.
const PLACES: &[&str] = &[
    "us", "eu", "apac", "jp", "au", "us-gov", "in", "ca", "sa", "me", "af",
];

impl List {
    /// Everybody whose calls may have a price in the list, as reports name them, in order.
    pub(super) fn sellers(&self) -> BTreeSet<&str> {
        let is_renamed = |key: &&str| {
            let mut others = LISTED.iter().filter(|(here, _)| here != key);
            let is_named = LISTED.iter().any(|(here, _)| here == key);
            !is_named && others.any(|(_, listed)| listed == &[*key])
        };
        let keys = self.providers.keys().map(String::as_str);
        let own = keys.filter(|key| !is_renamed(key));
        own.chain(LISTED.iter().map(|(here, _)| *here))
            .chain(PASSING_ON.iter().copied())
            .collect()
    }

    /// A provider's model, and whose price it is.
    pub(super) fn find(&self, provider: &str, name: &str) -> Option<(&str, &Model)> {
        let (provider, name) = match name.split_once('/') {
            Some((before, after)) if PASSING_ON.contains(&provider) => (before, after),
            _ if PASSING_ON.contains(&provider) => return None,
            _ => (provider, name),
        };
        let own = [provider];
        let listed = LISTED.iter().find(|(here, _)| *here == provider);
        let providers = listed.map_or(own.as_slice(), |(_, listed)| *listed);
        let mut names = vec![name.to_owned()];
        names.extend(without_date(name));
        if let Some(short) = without_provider(provider, providers, name) {
            names.extend(without_date(&short));
            names.push(short);
        }
        if provider == "bedrock" {
            names.extend(of_bedrock(name));
        }
        let whose = |listed: &str| {
            let (listed, models) = self.providers.get_key_value(listed)?;
            let model = names.iter().find_map(|name| models.get(name))?;
            Some((listed.as_str(), model))
        };
        providers.iter().find_map(|listed| whose(listed))
    }
}

/// A name without the date that ends it: `-20250929`, `@20250929`, `-2026-04-23`.
fn without_date(name: &str) -> Option<String> {
    let is_number = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let (before, date) = name.rsplit_once(['-', '@'])?;
    if is_number(date, 8) {
        return Some(before.to_owned());
    }
    let (before, month) = before.rsplit_once('-')?;
    let (before, year) = before.rsplit_once('-')?;
    let is_date = is_number(year, 4) && is_number(month, 2) && is_number(date, 2);
    is_date.then(|| before.to_owned())
}

/// A name without the provider, or the folder, that it begins with.
fn without_provider(provider: &str, listed: &[&str], name: &str) -> Option<String> {
    if let Some(rest) = name.strip_prefix("ft:") {
        // Models that were tuned have the price of the tuned kind: `ft:gpt-4o-2024-08-06:org::id`.
        let base = rest.split(':').next().unwrap_or_default();
        return Some(format!("ft:{base}"));
    }
    let (before, after) = name.rsplit_once('/')?;
    let is_own = before == provider || listed.contains(&before);
    let is_folder = before == "models" || before.ends_with("/models");
    (is_own || is_folder).then(|| after.to_owned())
}

/// The names that a list may have for a model of Bedrock: without the address of its profile, the
/// version, and the date, and with the kind of place that it runs in before it.
fn of_bedrock(name: &str) -> Vec<String> {
    let address = name
        .strip_prefix("arn:")
        .and_then(|_| name.rsplit('/').next());
    let name = address.unwrap_or(name);
    let rest = match name.split_once('.') {
        Some((place, rest)) if PLACES.contains(&place) => rest,
        _ => name,
    };
    let is_global = name.starts_with("global.");
    let mut names = Vec::new();
    for short in [Some(rest), without_version(rest)].into_iter().flatten() {
        for form in [Some(short.to_owned()), without_date(short)]
            .into_iter()
            .flatten()
        {
            let placed = if is_global {
                form.clone()
            } else {
                format!("regional.{form}")
            };
            for name in [placed, form] {
                names.push(format!("{name}-v1:0"));
                names.push(name);
            }
        }
    }
    names
}

/// A name without `-v1:0`.
fn without_version(name: &str) -> Option<&str> {
    let (before, version) = name.rsplit_once("-v")?;
    let is_version = version
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b':');
    is_version.then_some(before)
}
