//! The line from captured bytes to usage records, without I/O.
//!
//! No sockets, files, clock, threads or environment: events with time in them go in, records come
//! out. The stages, in the order in which data flows through them:
//!
//! | stage | takes | gives |
//! |---|---|---|
//! | [`event`] | ring records, facts about processes | [`event::Event`] |
//! | [`socket`] | events | [`socket::Finding`]: which socket a connection uses, and which nobody reads |
//! | [`connection`] | events | [`connection::Segment`]: ordered bytes of one direction, gaps, end |
//! | [`http`] | segments | [`http::HttpEvent`]: heads and bodies of exchanges |
//! | [`llm`] | HTTP events | [`llm::LlmCall`]: one finished LLM API call |
//! | [`tokens`] | finished calls | the same, counted where nothing was reported |
//! | [`attribution`] | calls | [`attribution::AttributedCall`]: whose call it was |
//! | [`workflow`] | attributed calls | [`workflow::Workflow`]: what pays for it |
//! | [`prices`] | what a call used, and when | [`prices::Priced`]: what it cost |
//! | [`session`] | attributed calls and their cost | [`session::UsageRecord`]: what is stored |
//! | [`coverage`] | records and losses | [`coverage::CoverageMinute`]: how much was understood |
//!
//! After what is stored comes what watches it:
//!
//! | stage | takes | gives |
//! |---|---|---|
//! | [`spend`] | stored and running calls | [`spend::Spend`]: how much they take, and from whom |
//! | [`budget`] | spending | how limits stand, and what is wrong with that |
//! | [`alert`] | what rules find wrong | who has to know |
//! | [`runaway`] | what sessions take | which of them run away |
//! | [`spike`] | what workflows take | which of them take far more than ever |
//! | [`upkeep`] | counters, and what all calls take | what else somebody should look at |
//!
//! Beside them, [`glob`] is what a pattern in the configuration means, [`recent`] sums of the last while.
//!
//! Words: a *chunk* is what a probe saw, a *segment* ordered bytes of one direction, a *gap* bytes
//! known to be missing, an *exchange* one HTTP request and response, a *call* one LLM API call, a
//! *thread* a line of calls inside a session, a *session* calls that belong together, a *workflow* the
//! named unit of work that pays, a *record* what is stored.
#![forbid(unsafe_code)]

pub mod alert;
pub mod attribution;
pub mod budget;
pub mod connection;
pub mod coverage;
pub mod event;
pub mod glob;
pub mod http;
pub mod llm;
pub mod pipeline;
pub mod prices;
pub mod recent;
pub mod recording;
pub mod runaway;
pub mod session;
pub mod socket;
pub mod spend;
pub mod spike;
pub mod stats;
pub mod tokens;
pub mod upkeep;
pub mod watch;
pub mod workflow;
