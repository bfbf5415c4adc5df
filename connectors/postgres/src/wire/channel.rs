//! Messages on a stream of bytes.
//!
//! Duty: cut what arrives into messages (a tag, a length, a body:
//! <https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-MESSAGE-CONCEPTS>) and
//! send what was written.
//!
//! Invariants:
//! - a body is a slice of the buffer it was read into, never copied;
//! - memory grows with what has arrived, not with what a length announces: a buffer at most doubles;
//! - every future here may be dropped at any await without losing or repeating a byte: what was read
//!   is in `inbox`, what was not yet written is in `outbox`.

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::error::Cause;

/// What is read at a time, at least. Small messages that are kept pin as much.
const CHUNK: usize = 64 * 1024;

/// With less room than this, reading goes on in a new chunk.
const ROOM_MIN: usize = CHUNK / 4;

/// Buffers of more than this are not used again.
const LARGE: usize = 1024 * 1024;

/// The longest message before the server is known: no message of a login is longer.
const LOGIN_MAX: usize = 64 * 1024;

/// The longest message: PostgreSQL builds each in at most 1 GiB.
const LENGTH_MAX: usize = 1 << 30;

const HEADER: usize = 5;

/// A message of the server.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) tag: u8,
    pub(super) body: Bytes,
}

/// A stream of bytes that carries messages.
#[derive(Debug)]
pub(super) struct Channel<S> {
    stream: S,
    inbox: BytesMut,
    outbox: BytesMut,
    length_max: usize,
}

impl<S> Channel<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, inbox: BytesMut::new(), outbox: BytesMut::new(), length_max: LOGIN_MAX }
    }

    pub(super) const fn stream(&self) -> &S {
        &self.stream
    }

    /// The server is whom it should be: long messages are taken from now on.
    pub(super) const fn trust(&mut self) {
        self.length_max = LENGTH_MAX;
    }

    /// Where to write what [`flush`](Self::flush) is to send.
    pub(super) const fn outbox(&mut self) -> &mut BytesMut {
        &mut self.outbox
    }

    /// How much the buffer for what arrives takes, used or not.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.inbox.capacity()
    }

    /// The next message, if all of it has arrived.
    pub(super) fn take(&mut self) -> Result<Option<Message>, Cause> {
        let Some((tag, length)) = self.header()? else { return Ok(None) };
        if self.inbox.len() < length {
            return Ok(None);
        }
        let mut body = self.inbox.split_to(length).freeze();
        if length > LARGE {
            // Otherwise the buffer would be used again, and stay as large, once nobody needs the body.
            self.inbox = BytesMut::from(&self.inbox[..]);
        }
        body.advance(HEADER);
        Ok(Some(Message { tag, body }))
    }

    /// The tag of the message that begins `inbox`, and its length with the header.
    fn header(&self) -> Result<Option<(u8, usize)>, Cause> {
        let Some([tag, length @ ..]) = self.inbox.first_chunk::<HEADER>() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        match usize::try_from(length) {
            // The length counts itself, but not the tag.
            Ok(bytes) if (4..=self.length_max).contains(&bytes) => Ok(Some((*tag, bytes + 1))),
            _ => Err(Cause::unexpected(format_args!(
                "a message '{}' of {length} bytes",
                tag.escape_ascii()
            ))),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Channel<S> {
    /// The next message.
    pub(super) async fn next(&mut self) -> Result<Message, Cause> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    /// Reads what there is, and at least something.
    pub(super) async fn fill(&mut self) -> Result<(), Cause> {
        let missing =
            self.header()?.map_or(0, |(_, length)| length.saturating_sub(self.inbox.len()));
        let most = missing.clamp(CHUNK, self.inbox.len().max(CHUNK));
        if self.inbox.capacity() - self.inbox.len() < ROOM_MIN {
            self.inbox.reserve(most);
        }
        match self.stream.read_buf(&mut (&mut self.inbox).limit(most)).await {
            Ok(0) => Err(Cause::Closed),
            Ok(_) => Ok(()),
            // What TLS says when its peer is gone without a goodbye.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Cause::Closed),
            Err(error) => Err(Cause::Io(error)),
        }
    }

    /// Sends all that was written to [`outbox`](Self::outbox).
    pub(super) async fn flush(&mut self) -> Result<(), Cause> {
        while self.outbox.has_remaining() {
            if self.stream.write_buf(&mut self.outbox).await? == 0 {
                return Err(Cause::Closed);
            }
        }
        Ok(self.stream.flush().await?)
    }

    /// Ends the stream of bytes.
    pub(super) async fn shutdown(mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}
