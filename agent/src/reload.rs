//! What of a configuration a running agent takes over, and what waits for its next start.

use crate::config::Config;

/// A changed configuration against the one in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What is in force from now on.
    pub config: Config,
    /// Sections that were taken over.
    pub taken: Vec<&'static str>,
    /// Sections that hold only after a restart.
    pub waiting: Vec<&'static str>,
}

/// Takes over of `new` what can be changed without losing what is under way: whose hosts are, what
/// calls cost, who pays for them, what is watched and who is told. What shapes the ring, the ledger and the facts about processes
/// stays as it was at the start.
pub fn change(in_force: &Config, new: Config) -> Change {
    let Config {
        daemon,
        capture,
        session,
        privacy,
        retention,
        metrics,
        otlp,
        providers,
        runaway,
        spike,
        rules,
        price_max_age,
        own_prices,
        workflows,
        channels,
        budgets,
    } = new;
    let (mut config, mut taken, mut waiting) = (in_force.clone(), Vec::new(), Vec::new());
    for (section, is_other) in [
        ("daemon", daemon != in_force.daemon),
        ("capture", capture != in_force.capture),
        ("session", session != in_force.session),
        ("privacy", privacy != in_force.privacy),
        ("retention", retention != in_force.retention),
        ("metrics", metrics != in_force.metrics),
        ("otlp", otlp != in_force.otlp),
    ] {
        if is_other {
            waiting.push(section);
        }
    }
    let mut take = |section, is_other| {
        if is_other {
            taken.push(section);
        }
    };
    take("provider", providers != in_force.providers);
    take("prices", price_max_age != in_force.price_max_age);
    take("price", own_prices != in_force.own_prices);
    take("runaway", runaway != in_force.runaway);
    take("spike", spike != in_force.spike);
    take("rules", rules != in_force.rules);
    take("notify", channels != in_force.channels);
    take("budget", budgets != in_force.budgets);
    config.runaway = runaway;
    config.spike = spike;
    config.rules = rules;
    config.channels = channels;
    config.budgets = budgets;
    config.providers = providers;
    config.price_max_age = price_max_age;
    config.own_prices = own_prices;

    let with_workflows = Config {
        workflows,
        ..config.clone()
    };
    let is_other = with_workflows.workflows != in_force.workflows;
    // Facts about processes name the patterns that their command lines matched by number, and the
    // command lines are not kept.
    if with_workflows.argument_patterns() == in_force.argument_patterns() {
        take("workflow", is_other);
        config = with_workflows;
    } else {
        waiting.push("workflow (patterns of argv)");
    }
    Change {
        config,
        taken,
        waiting,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Loaded;

    fn config(text: &str) -> Config {
        Loaded::parse(Path::new("config.toml"), text)
            .unwrap()
            .config
    }

    #[test]
    fn prices_hosts_and_rules_are_taken_over_and_the_rest_waits() {
        let before = config("");
        let text = r#"
            [session]
            idle_minutes = 5
            [retention]
            request_days = 30
            [[provider]]
            name = "house"
            hosts = ["llm.example"]
            [[workflow]]
            name = "nightly"
            match = { unit = "nightly.service" }
        "#;
        let change = change(&before, config(text));
        assert_eq!(change.taken, ["provider", "workflow"]);
        assert_eq!(change.waiting, ["session", "retention"]);
        let expected = Config {
            providers: config(text).providers,
            workflows: config(text).workflows,
            ..before
        };
        assert_eq!(change.config, expected);
    }

    #[test]
    fn rules_with_other_patterns_of_command_lines_wait() {
        let before = config("");
        let text = r#"
            [[workflow]]
            name = "review"
            match = { argv = "*review*" }
        "#;
        let change = change(&before, config(text));
        assert_eq!(change.taken, Vec::<&str>::new());
        assert_eq!(change.waiting, ["workflow (patterns of argv)"]);
        assert_eq!(change.config, before);
    }

    #[test]
    fn an_unchanged_file_changes_nothing() {
        let same = change(&config(""), config(""));
        assert_eq!((same.taken, same.waiting), (Vec::new(), Vec::new()));
    }
}
