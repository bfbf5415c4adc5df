//! Where everything that is read goes.
//!
//! Duty: hand pieces over and remember where offsets stand after them, so that reading can be taken up
//! from there when a connection breaks.

use parking_lot::Mutex;
use towpath_sdk::offset::StoredOffsets;
use towpath_sdk::{Error, Result};

use crate::pieces::{Piece, PieceSender};

/// The way out, and what went it.
#[derive(Debug)]
pub(crate) struct Output {
    sender: PieceSender,
    handed: Mutex<StoredOffsets>,
}

impl Output {
    /// Hands over to `sender`; so far offsets stand at `stored`.
    #[must_use]
    pub(crate) const fn new(sender: PieceSender, stored: StoredOffsets) -> Self {
        Self { sender, handed: Mutex::new(stored) }
    }

    /// Waits for room and hands a piece of about `bytes` over. May be dropped; the piece is lost then.
    ///
    /// # Errors
    /// If nobody polls any more.
    pub(crate) async fn send(&self, piece: Piece, bytes: usize) -> Result<()> {
        if piece.records.is_empty() && piece.marks.is_empty() {
            return Ok(());
        }
        let marks: Vec<_> =
            piece.marks.iter().map(|mark| (mark.partition.clone(), mark.offset.clone())).collect();
        let sent = self.sender.send(piece, bytes).await;
        sent.map_err(|_stopped| Error::internal("hand records over"))?;
        let mut handed = self.handed.lock();
        for (partition, offset) in marks {
            handed.set(partition, offset);
        }
        Ok(())
    }

    /// Where offsets stand after all that was handed over.
    #[must_use]
    pub(crate) fn handed(&self) -> StoredOffsets {
        self.handed.lock().clone()
    }
}
