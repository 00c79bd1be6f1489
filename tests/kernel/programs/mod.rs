//! The programs that people run, as they come from their publishers, each with a provider, a network
//! and a home of its own.
//!
//! | module | holds |
//! |---|---|
//! | `scene` | one run of one program, and what it must have left in the ledger |
//! | `agents` | coding agents at their built-in hosts and at a base URL |
//! | `runtimes` | Node and Bun |
//! | `libraries` | HTTP, WebSocket and gRPC libraries, and OpenSSL inside a stripped program |
//! | `sdks` | the official SDKs at their built-in hosts, every column, and how near estimates come |
//! | `unprobed` | what the agent can't see, and says so |
//! | `coverage` | what `agent/docs/coverage.md` is made of |

mod agents;
mod coverage;
mod libraries;
mod runtimes;
mod scene;
mod sdks;
mod unprobed;

use std::path::Path;
use std::process::Command;
use std::thread;

use test_support::endpoint::Options;

use crate::agent::{Agent, Place};
use crate::run;

use self::coverage::Client;
use self::scene::{Played, Scene};

/// An agent that watches all programs of a test.
struct Watch {
    test: &'static str,
    place: Place,
    agent: Agent,
}

impl Watch {
    /// Starts the agent; `None`, with a `SKIP` line, where this machine can't.
    fn start(test: &'static str) -> Option<Self> {
        let place = Place::with("");
        let agent = place.run(test)?;
        Some(Self { test, place, agent })
    }

    /// Has a program run once, as far as it runs without a provider, and waits until that has made
    /// the agent hook it: what follows is its second run.
    fn has_run(&self, program: &Path) -> Option<()> {
        self.has_run_with(program, &[])
    }

    /// The same with further variables.
    fn has_run_with(&self, program: &Path, variables: &[(&str, &Path)]) -> Option<()> {
        let scene = Scene::set(self.test, Options::default())?;
        let mut command = scene.command(program);
        command.arg("--version").envs(variables.iter().copied());
        let exe = scene.run(command)?.ended.who.exe;
        self.agent.wait_for_hook(&exe);
        Some(())
    }

    /// Has Python import a module once, and waits until the agent has hooked what that maps with
    /// `file` in its path.
    fn has_imported(&self, python: &Path, module: &str, file: &str) -> Option<()> {
        let script = format!("import {module}; print(open('/proc/self/maps').read())");
        let mut command = Command::new(python);
        command.args(["-c", &script]);
        let maps = run::Client::start(command, self.test)?.succeed().stdout;
        let mapped = run::code_in(&maps, file);
        assert!(!mapped.is_empty(), "{module} maps no {file}:\n{maps}");
        for path in mapped {
            self.agent.wait_for_hook(&path);
        }
        Some(())
    }

    /// Fails unless the ledger holds exactly what the programs were served; notes under `client`
    /// what is known of `file`. Gives the ledger, and what the agent said.
    fn finish(self, client: &Client, file: &Path, played: &[Played]) -> (Place, Said) {
        let is_whole = |run: &Played| run.rows(&self.place).len() >= run.served.len();
        self.place.wait_until(|| played.iter().all(is_whole));
        let (place, said) = self.stop();
        for run in played {
            run.assert_in_ledger(&place);
        }
        coverage::note(client, &place.status(), file, played);
        (place, said)
    }

    /// Stops the agent and gives its ledger, and what it said and counted.
    fn stop(self) -> (Place, Said) {
        let said = self.agent.stop();
        let counters = &self.place.status()["counters"];
        let said = Said(format!("{said}\n{counters}"));
        (self.place, said)
    }
}

/// What the agent said; printed where the test fails while this is held.
struct Said(String);

impl Drop for Said {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("the agent said:\n{}", self.0);
        }
    }
}

/// Does all of `runs` at once, each on a thread of its own; `None` if one of them is skipped.
fn at_once<F>(runs: impl IntoIterator<Item = F>) -> Option<Vec<Played>>
where
    F: FnOnce() -> Option<Played> + Send,
{
    thread::scope(|scope| {
        let running: Vec<_> = runs.into_iter().map(|run| scope.spawn(run)).collect();
        let ended = running.into_iter().map(|run| run.join().unwrap());
        ended.collect()
    })
}
