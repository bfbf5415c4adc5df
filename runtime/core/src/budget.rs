//! Byte budgets.
//!
//! Duty: bound what queues hold, in bytes of what is really held. A permit is taken before bytes are
//! fetched and lives as long as they do (a batch's arena owns it).
//!
//! Invariant: permits handed out never exceed the capacity, except that one request larger than the
//! whole capacity is granted alone, so that an oversized record can pass.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that a permit counts in.
const UNIT: usize = 1024;

/// A bound on bytes, shared by clones.
#[derive(Debug, Clone)]
pub struct Budget {
    units: u32,
    semaphore: Arc<Semaphore>,
}

/// Bytes held; released on drop.
#[derive(Debug)]
pub struct BytePermit {
    held: OwnedSemaphorePermit,
    capacity: usize,
}

impl BytePermit {
    /// The bytes held, in whole KiB.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.held.num_permits() * UNIT
    }

    /// Whether this is the whole capacity, so that nothing larger can be had.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.held.num_permits() == self.capacity
    }

    /// Gives back what is held beyond `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let keep = bytes.div_ceil(UNIT).max(1);
        drop(self.held.split(self.held.num_permits().saturating_sub(keep)));
    }
}

impl Budget {
    /// A budget of `bytes`, rounded up to KiB.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let units = u32::try_from(bytes.div_ceil(UNIT).max(1)).unwrap_or(u32::MAX);
        Self { units, semaphore: Arc::new(Semaphore::new(units as usize)) }
    }

    /// Waits until `bytes` are free and takes them. First come, first served. May be dropped at any
    /// await.
    pub async fn acquire(&self, bytes: usize) -> BytePermit {
        let units = self.units_of(bytes);
        match Arc::clone(&self.semaphore).acquire_many_owned(units).await {
            Ok(held) => self.permit(held),
            Err(_closed) => std::future::pending().await,
        }
    }

    /// Takes `bytes` if they are free now.
    #[must_use]
    pub fn try_acquire(&self, bytes: usize) -> Option<BytePermit> {
        let units = self.units_of(bytes);
        Arc::clone(&self.semaphore).try_acquire_many_owned(units).ok().map(|held| self.permit(held))
    }

    /// The capacity in bytes.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.units as usize * UNIT
    }

    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        (self.units as usize).saturating_sub(self.semaphore.available_permits()) * UNIT
    }

    fn permit(&self, held: OwnedSemaphorePermit) -> BytePermit {
        BytePermit { held, capacity: self.units as usize }
    }

    fn units_of(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_capacity_holds_and_an_oversized_request_passes_alone() {
        let budget = Budget::new(10 * UNIT);
        let small = budget.acquire(4 * UNIT + 1).await;
        assert_eq!(budget.held(), 5 * UNIT);
        assert!(budget.try_acquire(6 * UNIT).is_none());
        assert!(budget.try_acquire(1000 * UNIT).is_none());
        drop(small);
        let all = budget.acquire(1000 * UNIT).await;
        assert!(budget.try_acquire(1).is_none());
        drop(all);
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn a_permit_gives_back_what_it_does_not_need() {
        let budget = Budget::new(10 * UNIT);
        let mut permit = budget.acquire(10 * UNIT).await;
        assert!(permit.is_whole());
        permit.shrink_to(3 * UNIT + 1);
        assert_eq!((permit.bytes(), budget.held()), (4 * UNIT, 4 * UNIT));
        permit.shrink_to(9 * UNIT);
        assert_eq!(budget.held(), 4 * UNIT);
        drop(permit);
        assert_eq!(budget.held(), 0);
    }
}
