//! The messages of one WebSocket, seen from its server (RFC 6455 section 5).

use std::io::Cursor;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};

use super::SILENCE;
use super::deflate::Deflate;
use crate::plan::Split;
use crate::request::MAX_BODY_BYTES;

/// Room for one read, the payload of a full TLS record.
const READ_BYTES: usize = 16 << 10;

/// How often a message that is cut at random has a ping between two of its frames.
const PING_EVERY: usize = 4;

/// One WebSocket.
#[derive(Debug)]
pub(super) struct Frames<S> {
    stream: S,
    input: Vec<u8>,
    deflate: Option<Deflate>,
    split: Split,
    rng: fastrand::Rng,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// A connection after its opening; `rest` was read behind that. `split` says how messages are
    /// cut into frames, and these into TLS records.
    pub(super) fn new(
        stream: S,
        rest: Vec<u8>,
        deflate: Option<Deflate>,
        split: Split,
        seed: u64,
    ) -> Self {
        Self {
            stream,
            input: rest,
            deflate,
            split,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// The next message; `None` once the client has closed the connection.
    pub(super) async fn receive(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let mut message = Vec::new();
        let mut compressed = None;
        loop {
            let Some((header, payload)) = timeout(SILENCE, self.frame()).await?? else {
                return Ok(None);
            };
            match header.opcode {
                OpCode::Control(Control::Ping) => {
                    let mut pong = Vec::new();
                    Frame::pong(payload).format(&mut pong)?;
                    self.write(&pong).await?;
                }
                OpCode::Control(Control::Close) => {
                    let mut close = Vec::new();
                    let header = FrameHeader {
                        opcode: header.opcode,
                        ..FrameHeader::default()
                    };
                    Frame::from_payload(header, payload.into()).format(&mut close)?;
                    self.write(&close).await?;
                    self.stream.shutdown().await?;
                    return Ok(None);
                }
                OpCode::Control(_) => {}
                OpCode::Data(data) => {
                    let is_first = data != Data::Continue;
                    ensure!(
                        is_first == compressed.is_none(),
                        "a message inside a message"
                    );
                    let is_compressed = *compressed.get_or_insert(header.rsv1);
                    ensure!(
                        payload.len() <= MAX_BODY_BYTES - message.len(),
                        "the message is too long"
                    );
                    message.extend(payload);
                    if header.is_final {
                        return match (&mut self.deflate, is_compressed) {
                            (Some(deflate), true) => deflate.decompress(message).map(Some),
                            (None, true) => bail!("a compressed message on a plain connection"),
                            (_, false) => Ok(Some(message)),
                        };
                    }
                }
            }
        }
    }

    /// Sends one text.
    pub(super) async fn send(&mut self, text: &[u8]) -> anyhow::Result<()> {
        let payload = match &mut self.deflate {
            Some(deflate) => deflate.compress(text)?,
            None => text.to_vec(),
        };
        let mut rest = payload.as_slice();
        let mut opcode = OpCode::Data(Data::Text);
        let mut rsv1 = self.deflate.is_some();
        // What is written at once: a frame, or with random cuts the message.
        let mut bytes = Vec::new();
        loop {
            let length = match self.split {
                Split::Usual | Split::Whole => rest.len(),
                Split::Every(bytes) => bytes.clamp(1, rest.len().max(1)).min(rest.len()),
                Split::Random => self.rng.usize(..=rest.len()),
            };
            let (fragment, left) = rest.split_at(length);
            rest = left;
            let header = FrameHeader {
                is_final: rest.is_empty(),
                opcode,
                rsv1,
                ..FrameHeader::default()
            };
            Frame::from_payload(header, fragment.to_vec().into()).format(&mut bytes)?;
            opcode = OpCode::Data(Data::Continue);
            rsv1 = false;
            if self.split != Split::Random {
                self.write(&bytes).await?;
                bytes.clear();
            } else if self.rng.usize(..PING_EVERY) == 0 {
                Frame::ping(b"bpftok".as_slice()).format(&mut bytes)?;
            }
            if rest.is_empty() {
                break;
            }
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(self.rng.usize(1..=rest.len()));
            self.write(piece).await?;
            rest = left;
        }
        Ok(())
    }

    /// Reads one frame and takes its mask off.
    async fn frame(&mut self) -> anyhow::Result<Option<(FrameHeader, Vec<u8>)>> {
        loop {
            let mut cursor = Cursor::new(self.input.as_slice());
            if let Some((header, length)) = FrameHeader::parse(&mut cursor)? {
                let start = usize::try_from(cursor.position())?;
                ensure!(length <= MAX_BODY_BYTES as u64, "the message is too long");
                let end = start + usize::try_from(length)?;
                if self.input.len() >= end {
                    let mask = header.mask.context("a client's frame without a mask")?;
                    let mut payload: Vec<u8> = self.input.drain(..end).skip(start).collect();
                    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
                        *byte ^= mask;
                    }
                    return Ok(Some((header, payload)));
                }
            }
            self.input.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                ensure!(self.input.is_empty(), "the connection ended inside a frame");
                return Ok(None);
            }
        }
    }

    /// Writes bytes as a TLS record of their own.
    async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        timeout(SILENCE, async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        })
        .await??;
        Ok(())
    }
}
