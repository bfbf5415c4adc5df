//! Looking at the bucket: which records are there already, and which names are free.
//!
//! Duty: the I/O around [`crate::chain`]'s decisions. After an unclean end, the records up to the last
//! offset that anything was intended for are looked up, path by path; behind that offset, the bucket
//! is asked only when a name turns out to be taken.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use towpath_sdk::context::LaneContext;
use towpath_sdk::error::{Error, ErrorKind, Result};
use towpath_sdk::offset::OffsetMap;
use towpath_sdk::record::SinkRecord;
use uuid::Uuid;

use super::Shared;
use super::file::start_over;
use super::lane::checksum;
use crate::chain::{
    Front, Group, Held, Intent, Links, Mark, TURNS, Verdict, judge_before, judge_name,
};

/// What is known of our objects in the bucket.
pub(super) struct Bucket {
    /// Who writes this partition, over all restarts.
    pub(super) writer: Arc<str>,
    /// See [`Group::turn`].
    pub(super) turn: i64,
    /// Tells this instance from one that took the same turn.
    id: Arc<str>,
    links: Mutex<Links>,
}

/// The name that an object is to get.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) path: Arc<str>,
    pub(super) start: i64,
    pub(super) first: u32,
    pub(super) step: u32,
}

impl Name {
    fn front<'a>(&self, writer: &'a Arc<str>) -> Front<'a> {
        Front { writer, start: self.start, first: self.first }
    }
}

impl Bucket {
    /// Takes the next turn, and learns what all earlier instances have stored.
    pub(super) async fn open(cx: &LaneContext) -> Result<(Self, Group)> {
        let id = nonce();
        let own = Group::next_turn(load_groups(cx).await?.as_ref(), nonce());
        store(cx, own.to_claim(&cx.partition, &id)).await?;
        // What was stored before this turn was taken is seen now; who takes the same turn later will be
        // seen by whoever checks the claim, and has seen what was stored until then.
        let all = Group::merged(load_groups(cx).await?.into_iter().chain([own.clone()]));
        let links = Mutex::new(load_links(cx).await?);
        let all = all.unwrap_or_else(|| own.clone());
        // Of two that both found nothing, the one that has stored a group gives the name.
        Ok((Self { writer: Arc::clone(&all.writer), turn: own.turn, id, links }, all))
    }

    /// Sees that no other instance took the same turn. To be called after states are stored, and before
    /// anything is completed that they speak of.
    ///
    /// # Errors
    /// If one did.
    pub(super) async fn check_turn(&self, cx: &LaneContext) -> Result<()> {
        let claim = load(cx, Group::claim_key(&cx.partition, self.turn)).await?;
        match claim.as_ref().and_then(|claim| claim.get_str("id")) {
            Some(id) if *id == *self.id => Ok(()),
            _ => Err(start_over("another instance of this task has begun at the same time")),
        }
    }

    pub(super) fn links(&self) -> MutexGuard<'_, Links> {
        // Nothing panics while it holds the lock.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where an object ends that another instance has completed since this one began.
    async fn end_of(&self, mark: Option<&Mark>, cx: &LaneContext) -> Result<Option<i64>> {
        let Some(mark) = mark else { return Ok(None) };
        let now = load_links(cx).await?;
        let mut links = self.links();
        links.merge(&now);
        Ok(judge_before(mark, &self.writer, &links))
    }

    /// Steps over names that are taken, from `name.step` on. `Err(end)` if an object of ours holds the
    /// records of the path up to `end`.
    pub(super) async fn step(
        &self,
        shared: &Shared,
        cx: &LaneContext,
        name: &Name,
    ) -> Result<std::result::Result<u32, i64>> {
        for step in name.step..=name.step.saturating_add(shared.plan.max_steps) {
            let key = shared.plan.offsets.key(&name.path, name.start, step);
            let found = cx.retry("look at the bucket", || shared.client.look(&key)).await?;
            let front = name.front(&self.writer);
            let verdict = judge_name(found.mark(), found.exists(), &front, &self.links());
            match verdict {
                Verdict::Free => return Ok(Ok(step)),
                Verdict::Held(end) => return Ok(Err(end)),
                Verdict::HeldSomehow => match self.end_of(found.mark(), cx).await? {
                    Some(end) => return Ok(Err(end)),
                    None => tracing::warn!(
                        key,
                        "it is not known where this object of an earlier instance ends: it is stepped \
                         over, so its records come again"
                    ),
                },
                Verdict::Taken => {
                    tracing::warn!(
                        key,
                        "an object of somebody else has this name: it is stepped over"
                    );
                }
            }
        }
        Err(Error::new(
            ErrorKind::Config,
            format!(
                "{} names of others were stepped over for one object (max.files.scan.limit): give this \
                 connector a directory of its own",
                shared.plan.max_steps
            ),
        ))
    }

    /// As [`Bucket::step`]; `None` if our own object holds the records.
    pub(super) async fn free_step(
        &self,
        shared: &Shared,
        cx: &LaneContext,
        name: &Name,
    ) -> Result<Option<u32>> {
        Ok(self.step(shared, cx, name).await?.ok())
    }
}

/// What is left to find out after an unclean end.
pub(super) struct Recovery {
    /// Behind this offset there is nothing of ours, as far as is known.
    upto: i64,
    span: i64,
    from: Option<i64>,
    intents: HashMap<Arc<str>, Vec<Intent>>,
    looked: HashSet<Arc<str>>,
    held: Held,
}

impl Recovery {
    pub(super) fn new(group: Group) -> Self {
        let mut intents: HashMap<_, Vec<_>> = HashMap::new();
        for intent in group.intents {
            intents.entry(Arc::clone(&intent.path)).or_default().push(intent);
        }
        Self {
            upto: group.end,
            span: group.span,
            from: None,
            intents,
            looked: HashSet::new(),
            held: Held::default(),
        }
    }

    /// Whether the bucket may hold the record at `offset`.
    pub(super) fn concerns(&mut self, offset: i64) -> bool {
        self.from.get_or_insert(offset);
        offset < self.upto
    }

    pub(super) fn knows(&self, path: &str) -> bool {
        self.looked.contains(path)
    }

    pub(super) fn holds(&mut self, path: &str, record: &SinkRecord) -> bool {
        self.held.holds(path, record.offset(), || checksum(record))
    }

    /// An object of ours holds the records of `path` from `start` up to `end`.
    pub(super) fn add(&mut self, path: &Arc<str>, start: i64, end: i64) {
        self.hold(path, start, end, None);
    }

    /// An earlier instance may have completed more than was known when this one began.
    fn hold(&mut self, path: &Arc<str>, start: i64, end: i64, first: Option<u32>) {
        self.upto = self.upto.max(end);
        self.held.add(path, start, end, first);
    }

    /// Finds the objects of `path` that were intended last, and those that start before the offset
    /// that reading goes on at.
    pub(super) async fn look(
        &mut self,
        path: &Arc<str>,
        shared: &Shared,
        cx: &LaneContext,
        bucket: &Bucket,
    ) -> Result<()> {
        let from = self.from.unwrap_or_default();
        for intent in self.intents.remove(path).unwrap_or_default() {
            let key = shared.plan.offsets.key(path, intent.start, intent.step);
            let found = cx.retry("look at the bucket", || shared.client.look(&key)).await?;
            if found.mark().is_some_and(|mark| mark.nonce == intent.nonce) {
                let first = Some(intent.first).filter(|_| intent.start >= from);
                self.hold(path, intent.start, intent.end, first);
            }
        }
        for key in self.earlier(path, shared, cx).await? {
            let found = cx.retry("look at the bucket", || shared.client.look(&key)).await?;
            if let Some(mark) = found.mark() {
                let known = judge_before(mark, &bucket.writer, &bucket.links());
                let end = match known {
                    None if mark.end.is_none() => bucket.end_of(Some(mark), cx).await?,
                    known => known,
                };
                if let Some(end) = end {
                    self.hold(path, mark.start, end, None);
                }
            }
        }
        self.looked.insert(Arc::clone(path));
        Ok(())
    }

    /// Keys of objects of `path` which start before reading goes on and may reach behind that.
    async fn earlier(&self, path: &str, shared: &Shared, cx: &LaneContext) -> Result<Vec<String>> {
        let from = self.from.unwrap_or_default();
        let least = from.saturating_sub(self.span).max(0);
        let mut found = Vec::new();
        for stretch in shared.plan.offsets.stretches(path, least, from) {
            let (prefix, mut after) = (stretch.prefix.clone(), stretch.after.clone());
            // Where offsets are not padded, names of other lengths come in between: a bounded look must
            // do.
            for _page in 0..20 {
                let page =
                    cx.retry("look at the bucket", || shared.client.list(&prefix, &after)).await?;
                let Some(last) = page.last().cloned() else { break };
                let passed = stretch.is_behind(&last);
                found.extend(page.into_iter().filter(|key| stretch.contains(key)));
                if passed {
                    break;
                }
                after = last;
            }
        }
        Ok(found)
    }
}

/// A name that nothing else has.
pub(super) fn nonce() -> Arc<str> {
    Uuid::new_v4().simple().to_string().into()
}

/// Stores a state, however long it takes.
pub(super) async fn store(cx: &LaneContext, (key, value): (OffsetMap, OffsetMap)) -> Result<()> {
    let store = || cx.task.store_state(key.clone(), Some(value.clone()));
    cx.retry("store what is to be completed", store).await
}

async fn load(cx: &LaneContext, key: OffsetMap) -> Result<Option<OffsetMap>> {
    cx.retry("load what was to be completed", || cx.task.load_state(key.clone())).await
}

/// What earlier instances have stored.
async fn load_groups(cx: &LaneContext) -> Result<Option<Group>> {
    let mut groups = Vec::new();
    for turn in 0..TURNS {
        let head = load(cx, Group::head_key(&cx.partition, turn)).await?;
        let Some(head) = head else { continue };
        let (mut group, chunks) = Group::from_head(&cx.partition, &head)?;
        for key in chunks {
            if let Some(chunk) = load(cx, key).await? {
                group.add_chunk(&head, &chunk);
            }
        }
        groups.push(group);
    }
    for turn in 0..TURNS {
        if let Some(claim) = load(cx, Group::claim_key(&cx.partition, turn)).await? {
            groups.push(Group::from_head(&cx.partition, &claim)?.0);
        }
    }
    Ok(Group::merged(groups))
}

/// The links that all instances have stored.
async fn load_links(cx: &LaneContext) -> Result<Links> {
    let mut stored = Vec::new();
    for turn in 0..TURNS {
        if let Some(state) = load(cx, Links::key(&cx.partition, turn)).await? {
            stored.push(Links::from_state(&state)?);
        }
    }
    Ok(Links::merged(stored))
}
