//! Connections that stand still.
//!
//! Duty: end a connection on which nothing has moved for a while, in either direction: a client that says
//! nothing, one that stops in the middle of its request, one that does not read its answer. Each holds one of
//! the server's connections otherwise, for ever.
//!
//! Invariant: the limit is longer than a request may take, since nothing moves while the server works on one.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes of a request's beginning which tell HTTP/1 from HTTP/2. No HTTP request is shorter; until they are
/// there, progress does not extend the time for them, so that they can't be dripped.
const OPENING: usize = 16;

/// A connection that fails when it stands still.
pub(crate) struct Patient<I> {
    io: I,
    limit: Duration,
    timer: Pin<Box<Sleep>>,
    read: usize,
}

impl<I> Patient<I> {
    /// `io`, of which the first bytes must come within `opening`, and then some within each `limit`.
    pub(crate) fn new(io: I, opening: Duration, limit: Duration) -> Self {
        Self { io, limit, timer: Box::pin(tokio::time::sleep(opening)), read: 0 }
    }

    fn moved(&mut self, read: usize) {
        self.read = self.read.saturating_add(read);
        if self.read >= OPENING {
            self.timer.as_mut().reset(Instant::now() + self.limit);
        }
    }

    /// Nothing moved: waits on, or gives up.
    fn stands<T>(&mut self, cx: &mut Context<'_>) -> Poll<Result<T>> {
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the connection stood still")))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Patient<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Pending => self.stands(cx),
            done => {
                self.moved(buf.filled().len() - before);
                done
            }
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Patient<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<Result<usize>> {
        match Pin::new(&mut self.io).poll_write(cx, buf) {
            Poll::Pending => self.stands(cx),
            done => {
                self.moved(0);
                done
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        match Pin::new(&mut self.io).poll_write_vectored(cx, bufs) {
            Poll::Pending => self.stands(cx),
            done => {
                self.moved(0);
                done
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Pending => self.stands(cx),
            done => done,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match Pin::new(&mut self.io).poll_shutdown(cx) {
            Poll::Pending => self.stands(cx),
            done => done,
        }
    }
}
