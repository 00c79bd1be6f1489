//! The configuration in force, as it would be written.

use super::{Config, DAY, Loaded, budget, notify, price, provider, runaway, workflow};

impl Loaded {
    /// The configuration in force as TOML, each value with its origin.
    pub fn show(&self) -> String {
        let Config {
            daemon,
            capture,
            session,
            privacy,
            retention,
            metrics,
            otlp,
            providers,
            price_max_age,
            own_prices,
            workflows,
            channels,
            // Shown by their module.
            runaway: _,
            spike: _,
            rules: _,
            budgets,
        } = &self.config;
        let text = |text: String| toml::Value::String(text).to_string();
        let ignore = toml::Value::from(capture.ignore.clone()).to_string();
        let values = [
            ("daemon.db", text(daemon.db.display().to_string())),
            ("daemon.timezone", text(daemon.timezone.to_string())),
            ("capture.ring_bytes", capture.ring_bytes.to_string()),
            (
                "capture.scan_interval_ms",
                capture.scan_interval.as_millis().to_string(),
            ),
            ("capture.sockets", capture.sockets.to_string()),
            (
                "capture.self_check_interval_ms",
                capture.self_check_interval.as_millis().to_string(),
            ),
            ("capture.ignore", ignore),
            (
                "session.idle_minutes",
                (session.idle.as_secs() / 60).to_string(),
            ),
            ("privacy.store_cwd", privacy.store_cwd.to_string()),
            (
                "privacy.store_argv",
                text(privacy.store_argv.as_str().to_owned()),
            ),
            ("retention.request_days", retention.request_days.to_string()),
            ("retention.rollup_days", retention.rollup_days.to_string()),
            (
                "retention.coverage_days",
                retention.coverage_days.to_string(),
            ),
            (
                "retention.rate_limit_days",
                retention.rate_limit_days.to_string(),
            ),
            ("retention.max_mb", retention.max_mb.to_string()),
            (
                "prices.max_age_days",
                (price_max_age.as_secs() / DAY.as_secs()).to_string(),
            ),
        ];
        let mut out = String::new();
        let mut open = "";
        let values = values.into_iter().chain(metrics.show()).chain(otlp.show());
        for (path, value) in values.chain(runaway::show(&self.config)) {
            let (section, key) = path.split_once('.').unwrap_or(("", path));
            if section != open {
                let gap = if open.is_empty() { "" } else { "\n" };
                out.push_str(&format!("{gap}[{section}]\n"));
                open = section;
            }
            out.push_str(&format!(
                "{:<40} # {}\n",
                format!("{key} = {value}"),
                self.origin(path)
            ));
        }
        for provider in providers {
            out.push_str("\n[[provider]]\n");
            for (key, value) in provider.show() {
                let line = format!("{key} = {value}");
                out.push_str(&format!("{line:<40} # {}\n", self.origin(provider::KEY)));
            }
        }
        for price in own_prices {
            out.push_str("\n[[price]]\n");
            for (key, value) in price::show(price) {
                let line = format!("{key} = {value}");
                out.push_str(&format!("{line:<40} # {}\n", self.origin(price::KEY)));
            }
        }
        for rule in workflows {
            out.push_str("\n[[workflow]]\n");
            for (key, value) in workflow::show(rule) {
                let line = format!("{key} = {value}");
                out.push_str(&format!("{line:<40} # {}\n", self.origin(workflow::KEY)));
            }
        }
        for budget in budgets {
            out.push_str("\n[[budget]]\n");
            for (key, value) in budget::show(budget) {
                let line = format!("{key} = {value}");
                out.push_str(&format!("{line:<40} # {}\n", self.origin(budget::KEY)));
            }
        }
        for channel in channels {
            out.push_str("\n[[notify]]\n");
            for (key, value) in notify::show(channel) {
                let line = format!("{key} = {value}");
                out.push_str(&format!("{line:<40} # {}\n", self.origin(notify::KEY)));
            }
        }
        out
    }
}
