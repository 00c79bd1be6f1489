//! The built binary on ledgers that the library wrote: reports, windows, refusals, readers.
//!
//! Needs `msmtp`, `sqlite3`, `promtool` and `tmux`. Tests that become another user need root, and print `SKIP` without it.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "every function here belongs to a test; clippy's own rule sees only those marked as one"
)]

mod access;
mod alerts;
mod budgets;
mod configuration;
mod costs;
mod faults;
mod hostile;
mod insight;
mod ledger;
mod mail;
mod merge;
mod metrics;
mod metrics_served;
mod otlp;
mod place;
mod prices;
mod query;
mod quota;
mod refusals;
mod replay;
mod reports;
mod retention;
mod schema;
mod service;
mod session;
mod spends;
mod sums;
mod top;
mod usage;
mod walk;
mod waste;
mod workflows;
mod world;
