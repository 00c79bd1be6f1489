//! A proxy for tunnels: `CONNECT` (RFC 9110 section 9.3.6), plain or inside TLS.
//!
//! Its tunnels all lead to one endpoint, whatever host they ask for, so that a client behind it
//! can call its provider by name. Its TLS is rustls, which no probe sees: with the client's own
//! TLS inside, only the client has both layers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::request::Requests;

/// LIMIT: time until a client has said where it wants to go, one minute.
const SILENCE: Duration = Duration::from_secs(60);

/// LIMIT: tunnels that are remembered, 100,000; later ones are served and not remembered.
const MAX_TUNNELS: usize = 100_000;

/// How clients talk to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Without encryption.
    Plain,
    /// Over TLS.
    Tls,
}

/// A tunnel that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Host and port that the client asked for.
    pub target: String,
    /// Port of the client at the proxy.
    pub client_port: u16,
    /// Port of the tunnel at the endpoint: the client's port of the calls that came through it.
    pub endpoint_port: u16,
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    transport: Transport,
    tunnels: Arc<Mutex<Vec<Tunnel>>>,
}

impl Proxy {
    /// Starts a proxy that speaks TLS where there is a configuration for it.
    pub(crate) fn start(
        runtime: &Handle,
        endpoint: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
    ) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let transport = if tls.is_some() {
            Transport::Tls
        } else {
            Transport::Plain
        };
        let tunnels = Arc::default();
        let _runtime = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        runtime.spawn(accept(listener, endpoint, tls, Arc::clone(&tunnels)));
        Ok(Self {
            addr,
            transport,
            tunnels,
        })
    }

    /// Its URL, as `HTTPS_PROXY` takes it.
    pub fn url(&self) -> String {
        let scheme = match self.transport {
            Transport::Plain => "http",
            Transport::Tls => "https",
        };
        format!("{scheme}://localhost:{}", self.addr.port())
    }

    /// The tunnels that were opened, in order.
    pub fn tunnels(&self) -> Vec<Tunnel> {
        let tunnels = self.tunnels.lock();
        tunnels.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

type Tunnels = Arc<Mutex<Vec<Tunnel>>>;

async fn accept(
    listener: TcpListener,
    endpoint: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    tunnels: Tunnels,
) {
    loop {
        // A connection that broke before it was accepted is none of ours.
        let Ok((connection, _)) = listener.accept().await else {
            continue;
        };
        let (tls, tunnels) = (tls.clone(), Arc::clone(&tunnels));
        tokio::spawn(async move {
            // A client may break off at any point.
            converse(connection, endpoint, tls, &tunnels).await.ok();
        });
    }
}

async fn converse(
    connection: TcpStream,
    endpoint: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    tunnels: &Tunnels,
) -> anyhow::Result<()> {
    connection.set_nodelay(true)?;
    let client_port = connection.peer_addr()?.port();
    match tls {
        Some(tls) => {
            let accepted = TlsAcceptor::from(tls).accept(connection);
            let stream = timeout(SILENCE, accepted).await??;
            tunnel(stream, client_port, endpoint, tunnels).await
        }
        None => tunnel(connection, client_port, endpoint, tunnels).await,
    }
}

async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    client_port: u16,
    endpoint: SocketAddr,
    tunnels: &Tunnels,
) -> anyhow::Result<()> {
    let mut requests = Requests::default();
    let request = timeout(SILENCE, requests.next(&mut stream)).await??;
    let request = request.context("a connection without a request")?;
    if request.method != "CONNECT" {
        let refusal = b"HTTP/1.1 405 Method Not Allowed\r\nallow: CONNECT\r\n\
            content-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(refusal).await?;
        return Ok(stream.shutdown().await?);
    }
    let mut upstream = TcpStream::connect(endpoint).await?;
    upstream.set_nodelay(true)?;
    let tunnel = Tunnel {
        target: request.target,
        client_port,
        endpoint_port: upstream.local_addr()?.port(),
    };
    {
        let mut tunnels = tunnels.lock().unwrap_or_else(PoisonError::into_inner);
        if tunnels.len() < MAX_TUNNELS {
            tunnels.push(tunnel);
        }
    }
    stream
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await?;
    stream.flush().await?;
    upstream.write_all(&requests.into_rest()).await?;
    copy_bidirectional(&mut stream, &mut upstream).await?;
    Ok(())
}
