//! The numbers over HTTP, for whoever asks: `GET /metrics`, and `GET /healthz`.
//!
//! A thread of its own serves them, and shares nothing with the others but the numbers, for as long
//! as it takes to copy them. How slowly anybody reads is nobody else's concern.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{Format, Metrics};
use crate::config::Listen;
use crate::privilege;

/// LIMIT: connections at a time; others wait in the kernel.
const MAX_CONNECTIONS: usize = 16;

/// LIMIT: time for a request.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// LIMIT: time for a connection, its answer included; whoever reads more slowly gets a part.
const CONNECTION_LIMIT: Duration = Duration::from_secs(20);

/// LIMIT: bytes of a request.
const MAX_REQUEST_BYTES: usize = 16 << 10;

/// LIMIT: header fields of a request.
const MAX_HEADERS: usize = 64;

/// For how long a text is given to everybody who asks, so that asking often costs little.
const FRESH_FOR: Duration = Duration::from_millis(500);

/// Pause after a connection could not be accepted: there are too many open files, for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Who may connect to a socket: its owner and its group.
const SOCKET_MODE: u32 = 0o660;

/// Serves the numbers until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: Option<SocketAddr>,
    socket: Option<PathBuf>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

enum Listener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Server {
    /// Listens, and serves from a thread.
    ///
    /// # Errors
    ///
    /// The address or the path can't be had, or the thread can't be started.
    pub fn start(metrics: Metrics, listen: &Listen) -> io::Result<Self> {
        let (listener, address, socket) = match listen {
            Listen::Tcp(address) => {
                let listener = std::net::TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                (Listener::Tcp(listener), Some(address), None)
            }
            Listen::Unix(path) => {
                let listener = bind(path)?;
                listener.set_nonblocking(true)?;
                (Listener::Unix(listener), None, Some(path.clone()))
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let answers = Arc::new(Answers {
            metrics,
            fresh: Mutex::new(Vec::new()),
        });
        let thread = thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || {
                privilege::keep(privilege::NOTHING);
                let ended = runtime.block_on(async {
                    tokio::select! {
                        ended = serve(listener, &answers) => ended,
                        // Whether told or dropped, it is over.
                        _ = stopped => Ok(()),
                    }
                });
                if let Err(error) = ended {
                    tracing::error!(%error, "metrics are not served");
                }
            })?;
        Ok(Self {
            address,
            socket,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens, if at a TCP port.
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The thread is told by the end of the channel.
        drop(self.stop.take());
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the thread that serves metrics panicked");
        }
        if let Some(socket) = &self.socket
            && let Err(error) = fs::remove_file(socket)
        {
            tracing::debug!(%error, socket = %socket.display(), "can't remove the socket");
        }
    }
}

/// A socket at a path; one that is left of an agent that was killed gives way.
fn bind(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket
        && UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        fs::remove_file(path)?;
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

async fn serve(listener: Listener, answers: &Arc<Answers>) -> io::Result<()> {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    match listener {
        Listener::Tcp(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                let permit = permit(&permits).await;
                match listener.accept().await {
                    Ok((stream, _)) => connect(stream, permit, Arc::clone(answers)),
                    Err(error) => pause(&error).await,
                }
            }
        }
        Listener::Unix(listener) => {
            let listener = tokio::net::UnixListener::from_std(listener)?;
            loop {
                let permit = permit(&permits).await;
                match listener.accept().await {
                    Ok((stream, _)) => connect(stream, permit, Arc::clone(answers)),
                    Err(error) => pause(&error).await,
                }
            }
        }
    }
}

async fn permit(permits: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    // Only a closed semaphore gives none, and this one is never closed.
    Arc::clone(permits).acquire_owned().await.ok()
}

async fn pause(error: &io::Error) {
    tracing::debug!(%error, "a connection for metrics can't be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Answers one request of a connection, in a task of its own.
fn connect<S>(stream: S, permit: Option<OwnedSemaphorePermit>, answers: Arc<Answers>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
            let response = answers.answer(&request);
            async move { Ok::<_, Infallible>(response) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_LIMIT)
            .keep_alive(false)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_REQUEST_BYTES)
            .serve_connection(TokioIo::new(stream), answer);
        match tokio::time::timeout(CONNECTION_LIMIT, served).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics failed"),
            Err(_elapsed) => tracing::debug!("a connection for metrics took too long"),
        }
        drop(permit);
    });
}

/// What is answered.
struct Answers {
    metrics: Metrics,
    fresh: Mutex<Vec<(Format, Instant, Bytes)>>,
}

impl Answers {
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET {
            let mut response = said(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
            response.headers_mut().insert(ALLOW, from_static("GET"));
            return response;
        }
        match request.uri().path() {
            "/metrics" => {
                let format = wanted(request);
                let body = Full::new(self.text(format));
                with_type(StatusCode::OK, format.content_type(), body)
            }
            "/healthz" if self.metrics.is_alive() => said(StatusCode::OK, "ok\n"),
            "/healthz" => said(
                StatusCode::SERVICE_UNAVAILABLE,
                "the thread that keeps the ledger gave no sign of life for half a minute\n",
            ),
            _ => said(StatusCode::NOT_FOUND, "there are /metrics and /healthz\n"),
        }
    }

    /// The text, made now or a moment ago.
    fn text(&self, format: Format) -> Bytes {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.retain(|(_, made, _)| made.elapsed() < FRESH_FOR);
        if let Some((_, _, text)) = fresh.iter().find(|(of, _, _)| *of == format) {
            return text.clone();
        }
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let text = Bytes::from(self.metrics.text(format, now_ms));
        fresh.push((format, Instant::now(), text.clone()));
        text
    }
}

/// OpenMetrics where it is asked for, as Prometheus does; what any other client is sure to read else.
fn wanted<B>(request: &Request<B>) -> Format {
    let asked = request.headers().get_all(ACCEPT).iter();
    let is_open = asked
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("application/openmetrics-text"));
    match is_open {
        true => Format::OpenMetrics,
        false => Format::Prometheus,
    }
}

fn said(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let body = Full::new(Bytes::from_static(text.as_bytes()));
    with_type(status, "text/plain; charset=utf-8", body)
}

fn with_type(
    status: StatusCode,
    content_type: &'static str,
    body: Full<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, from_static(content_type));
    headers.insert(CACHE_CONTROL, from_static("no-store"));
    response
}

const fn from_static(text: &'static str) -> hyper::header::HeaderValue {
    hyper::header::HeaderValue::from_static(text)
}
