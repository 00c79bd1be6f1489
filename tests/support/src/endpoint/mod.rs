//! A TLS server on loopback that answers as the providers do, and remembers what it served.
//!
//! Its TLS is rustls, so that probes on OpenSSL see the clients and never the endpoint. One thread
//! a connection. Paths: those of [`Api`], each also behind `/plan/WORDS`; besides them
//! `/v1/messages/count_tokens`, `/v1/models` and `/noise/BYTES`, which are no calls and are not
//! remembered.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certificate::Certificate;
use crate::numbers::{self, Numbers};
use crate::plan::{Fault, Plan};
use crate::reply::{self, Reply};
use crate::request::{Request, Requests};
use crate::script::{Script, script};
use crate::served::{Api, Outcome, Reported, Served};

/// File in the endpoint's directory that gets a JSON line for each served call. The last line of
/// a number counts: a call that the client cut off at its very end gets a second one.
pub const SERVED_FILE: &str = "served.jsonl";

/// LIMIT: silence of a client, one minute; then its connection is closed.
const SILENCE: Duration = Duration::from_secs(60);

/// LIMIT: bytes of a `/noise/BYTES` reply, 64 MiB; more are not sent.
const MAX_NOISE_BYTES: usize = 64 << 20;

/// Headers in which known clients send the id of their session.
const SESSION_HEADERS: [&str; 3] = ["x-claude-code-session-id", "session-id", "x-session-id"];

/// A running endpoint. It ends, with all its connections, when it is dropped.
#[derive(Debug)]
pub struct Endpoint {
    addr: SocketAddr,
    certificate: Arc<Certificate>,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
    /// Removed with the endpoint.
    _dir: Option<TempDir>,
}

#[derive(Debug)]
struct Shared {
    tls: Arc<ServerConfig>,
    /// Of the figures. Each endpoint has its own, so that two on one host have no id in common.
    seed: u64,
    next_number: AtomicU64,
    is_stopping: AtomicBool,
    served: Mutex<HashMap<u64, Served>>,
    recorded: Condvar,
    log: Mutex<File>,
    connections: Mutex<HashMap<u64, TcpStream>>,
}

impl Endpoint {
    /// Starts an endpoint on a free port, with its files in a directory of its own.
    ///
    /// # Errors
    /// If a file can't be written or no port is free.
    pub fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("cannot make a directory")?;
        let mut endpoint = Self::start_in(dir.path(), 0)?;
        endpoint._dir = Some(dir);
        Ok(endpoint)
    }

    /// Starts an endpoint on `port` (0 takes a free one), with its files in `dir`.
    ///
    /// # Errors
    /// If a file can't be written or the port is taken.
    pub fn start_in(dir: &Path, port: u16) -> anyhow::Result<Self> {
        let certificate = Certificate::create(dir)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.leaf.clone()], certificate.key.clone_key())?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join(SERVED_FILE))
            .with_context(|| format!("cannot write {SERVED_FILE}"))?;
        let shared = Arc::new(Shared {
            tls: Arc::new(tls),
            seed: fastrand::u64(..),
            next_number: AtomicU64::new(0),
            is_stopping: AtomicBool::new(false),
            served: Mutex::default(),
            recorded: Condvar::new(),
            log: Mutex::new(log),
            connections: Mutex::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("cannot listen")?;
        let addr = listener.local_addr()?;
        let acceptor = thread::Builder::new().name("accept".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        })?;
        let certificate = Arc::new(certificate);
        Ok(Self {
            addr,
            certificate,
            shared,
            acceptor: Some(acceptor),
            _dir: None,
        })
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
        let mut served: Vec<_> = lock(&self.shared.served).values().cloned().collect();
        served.sort_by_key(|served| served.number);
        served
    }

    /// As [`Endpoint::served`], after waiting until `count` calls are recorded, at most `limit`.
    /// Needed where a client hangs up: the endpoint learns of that later than the client.
    pub fn served_when(&self, count: usize, limit: Duration) -> Vec<Served> {
        let deadline = Instant::now() + limit;
        let mut served = lock(&self.shared.served);
        while served.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.recorded.wait_timeout(served, left);
            served = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(served);
        self.served()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        for connection in lock(&self.shared.connections).values() {
            // A connection that has ended by itself is as good.
            connection.shutdown(Shutdown::Both).ok();
        }
        // Wakes the acceptor, which looks at the flag then.
        TcpStream::connect(self.addr).ok();
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().ok();
        }
    }
}

/// A panic in one connection must not hide what the others served.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for (key, connection) in (0..).zip(listener.incoming()) {
        if shared.is_stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(connection) = connection else { continue };
        let Ok(handle) = connection.try_clone() else {
            continue;
        };
        lock(&shared.connections).insert(key, handle);
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // A client may break off at any point; what that means for a call is recorded there.
            converse(connection, &shared).ok();
            lock(&shared.connections).remove(&key);
        });
    }
}

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// Answers the requests of one connection.
fn converse(connection: TcpStream, shared: &Shared) -> anyhow::Result<()> {
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(SILENCE))?;
    connection.set_write_timeout(Some(SILENCE))?;
    let client_port = connection.peer_addr()?.port();
    let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&shared.tls))?, connection);
    let mut requests = Requests::default();
    while let Some(request) = requests.next(&mut stream)? {
        let (plan, path) = route(&request)?;
        let api = Api::ALL.into_iter().find(|api| api.path() == path);
        let script = match api {
            Some(api) if request.method == "POST" => {
                serve(api, &request, &plan, client_port, shared, &mut stream)?
            }
            _ => {
                let reply = beside(&request, path);
                let script = script(&reply, &plan, 0, request.closes())?;
                let head_only = request.method == "HEAD";
                let count = if head_only { 1 } else { script.pieces.len() };
                for piece in script.pieces.iter().take(count) {
                    stream.write_all(&piece.bytes)?;
                    stream.flush()?;
                }
                script
            }
        };
        if script.drops {
            return Ok(());
        }
        if script.closes {
            break;
        }
    }
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}

/// The plan of a request, and its path without plan and query.
fn route(request: &Request) -> anyhow::Result<(Plan, &str)> {
    let path = request.target.split('?').next().unwrap_or_default();
    let (words, path) = match path
        .strip_prefix("/plan/")
        .and_then(|rest| rest.find('/').map(|end| rest.split_at(end)))
    {
        Some((words, path)) => (words, path),
        None => (request.field("x-test-plan").unwrap_or_default(), path),
    };
    Ok((words.parse()?, path))
}

/// Answers one call and records it.
fn serve(
    api: Api,
    request: &Request,
    plan: &Plan,
    client_port: u16,
    shared: &Shared,
    stream: &mut Tls,
) -> anyhow::Result<Script> {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let number = shared.next_number.fetch_add(1, Ordering::Relaxed);
    let numbers = Numbers::of(shared.seed, number, api, plan.deltas);
    let malformed = Plan {
        fault: Fault::Status(400),
        ..*plan
    };
    let plan = if body.is_object() { plan } else { &malformed };
    let answer = reply::answer(api, &body, &numbers, plan);
    let script = script(&answer.reply, plan, number, request.closes())?;
    let served = Served {
        number,
        id: answer.id,
        api,
        client_port,
        user_agent: request.field("user-agent").map(str::to_owned),
        session_header: SESSION_HEADERS
            .iter()
            .find_map(|name| request.field(name))
            .map(str::to_owned),
        model_requested: body.get("model").and_then(Value::as_str).map(str::to_owned),
        model_served: answer.model_served,
        stream: body.get("stream").and_then(Value::as_bool).unwrap_or(false),
        status: answer.reply.status,
        usage: numbers.usage,
        reported: answer.reported,
        outcome: answer.outcome,
        text_in_bytes: reply::text_in_bytes(&body),
        text_out_bytes: answer.text_out_bytes,
    };
    let mut is_recorded = false;
    for (index, piece) in script.pieces.iter().enumerate() {
        if piece.waits {
            thread::sleep(plan.delay);
        }
        // Recorded before the client can know the end, so that no reader comes too early.
        if index == script.terminal {
            record(served.clone(), shared)?;
            is_recorded = true;
        }
        if let Err(error) = stream.write_all(&piece.bytes).and_then(|()| stream.flush()) {
            if !is_recorded || index == script.terminal {
                let reported = if api == Api::AnthropicMessages && served.stream {
                    Reported::Input
                } else {
                    Reported::Nothing
                };
                record(
                    Served {
                        outcome: Outcome::Aborted,
                        reported,
                        ..served
                    },
                    shared,
                )?;
            }
            return Err(error.into());
        }
    }
    Ok(script)
}

fn record(served: Served, shared: &Shared) -> anyhow::Result<()> {
    let line = serde_json::to_string(&served)?;
    lock(&shared.served).insert(served.number, served);
    shared.recorded.notify_all();
    writeln!(lock(&shared.log), "{line}").context("cannot write what was served")
}

/// Answers what is no call.
fn beside(request: &Request, path: &str) -> Reply {
    if path == "/v1/messages/count_tokens" {
        return Reply::json(200, &json!({"input_tokens": 4_711}));
    }
    if path == "/v1/models" {
        let models = json!([{"id": "model", "object": "model", "created": 0, "owned_by": "us"}]);
        return Reply::json(200, &json!({"object": "list", "data": models}));
    }
    if let Some(length) = path
        .strip_prefix("/noise/")
        .and_then(|digits| digits.parse().ok())
    {
        return Reply {
            status: 200,
            content_type: "application/octet-stream",
            headers: Vec::new(),
            parts: vec![vec![b'.'; MAX_NOISE_BYTES.min(length)]],
            ending: reply::Ending::Whole,
        };
    }
    Reply::json(
        404,
        &json!({"error": {"message": "no such path", "method": request.method}}),
    )
}

#[cfg(test)]
mod tests;
