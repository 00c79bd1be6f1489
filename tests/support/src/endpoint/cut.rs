//! A connection whose writes are cut, so that each becomes a TLS record of its own.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long writes may be at most, shared by a connection and those who write to it.
#[derive(Clone, Debug)]
pub(super) struct Longest(Arc<AtomicUsize>);

impl Longest {
    /// Cuts writes behind `bytes` from now on.
    pub(super) fn set(&self, bytes: usize) {
        self.0.store(bytes.max(1), Ordering::Relaxed);
    }
}

/// A connection whose writes are cut.
#[derive(Debug)]
pub(super) struct Cut<S> {
    stream: S,
    longest: Longest,
}

impl<S> Cut<S> {
    /// A connection whose writes are not cut yet.
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            longest: Longest(Arc::new(AtomicUsize::new(usize::MAX))),
        }
    }

    /// Where the length of its writes is set.
    pub(super) fn longest(&self) -> Longest {
        self.longest.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cut<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cut<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let longest = self.longest.0.load(Ordering::Relaxed).min(bytes.len());
        let (bytes, _) = bytes.split_at(longest);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
