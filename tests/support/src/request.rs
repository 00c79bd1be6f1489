//! Reads the requests of one HTTP/1.1 connection (RFC 9112).

use std::io::{self, Read};

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// LIMIT: request head, 64 KiB; a longer one ends the connection.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// LIMIT: request body, 64 MiB before and after decompression; a longer one ends the connection.
pub const MAX_BODY_BYTES: usize = 64 << 20;

/// Room for one read, the payload of a full TLS record.
const READ_BYTES: usize = 16 << 10;

/// LIMIT: header fields of a request, 128; more end the connection.
const MAX_FIELDS: usize = 128;

/// One request, its body decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Target, with its query.
    pub target: String,
    /// Header fields, names in lower case.
    pub fields: Vec<(String, String)>,
    /// Body without framing and compression.
    pub body: Vec<u8>,
}

impl Request {
    /// First value of a header field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    fn has_word(&self, name: &str, word: &str) -> bool {
        self.field(name).is_some_and(|value| {
            value
                .split(',')
                .any(|part| part.trim().eq_ignore_ascii_case(word))
        })
    }

    /// Host that the client wants, with the port if it named one.
    pub fn host(&self) -> Option<&str> {
        self.field("host")
    }

    /// Path, without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Whether the client wants to go on with WebSocket frames (RFC 6455 section 4.1).
    pub fn upgrades(&self) -> bool {
        self.has_word("connection", "upgrade") && self.has_word("upgrade", "websocket")
    }

    /// Whether the client wants the connection closed after the reply.
    pub fn closes(&self) -> bool {
        self.has_word("connection", "close")
    }
}

/// What was read of a connection and not yet used.
#[derive(Debug, Default)]
pub struct Requests {
    buffer: Vec<u8>,
}

impl Requests {
    /// The next request; `None` where the client ended the connection between two.
    ///
    /// # Errors
    /// If the connection breaks inside a request, or the request is malformed or too long.
    pub async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> anyhow::Result<Option<Request>> {
        let mut request = loop {
            if let Some(request) = self.head()? {
                break request;
            }
            ensure!(self.buffer.len() <= MAX_HEAD_BYTES, "the head is too long");
            if !self.fill(stream).await? {
                ensure!(self.buffer.is_empty(), "the connection ended inside a head");
                return Ok(None);
            }
        };
        if request.has_word("expect", "100-continue") {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            stream.flush().await?;
        }
        let body = if request.has_word("transfer-encoding", "chunked") {
            self.chunked(stream).await?
        } else if let Some(length) = request.field("content-length") {
            let length = length.trim().parse().context("content-length")?;
            ensure!(length <= MAX_BODY_BYTES, "the body is too long");
            self.take(length, stream).await?
        } else {
            Vec::new()
        };
        request.body = decompress(&body, request.field("content-encoding"))?;
        Ok(Some(request))
    }

    /// What was read behind the last request: the first bytes of what the connection became.
    pub fn into_rest(self) -> Vec<u8> {
        self.buffer
    }

    /// Parses a head and removes it from the buffer; `None` if it is not whole yet.
    fn head(&mut self) -> anyhow::Result<Option<Request>> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut head = httparse::Request::new(&mut fields);
        let httparse::Status::Complete(length) = head.parse(&self.buffer)? else {
            return Ok(None);
        };
        let request = Request {
            method: head.method.unwrap_or_default().to_owned(),
            target: head.path.unwrap_or_default().to_owned(),
            fields: head
                .headers
                .iter()
                .map(|field| {
                    let value = String::from_utf8_lossy(field.value).into_owned();
                    (field.name.to_ascii_lowercase(), value)
                })
                .collect(),
            body: Vec::new(),
        };
        self.buffer.drain(..length);
        Ok(Some(request))
    }

    async fn chunked(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line(stream).await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let length = usize::from_str_radix(digits, 16).context("chunk size")?;
            ensure!(
                length <= MAX_BODY_BYTES - body.len(),
                "the body is too long"
            );
            if length == 0 {
                break;
            }
            body.append(&mut self.take(length, stream).await?);
            ensure!(self.line(stream).await?.is_empty(), "bytes behind a chunk");
        }
        while !self.line(stream).await?.is_empty() {}
        Ok(body)
    }

    async fn line(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.drain(..end).collect();
                self.buffer.drain(..2);
                return String::from_utf8(line).context("a line of a chunked body");
            }
            ensure!(self.buffer.len() <= MAX_HEAD_BYTES, "a line is too long");
            ensure!(
                self.fill(stream).await?,
                "the connection ended inside a body"
            );
        }
    }

    async fn take(
        &mut self,
        length: usize,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> anyhow::Result<Vec<u8>> {
        while self.buffer.len() < length {
            ensure!(
                self.fill(stream).await?,
                "the connection ended inside a body"
            );
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// Reads more; false at the end of the connection, with or without `close_notify`.
    async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<bool> {
        self.buffer.reserve(READ_BYTES);
        match stream.read_buf(&mut self.buffer).await {
            Ok(length) => Ok(length > 0),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Undoes the compression that a request's `content-encoding` names.
///
/// # Errors
/// If there is no such compression, the body is not of it, or it is too long.
pub fn decompress(body: &[u8], encoding: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let reader: Box<dyn Read + '_> = match encoding.unwrap_or("identity") {
        "identity" => Box::new(body),
        "gzip" => Box::new(flate2::read::GzDecoder::new(body)),
        "deflate" => Box::new(flate2::read::ZlibDecoder::new(body)),
        "br" => Box::new(brotli::Decompressor::new(body, 4_096)),
        "zstd" => Box::new(zstd::Decoder::with_buffer(body)?),
        other => bail!("content-encoding {other}"),
    };
    let mut plain = Vec::new();
    reader
        .take(MAX_BODY_BYTES as u64 + 1)
        .read_to_end(&mut plain)?;
    ensure!(plain.len() <= MAX_BODY_BYTES, "the body is too long");
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use tokio::io::ReadBuf;

    use super::*;

    /// A connection that gives its bytes one at a time and keeps what is written.
    struct Drip {
        input: VecDeque<u8>,
        written: Vec<u8>,
    }

    /// The result of work that never waits.
    fn at_once<T>(work: impl Future<Output = T>) -> T {
        let mut context = Context::from_waker(Waker::noop());
        match pin!(work).poll(&mut context) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("it waits"),
        }
    }

    impl Drip {
        fn new(input: &[u8]) -> Self {
            Self {
                input: input.iter().copied().collect(),
                written: Vec::new(),
            }
        }
    }

    impl AsyncRead for Drip {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(byte) = self.input.pop_front() {
                buffer.put_slice(&[byte]);
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Drip {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.written.extend(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn pipelined_requests_come_one_by_one_whatever_the_framing() {
        let mut stream = Drip::new(
            b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi\
              POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nt: v\r\n\r\n\
              GET /c HTTP/1.1\r\nConnection: close\r\n\r\n",
        );
        let mut requests = Requests::default();
        let seen: Vec<_> = std::iter::from_fn(|| at_once(requests.next(&mut stream)).unwrap())
            .map(|request| {
                (
                    request.target.clone(),
                    request.body.clone(),
                    request.closes(),
                )
            })
            .collect();
        let expected = [
            ("/a".to_owned(), b"hi".to_vec(), false),
            ("/b".to_owned(), b"abcd".to_vec(), false),
            ("/c".to_owned(), Vec::new(), true),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_client_that_expects_is_told_to_go_on() {
        let mut stream =
            Drip::new(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx");
        at_once(Requests::default().next(&mut stream))
            .unwrap()
            .unwrap();
        assert_eq!(stream.written, b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    #[test]
    fn an_end_inside_a_request_is_an_error() {
        for cut in [
            "POST / HT",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab",
        ] {
            let mut stream = Drip::new(cut.as_bytes());
            assert!(
                at_once(Requests::default().next(&mut stream)).is_err(),
                "{cut}"
            );
        }
    }
}
