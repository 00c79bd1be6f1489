//! Live tests: real probes on real clients that talk to a loopback endpoint of ours.
//!
//! They need root, a kernel that loads the probes, and the clients that `cargo xtask test`
//! installs and names in the environment. A test that misses something prints `SKIP name: reason`.
#![expect(
    clippy::unwrap_in_result,
    reason = "None means that a test is skipped; whatever else goes wrong fails it"
)]

#[cfg(test)]
mod agent;
#[cfg(test)]
mod budgets;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod collected;
#[cfg(test)]
mod compare;
#[cfg(test)]
mod discovery;
#[cfg(test)]
mod facts;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod host;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod monitor;
#[cfg(test)]
mod namespace;
#[cfg(test)]
mod owned;
#[cfg(test)]
mod probe;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod programs;
#[cfg(test)]
mod relations;
#[cfg(test)]
mod run;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod scraped;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod self_check;
#[cfg(test)]
mod service;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod sockets;
#[cfg(test)]
mod verdict;
