//! Request bodies made of pieces in memory and in the spool.
//!
//! A body is made anew for each try of a request. Pieces in the spool are read as they are sent, a
//! stretch at a time, on a thread that may block.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::buffer::{Payload, Piece};
use crate::spool::Extent;

/// Bytes read from the spool at once.
const STRETCH: usize = 256 * 1024;

/// The body that sends `payload`.
pub(super) fn of(payload: &Payload) -> ByteStream {
    if let [Piece::Memory(bytes, _)] = &payload.pieces[..] {
        return ByteStream::from(bytes.clone());
    }
    let pieces = Arc::clone(&payload.pieces);
    let len = payload.len as u64;
    let make = move || {
        SdkBody::from_body_1_x(Pieces {
            pieces: Arc::clone(&pieces),
            next: 0,
            reading: None,
            left: len,
        })
    };
    ByteStream::new(SdkBody::retryable(make))
}

struct Pieces {
    pieces: Arc<[Piece]>,
    next: usize,
    reading: Option<Reading>,
    left: u64,
}

/// An extent that is being sent.
struct Reading {
    extent: Arc<Extent>,
    at: usize,
    stretch: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Reading {
    fn poll_stretch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let (extent, at) = (Arc::clone(&self.extent), self.at);
        let stretch = self
            .stretch
            .get_or_insert_with(|| tokio::task::spawn_blocking(move || extent.read(at, STRETCH)));
        let read = ready!(Pin::new(stretch).poll(cx));
        self.stretch = None;
        let bytes = read.map_err(io::Error::other)??;
        self.at += bytes.len();
        Poll::Ready(Ok(bytes))
    }
}

impl Pieces {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if let Some(reading) = &mut self.reading {
                if reading.at < reading.extent.size() {
                    return Poll::Ready(Some(ready!(reading.poll_stretch(cx))));
                }
                self.reading = None;
            }
            let Some(piece) = self.pieces.get(self.next) else { return Poll::Ready(None) };
            self.next += 1;
            match piece {
                Piece::Memory(bytes, _) => return Poll::Ready(Some(Ok(bytes.clone()))),
                Piece::Disk(extent) => {
                    let extent = Arc::clone(extent);
                    self.reading = Some(Reading { extent, at: 0, stretch: None });
                }
            }
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = ready!(self.poll_bytes(cx));
        if let Some(Ok(bytes)) = &polled {
            self.left = self.left.saturating_sub(bytes.len() as u64);
        }
        Poll::Ready(polled.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{Buffer, Codec, Compression, Pool};
    use crate::spool::Spool;

    #[tokio::test]
    async fn a_body_is_sent_whole_and_again() {
        let parent = tempfile::tempdir().unwrap();
        let spool = Spool::new(parent.path().to_owned(), 1 << 24);
        let mut codec = Codec::new(Compression::None).unwrap();
        let mut buffer = Buffer::new(&Pool::new(1 << 20));
        let want: Vec<u8> = (0..900_000).map(|n| (n % 249) as u8).collect();
        for (at, bytes) in want.chunks(70_000).enumerate() {
            buffer.room(bytes.len(), &mut codec).unwrap().extend_from_slice(bytes);
            buffer.appended();
            if at == 5 || at == 9 {
                let bytes = buffer.spillable(&mut codec).unwrap().unwrap();
                buffer.spill(spool.write(&bytes).unwrap());
            }
        }
        let payload = buffer.finish(&mut codec).unwrap();
        assert!(payload.pieces.len() > 2);
        let body = of(&payload).into_inner();
        let again = body.try_clone().unwrap();
        for body in [body, again] {
            assert_eq!(body.content_length(), Some(900_000));
            let sent = ByteStream::new(body).collect().await.unwrap().into_bytes();
            assert!(sent == want);
        }
    }
}
