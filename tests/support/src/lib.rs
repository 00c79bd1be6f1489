//! What the tests of several packages share.
//!
//! | module | holds |
//! |---|---|
//! | [`endpoint`] | a TLS server on loopback that answers as the providers do, over HTTP/1.1, HTTP/2 and WebSockets, and remembers what it served |
//! | [`served`] | what it remembers of a call: the truth that a ledger is compared with |
//! | [`call`] | what a request asks for |
//! | [`plan`] | how one reply is to be sent: compression, framing, cuts, faults |
//! | [`agents`] | what is said to an agent, so that its conversation has the tool calls that a test wants, and an end |
//! | [`reply`] | the bodies of the APIs, made from chosen numbers |
//! | [`script`] | a reply turned into the writes of a connection |
//! | [`proxy`] | a proxy for tunnels |
//! | [`receiver`] | a server that takes messages, and answers as the test says |
//! | [`mail_server`] | a server that takes mails |
//! | [`stranger`] | a client whose TLS library no probe knows |
//! | [`discovery`] | the experiment behind `cargo xtask bench discovery` |
//! | [`overhead`] | the experiment behind `cargo xtask bench overhead` |
//! | [`traffic`] | ring records and events of made-up conversations |
//! | [`streams`] | the same over HTTP/2 |
//! | [`websocket`] | the same of a WebSocket with one call after the other |
#![forbid(unsafe_code)]

pub mod agents;
pub mod call;
pub mod certificate;
pub mod discovery;
pub mod endpoint;
pub mod mail_server;
pub mod numbers;
mod observer;
pub mod overhead;
pub mod plan;
pub mod proxy;
pub mod receiver;
pub mod reply;
pub mod request;
pub mod schema;
pub mod script;
pub mod served;
pub mod stranger;
pub mod streams;
pub mod traffic;
pub mod websocket;

pub use endpoint::{Endpoint, Options};
pub use plan::Plan;
pub use receiver::Receiver;
pub use served::{Api, Other, Outcome, Protocol, Reported, Served, Tokens};
