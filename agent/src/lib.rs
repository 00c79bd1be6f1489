//! The agent's shell: everything that does I/O.
//!
//! | module | does |
//! |---|---|
//! | [`cli`] | the command line, as types |
//! | [`config`] | defaults, file and flags to one checked configuration |
//! | [`alert`] | tells people and programs of alerts |
//! | [`app`] | builds all, starts all, stops in order |
//! | [`callers`] | who talks to LLM hosts, and by which TLS library |
//! | [`capture`] | kernel programs, what to hook, the ring |
//! | [`causes`] | errors in one line |
//! | [`dispatch`] | alerts to the ledger, and from there to their channels |
//! | [`doctor`] | what this machine has and lacks |
//! | [`exec`] | commands under a marker of their workflow |
//! | [`fleet`] | several ledgers as one |
//! | [`memory`] | how much memory the agent may have, and who gets how much of it |
//! | [`metrics`] | what is committed as numbers, for Prometheus |
//! | [`otlp`] | what is committed as spans and metrics, for OpenTelemetry |
//! | [`prices`] | the list of prices in force, and the installing of another |
//! | [`process`] | facts from `/proc` |
//! | [`privilege`] | what the agent may do, and gives up |
//! | [`reload`] | what of a changed configuration a running agent takes over |
//! | [`service`] | what the service manager is told |
//! | [`store`] | usage records to SQLite and back |
//! | [`report`] | the ledger to tables, JSON and CSV |
//! | [`watcher`] | what was committed to budgets and rules, and what they find to `dispatch` |
//! | [`telemetry`] | what the agent says about itself |
#![deny(unsafe_code)]

pub mod alert;
pub mod app;
pub mod callers;
pub mod capture;
pub mod causes;
pub mod cli;
pub mod config;
pub mod dispatch;
pub mod doctor;
pub mod exec;
pub mod fleet;
pub mod keeper;
pub mod line;
pub mod memory;
pub mod metrics;
pub mod otlp;
pub mod prices;
pub mod privilege;
pub mod process;
pub mod reload;
pub mod report;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod top;
pub mod watcher;
