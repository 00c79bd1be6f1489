//! What the tests of several packages share.
//!
//! | module | holds |
//! |---|---|
//! | [`endpoint`] | a TLS server on loopback that answers as the providers do, and remembers what it served |
//! | [`served`] | what it remembers of a call: the truth that a ledger is compared with |
//! | [`plan`] | how one reply is to be sent: compression, framing, cuts, faults |
//! | [`reply`] | the bodies of the three APIs, made from chosen numbers |
//! | [`script`] | a reply turned into the writes of a connection |
//! | [`overhead`] | the experiment behind `cargo xtask bench overhead` |
//! | [`traffic`] | ring records and events of made-up conversations |
#![forbid(unsafe_code)]

pub mod certificate;
pub mod endpoint;
pub mod numbers;
pub mod overhead;
pub mod plan;
pub mod reply;
pub mod request;
pub mod script;
pub mod served;
pub mod traffic;

pub use endpoint::Endpoint;
pub use plan::Plan;
pub use served::{Api, Outcome, Reported, Served, Tokens};
