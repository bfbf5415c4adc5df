//! Completing what was filled.
//!
//! Duty: take the files of a lane group by group, in order, and make each group durable: wait for its
//! parts, store the intents, complete the objects under the condition that their names are free,
//! judge every unclear outcome, tag, report. The next group is filled meanwhile.
//!
//! Invariant: the offset reported is behind groups that are complete, in order, without a gap.

use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use towpath_sdk::context::LaneContext;
use towpath_sdk::error::{Error, ErrorKind, Result};
use towpath_sdk::sink::Progress;

use super::Shared;
use super::file::{Sent, Uploading, start_over};
use super::look::{Bucket, Name, store};
use crate::buffer::Payload;
use crate::chain::{Front, Group, Intent, Links, Mark, Outcome, judge_outcome};
use crate::client::Written;
use crate::config::Tagging;
use crate::error::Refusal;

/// Objects of one group that are completed at once.
const PARALLEL: usize = 8;

/// Files that are completed together.
pub(super) struct ClosedGroup {
    pub(super) files: Vec<ClosedFile>,
    /// Everything below is durable when this group is.
    pub(super) durable: i64,
    /// The most offsets that a group spans, this one included.
    pub(super) span: i64,
    /// The end of this and all earlier groups.
    pub(super) upto: i64,
}

/// A file that is not filled any more.
pub(super) struct ClosedFile {
    pub(super) intent: Intent,
    pub(super) records: u64,
    pub(super) body: Body,
}

/// The bytes of a closed file.
pub(super) enum Body {
    /// Small enough for one request.
    Whole(Payload),
    /// Sent in parts, of which some are on their way.
    Parts(Uploading),
}

/// A file whose bytes are ready.
struct Ready {
    intent: Intent,
    records: u64,
    body: ReadyBody,
}

enum ReadyBody {
    Whole(Payload),
    Parts(Sent),
}

/// How far a lane is.
#[derive(Debug)]
pub(super) struct Marks {
    progress: Progress,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    under_way: usize,
    /// With no group under way, everything below is durable.
    clean: i64,
    reported: i64,
}

impl Marks {
    pub(super) fn new(progress: Progress) -> Arc<Self> {
        Arc::new(Self { progress, state: Mutex::default() })
    }

    fn update(&self, change: impl FnOnce(&mut State) -> i64) {
        // Nothing panics while it holds the lock.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let durable = change(&mut state);
        if durable > state.reported {
            state.reported = durable;
            self.progress.durable(durable);
        }
    }

    /// How many groups are not durable yet.
    pub(super) fn under_way(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).under_way
    }

    /// All records below `offset` are in groups that were handed over, or need nothing.
    pub(super) fn clean(&self, offset: i64) {
        self.update(|state| {
            state.clean = offset;
            if state.under_way == 0 { offset } else { 0 }
        });
    }

    pub(super) fn begin(&self) {
        self.update(|state| {
            state.under_way += 1;
            0
        });
    }

    fn finish(&self, durable: i64) {
        self.update(|state| {
            state.under_way -= 1;
            if state.under_way == 0 { durable.max(state.clean) } else { durable }
        });
    }
}

/// Completes groups until there are no more, or one can't be completed.
pub(super) async fn run(
    shared: Arc<Shared>,
    cx: LaneContext,
    bucket: Arc<Bucket>,
    marks: Arc<Marks>,
    mut groups: mpsc::Receiver<ClosedGroup>,
) -> Result<()> {
    let committer = Committer { shared, cx, bucket };
    while let Some(group) = groups.recv().await {
        let durable = group.durable;
        committer.commit(group).await?;
        marks.finish(durable);
    }
    Ok(())
}

struct Committer {
    shared: Arc<Shared>,
    cx: LaneContext,
    bucket: Arc<Bucket>,
}

impl Committer {
    async fn commit(&self, group: ClosedGroup) -> Result<()> {
        let ClosedGroup { files, span, upto, .. } = group;
        let mut left = Vec::with_capacity(files.len());
        for file in files {
            left.push(file.ready().await?);
        }
        self.store_links(&left).await?;
        let conditional = self.shared.conditional(&self.cx.task).await?;
        while !left.is_empty() {
            let intents = left.iter().map(|ready| ready.intent.clone()).collect();
            let (writer, turn) = (Arc::clone(&self.bucket.writer), self.bucket.turn);
            self.store_group(&Group { writer, turn, end: upto, span, intents }).await?;
            self.bucket.check_turn(&self.cx).await?;
            let done: Vec<Option<Ready>> = stream::iter(left)
                .map(|ready| self.complete(ready, conditional))
                .buffer_unordered(PARALLEL)
                .try_collect()
                .await?;
            left = done.into_iter().flatten().collect();
        }
        Ok(())
    }

    async fn store_group(&self, group: &Group) -> Result<()> {
        let mut states = group.to_states(&self.cx.partition);
        let head = states.pop();
        // The head makes the others count: it comes last.
        stream::iter(states.into_iter().map(|state| store(&self.cx, state)))
            .buffer_unordered(PARALLEL)
            .try_collect::<()>()
            .await?;
        match head {
            Some(head) => store(&self.cx, head).await,
            None => Ok(()),
        }
    }

    async fn store_links(&self, files: &[Ready]) -> Result<()> {
        let state = {
            let mut links = self.bucket.links();
            let before = links.clone();
            for ready in files.iter().filter(|r| matches!(r.body, ReadyBody::Parts(_))) {
                links.add(&ready.intent.nonce, ready.intent.end);
            }
            if *links == before {
                return Ok(());
            }
            links.to_state(self.bucket.turn)
        };
        store(&self.cx, (Links::key(&self.cx.partition, self.bucket.turn), state)).await
    }

    /// Completes one object. Gives it back with another name if its own is taken.
    async fn complete(&self, mut ready: Ready, conditional: bool) -> Result<Option<Ready>> {
        let key =
            self.shared.plan.offsets.key(&ready.intent.path, ready.intent.start, ready.intent.step);
        let attempt = || self.attempt(&ready, &key, conditional);
        match self.cx.retry("complete an object", attempt).await? {
            Outcome::Complete => {
                self.tag(&ready, &key).await?;
                self.cx.task.count("objects", 1);
                Ok(None)
            }
            Outcome::Taken if matches!(ready.body, ReadyBody::Whole(_)) => {
                let name = Name {
                    path: Arc::clone(&ready.intent.path),
                    start: ready.intent.start,
                    first: ready.intent.first,
                    step: ready.intent.step,
                };
                match self.bucket.step(&self.shared, &self.cx, &name).await? {
                    Ok(step) => {
                        ready.intent.step = step;
                        Ok(Some(ready))
                    }
                    Err(end) if end == ready.intent.end => Ok(None),
                    Err(_) => Err(overtaken(&key)),
                }
            }
            Outcome::Taken | Outcome::Overtaken => Err(overtaken(&key)),
            Outcome::Absent => Err(start_over(&format!(
                "the upload of '{key}' can't be completed any more: it is gone, or another request for \
                 the same name came in between"
            ))),
        }
    }

    /// One try. [`Outcome::Absent`] says that trying again can't help.
    async fn attempt(&self, ready: &Ready, key: &str, conditional: bool) -> Result<Outcome> {
        if !conditional {
            // The store would overwrite: look first. Another writer may still come in between.
            let outcome = self.judge(ready, key).await?;
            if outcome != Outcome::Absent {
                return Ok(outcome);
            }
        }
        let client = &self.shared.client;
        let written = match &ready.body {
            ReadyBody::Whole(payload) => {
                let mark = self.mark(ready);
                client.put(key, payload, Some(&mark), conditional).await?
            }
            ReadyBody::Parts(sent) => {
                client.complete(&sent.upload, &sent.parts, conditional).await?
            }
        };
        let refused = match written {
            Written::Done => return Ok(Outcome::Complete),
            Written::Refused(refused) => refused,
        };
        match (self.judge(ready, key).await?, refused) {
            (Outcome::Absent, Refusal::UploadGone) => Ok(Outcome::Absent),
            // S3 wants an upload that met another request begun anew.
            (Outcome::Absent, Refusal::Race) if matches!(ready.body, ReadyBody::Parts(_)) => {
                Ok(Outcome::Absent)
            }
            (Outcome::Absent, Refusal::NotImplemented) => Err(Error::new(
                ErrorKind::Unsupported,
                "complete an object: the store does not know If-None-Match (set \
                 enable.conditional.writes=false)",
            )),
            (Outcome::Absent, _) => Err(Error::new(
                ErrorKind::Unavailable,
                "complete an object: another request for the same name is under way",
            )),
            (outcome, _) => Ok(outcome),
        }
    }

    async fn judge(&self, ready: &Ready, key: &str) -> Result<Outcome> {
        let found = self.shared.client.look(key).await?;
        let writer = &self.bucket.writer;
        let front = Front { writer, start: ready.intent.start, first: ready.intent.first };
        let links = self.bucket.links();
        Ok(judge_outcome(found.mark(), found.exists(), &ready.intent, &front, &links))
    }

    fn mark(&self, ready: &Ready) -> Mark {
        Mark {
            writer: Arc::clone(&self.bucket.writer),
            nonce: Arc::clone(&ready.intent.nonce),
            start: ready.intent.start,
            end: Some(ready.intent.end),
            first: ready.intent.first,
        }
    }

    async fn tag(&self, ready: &Ready, key: &str) -> Result<()> {
        let Some(Tagging { extra, required }) = &self.shared.plan.tagging else { return Ok(()) };
        let mut tags = vec![
            ("startOffset".to_owned(), ready.intent.start.to_string()),
            ("endOffset".to_owned(), (ready.intent.end - 1).to_string()),
            ("recordCount".to_owned(), ready.records.to_string()),
        ];
        tags.extend(extra.iter().cloned());
        if *required {
            return self.cx.retry("tag an object", || self.shared.client.tag(key, &tags)).await;
        }
        if let Err(error) = self.shared.client.tag(key, &tags).await {
            tracing::warn!(key, error = error.chain(), "an object has no tags");
        }
        Ok(())
    }
}

fn overtaken(key: &str) -> Error {
    start_over(&format!("the object '{key}' was written by an earlier instance of this task"))
}

impl ClosedFile {
    async fn ready(self) -> Result<Ready> {
        let Self { mut intent, records, body } = self;
        let body = match body {
            Body::Whole(payload) => ReadyBody::Whole(payload),
            Body::Parts(uploading) => {
                let sent = uploading.finish().await?;
                intent.step = sent.step;
                ReadyBody::Parts(sent)
            }
        };
        Ok(Ready { intent, records, body })
    }
}

#[cfg(test)]
mod tests {
    use towpath_sdk::record::SinkRecord;
    use towpath_sdk::sink::{ProgressSink, Settle};

    use super::*;

    #[derive(Default)]
    struct Seen(Mutex<Vec<i64>>);
    impl ProgressSink for Seen {
        fn durable(&self, end: i64) {
            self.0.lock().unwrap().push(end);
        }
        fn reject(&self, _: SinkRecord, _: Error, _: Option<Settle>) {}
        fn fail(&self, _: Error) {}
    }

    #[test]
    fn marks_only_grow_and_wait_for_what_is_under_way() {
        let seen = Arc::new(Seen::default());
        let marks = Marks::new(Progress::new(Arc::clone(&seen) as Arc<dyn ProgressSink>));
        marks.clean(3);
        marks.begin();
        marks.begin();
        marks.clean(20);
        marks.finish(10);
        assert_eq!(marks.under_way(), 1);
        marks.finish(15);
        marks.clean(18);
        marks.clean(21);
        assert_eq!(*seen.0.lock().unwrap(), [3, 10, 20, 21]);
    }
}
