//! Which offsets may be committed.
//!
//! Duty: per open partition, fold lane reports, rejects and dead letter acks into a watermark. Pure;
//! the whole truth about commits is here.
//!
//! Invariants: the watermark never decreases within an assignment, never passes an unresolved reject,
//! and never passes what the current lane reported durable. Reports of an older lane of the same
//! partition are ignored (tickets), since its successor was started from the watermark.

use std::collections::{BTreeMap, BTreeSet};

use towpath_sdk::record::TopicPartition;
use towpath_sdk::sink::Epoch;

/// Names one lane of one assignment of a partition. A new lane gets a new ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// All open partitions of a task.
#[derive(Debug, Default)]
pub struct Ledger {
    open: BTreeMap<TopicPartition, Account>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Account {
    epoch: Epoch,
    ticket: Ticket,
    /// What the current lane reported; `None` before its first report.
    durable: Option<i64>,
    /// Rejected records whose fate is not settled.
    unsettled: BTreeSet<i64>,
    /// The last watermark that the group holds, as far as we know.
    committed: Option<i64>,
    /// The highest watermark ever reached in this assignment.
    reached: Option<i64>,
}

impl Account {
    fn watermark(&self) -> Option<i64> {
        let durable = self.durable?;
        let held = self.unsettled.first().map_or(durable, |first| durable.min(*first));
        Some(self.reached.map_or(held, |reached| held.max(reached)))
    }
}

impl Ledger {
    /// Opens `partition` under `epoch`. A sink that keeps offsets itself has everything below `start`.
    pub fn open(&mut self, partition: TopicPartition, epoch: Epoch, start: Option<i64>) -> Ticket {
        let ticket = self.ticket();
        let account = Account {
            epoch,
            ticket,
            durable: start,
            unsettled: BTreeSet::new(),
            committed: None,
            reached: start,
        };
        self.open.insert(partition, account);
        ticket
    }

    /// A new lane takes `partition` over. Returns its ticket and where it must start; `None` is where
    /// the assignment started.
    pub fn reopen(&mut self, partition: &TopicPartition) -> Option<(Ticket, Option<i64>)> {
        let ticket = self.ticket();
        let account = self.open.get_mut(partition)?;
        account.ticket = ticket;
        account.reached = account.watermark();
        account.durable = account.reached;
        account.unsettled.clear();
        Some((ticket, account.reached))
    }

    /// Closes `partition`: nothing of it can be committed any more.
    pub fn close(&mut self, partition: &TopicPartition) {
        self.open.remove(partition);
    }

    /// Whether a batch of `epoch` belongs to the present assignment of `partition`.
    #[must_use]
    pub fn accepts(&self, partition: &TopicPartition, epoch: Epoch) -> bool {
        self.open.get(partition).is_some_and(|account| account.epoch == epoch)
    }

    /// The lane `ticket` has made everything below `end` durable, apart from its rejects.
    pub fn durable(&mut self, partition: &TopicPartition, ticket: Ticket, end: i64) {
        if let Some(account) = self.current(partition, ticket) {
            account.durable = Some(account.durable.map_or(end, |before| before.max(end)));
            account.reached = account.watermark();
        }
    }

    /// The lane `ticket` rejected the record at `offset`. `false`: a stale report, forget the record.
    pub fn rejected(&mut self, partition: &TopicPartition, ticket: Ticket, offset: i64) -> bool {
        match self.current(partition, ticket) {
            Some(account) => {
                account.unsettled.insert(offset);
                true
            }
            None => false,
        }
    }

    /// The rejected record at `offset` is held by the dead letter queue, or skipped on purpose.
    pub fn settled(&mut self, partition: &TopicPartition, ticket: Ticket, offset: i64) {
        if let Some(account) = self.current(partition, ticket) {
            account.unsettled.remove(&offset);
            account.reached = account.watermark();
        }
    }

    /// Whether every reject of these partitions is settled.
    #[must_use]
    pub fn all_settled(&self, partitions: &[TopicPartition]) -> bool {
        partitions.iter().filter_map(|p| self.open.get(p)).all(|a| a.unsettled.is_empty())
    }

    /// What of `partitions` is worth committing.
    #[must_use]
    pub fn committable<'a>(
        &self,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) -> Vec<(TopicPartition, i64)> {
        partitions
            .into_iter()
            .filter_map(|partition| {
                let account = self.open.get(partition)?;
                let watermark = account.watermark()?;
                (account.committed != Some(watermark)).then(|| (partition.clone(), watermark))
            })
            .collect()
    }

    /// The group holds these offsets.
    pub fn committed(&mut self, offsets: &[(TopicPartition, i64)]) {
        for (partition, offset) in offsets {
            if let Some(account) = self.open.get_mut(partition) {
                account.committed = Some(*offset);
            }
        }
    }

    /// The open partitions.
    pub fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.open.keys()
    }

    /// The watermark of `partition`.
    #[must_use]
    pub fn watermark(&self, partition: &TopicPartition) -> Option<i64> {
        self.open.get(partition)?.watermark()
    }

    /// The epoch that `partition` was assigned under.
    #[must_use]
    pub fn epoch_of(&self, partition: &TopicPartition) -> Option<Epoch> {
        self.open.get(partition).map(|account| account.epoch)
    }

    /// The ticket of the lane that `partition` has now.
    #[must_use]
    pub fn ticket_of(&self, partition: &TopicPartition) -> Option<Ticket> {
        self.open.get(partition).map(|account| account.ticket)
    }

    fn current(&mut self, partition: &TopicPartition, ticket: Ticket) -> Option<&mut Account> {
        self.open.get_mut(partition).filter(|account| account.ticket == ticket)
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tp() -> TopicPartition {
        TopicPartition::new("t", 0)
    }

    #[test]
    fn a_reject_holds_the_watermark_until_it_is_settled() {
        let mut ledger = Ledger::default();
        let ticket = ledger.open(tp(), Epoch(1), None);
        assert!(ledger.rejected(&tp(), ticket, 5));
        ledger.durable(&tp(), ticket, 10);
        assert_eq!(ledger.watermark(&tp()), Some(5));
        ledger.settled(&tp(), ticket, 5);
        assert_eq!(ledger.committable([&tp()]), [(tp(), 10)]);
        ledger.committed(&[(tp(), 10)]);
        assert!(ledger.committable([&tp()]).is_empty());
    }

    #[test]
    fn an_old_lane_and_an_old_assignment_are_ignored() {
        let mut ledger = Ledger::default();
        let old = ledger.open(tp(), Epoch(1), None);
        ledger.durable(&tp(), old, 3);
        let (new, start) = ledger.reopen(&tp()).unwrap();
        assert_eq!(start, Some(3));
        ledger.durable(&tp(), old, 100);
        assert!(!ledger.rejected(&tp(), old, 4));
        assert_eq!(ledger.watermark(&tp()), Some(3));
        ledger.durable(&tp(), new, 4);
        assert_eq!(ledger.watermark(&tp()), Some(4));
        ledger.close(&tp());
        let again = ledger.open(tp(), Epoch(2), None);
        ledger.durable(&tp(), new, 50);
        assert_eq!(ledger.watermark(&tp()), None);
        assert!(ledger.accepts(&tp(), Epoch(2)) && !ledger.accepts(&tp(), Epoch(1)));
        ledger.durable(&tp(), again, 4);
        assert_eq!(ledger.watermark(&tp()), Some(4));
    }

    proptest! {
        #[test]
        fn the_watermark_is_the_settled_prefix(
            rejects in proptest::collection::btree_set(0_i64..50, 0..10),
            order in proptest::collection::vec(0_usize..10, 0..30),
            ends in proptest::collection::vec(0_i64..60, 1..20),
        ) {
            let mut ledger = Ledger::default();
            let ticket = ledger.open(tp(), Epoch(1), None);
            let rejects: Vec<i64> = rejects.into_iter().collect();
            let mut unsettled: BTreeSet<i64> = BTreeSet::new();
            let mut durable = None::<i64>;
            let mut before = None;
            let mut order = order.into_iter();
            for end in ends {
                // A lane rejects a record before it reports an end behind it.
                for offset in rejects.iter().filter(|o| **o < end && durable.is_none_or(|d| **o >= d)) {
                    ledger.rejected(&tp(), ticket, *offset);
                    unsettled.insert(*offset);
                }
                ledger.durable(&tp(), ticket, end);
                durable = Some(durable.map_or(end, |d| d.max(end)));
                if let Some(pick) = order.next()
                    && let Some(offset) = unsettled.iter().nth(pick).copied() {
                        ledger.settled(&tp(), ticket, offset);
                        unsettled.remove(&offset);
                    }
                let expect = unsettled.first().map_or(durable, |first| durable.map(|d| d.min(*first)));
                let watermark = ledger.watermark(&tp());
                prop_assert_eq!(watermark, expect);
                prop_assert!(watermark >= before);
                before = watermark;
            }
        }
    }
}
