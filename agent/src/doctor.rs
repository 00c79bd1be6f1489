//! `bpftok doctor`: what this machine has and lacks for watching.

use std::io::Write;

use crate::callers;
use crate::capture::discover::Discovery;
use crate::capture::hooks::Target;
use crate::capture::{reader, support};
use crate::config::Config;
use crate::report::{self, Calls};
use crate::store::{CallingProcess, Reader};
use crate::{cli, privilege};

/// Says what this machine has and lacks.
///
/// # Errors
///
/// The answer can't be written.
pub fn run(config: &Config, arguments: &cli::Doctor) -> anyhow::Result<()> {
    let mut discovery = Discovery::new(None, None)?;
    discovery.scan_host(reader::now());
    discovery.settle(reader::now);
    let targets: Vec<Target> = discovery.targets().cloned().collect();
    let lacking = privilege::check().err();
    let findings = support::examine(lacking.map(|lacking| lacking.missing()));
    let (calling, calls) = match callers_of_agent(config) {
        Some(counted) => (counted, Calls::Counted),
        None => {
            let carriers: Vec<Target> = discovery.carriers().cloned().collect();
            (callers::connected_now(&carriers), Calls::Unknown)
        }
    };
    let mut out = std::io::stdout().lock();
    if arguments.is_json() {
        let document = serde_json::json!({
            "schema_version": 1,
            "findings": findings,
            "files": targets,
            "callers_from": match calls {
                Calls::Counted => "agent",
                Calls::Unknown => "connections",
            },
            "callers": calling,
        });
        writeln!(out, "{document:#}")?;
        return Ok(());
    }
    for finding in &findings {
        writeln!(out, "{:<20}{}", finding.what, finding.found)?;
        if let Some(remedy) = finding.remedy {
            writeln!(out, "{:<20}-> {remedy}", "")?;
        }
    }
    let is_lacking = findings.iter().any(|finding| finding.remedy.is_some());
    let (watched, refused) = targets
        .iter()
        .partition::<Vec<&Target>, _>(|target| target.refusal.is_none());
    write_callers(&mut out, &calling, calls)?;
    writeln!(
        out,
        "\nTLS libraries and programs that would be watched now; what programs load later is found then:"
    )?;
    for target in &watched {
        let path = target.path.display().to_string();
        writeln!(out, "  {}", report::visible(&path))?;
        writeln!(out, "      {}", target.functions.join(" "))?;
    }
    if watched.is_empty() {
        writeln!(out, "  none")?;
    }
    if !refused.is_empty() {
        writeln!(out, "\nRefused:")?;
    }
    for target in &refused {
        let path = target.path.display().to_string();
        let why = target.refusal.as_deref().unwrap_or_default();
        writeln!(out, "  {}", report::visible(&path))?;
        writeln!(out, "      {}", report::visible(why))?;
    }
    if !rustix::process::geteuid().is_root() {
        writeln!(
            out,
            "\nWithout root only your own processes were looked at."
        )?;
    } else if !is_lacking {
        writeln!(out, "\nNothing is missing. Start with: bpftok run")?;
    }
    Ok(())
}

/// What a running agent says of the processes that talk to LLM hosts; `None` if none runs, or if its
/// ledger may not be read.
fn callers_of_agent(config: &Config) -> Option<Vec<CallingProcess>> {
    let reader = Reader::open(&config.daemon.db, &config.daemon.timezone.rules()).ok()?;
    match reader.status().ok()? {
        (Some(status), true) => Some(status.callers),
        (None, _) | (_, false) => None,
    }
}

fn write_callers(
    out: &mut impl Write,
    calling: &[CallingProcess],
    calls: Calls,
) -> anyhow::Result<()> {
    let heading = match calls {
        Calls::Counted => "Processes that talked to LLM hosts within the last hour:",
        Calls::Unknown => {
            "Processes that are connected to port 443 now (no agent runs that would know the hosts and the calls):"
        }
    };
    writeln!(out, "\n{heading}")?;
    if calling.is_empty() {
        writeln!(out, "  none")?;
    } else {
        report::callers(out, report::terminal_width(), calling, calls)?;
    }
    Ok(())
}
