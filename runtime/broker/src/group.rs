//! Consumer groups.
//!
//! Duty: who reads which partition, and up to where the group has come. Assignment is cooperative and
//! sticky: a partition moves only for balance, and only after its owner let it go.
//!
//! Invariants:
//! - a partition has one owner; nobody else gets it before the owner released it or was expelled;
//! - a commit counts only from a current member;
//! - the order of everything is that of the calls: nothing here depends on a hash or on chance.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use fancy_regex::Regex;
use tokio::sync::Notify;
use tokio::time::Instant;
use towpath_core::ports::{PortError, PortErrorKind, PortResult, Subscription};
use towpath_sdk::record::TopicPartition;

use crate::broker::{Broker, damaged};
use crate::keys;
use crate::store::{Space, Store, Write};
use crate::topic::Topic;

/// A member's number, never used twice in a group.
pub(crate) type MemberId = u64;

/// All groups.
#[derive(Debug)]
pub(crate) struct Groups {
    all: BTreeMap<String, Group>,
    /// How long a group waits for a member to let go.
    patience: Duration,
}

#[derive(Debug)]
struct Group {
    next_member: MemberId,
    members: BTreeMap<MemberId, Member>,
    /// Who holds what, also while it is being revoked.
    owners: BTreeMap<TopicPartition, MemberId>,
    offsets: BTreeMap<TopicPartition, i64>,
    /// When somebody was last here.
    seen: Instant,
    patience: Duration,
}

#[derive(Debug)]
struct Member {
    wants: Wants,
    identity: Identity,
    inbox: VecDeque<MemberEvent>,
    wake: Arc<Notify>,
    /// What it must let go, and by when.
    revoking: BTreeMap<TopicPartition, Instant>,
    /// When it is expelled, if it vanished.
    gone_until: Option<Instant>,
}

/// Who a member says it is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) client: String,
    pub(crate) instance: Option<String>,
}

/// What a member is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MemberEvent {
    Assigned(Vec<TopicPartition>),
    Revoking(Vec<TopicPartition>),
}

/// What a member wants to read.
#[derive(Debug, Clone)]
pub(crate) enum Wants {
    Topics(BTreeSet<String>),
    Pattern(Box<Regex>),
    /// Exactly these, at once and whoever has them: a member without a consumer.
    Exactly(BTreeSet<TopicPartition>),
}

impl Wants {
    pub(crate) fn of(subscription: Subscription) -> PortResult<Self> {
        match subscription {
            Subscription::Topics(names) => Ok(Self::Topics(names.into_iter().collect())),
            Subscription::Pattern(pattern) => {
                let regex = Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
                    PortError::new(
                        PortErrorKind::Invalid,
                        format!(
                            "the topic pattern '{pattern}' is not a regular expression: {error}"
                        ),
                    )
                })?;
                Ok(Self::Pattern(Box::new(regex)))
            }
        }
    }

    fn includes(&self, at: &TopicPartition) -> bool {
        match self {
            Self::Topics(names) => names.contains(&*at.topic),
            Self::Pattern(regex) => regex.is_match(&*at.topic).unwrap_or(false),
            Self::Exactly(partitions) => partitions.contains(at),
        }
    }

    const fn is_ghost(&self) -> bool {
        matches!(self, Self::Exactly(_))
    }
}

impl Groups {
    pub(crate) fn load(store: &dyn Store, patience: Duration) -> PortResult<Self> {
        let mut groups = Self { all: BTreeMap::new(), patience };
        let mut bad = false;
        let (from, to) = keys::all_committed();
        store.scan(Space::Meta, &from, &to, &mut |key, value| {
            match (keys::parse_committed(key), value.first_chunk()) {
                (Some((group, at)), Some(offset)) => {
                    let group = groups.all.entry(group).or_default();
                    group.offsets.insert(at, i64::from_be_bytes(*offset));
                }
                _ => bad = true,
            }
            ControlFlow::Continue(())
        })?;
        if bad { Err(damaged()) } else { Ok(groups) }
    }

    /// A new member. One with the same instance takes over from the older one at once.
    pub(crate) fn join(
        &mut self,
        name: &str,
        wants: Wants,
        identity: Identity,
        wake: Arc<Notify>,
        topics: &[Arc<Topic>],
    ) -> MemberId {
        let group = self.all.entry(name.to_owned()).or_default();
        let id = group.next_member;
        group.next_member += 1;
        let twin = group
            .members
            .iter()
            .find(|(_, m)| identity.instance.is_some() && m.identity.instance == identity.instance)
            .map(|(id, _)| *id);
        if let Some(twin) = twin {
            group.expel(twin);
        }
        group.patience = self.patience;
        let member = Member {
            wants,
            identity,
            inbox: VecDeque::new(),
            wake,
            revoking: BTreeMap::new(),
            gone_until: None,
        };
        group.members.insert(id, member);
        group.rebalance(topics);
        id
    }

    /// The next thing that `member` is told; an error if it is a member no more.
    pub(crate) fn take_event(
        &mut self,
        name: &str,
        id: MemberId,
    ) -> Result<Option<MemberEvent>, Expelled> {
        let member = self.member(name, id).ok_or(Expelled)?;
        Ok(member.inbox.pop_front())
    }

    /// Whether somebody is in the group as `instance`.
    pub(crate) fn has_instance(&self, name: &str, instance: &str) -> bool {
        let members = self.all.get(name).into_iter().flat_map(|g| g.members.values());
        members.filter_map(|m| m.identity.instance.as_deref()).any(|i| i == instance)
    }

    /// `member` let go of `partitions`.
    pub(crate) fn release(
        &mut self,
        name: &str,
        id: MemberId,
        partitions: &[TopicPartition],
        topics: &[Arc<Topic>],
    ) {
        let Some(group) = self.all.get_mut(name) else { return };
        let Some(member) = group.members.get_mut(&id).filter(|m| m.gone_until.is_none()) else {
            return;
        };
        for partition in partitions {
            if member.revoking.remove(partition).is_some() {
                group.owners.remove(partition);
            }
        }
        group.rebalance(topics);
    }

    /// `member` leaves.
    pub(crate) fn leave(&mut self, name: &str, id: MemberId, topics: &[Arc<Topic>]) {
        if let Some(group) = self.all.get_mut(name) {
            group.expel(id);
            group.rebalance(topics);
        }
    }

    /// `member` is not heard of any more.
    pub(crate) fn vanish(
        &mut self,
        name: &str,
        id: MemberId,
        session: Duration,
        topics: &[Arc<Topic>],
    ) {
        if session.is_zero() {
            return self.leave(name, id, topics);
        }
        let until = Instant::now() + session;
        if let Some(group) = self.all.get_mut(name) {
            if let Some(member) = group.members.get_mut(&id) {
                member.gone_until = Some(until);
            }
            // Those who wait must learn until when.
            group.wake_all();
        }
    }

    /// Expels whoever is overdue; when to look again.
    pub(crate) fn expire(&mut self, topics: &[Arc<Topic>]) -> Option<Instant> {
        let now = Instant::now();
        for group in self.all.values_mut() {
            let late: Vec<_> =
                group.members.iter().filter(|(_, m)| m.overdue(now)).map(|(id, _)| *id).collect();
            for id in &late {
                group.expel(*id);
            }
            if !late.is_empty() {
                group.rebalance(topics);
            }
        }
        self.all.values().flat_map(|g| g.members.values()).filter_map(Member::deadline).min()
    }

    /// Topics have come: deals out their partitions.
    pub(crate) fn rebalance_all(&mut self, topics: &[Arc<Topic>]) {
        for group in self.all.values_mut() {
            group.rebalance(topics);
        }
    }

    /// The committed offset of a group.
    pub(crate) fn committed(&self, name: &str, at: &TopicPartition) -> Option<i64> {
        self.all.get(name)?.offsets.get(at).copied()
    }

    /// All committed offsets of a group.
    pub(crate) fn offsets(&self, name: &str) -> Vec<(TopicPartition, i64)> {
        let all = self.all.get(name).into_iter().flat_map(|g| &g.offsets);
        all.map(|(at, offset)| (at.clone(), *offset)).collect()
    }

    /// Who holds what in a group.
    pub(crate) fn owners(&self, name: &str) -> Vec<(TopicPartition, MemberId)> {
        let all = self.all.get(name).into_iter().flat_map(|g| &g.owners);
        all.map(|(at, id)| (at.clone(), *id)).collect()
    }

    /// All groups' names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.all.keys().cloned().collect()
    }

    /// Who the members of a group are.
    pub(crate) fn identities(&self, name: &str) -> Vec<Identity> {
        let members = self.all.get(name).into_iter().flat_map(|g| g.members.values());
        members.map(|member| member.identity.clone()).collect()
    }

    /// The members of a group.
    pub(crate) fn members(&self, name: &str) -> Vec<MemberId> {
        self.all.get(name).into_iter().flat_map(|g| g.members.keys().copied()).collect()
    }

    /// Up to where every group that counts has read `at`.
    pub(crate) fn read_upto(&self, at: &TopicPartition, grace: Duration) -> i64 {
        let counts = |g: &&Group| !g.members.is_empty() || g.seen.elapsed() < grace;
        self.all
            .values()
            .filter(counts)
            .filter_map(|g| {
                let owned = g.owners.contains_key(at).then_some(0);
                g.offsets.get(at).copied().or(owned)
            })
            .min()
            .unwrap_or(i64::MAX)
    }

    fn member(&mut self, name: &str, id: MemberId) -> Option<&mut Member> {
        self.all.get_mut(name)?.members.get_mut(&id)
    }
}

/// A newer instance or the group's patience ended the membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expelled;

impl Default for Group {
    fn default() -> Self {
        Self {
            next_member: 0,
            members: BTreeMap::new(),
            owners: BTreeMap::new(),
            offsets: BTreeMap::new(),
            seen: Instant::now(),
            patience: Duration::ZERO,
        }
    }
}

impl Member {
    fn overdue(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|at| at <= now)
    }

    fn deadline(&self) -> Option<Instant> {
        self.revoking.values().chain(&self.gone_until).copied().min()
    }

    fn tell(&mut self, event: MemberEvent) {
        self.inbox.push_back(event);
        self.wake.notify_one();
    }
}

impl Group {
    fn expel(&mut self, id: MemberId) {
        if let Some(member) = self.members.remove(&id) {
            self.owners.retain(|_, owner| *owner != id);
            self.seen = Instant::now();
            member.wake.notify_one();
        }
    }

    fn wake_all(&self) {
        self.members.values().for_each(|m| m.wake.notify_one());
    }

    /// Moves the assignment towards what it should be, as far as owners let go.
    fn rebalance(&mut self, topics: &[Arc<Topic>]) {
        let target = self.target(topics);
        let mut given: BTreeMap<MemberId, Vec<TopicPartition>> = BTreeMap::new();
        let mut taken: BTreeMap<MemberId, Vec<TopicPartition>> = BTreeMap::new();
        for (at, id) in &target {
            match self.owners.get(at) {
                Some(owner) if owner == id => {}
                Some(owner) => taken.entry(*owner).or_default().push(at.clone()),
                None => given.entry(*id).or_default().push(at.clone()),
            }
        }
        for (at, owner) in &self.owners {
            if !target.contains_key(at) {
                taken.entry(*owner).or_default().push(at.clone());
            }
        }
        for (id, partitions) in taken {
            self.revoke(id, partitions, &target, &mut given);
        }
        for (id, partitions) in given {
            if let Some(member) = self.members.get_mut(&id) {
                self.owners.extend(partitions.iter().map(|at| (at.clone(), id)));
                if !member.wants.is_ghost() {
                    member.tell(MemberEvent::Assigned(partitions));
                }
            }
        }
        self.wake_all();
    }

    fn revoke(
        &mut self,
        id: MemberId,
        partitions: Vec<TopicPartition>,
        target: &BTreeMap<TopicPartition, MemberId>,
        given: &mut BTreeMap<MemberId, Vec<TopicPartition>>,
    ) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if member.wants.is_ghost() {
            for at in partitions {
                self.owners.remove(&at);
                if let Some(next) = target.get(&at) {
                    given.entry(*next).or_default().push(at);
                }
            }
            return;
        }
        let until = Instant::now() + self.patience;
        let fresh: Vec<_> =
            partitions.into_iter().filter(|at| !member.revoking.contains_key(at)).collect();
        if !fresh.is_empty() {
            member.revoking.extend(fresh.iter().map(|at| (at.clone(), until)));
            member.tell(MemberEvent::Revoking(fresh));
        }
    }

    /// Who should hold what: as now, evened out with as few moves as possible.
    fn target(&self, topics: &[Arc<Topic>]) -> BTreeMap<TopicPartition, MemberId> {
        let mut target = BTreeMap::new();
        let mut load: BTreeMap<MemberId, usize> = self.members.keys().map(|id| (*id, 0)).collect();
        let mut free = Vec::new();
        for at in topics.iter().flat_map(|t| &t.partitions).map(|p| &p.at) {
            let able = self.able(at);
            let held = self.owners.get(at).filter(|owner| able.contains(owner));
            match held {
                Some(id) => {
                    *load.entry(*id).or_default() += 1;
                    target.insert(at.clone(), *id);
                }
                None => free.push((at, able)),
            }
        }
        for (at, able) in free {
            if let Some(id) = able.into_iter().min_by_key(|id| (load.get(id).copied(), *id)) {
                *load.entry(id).or_default() += 1;
                target.insert(at.clone(), id);
            }
        }
        while let Some((at, to)) = self.uneven(&target, &load) {
            if let Some(from) = target.insert(at, to) {
                *load.entry(from).or_default() -= 1;
            }
            *load.entry(to).or_default() += 1;
        }
        target
    }

    /// The members that may hold `at`.
    fn able(&self, at: &TopicPartition) -> Vec<MemberId> {
        let able = || self.members.iter().filter(|(_, m)| m.wants.includes(at));
        let ghost = able().find(|(_, m)| m.wants.is_ghost());
        match ghost {
            Some((id, _)) => vec![*id],
            None => able().map(|(id, _)| *id).collect(),
        }
    }

    /// A partition that should move for balance, and to whom.
    fn uneven(
        &self,
        target: &BTreeMap<TopicPartition, MemberId>,
        load: &BTreeMap<MemberId, usize>,
    ) -> Option<(TopicPartition, MemberId)> {
        let mut by_load: Vec<_> = load.iter().map(|(id, n)| (*n, *id)).collect();
        by_load.sort_unstable();
        for (few, to) in &by_load {
            let Some(to_member) = self.members.get(to).filter(|m| !m.wants.is_ghost()) else {
                continue;
            };
            for (_, from) in by_load.iter().rev().take_while(|(many, _)| *many >= few + 2) {
                let ghost = self.members.get(from).is_some_and(|m| m.wants.is_ghost());
                let movable = target
                    .iter()
                    .rev()
                    .find(|(at, id)| *id == from && !ghost && to_member.wants.includes(at));
                if let Some((at, _)) = movable {
                    return Some((at.clone(), *to));
                }
            }
        }
        None
    }
}

impl Broker {
    /// A member's commit.
    pub(crate) fn commit(
        &self,
        name: &str,
        id: MemberId,
        offsets: &[(TopicPartition, i64)],
    ) -> PortResult<()> {
        let mut groups = self.groups.lock();
        let Some(group) = groups.all.get_mut(name) else { return Err(expelled(name)) };
        if group.members.get(&id).is_none_or(|m| m.gone_until.is_some()) {
            return Err(expelled(name));
        }
        let own = |at: &TopicPartition| group.owners.get(at) == Some(&id);
        if self.options.strict_commits
            && let Some((at, _)) = offsets.iter().find(|(at, _)| !own(at))
        {
            return Err(PortError::new(
                PortErrorKind::Fenced,
                format!("{at} is not assigned to this member of the group {name}"),
            ));
        }
        let put = |(at, offset): &(TopicPartition, i64)| {
            Write::put(Space::Meta, keys::committed(name, at), offset.to_be_bytes().to_vec())
        };
        // The latest of a partition counts, and a batch touches a key once.
        let latest: BTreeMap<_, _> = offsets.iter().cloned().collect();
        let latest: Vec<_> = latest.into_iter().collect();
        self.apply(latest.iter().map(put).collect())?;
        for (at, offset) in latest {
            self.quirks.committed(name, &at, offset, own(&at));
            group.offsets.insert(at, offset);
        }
        Ok(())
    }

    /// Sets, or with `None` forgets, offsets of a group that nobody is a member of.
    pub(crate) fn alter_offsets(
        &self,
        name: &str,
        offsets: Vec<(TopicPartition, Option<i64>)>,
    ) -> PortResult<()> {
        check_name(name)?;
        let topics = self.topics();
        let mut groups = self.groups.lock();
        groups.expire(&topics);
        groups.refuse_members(name)?;
        let latest: BTreeMap<_, _> = offsets.into_iter().collect();
        let writes = latest.iter().map(|(at, offset)| match offset {
            Some(offset) => {
                let value = offset.to_be_bytes().to_vec();
                Write::put(Space::Meta, keys::committed(name, at), value)
            }
            None => Write::delete(Space::Meta, keys::committed(name, at)),
        });
        self.apply(writes.collect())?;
        let group = groups.all.entry(name.to_owned()).or_default();
        for (at, offset) in latest {
            match offset {
                Some(offset) => group.offsets.insert(at, offset),
                None => group.offsets.remove(&at),
            };
        }
        Ok(())
    }

    /// Deletes a group that nobody is a member of.
    pub(crate) fn delete_group(&self, name: &str) -> PortResult<()> {
        let topics = self.topics();
        let mut groups = self.groups.lock();
        groups.expire(&topics);
        groups.refuse_members(name)?;
        let offsets = groups.offsets(name);
        let writes =
            offsets.iter().map(|(at, _)| Write::delete(Space::Meta, keys::committed(name, at)));
        self.apply(writes.collect())?;
        groups.all.remove(name);
        Ok(())
    }
}

impl Groups {
    fn refuse_members(&self, name: &str) -> PortResult<()> {
        let count = self.all.get(name).map_or(0, |g| g.members.len());
        if count == 0 {
            return Ok(());
        }
        Err(PortError::new(
            PortErrorKind::Occupied,
            format!("the group {name} has {count} members: stop whoever reads as this group first"),
        ))
    }
}

/// Refuses names that would break a key of the store.
pub(crate) fn check_name(name: &str) -> PortResult<()> {
    if name.is_empty() || name.contains('\0') {
        return Err(PortError::new(
            PortErrorKind::Invalid,
            "a group's name can't be empty or hold a zero byte",
        ));
    }
    Ok(())
}

fn expelled(name: &str) -> PortError {
    PortError::new(
        PortErrorKind::Fenced,
        format!(
            "this consumer is no member of the group {name} any more: its partitions went to others"
        ),
    )
}
