//! A server that takes mails (RFC 5321), as far as one client at a time needs.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// Longest wait for a mail.
const LIMIT: Duration = Duration::from_secs(60);

/// A mail that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mail {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Head and body, with line feeds alone and without the dots that the protocol adds.
    pub text: String,
}

/// A server on this host, at a port of its own.
#[derive(Debug)]
pub struct MailServer {
    port: u16,
    mails: Receiver<Mail>,
}

impl MailServer {
    /// Starts one.
    ///
    /// # Errors
    /// No port can be had.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (sender, mails) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Whoever hangs up has given no mail.
                if let Ok(Some(mail)) = take(stream)
                    && sender.send(mail).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { port, mails })
    }

    /// Where it listens on loopback.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The next mail; `None` if none comes for a minute.
    pub fn mail(&self) -> Option<Mail> {
        self.mails.recv_timeout(LIMIT).ok()
    }
}

/// What one client gives.
fn take(mut stream: TcpStream) -> io::Result<Option<Mail>> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut mail = Mail::default();
    stream.write_all(b"220 test\r\n")?;
    while let Some(line) = lines.next().transpose()? {
        let address = || {
            let (_, rest) = line.split_once('<')?;
            Some(rest.split_once('>')?.0.to_owned())
        };
        let verb = line.split([' ', ':']).next().unwrap_or_default();
        let answer = match verb.to_ascii_uppercase().as_str() {
            "MAIL" => {
                mail.from = address().unwrap_or_default();
                "250 ok"
            }
            "RCPT" => {
                mail.to.extend(address());
                "250 ok"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n")?;
                for line in lines.by_ref() {
                    let line = line?;
                    if line == "." {
                        break;
                    }
                    mail.text.push_str(line.strip_prefix('.').unwrap_or(&line));
                    mail.text.push('\n');
                }
                "250 taken"
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n")?;
                return Ok((!mail.text.is_empty()).then_some(mail));
            }
            _ => "250 ok",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes())?;
    }
    Ok(None)
}
