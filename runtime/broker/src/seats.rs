//! Seats in fleets.
//!
//! Duty: one worker a fleet; a second one is told who holds the seat. A worker that comes back at the
//! same address takes its seat over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use towpath_core::ports::{PortError, PortErrorKind, PortResult};

/// All fleets.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    fleets: BTreeMap<String, Fleet>,
    next: u64,
}

#[derive(Debug, Default)]
struct Fleet {
    generation: i32,
    holder: Option<Holder>,
}

#[derive(Debug)]
struct Holder {
    seat: u64,
    advertised: String,
    wake: Arc<Notify>,
    /// When the seat is free, if its holder vanished.
    gone_until: Option<Instant>,
}

/// A seat that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) id: u64,
    pub(crate) generation: i32,
}

impl Seats {
    /// All fleets' names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.fleets.keys().cloned().collect()
    }

    /// Takes the seat of `fleet`.
    pub(crate) fn take(
        &mut self,
        fleet: &str,
        advertised: &str,
        wake: &Arc<Notify>,
    ) -> PortResult<Seat> {
        let entry = self.fleets.entry(fleet.to_owned()).or_default();
        let gone = |h: &Holder| h.gone_until.is_some_and(|until| until <= Instant::now());
        if let Some(holder) =
            entry.holder.as_ref().filter(|h| !gone(h) && h.advertised != advertised)
        {
            return Err(PortError::new(
                PortErrorKind::Occupied,
                format!(
                    "the worker at {} already runs with group.id={fleet}: stop it, or give this worker \
                     another group.id",
                    holder.advertised
                ),
            ));
        }
        if let Some(older) = entry.holder.take() {
            older.wake.notify_one();
        }
        let seat = Seat { id: self.next, generation: entry.generation + 1 };
        self.next += 1;
        entry.generation = seat.generation;
        entry.holder = Some(Holder {
            seat: seat.id,
            advertised: advertised.to_owned(),
            wake: Arc::clone(wake),
            gone_until: None,
        });
        Ok(seat)
    }

    /// Refuses whoever lost the seat of `fleet` to a newer worker.
    pub(crate) fn refuse_twin(&self, fleet: &str) -> PortResult<()> {
        match self.fleets.get(fleet).and_then(|f| f.holder.as_ref()) {
            None => Ok(()),
            Some(holder) => Err(PortError::new(
                PortErrorKind::Fenced,
                format!("a newer worker at {} has taken the seat in {fleet}", holder.advertised),
            )),
        }
    }

    /// Whether `seat` is still held.
    pub(crate) fn holds(&self, fleet: &str, seat: u64) -> bool {
        self.fleets.get(fleet).and_then(|f| f.holder.as_ref()).is_some_and(|h| h.seat == seat)
    }

    /// Gives `seat` up.
    pub(crate) fn give_up(&mut self, fleet: &str, seat: u64) {
        if let Some(entry) = self.fleets.get_mut(fleet)
            && entry.holder.as_ref().is_some_and(|h| h.seat == seat)
        {
            entry.holder = None;
        }
    }

    /// The holder of `seat` is not heard of any more.
    pub(crate) fn vanish(&mut self, fleet: &str, seat: u64, session: Duration) {
        if let Some(holder) = self.fleets.get_mut(fleet).and_then(|f| f.holder.as_mut())
            && holder.seat == seat
        {
            holder.gone_until = Some(Instant::now() + session);
        }
    }

    /// Takes the seat of `fleet` away from whoever holds it, as an ended session does.
    pub(crate) fn expel(&mut self, fleet: &str) {
        if let Some(holder) = self.fleets.get_mut(fleet).and_then(|f| f.holder.take()) {
            holder.wake.notify_one();
        }
    }
}
