//! A server that takes messages, and answers as the test says.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// Longest wait for a message.
const LIMIT: Duration = Duration::from_secs(60);

/// A message that a receiver got.
#[derive(Debug)]
pub struct Message {
    /// Method, path and version.
    pub line: String,
    /// Lines of the head.
    pub head: Vec<String>,
    /// Body.
    pub body: Value,
    answer: Sender<Option<u16>>,
}

impl Message {
    /// Answers with a status. A message that is dropped instead has no answer.
    pub fn answer(self, status: u16) {
        // Whoever sent it may be gone.
        self.answer.send(Some(status)).unwrap_or_default();
    }
}

/// A server on this host, at a port of its own.
#[derive(Debug)]
pub struct Receiver {
    url: String,
    messages: mpsc::Receiver<Message>,
}

impl Receiver {
    /// Starts one.
    ///
    /// # Errors
    /// No port can be had.
    pub fn start() -> io::Result<Self> {
        Self::listen("http", |stream, sender| serve(stream, &sender))
    }

    /// Starts one that speaks TLS.
    ///
    /// # Errors
    /// No port can be had.
    pub fn start_tls(config: ServerConfig) -> io::Result<Self> {
        let config = Arc::new(config);
        Self::listen("https", move |stream, sender| {
            let connection = ServerConnection::new(Arc::clone(&config)).ok()?;
            serve(StreamOwned::new(connection, stream), &sender)
        })
    }

    fn listen(
        scheme: &str,
        serve: impl Fn(TcpStream, Sender<Message>) -> Option<()> + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("{scheme}://{}", listener.local_addr()?);
        let (sender, messages) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (serve, sender) = (serve.clone(), sender.clone());
                thread::spawn(move || serve(stream, sender));
            }
        });
        Ok(Self { url, messages })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The next message; `None` if none comes for a minute.
    pub fn message(&self) -> Option<Message> {
        self.next_within(LIMIT)
    }

    /// The next message, if one comes in time.
    pub fn next_within(&self, limit: Duration) -> Option<Message> {
        self.messages.recv_timeout(limit).ok()
    }
}

/// Reads one message and answers it; a connection that breaks is over.
fn serve(stream: impl Read + Write, sender: &Sender<Message>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let length = head.iter().find_map(|line| {
        let line = line.to_lowercase();
        line.strip_prefix("content-length:")?.trim().parse().ok()
    });
    let mut body = vec![0; length?];
    reader.read_exact(&mut body).ok()?;
    let (answer, answers) = mpsc::channel();
    let message = Message {
        line: head.remove(0),
        head,
        body: serde_json::from_slice(&body).ok()?,
        answer,
    };
    sender.send(message).ok()?;
    let status = answers.recv().ok()??;
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let stream = reader.get_mut();
    stream.write_all(answer.as_bytes()).ok()?;
    stream.flush().ok()
}
