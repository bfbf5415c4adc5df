//! The stream of changes.
//!
//! Duty: take frames off a connection that streams and tell the server how far they have come
//! (<https://www.postgresql.org/docs/current/protocol-replication.html>, `START_REPLICATION`).
//!
//! Invariants:
//! - a frame's data is a slice of what was read, never copied;
//! - both [`next`](Stream::next) and [`send_status`](Stream::send_status) may be dropped at any await:
//!   nothing is lost, and what was not yet sent goes out with the next status.
//!
//! Absent: when to send a status, which is the caller's: the server ends a connection that sends none
//! for `wal_sender_timeout`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite};

use super::channel::{Channel, Message};
use super::connection::{notice, unexpected};
use super::error::{Cause, Result, ServerError, WireError};
use super::fields::Fields;
use super::socket::Transport;
use crate::lsn::Lsn;
use crate::pgoutput::{postgres_us, unix_us};

/// A connection that streams.
#[derive(Debug)]
pub struct Stream<S = Transport> {
    channel: Channel<S>,
    peer: Arc<str>,
}

/// What the server sends. Times are microseconds of Unix time by the server's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A piece of the log: one message of the plug-in.
    Wal {
        /// Where it is in the log; zero if the message belongs nowhere.
        start: Lsn,
        /// Where the log ended when it was sent.
        end: Lsn,
        /// When it was sent.
        sent_at_us: i64,
        /// The message.
        data: Bytes,
    },
    /// A sign of life.
    KeepAlive {
        /// Up to where the server has read the log, and sent what was to be sent.
        end: Lsn,
        /// When it was sent.
        sent_at_us: i64,
        /// Whether it wants a status at once.
        reply_requested: bool,
    },
}

/// A frame's kind, start, end and time: what is before the data.
const WAL_HEADER: usize = 1 + 8 + 8 + 8;

const READ: &str = "read the changes of";

impl<S> Stream<S> {
    pub(super) const fn new(channel: Channel<S>, peer: Arc<str>) -> Self {
        Self { channel, peer }
    }

    /// The next frame, if it has arrived already and been read: for taking many at a time.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn try_next(&mut self) -> Result<Option<Frame>> {
        self.buffered().map_err(|cause| self.error(READ, cause))
    }

    fn buffered(&mut self) -> Result<Option<Frame>, Cause> {
        while let Some(Message { tag, body }) = self.channel.take()? {
            match tag {
                b'd' => return frame(body).map(Some),
                b'N' => notice(&body),
                b'S' => {}
                b'E' => return Err(Cause::Server(Box::new(ServerError::parse(&body)))),
                b'c' | b'C' => return Err(Cause::Ended),
                other => return Err(unexpected(other, "in a stream of changes")),
            }
        }
        Ok(None)
    }

    fn error(&self, doing: &'static str, cause: Cause) -> WireError {
        WireError::new(doing, &self.peer, cause)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    /// The next frame. Cancel-safe.
    ///
    /// # Errors
    ///
    /// A lost connection, what the server says, or that it ended the stream, which no caller asked for:
    /// all to be retried on a new connection.
    pub async fn next(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = self.try_next()? {
                return Ok(frame);
            }
            self.channel.fill().await.map_err(|cause| self.error(READ, cause))?;
        }
    }

    /// Tells the server how far the log was written, flushed and applied here. The slot goes on to
    /// `flushed`; transactions before it are never sent again. With `reply`, the server answers with a
    /// keep-alive. Cancel-safe: what was not sent goes out with the next status.
    ///
    /// # Errors
    ///
    /// A lost connection.
    pub async fn send_status(
        &mut self,
        written: Lsn,
        flushed: Lsn,
        applied: Lsn,
        reply: bool,
    ) -> Result<()> {
        let sent = match put_status(self.channel.outbox(), [written, flushed, applied], reply) {
            Ok(()) => self.channel.flush().await,
            Err(cause) => Err(cause),
        };
        sent.map_err(|cause| self.error("send the status to", cause))
    }

    /// Ends the stream and the connection cleanly, so that the slot is free when this returns. What the
    /// server still sends is dropped. After `within`, the connection is just cut.
    ///
    /// # Errors
    ///
    /// The server did not end the stream in time, or not as it should. The connection is closed.
    pub async fn finish(mut self, within: Duration) -> Result<()> {
        let ended = match tokio::time::timeout(within, self.wind_down()).await {
            Ok(ended) => ended,
            Err(_) => Err(Cause::Timeout(within)),
        };
        match ended {
            Ok(()) => Ok(()),
            Err(cause) => Err(self.error("end the stream of", cause)),
        }
    }

    async fn wind_down(&mut self) -> Result<(), Cause> {
        frontend::copy_done(self.channel.outbox());
        self.channel.flush().await?;
        loop {
            let Message { tag, body } = self.channel.next().await?;
            match tag {
                // What was under way, the server's own end, and that the command is complete.
                b'd' | b'c' | b'C' | b'S' => {}
                b'N' => notice(&body),
                b'E' => return Err(Cause::Server(Box::new(ServerError::parse(&body)))),
                b'Z' => break,
                other => return Err(unexpected(other, "at the end of a stream")),
            }
        }
        frontend::terminate(self.channel.outbox());
        self.channel.flush().await
    }
}

fn frame(mut data: Bytes) -> Result<Frame, Cause> {
    let mut fields = Fields::new(&data);
    let short = || Cause::unexpected("a frame that is cut short");
    match fields.u8() {
        Some(b'w') => {
            let (Some(start), Some(end), Some(sent)) = (fields.u64(), fields.u64(), fields.i64())
            else {
                return Err(short());
            };
            data.advance(WAL_HEADER);
            Ok(Frame::Wal { start: Lsn(start), end: Lsn(end), sent_at_us: unix_us(sent), data })
        }
        Some(b'k') => {
            let (Some(end), Some(sent), Some(reply)) = (fields.u64(), fields.i64(), fields.u8())
            else {
                return Err(short());
            };
            Ok(Frame::KeepAlive {
                end: Lsn(end),
                sent_at_us: unix_us(sent),
                reply_requested: reply == 1,
            })
        }
        Some(other) => Err(Cause::unexpected(format_args!("a frame '{}'", other.escape_ascii()))),
        None => Err(short()),
    }
}

fn put_status(out: &mut BytesMut, lsns: [Lsn; 3], reply: bool) -> Result<(), Cause> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let mut status = [0; 1 + 3 * 8 + 8 + 1];
    let mut rest = &mut status[..];
    rest.put_u8(b'r');
    lsns.iter().for_each(|lsn| rest.put_u64(lsn.0));
    rest.put_i64(postgres_us(now));
    rest.put_u8(reply.into());
    frontend::CopyData::new(&status[..])?.write(out);
    Ok(())
}
