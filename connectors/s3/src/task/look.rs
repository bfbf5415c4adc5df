//! Looking at the bucket: which records are there already, and which names are free.
//!
//! Duty: the I/O around [`crate::chain`]'s decisions. After an unclean end, the records up to the last
//! offset that anything was intended for are looked up, path by path; behind that offset, the bucket
//! is asked only when a name turns out to be taken.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use towpath_sdk::context::LaneContext;
use towpath_sdk::error::{Error, ErrorKind, Result};
use towpath_sdk::record::SinkRecord;

use super::Shared;
use super::lane::checksum;
use crate::chain::{Front, Group, Held, Intent, Links, Verdict, judge_before, judge_name};
use crate::name::{OFFSET, PADDED_OFFSET};

/// What is known of our objects in the bucket.
pub(super) struct Bucket {
    /// Who writes this partition, over all restarts.
    pub(super) writer: Arc<str>,
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
    pub(super) fn new(writer: Arc<str>, links: Links) -> Self {
        Self { writer, links: Mutex::new(links) }
    }

    pub(super) fn links(&self) -> MutexGuard<'_, Links> {
        // Nothing panics while it holds the lock.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
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
            match judge_name(found.mark(), found.exists(), &front, &self.links()) {
                Verdict::Free => return Ok(Ok(step)),
                Verdict::Held(end) => return Ok(Err(end)),
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
    /// Behind this offset nothing was intended yet.
    pub(super) upto: i64,
    span: i64,
    from: Option<i64>,
    intents: Vec<Intent>,
    looked: HashSet<Arc<str>>,
    held: Held,
}

impl Recovery {
    pub(super) fn new(group: Group) -> Self {
        Self {
            upto: group.end,
            span: group.span,
            from: None,
            intents: group.intents,
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

    pub(super) fn add(&mut self, path: &Arc<str>, start: i64, end: i64) {
        self.held.add(path, start, end, None);
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
        for intent in self.intents.iter().filter(|intent| intent.path == *path) {
            let key = shared.plan.offsets.key(path, intent.start, intent.step);
            let found = cx.retry("look at the bucket", || shared.client.look(&key)).await?;
            if found.mark().is_some_and(|mark| mark.nonce == intent.nonce) {
                self.held.add(path, intent.start, intent.end, Some(intent.first));
            }
        }
        for key in self.earlier(path, shared, cx).await? {
            let found = cx.retry("look at the bucket", || shared.client.look(&key)).await?;
            if let Some(mark) = found.mark() {
                let end = judge_before(mark, &bucket.writer, &bucket.links());
                if let Some(end) = end {
                    self.held.add(path, mark.start, end, None);
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
        let prefix = path.split([OFFSET, PADDED_OFFSET]).next().unwrap_or(path);
        let start_of = |key: &str| {
            let digits = key.strip_prefix(prefix)?.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse::<i64>().ok()
        };
        let mut after = shared.plan.offsets.key_up_to_offset(path, least);
        // All names of the least offset come behind what is left when its last digit goes.
        after.pop();
        let mut found = Vec::new();
        // Names sort like offsets where they are padded; where they are not, a bounded look must do.
        for _page in 0..10 {
            let page =
                cx.retry("look at the bucket", || shared.client.list(prefix, &after)).await?;
            let Some(last) = page.last().cloned() else { break };
            let passed = start_of(&last).is_none_or(|start| start >= from);
            found.extend(
                page.into_iter()
                    .filter(|key| start_of(key).is_some_and(|s| (least..from).contains(&s))),
            );
            if passed {
                break;
            }
            after = last;
        }
        Ok(found)
    }
}
