//! Parses, dispatches, exits.
//!
//! tidy: long because each command has its few lines here.

use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::process::ExitCode;

use agent::alert::Channels;
use agent::causes;
use agent::cli::{
    Alerts, AlertsCommand, BudgetCommand, BudgetStatus, Cli, Command, ConfigCommand, Exec, Global,
    Index, Merge, PricesCommand, Selection, Sessions, SessionsCommand, SetBudget, Span, Top,
    WorkflowCommand,
};
use agent::config::{self, Config, Loaded};
use agent::fleet;
use agent::prices::InForce;
use agent::report::{
    self, Asked, Follow, Format, Found, IndexFormat, Listed, Metric, Page, Wanted,
};
use agent::store::{self, Dimension, Keeping, Reader};
use agent::telemetry::{self, Verbosity};
use agent::{alert, app, capture, doctor, exec, prices, privilege, process, top};
use agent_core::attribution::Client;
use agent_core::budget::Budget;
use agent_core::event::Marker;
use agent_core::prices::Prices;
use agent_core::workflow::Subject;
use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use jiff::tz::TimeZone;

/// Name of the program, as shells know it.
const NAME: &str = "bpftok";

/// Exit codes, after sysexits(3); those of commands after the shell.
mod exit {
    pub(crate) const FAILURE: u8 = 1;
    /// A budget burns.
    pub(crate) const BURNING: u8 = 3;
    /// A budget is exceeded.
    pub(crate) const EXCEEDED: u8 = 4;
    /// No data, or no agent.
    pub(crate) const NOTHING: u8 = 5;
    /// Less was seen than was asked for.
    pub(crate) const UNCOVERED: u8 = 6;
    pub(crate) const USAGE: u8 = 64;
    /// The kernel, or this build, lacks something.
    pub(crate) const UNAVAILABLE: u8 = 69;
    /// A defect.
    pub(crate) const SOFTWARE: i32 = 70;
    pub(crate) const NO_PERMISSION: u8 = 77;
    pub(crate) const CONFIG: u8 = 78;
    /// A command can't be executed, as shells say it.
    pub(crate) const NOT_EXECUTABLE: u8 = 126;
    /// A command was not found.
    pub(crate) const NOT_FOUND: u8 = 127;
}

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(give_up));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // The reader of a help text may have gone.
            error.print().unwrap_or_default();
            return if error.use_stderr() {
                ExitCode::from(exit::USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let verbosity = Verbosity {
        verbose: cli.global.verbose,
        is_quiet: cli.global.quiet,
    };
    let reader = if matches!(cli.command, Command::Run(_) | Command::Record(_)) {
        telemetry::Reader::Free
    } else {
        telemetry::Reader::WaitedFor
    };
    let _log = telemetry::start(verbosity, reader);
    match dispatch(cli) {
        Ok(Found::Something) => ExitCode::SUCCESS,
        Ok(Found::Nothing) => ExitCode::from(exit::NOTHING),
        Ok(Found::Uncovered) => ExitCode::from(exit::UNCOVERED),
        Ok(Found::Burning) => ExitCode::from(exit::BURNING),
        Ok(Found::Exceeded) => ExitCode::from(exit::EXCEEDED),
        Err(error) => match code(&error) {
            None => ExitCode::SUCCESS,
            Some(code) => {
                telemetry::end(&format!("bpftok: {}", sentence(&error)));
                ExitCode::from(code)
            }
        },
    }
}

/// Ends the program at a panic in whichever thread. What was stored stays: the ledger is made for
/// an end at any moment.
#[expect(
    clippy::exit,
    reason = "a panic is not caught anywhere, and other threads may be in the middle of anything"
)]
fn give_up(panic: &std::panic::PanicHookInfo<'_>) {
    // Its message is not shown: it may quote what was observed.
    let place = panic
        .location()
        .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    telemetry::end(&format!(
        "bpftok: this is a defect of bpftok, at {place}; please report it"
    ));
    std::process::exit(exit::SOFTWARE);
}

fn dispatch(cli: Cli) -> anyhow::Result<Found> {
    let Cli { global, command } = cli;
    match command {
        Command::Run(arguments) => {
            let reread = || configured(&global);
            app::run(&reread()?, &reread, &arguments)?;
        }
        Command::Doctor(arguments) => doctor::run(&configured(&global)?, &arguments)?,
        Command::Record(arguments) => app::record(&configured(&global)?, &arguments)?,
        Command::Replay(arguments) => app::replay(&configured(&global)?, &arguments)?,
        Command::SelfCheck(arguments) => agent_self_check::call(&arguments.library)?,
        Command::Config { command } => configuration(global, command)?,
        Command::Exec(arguments) => return Err(execute(arguments)?.into()),
        Command::Workflow { command } => return of_workflows(global, command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
            io::stdout()
                .write_all(&script)
                .map_err(report::Error::Write)?;
        }
        Command::Man { folder } => clap_mangen::generate_to(Cli::command(), &folder)
            .with_context(|| format!("cannot write manual pages into {}", folder.display()))?,
        Command::Report(arguments) => return usage(global, arguments.by, arguments.selection),
        Command::Daily(selection) => return usage(global, vec![Dimension::Day], selection),
        Command::Weekly(selection) => return usage(global, vec![Dimension::Week], selection),
        Command::Monthly(selection) => return usage(global, vec![Dimension::Month], selection),
        Command::Sessions(arguments) => return sessions(global, arguments),
        Command::Explain(arguments) => {
            return read(global, arguments.written.format(), |page, reader| {
                let vs = arguments.vs.as_deref();
                report::explain(
                    page,
                    reader,
                    &asked(arguments.span, None),
                    vs,
                    &arguments.filters,
                )
            });
        }
        Command::Waste(arguments) => {
            return read(global, arguments.written.format(), |page, reader| {
                let asked = asked(arguments.span, None);
                report::waste(page, reader, &asked, &arguments.filters)
            });
        }
        Command::Index(arguments) => return month_index(global, &arguments),
        Command::Budget { command, written } => {
            let shown = BudgetCommand::Status(BudgetStatus {
                names: Vec::new(),
                written,
            });
            return of_budgets(global, command.unwrap_or(shown));
        }
        Command::Quota(arguments) => {
            return read(global, arguments.written.format(), |page, reader| {
                report::quota(page, reader, arguments.provider.as_deref())
            });
        }
        Command::Alerts(arguments) => return alerts(global, arguments),
        Command::Top(arguments) => return live(&global, &arguments),
        Command::Tail(arguments) => {
            let follow = if arguments.follow {
                Follow::Yes
            } else {
                Follow::No
            };
            if follow == Follow::Yes {
                // Of several ledgers nothing comes later.
                configured(&global)?;
            }
            let (config, reader) = reader(&global)?;
            let mut out = BufWriter::new(io::stdout().lock());
            let prices = in_force(&config);
            let mut page = page(&global, &config, Format::Table, &mut out, &prices);
            let found = report::tail(&mut page, &reader, arguments.lines, follow)?;
            out.flush().map_err(report::Error::Write)?;
            return Ok(found);
        }
        Command::Query(arguments) => {
            return read(global, arguments.written.format(), |page, reader| {
                report::query(page, reader, &arguments.sql)
            });
        }
        Command::Prices { command } => return of_prices(global, command),
        Command::Reprice(arguments) => {
            let config = configured(&global)?;
            let prices = prices::prices(&config);
            let keeping = if arguments.dry_run {
                Keeping::Told
            } else {
                Keeping::Kept
            };
            return write(&global, &config, arguments.written.format(), |page| {
                report::prices::repriced(page, &asked(arguments.span, None), &prices, |window| {
                    let sum = store::reprice(&config.daemon.db, window, &prices, keeping)?;
                    Ok((sum, keeping == Keeping::Kept))
                })
            });
        }
        Command::Vacuum(_) => {
            let config = configured(&global)?;
            let vacuumed = store::vacuum(&config.daemon.db)?;
            writeln!(
                io::stdout(),
                "{}: {} MiB, before {} MiB",
                report::visible(&config.daemon.db.display().to_string()),
                vacuumed.after_bytes >> 20,
                vacuumed.before_bytes >> 20
            )
            .map_err(report::Error::Write)?;
        }
        Command::Merge(arguments) => merge(&global, &arguments)?,
        Command::Status(arguments) => {
            configured(&global)?;
            return read(global, arguments.format(), report::status);
        }
    }
    Ok(Found::Something)
}

/// The configuration in force, for a command that takes one ledger.
fn configured(global: &Global) -> anyhow::Result<Config> {
    Ok(loaded(global)?.config)
}

fn loaded(global: &Global) -> anyhow::Result<Loaded> {
    let db = match global.db.as_slice() {
        [] => None,
        [db] => Some(db.clone()),
        _ => return Err(fleet::TooMany.into()),
    };
    Ok(Loaded::read(global.config.as_deref())?.with_db(db))
}

/// The configuration in force, and what reads the ledger, or several as one.
fn reader(global: &Global) -> anyhow::Result<(Config, Reader)> {
    if global.db.len() < 2 {
        let config = configured(global)?;
        let reader = Reader::open(&config.daemon.db, &zone(global, &config))?;
        return Ok((config, reader));
    }
    let config = Loaded::read(global.config.as_deref())?.config;
    let reader = fleet::reader(&global.db, &zone(global, &config))?;
    Ok((config, reader))
}

fn asked(span: Span, coverage: Option<f64>) -> Asked {
    Asked {
        since: span.since,
        until: span.until,
        coverage,
    }
}

/// A report of usage by one or two dimensions.
fn usage(global: Global, by: Vec<Dimension>, selection: Selection) -> anyhow::Result<Found> {
    let wanted = Wanted {
        by,
        filters: selection.filters,
        metric: selection.metric,
        top: selection.top.and_then(|top| usize::try_from(top).ok()),
    };
    let asked = asked(selection.span, selection.covered.require_coverage);
    let format = selection.written.format();
    let (config, mut reader) = reader(&global)?;
    if wanted.metric == Metric::WeightedTokens {
        reader.weigh_by(prices::prices(&config))?;
    }
    write(&global, &config, format, |page| {
        report::usage(page, &reader, &wanted, &asked)
    })
}

/// What goes on.
fn live(global: &Global, arguments: &Top) -> anyhow::Result<Found> {
    let config = configured(global)?;
    let open = || -> Result<Reader, store::Error> {
        let mut reader = Reader::open(&config.daemon.db, &zone(global, &config))?;
        reader.weigh_by(prices::prices(&config))?;
        Ok(reader)
    };
    let to = match io::stdout().is_terminal() {
        true => top::To::Screen,
        false => top::To::Batch,
    };
    // Not locked: a panic on whichever thread gives the terminal back over it.
    let mut out = BufWriter::new(io::stdout());
    let prices = in_force(&config);
    let mut page = page(global, &config, arguments.format(), &mut out, &prices);
    Ok(top::run(&mut page, &open, arguments.wanted(to))?)
}

/// The list of sessions, or one of them.
fn sessions(global: Global, arguments: Sessions) -> anyhow::Result<Found> {
    if let Some(SessionsCommand::Show(show)) = arguments.command {
        return read(global, show.written.format(), |page, reader| {
            report::session(page, reader, &show.id, &show.parts())
        });
    }
    let asked = asked(arguments.span, arguments.covered.require_coverage);
    read(global, arguments.written.format(), |page, reader| {
        report::sessions(page, reader, &asked, arguments.lines)
    })
}

/// Alerts: all, or one; taking one on, and trying a channel.
fn alerts(global: Global, arguments: Alerts) -> anyhow::Result<Found> {
    let list = match arguments.command {
        None => arguments.list,
        Some(AlertsCommand::List(list)) => list,
        Some(AlertsCommand::Show { id, written }) => {
            return read(global, written.format(), |page, reader| {
                report::alert(page, reader, id)
            });
        }
        Some(AlertsCommand::Ack { id }) => return take_on(&global, id),
        Some(AlertsCommand::Test { channel }) => return try_channel(&global, &channel),
    };
    let listed = match list.firing {
        true => Listed::Firing,
        false => Listed::Of(Asked {
            since: list.since,
            ..Asked::default()
        }),
    };
    read(global, list.written.format(), |page, reader| {
        report::alerts(page, reader, &listed)
    })
}

/// Takes an alert on, for who runs this command.
fn take_on(global: &Global, id: u64) -> anyhow::Result<Found> {
    let config = configured(global)?;
    let name = ["SUDO_USER", "USER"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    let by = name.unwrap_or_else(|| rustix::process::getuid().as_raw().to_string());
    let now_ms = jiff::Timestamp::now().as_millisecond();
    if store::acknowledge(&config.daemon.db, id, &by, now_ms)? {
        writeln!(io::stdout(), "alert {id} is taken on; it is not told again")
            .map_err(report::Error::Write)?;
        return Ok(Found::Something);
    }
    let reader = Reader::open(&config.daemon.db, &zone(global, &config))?;
    let alerts = reader.alerts(store::AlertFilter::Id(id))?;
    let alert = alerts.first().ok_or(report::Error::NoAlert { id })?;
    let why = match alert.acknowledged_ms {
        Some(_) => "was taken on before",
        None => "is over",
    };
    writeln!(io::stdout(), "alert {id} {why}").map_err(report::Error::Write)?;
    Ok(Found::Nothing)
}

/// Sends a message that is marked as a test.
fn try_channel(global: &Global, name: &str) -> anyhow::Result<Found> {
    let config = configured(global)?;
    let channels = Channels::new(&config.channels);
    let known: Vec<&str> = channels.iter().map(alert::Channel::name).collect();
    let channel = channels.named(name).with_context(|| {
        format!(
            "no channel is called {name:?}; the configuration has {}",
            if known.is_empty() {
                "none, see [[notify]]".to_owned()
            } else {
                known.join(", ")
            }
        )
    })?;
    let host = store::HostFacts::of_this_host(env!("CARGO_PKG_VERSION"));
    let now_ms = jiff::Timestamp::now().as_millisecond();
    channel
        .send(&alert::test_payload(&host.host_name, now_ms), now_ms)
        .with_context(|| {
            format!(
                "channel {name} ({}) did not take the message",
                channel.kind()
            )
        })?;
    writeln!(
        io::stdout(),
        "channel {name} ({}) took the message",
        channel.kind()
    )
    .map_err(report::Error::Write)?;
    Ok(Found::Something)
}

/// Tells which prices are in force.
fn in_force(config: &Config) -> impl Fn() -> InForce {
    || InForce::of(config, jiff::Timestamp::now().as_millisecond())
}

/// The zone of reports.
fn zone(global: &Global, config: &Config) -> TimeZone {
    match &global.tz {
        Some(zone) => zone.clone(),
        None if global.utc => TimeZone::UTC,
        None => config.daemon.timezone.rules(),
    }
}

fn page<'a>(
    global: &Global,
    config: &Config,
    format: Format,
    out: &'a mut dyn io::Write,
    prices: &'a dyn Fn() -> InForce,
) -> Page<'a> {
    Page {
        out,
        format,
        width: report::terminal_width(),
        style: global.color.style(),
        zone: zone(global, config),
        now: jiff::Timestamp::now(),
        prices,
    }
}

/// The index of a month, on standard output or into a file.
fn month_index(global: Global, arguments: &Index) -> anyhow::Result<Found> {
    let month = arguments.month.as_deref();
    let Some(path) = &arguments.html else {
        let format = match arguments.output {
            IndexFormat::Md => Format::Md,
            IndexFormat::Html => Format::Table,
            IndexFormat::Json => Format::Json,
        };
        return read(global, format, |page, reader| {
            report::index(page, reader, month, arguments.output)
        });
    };
    let failed = || format!("can't write {}", path.display());
    let mut html = Vec::new();
    let found = read(global, Format::Table, |page, reader| {
        let mut into_memory = Page {
            out: &mut html,
            zone: page.zone.clone(),
            ..*page
        };
        report::index(&mut into_memory, reader, month, IndexFormat::Html)
    })?;
    // Nothing is there of a page that could not be made.
    std::fs::write(path, html).with_context(failed)?;
    Ok(found)
}

/// Merges ledgers, and says what each brought.
fn merge(global: &Global, arguments: &Merge) -> anyhow::Result<()> {
    if !global.db.is_empty() {
        return Err(fleet::TooMany.into());
    }
    let merged = fleet::merge(&arguments.into, &arguments.from)?;
    let mut out = io::stdout().lock();
    for (from, merged) in arguments.from.iter().zip(merged) {
        writeln!(
            out,
            "{}: {} new, {} completed, {} known already",
            report::visible(&from.display().to_string()),
            merged.inserted,
            merged.improved,
            merged.unchanged
        )
        .map_err(report::Error::Write)?;
    }
    Ok(())
}

/// What is said of prices.
fn of_prices(global: Global, command: PricesCommand) -> anyhow::Result<Found> {
    let config = configured(&global)?;
    let prices = prices::prices(&config);
    match command {
        PricesCommand::List { provider, written } => {
            write(&global, &config, written.format(), |page| {
                report::prices::list(page, &prices, provider.as_deref())
            })
        }
        PricesCommand::Show {
            model,
            provider,
            written,
        } => write(&global, &config, written.format(), |page| {
            report::prices::show(page, &prices, provider.as_deref(), &model)
        }),
        PricesCommand::Check { span, written } => {
            let reader = Reader::open(&config.daemon.db, &zone(&global, &config))?;
            write(&global, &config, written.format(), |page| {
                report::prices::check(page, &reader, &asked(span, None), &prices)
            })
        }
        PricesCommand::Update {
            file,
            as_of,
            dry_run,
            written,
        } => {
            let as_of_ms = match as_of {
                Some(day) => agent_core::prices::day_ms(&day)
                    .with_context(|| format!("{day:?} is no day; write it as in 2026-12-01"))?,
                None => prices::changed_ms(&file)?,
            };
            let candidate = prices::candidate(&file, as_of_ms)?;
            let installed = match dry_run {
                true => None,
                false => Some(prices::install(&candidate, &config.daemon.db)?),
            };
            write(&global, &config, written.format(), |page| {
                report::prices::update(page, &prices, &candidate, installed.as_deref())
            })
        }
        PricesCommand::Override { written } => write(&global, &config, written.format(), |page| {
            report::prices::own(page, &prices)
        }),
    }
}

/// Puts a command in the place of this process; why it is not in its place if that failed.
fn execute(arguments: Exec) -> Result<exec::Error, exec::Error> {
    let code = arguments
        .billing_code
        .map(|code| (Marker::BILLING_CODE.to_owned(), code));
    let labels: Vec<_> = arguments.label.into_iter().chain(code).collect();
    let marker = exec::marker(&arguments.name, &labels)?;
    let mut words = arguments.command.into_iter();
    let command = words.next().unwrap_or_default();
    let words: Vec<_> = words.collect();
    Ok(exec::run(&marker, &command, &words))
}

/// What is said of workflows.
fn of_budgets(global: Global, command: BudgetCommand) -> anyhow::Result<Found> {
    match command {
        BudgetCommand::Status(asked) => stand(&global, &asked, report::budgets),
        BudgetCommand::Check(asked) => stand(&global, &asked, report::check_budgets),
        BudgetCommand::Set(asked) => set_budget(&global, &asked),
        BudgetCommand::History(asked) => {
            let (config, reader) = reader(&global)?;
            let now = jiff::Timestamp::now();
            let zone = zone(&global, &config);
            let since = asked
                .since
                .as_deref()
                .map(|since| report::moment::parse(since, now, &zone))
                .transpose()?;
            let since_ms = since.map_or(i64::MIN, jiff::Timestamp::as_millisecond);
            write(&global, &config, asked.written.format(), |page| {
                report::budget_history(page, &reader, asked.name.as_deref(), since_ms)
            })
        }
    }
}

/// What writes how budgets stand.
type Standing =
    fn(&mut Page<'_>, &Reader, &[Budget], &[String], &Prices) -> Result<Found, report::Error>;

fn stand(global: &Global, asked: &BudgetStatus, report: Standing) -> anyhow::Result<Found> {
    let (config, reader) = reader(global)?;
    let set = reader.set_by_command()?;
    let budgets = config.budgets_with(set.iter().map(|set| set.definition_json.as_str()));
    let prices = prices::prices(&config);
    write(global, &config, asked.written.format(), |page| {
        report(page, &reader, &budgets, &asked.names, &prices)
    })
}

fn set_budget(global: &Global, asked: &SetBudget) -> anyhow::Result<Found> {
    let config = configured(global)?;
    if config
        .budgets
        .iter()
        .any(|budget| *budget.name == *asked.name)
    {
        anyhow::bail!(
            "the budget {} is one of the configuration; change it there",
            report::visible(&asked.name)
        );
    }
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let db = &config.daemon.db;
    let name = report::visible(&asked.name).into_owned();
    if asked.remove {
        if !store::set_budget(db, &asked.name, None, now_ms)? {
            anyhow::bail!(
                "no budget that a command set is called {name}; `bpftok budget` shows all"
            );
        }
        writeln!(io::stdout(), "{name} is no budget any more").map_err(report::Error::Write)?;
        return Ok(Found::Something);
    }
    let definition = asked.definition().to_string();
    let budget = config::budget_of(&definition).map_err(anyhow::Error::msg)?;
    store::set_budget(db, &asked.name, Some(&definition), now_ms)?;
    writeln!(
        io::stdout(),
        "{name}: {} for {} each {}; `bpftok budget` shows how it stands",
        budget.limit,
        budget.scope,
        budget.period
    )
    .map_err(report::Error::Write)?;
    Ok(Found::Something)
}

fn of_workflows(global: Global, command: WorkflowCommand) -> anyhow::Result<Found> {
    let config = configured(&global)?;
    match command {
        WorkflowCommand::List { span, output } => {
            let reader = Reader::open(&config.daemon.db, &zone(&global, &config));
            write(&global, &config, output.into(), |page| {
                report::workflows::list(
                    page,
                    &config.workflows,
                    reader.as_ref(),
                    &asked(span, None),
                )
            })
        }
        WorkflowCommand::Test {
            pid,
            client,
            host,
            output,
        } => {
            let facts = process::Reader::new(app::facts(&config)).read(pid, None);
            let facts = facts.with_context(|| format!("no process has the id {pid}"))?;
            let client = client.or_else(|| Client::of_process(&facts).name);
            let subject = Subject {
                process: Some(&facts),
                client: client.as_deref(),
                host: host.as_deref(),
            };
            let unread = process::unread(pid);
            write(&global, &config, output.into(), |page| {
                report::workflows::test(page, &config.workflows(), subject, &unread)
            })
        }
        WorkflowCommand::Suggest {
            span,
            lines,
            output,
        } => {
            let reader = Reader::open(&config.daemon.db, &zone(&global, &config))?;
            let workflows = config.workflows();
            write(&global, &config, output.into(), |page| {
                report::workflows::suggest(page, &reader, &asked(span, None), &workflows, lines)
            })
        }
    }
}

/// Writes a report to standard output, through a pager where it is for people and long.
fn write(
    global: &Global,
    config: &Config,
    format: Format,
    report: impl FnOnce(&mut Page<'_>) -> Result<Found, report::Error>,
) -> anyhow::Result<Found> {
    let prices = &in_force(config);
    if format.is_text() && !global.no_pager && io::stdout().is_terminal() {
        let mut text = Vec::new();
        let found = report(&mut page(global, config, format, &mut text, prices))?;
        report::write_paged(&text).map_err(report::Error::Write)?;
        return Ok(found);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let found = report(&mut page(global, config, format, &mut out, prices))?;
    out.flush().map_err(report::Error::Write)?;
    Ok(found)
}

/// Reads the ledger and writes a report to standard output.
fn read(
    global: Global,
    format: Format,
    report: impl FnOnce(&mut Page<'_>, &Reader) -> Result<Found, report::Error>,
) -> anyhow::Result<Found> {
    let (config, reader) = reader(&global)?;
    write(&global, &config, format, |page| report(page, &reader))
}

fn configuration(global: Global, command: ConfigCommand) -> anyhow::Result<()> {
    let text = match command {
        ConfigCommand::Check { file } => {
            let named = file.or(global.config);
            Loaded::read(named.as_deref())?;
            let file = named.unwrap_or_else(|| config::DEFAULT_PATH.into());
            match file.exists() {
                true => format!("{} is right\n", file.display()),
                false => format!(
                    "{} does not exist; the defaults are in force\n",
                    file.display()
                ),
            }
        }
        ConfigCommand::Show => loaded(&global)?.show(),
        ConfigCommand::Default => config::DEFAULT_TOML.to_owned(),
    };
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(report::Error::Write)?;
    Ok(())
}

/// An error with its causes, one sentence after the other. Paths and files that it quotes do not
/// steer the terminal.
fn sentence(error: &anyhow::Error) -> String {
    causes::in_one_line(error.as_ref())
        .lines()
        .map(report::visible)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The exit code of an error; `None` for one that is no failure.
fn code(error: &anyhow::Error) -> Option<u8> {
    if let Some(error) = error.downcast_ref::<report::Error>() {
        return match error {
            _ if error.is_closed_pipe() => None,
            report::Error::Store(error) => Some(store_code(error)),
            report::Error::Moment(_)
            | report::Error::Period(_)
            | report::Error::Month(_)
            | report::Error::EmptyWindow
            | report::Error::Dimensions
            | report::Error::ManySessions { .. } => Some(exit::USAGE),
            report::Error::NoSession { .. } | report::Error::NoAlert { .. } => Some(exit::NOTHING),
            report::Error::Write(_) => Some(exit::FAILURE),
        };
    }
    if let Some(error) = error.downcast_ref::<store::Error>() {
        return Some(store_code(error));
    }
    if let Some(error) = error.downcast_ref::<capture::Error>() {
        return Some(match error {
            capture::Error::NotPermitted(_) => exit::NO_PERMISSION,
            capture::Error::KernelTooOld { .. }
            | capture::Error::LockedDown
            | capture::Error::EmptyObject
            | capture::Error::Object(_)
            | capture::Error::Program { .. }
            | capture::Error::Map { .. }
            | capture::Error::Missing(_)
            | capture::Error::Wait(_) => exit::UNAVAILABLE,
        });
    }
    if let Some(error) = error.downcast_ref::<exec::Error>() {
        return Some(match error {
            exec::Error::Name(_)
            | exec::Error::Label(_)
            | exec::Error::Twice(_)
            | exec::Error::TooMany(_) => exit::USAGE,
            exec::Error::NotFound { .. } => exit::NOT_FOUND,
            exec::Error::NotExecutable { .. } => exit::NOT_EXECUTABLE,
        });
    }
    if error.is::<fleet::TooMany>() {
        return Some(exit::USAGE);
    }
    if error.is::<privilege::Missing>() {
        return Some(exit::NO_PERMISSION);
    }
    if error.is::<config::Error>() {
        return Some(exit::CONFIG);
    }
    Some(exit::FAILURE)
}

const fn store_code(error: &store::Error) -> u8 {
    match error {
        store::Error::Missing { .. } | store::Error::Blank { .. } => exit::NOTHING,
        store::Error::Forbidden { .. } | store::Error::Unsafe { .. } => exit::NO_PERMISSION,
        store::Error::WritingQuery => exit::USAGE,
        store::Error::InUse { .. }
        | store::Error::Newer { .. }
        | store::Error::Older { .. }
        | store::Error::Foreign { .. }
        | store::Error::Corrupt { .. }
        | store::Error::Io { .. }
        | store::Error::Sql { .. }
        | store::Error::Status { .. }
        | store::Error::Query { .. } => exit::FAILURE,
    }
}
