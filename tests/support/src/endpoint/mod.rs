//! A TLS server on loopback that answers as the providers do, and remembers what it served.
//!
//! Its TLS is rustls, so that probes on OpenSSL see the clients and never the endpoint. It speaks
//! HTTP/1.1, HTTP/2 where [`Options::http2`] offers it, and WebSockets (OpenAI's responses and
//! realtime). Calls go to the paths of [`Api`](crate::Api), whatever stands before them, and each
//! also behind `/plan/WORDS`. Every other request is answered as far as clients need it, and
//! remembered apart: it is no call.
//!
//! | module | holds |
//! |---|---|
//! | `answer` | what is done with one request, whatever it came over |
//! | `beside` | answers to what is no call |
//! | `h1`, `h2`, `websocket` | one connection of each kind |
//! | `frames`, `deflate` | the messages of a WebSocket |
//! | `records` | what is remembered |
//! | `cut` | writes cut into TLS records of a size |

mod answer;
mod beside;
mod cut;
pub(crate) mod deflate;
mod frames;
mod h1;
mod h2;
mod records;
mod websocket;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context as _;
use rustls::ServerConfig;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use self::answer::Origin;
use self::cut::Cut;
use self::records::Records;
use crate::certificate::Certificate;
use crate::numbers;
use crate::plan::Plan;
use crate::proxy::{Proxy, Transport};
use crate::served::{Other, Protocol, Served, Tokens};

pub use self::answer::IDENTITY_HEADERS;
pub use self::records::{OTHER_FILE, SERVED_FILE};

/// LIMIT: silence of a client, one minute; then its connection is closed. An HTTP/2 connection
/// may be silent for as long as the endpoint runs.
const SILENCE: Duration = Duration::from_secs(60);

/// How long connections may take to end when the endpoint does.
const END_LIMIT: Duration = Duration::from_secs(5);

/// What an endpoint offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Port on loopback; 0 takes a free one.
    pub port: u16,
    /// Whether HTTP/2 is offered before HTTP/1.1.
    pub http2: bool,
    /// Whether WebSockets are opened; their requests are refused else, and clients go over to
    /// HTTP.
    pub websockets: bool,
    /// Plan of requests that name none: those to the built-in hosts of a client.
    pub plan: Plan,
    /// Tokens that the first calls claim, by their numbers and as far as the usage of their API
    /// can say them; those of later calls are made up.
    pub usage: Vec<Tokens>,
    /// Pieces of text of each reply, one a delta; made up if there are none.
    pub words: Vec<String>,
    /// Further names that the certificate is valid for.
    pub names: Vec<String>,
}

impl Default for Options {
    /// HTTP/1.1 on a free port.
    fn default() -> Self {
        Self {
            port: 0,
            http2: false,
            websockets: true,
            plan: Plan::default(),
            usage: Vec::new(),
            words: Vec::new(),
            names: Vec::new(),
        }
    }
}

/// A running endpoint. It ends, with all its connections, when it is dropped, which must not
/// happen in async code.
#[derive(Debug)]
pub struct Endpoint {
    addr: SocketAddr,
    certificate: Arc<Certificate>,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
    /// Removed with the endpoint.
    _dir: Option<TempDir>,
}

/// What the connections of an endpoint share.
#[derive(Debug)]
struct Shared {
    tls: Arc<ServerConfig>,
    /// Of the figures. Each endpoint has its own, so that two on one host have no id in common.
    seed: u64,
    next_number: AtomicU64,
    options: Options,
    records: Records,
}

impl Endpoint {
    /// Starts an endpoint that speaks HTTP/1.1 on a free port, with its files in a directory of
    /// its own.
    ///
    /// # Errors
    /// If a file can't be written or no port is free.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(Options::default())
    }

    /// Starts an endpoint with its files in a directory of its own.
    ///
    /// # Errors
    /// If a file can't be written or the port is taken.
    pub fn start_with(options: Options) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("cannot make a directory")?;
        let mut endpoint = Self::start_in(dir.path(), options)?;
        endpoint._dir = Some(dir);
        Ok(endpoint)
    }

    /// Starts an endpoint with its files in `dir`.
    ///
    /// # Errors
    /// If a file can't be written or the port is taken.
    pub fn start_in(dir: &Path, options: Options) -> anyhow::Result<Self> {
        let certificate = Certificate::create(dir, &options.names)?;
        let mut tls = certificate.server()?;
        if options.http2 {
            tls.alpn_protocols.push(b"h2".to_vec());
        }
        tls.alpn_protocols.push(b"http/1.1".to_vec());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
            .context("cannot listen on loopback")?;
        let addr = listener.local_addr()?;
        let shared = Shared {
            tls: Arc::new(tls),
            seed: fastrand::u64(..),
            next_number: AtomicU64::new(0),
            options,
            records: Records::in_dir(dir)?,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("endpoint")
            .enable_all()
            .build()
            .context("no runtime")?;
        let endpoint = Self {
            addr,
            certificate: Arc::new(certificate),
            shared: Arc::new(shared),
            runtime: Some(runtime),
            _dir: None,
        };
        endpoint.listen(listener)?;
        Ok(endpoint)
    }

    /// Serves the connections of a further socket: another address, or one of another network
    /// namespace.
    ///
    /// # Errors
    /// If the socket can't be made ready for it.
    pub fn listen(&self, listener: TcpListener) -> anyhow::Result<()> {
        listener.set_nonblocking(true)?;
        let runtime = self.runtime.as_ref().context("the endpoint has ended")?;
        let _runtime = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        runtime.spawn(accept(listener, Arc::clone(&self.shared)));
        Ok(())
    }

    /// Starts a proxy whose tunnels lead to this endpoint, whatever host they ask for. It ends
    /// with the endpoint.
    ///
    /// # Errors
    /// If no port is free.
    pub fn start_proxy(&self, transport: Transport) -> anyhow::Result<Proxy> {
        let runtime = self.runtime.as_ref().context("the endpoint has ended")?;
        let tls = match transport {
            Transport::Plain => None,
            Transport::Tls => Some(Arc::new(self.certificate.server()?)),
        };
        Proxy::start(runtime.handle(), self.addr, tls)
    }

    /// Address that it listens on.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `https://localhost:PORT`.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.addr.port())
    }

    /// `https://localhost:PORT/plan/WORDS`, for clients that are to get their replies that way.
    pub fn url_of(&self, plan: &Plan) -> String {
        format!("{}/plan/{plan}", self.url())
    }

    /// What all ids of its responses contain, and no other endpoint's.
    pub fn tag(&self) -> String {
        numbers::tag(self.shared.seed)
    }

    /// The certificate of the authority, in PEM.
    pub fn ca_path(&self) -> PathBuf {
        self.certificate.ca_path.clone()
    }

    /// The certificate, for a server of another make.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// What was served, in the order of the calls' numbers. A client that has read a terminal
    /// event, or a whole body, finds its call here.
    pub fn served(&self) -> Vec<Served> {
        self.shared.records.served()
    }

    /// As [`Endpoint::served`], after waiting until `count` calls are recorded, at most `limit`.
    /// Needed where a client hangs up: the endpoint learns of that later than the client.
    pub fn served_when(&self, count: usize, limit: Duration) -> Vec<Served> {
        self.shared.records.served_when(count, limit)
    }

    /// The requests that were no calls, in the order in which they were answered.
    pub fn other_requests(&self) -> Vec<Other> {
        self.shared.records.others()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(END_LIMIT);
        }
    }
}

async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    loop {
        // A connection that broke before it was accepted is none of ours.
        if let Ok((connection, _)) = listener.accept().await {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                // A client may break off at any point; what that means for a call is recorded
                // there.
                converse(connection, &shared).await.ok();
            });
        }
    }
}

/// Answers the requests of one connection.
async fn converse(connection: TcpStream, shared: &Arc<Shared>) -> anyhow::Result<()> {
    connection.set_nodelay(true)?;
    let client_port = connection.peer_addr()?.port();
    let acceptor = TlsAcceptor::from(Arc::clone(&shared.tls));
    let stream = timeout(SILENCE, acceptor.accept(connection)).await??;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    if is_http2 {
        let origin = Origin {
            client_port,
            protocol: Protocol::Http2,
        };
        h2::converse(Cut::new(stream), origin, shared).await
    } else {
        let origin = Origin {
            client_port,
            protocol: Protocol::Http1,
        };
        h1::converse(stream, origin, shared).await
    }
}

#[cfg(test)]
mod tests;
