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
//! | [`exec`] | commands under a marker of their workflow |
//! | [`fleet`] | several ledgers as one |
//! | [`prices`] | the list of prices in force, and the installing of another |
//! | [`process`] | facts from `/proc` |
//! | [`privilege`] | what the agent may do, and gives up |
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
pub mod exec;
pub mod fleet;
pub mod keeper;
pub mod line;
pub mod prices;
pub mod privilege;
pub mod process;
pub mod report;
pub mod store;
pub mod telemetry;
pub mod top;
pub mod watcher;
