//! Channels, and who is told what.

use std::collections::BTreeMap;

use agent_core::alert::{Notice, Notification, Rule, Severity};
use serde_json::Value;

use super::{Failure, exec, forms, http};
use crate::config::{Format, Notify, NotifyKind};

/// One channel.
#[derive(Clone, Debug)]
pub struct Channel {
    notify: Notify,
}

impl Channel {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.notify.name
    }

    /// Name of what it is.
    pub const fn kind(&self) -> &'static str {
        self.notify.kind.as_str()
    }

    /// Whether it has to be told again and again what still fires.
    pub(super) const fn is_refreshed(&self) -> bool {
        matches!(self.notify.kind, NotifyKind::Alertmanager { .. })
    }

    /// Sends a message, at `now_unix_ms`, and waits until it arrived or failed.
    ///
    /// # Errors
    /// All of [`Failure`].
    pub fn send(&self, payload: &Value, now_unix_ms: i64) -> Result<(), Failure> {
        match &self.notify.kind {
            NotifyKind::Log => {
                super::journal::message(self.name(), payload);
                Ok(())
            }
            NotifyKind::Webhook {
                url,
                format,
                headers_file,
            } => {
                let body = match format {
                    Format::Json => payload.clone(),
                    Format::Slack => forms::slack(payload),
                };
                http::post(url.reveal(), headers_file.as_deref(), &body)
            }
            NotifyKind::Exec { command, user } => exec::run(command, user, payload),
            NotifyKind::Alertmanager { url, headers_file } => {
                let base = url.reveal().trim_end_matches('/');
                let url = format!("{base}/api/v2/alerts");
                let body = forms::alertmanager(payload, now_unix_ms);
                http::post(&url, headers_file.as_deref(), &body)
            }
            NotifyKind::Mail { to, command, user } => {
                exec::mail(command.as_deref(), user, &forms::mail(payload, to))
            }
        }
    }

    /// Whether a notice is for it: urgent enough, by a budget that names it or none, and not about it.
    fn wants(&self, notice: &Notice, named: Option<&[String]>) -> bool {
        let condition = &notice.alert.condition;
        let is_about_it = condition.rule == Rule::Channel
            && condition
                .scope
                .iter()
                .any(|(_, value)| value == self.name());
        notice.severity() >= self.notify.min_severity
            && named.is_none_or(|names| names.iter().any(|name| name == self.name()))
            && !is_about_it
    }
}

/// All channels.
#[derive(Clone, Debug, Default)]
pub struct Channels(Vec<Channel>);

impl Channels {
    /// Those of a configuration.
    pub fn new(channels: &[Notify]) -> Self {
        let channel = |notify: &Notify| Channel {
            notify: notify.clone(),
        };
        Self(channels.iter().map(channel).collect())
    }

    /// The one of a name.
    pub fn named(&self, name: &str) -> Option<&Channel> {
        self.0.iter().find(|channel| channel.name() == name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.0.iter()
    }

    /// Which channel is told what of a notification. `named` has the channels that budgets name; a
    /// budget that names none is for all.
    pub fn route(
        &self,
        notification: &Notification,
        named: &BTreeMap<String, Vec<String>>,
    ) -> Vec<(String, Notification)> {
        let names = |notice: &Notice| {
            let names = named.get(notice.alert.condition.budget.as_deref()?)?;
            (!names.is_empty()).then_some(names.as_slice())
        };
        self.iter()
            .filter_map(|channel| {
                let part = notification.only(|notice| channel.wants(notice, names(notice)))?;
                Some((channel.name().to_owned(), part))
            })
            .collect()
    }
}

/// The least urgent that any channel is told of at all.
pub(super) const LEAST: Severity = Severity::Ticket;

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use agent_core::alert::{Alerts, Condition};
    use serde_json::Map;

    use super::*;
    use crate::config::Loaded;

    fn channels() -> Channels {
        let text = "
            [[notify]]\nname = \"all\"\nkind = \"log\"\n
            [[notify]]\nname = \"pages\"\nkind = \"log\"\nmin_severity = \"page\"\n
            [[notify]]\nname = \"team\"\nkind = \"log\"\n";
        let loaded = Loaded::parse(Path::new("config.toml"), text).unwrap();
        Channels::new(&loaded.config.channels)
    }

    fn told(rule: Rule, severity: Severity, budget: Option<&str>, scope: &str) -> Notification {
        let condition = Condition {
            rule,
            variant: String::new(),
            scope: vec![("channel".to_owned(), scope.to_owned())],
            budget: budget.map(str::to_owned),
            severity,
            hold: Duration::ZERO,
            summary: String::new(),
            evidence: Map::new(),
        };
        let mut evaluated = Alerts::default().evaluate(0, vec![condition]);
        evaluated.notifications.remove(0)
    }

    fn names(notification: &Notification) -> Vec<String> {
        let named = BTreeMap::from([
            ("b".to_owned(), vec!["team".to_owned()]),
            ("c".to_owned(), Vec::new()),
        ]);
        channels()
            .route(notification, &named)
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn a_channel_is_told_what_is_urgent_enough_and_what_its_budgets_say() {
        let ticket = told(Rule::Spike, Severity::Ticket, None, "");
        assert_eq!(names(&ticket), ["all", "team"]);
        let page = told(Rule::Spike, Severity::Page, None, "");
        assert_eq!(names(&page), ["all", "pages", "team"]);
        let budget = told(Rule::BudgetBurn, Severity::Page, Some("b"), "");
        assert_eq!(names(&budget), ["team"]);
        let other = told(Rule::BudgetBurn, Severity::Page, Some("c"), "");
        assert_eq!(names(&other), ["all", "pages", "team"]);
    }

    #[test]
    fn a_dead_channel_is_told_on_the_others() {
        let dead = told(Rule::Channel, Severity::Ticket, None, "all");
        assert_eq!(names(&dead), ["team"]);
    }
}
