//! Topics that tasks use.
//!
//! Duty: create a source's topics before the first record goes there (KIP-158), and tell the herder
//! which topics a connector uses (KIP-558). A topic that is missing and that no `topic.creation.*`
//! group covers is created with the broker's defaults, so that a broker which does not create topics
//! by itself does not stop a connector; `topic.creation.enable=false` on the worker turns this off.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use towpath_sdk::record::Topic;
use towpath_sdk::{Error, ErrorKind, Result};

use crate::ports::{Admin, NewTopic};
use crate::task::TaskId;

/// A topic that a task has used for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicUse {
    /// Whose.
    pub task: TaskId,
    /// The topic.
    pub topic: Topic,
}

/// Notes the topics that one task uses.
#[derive(Debug)]
pub struct TopicNotes {
    task: TaskId,
    seen: Mutex<HashSet<Topic>>,
    sender: mpsc::Sender<TopicUse>,
}

impl TopicNotes {
    /// Notes of `task`, sent to `sender`.
    #[must_use]
    pub fn new(task: TaskId, sender: mpsc::Sender<TopicUse>) -> Self {
        Self { task, seen: Mutex::default(), sender }
    }

    /// The task uses `topic`. Cheap after the first time.
    pub fn used(&self, topic: &Topic) {
        let mut seen = self.seen.lock();
        if seen.contains(topic) {
            return;
        }
        let note = TopicUse { task: self.task.clone(), topic: Arc::clone(topic) };
        // A full queue loses nothing: the next record of the topic notes it again.
        if self.sender.try_send(note).is_ok() {
            seen.insert(Arc::clone(topic));
        }
    }

    /// Forgets what was noted, so that topics in use are noted again (a reset).
    pub fn reset(&self) {
        self.seen.lock().clear();
    }
}

/// How a topic of this name is to be created.
pub type TopicRules = Arc<dyn Fn(&str) -> NewTopic + Send + Sync>;

/// Creates missing topics of one source task.
pub struct TopicCreator {
    admin: Arc<dyn Admin>,
    /// The connector's groups; `None` where the worker forbids creation.
    rules: Option<TopicRules>,
    known: Mutex<BTreeSet<Topic>>,
}

impl TopicCreator {
    /// A creator that follows `rules`.
    #[must_use]
    pub fn new(admin: Arc<dyn Admin>, rules: Option<TopicRules>) -> Self {
        Self { admin, rules, known: Mutex::default() }
    }

    /// The topics of `used` that were not ensured yet.
    pub fn unknown<'a>(&self, used: impl Iterator<Item = &'a Topic>) -> Vec<Topic> {
        let known = self.known.lock();
        let mut unknown: Vec<Topic> = Vec::new();
        for topic in used {
            if unknown.last() != Some(topic) && !known.contains(topic) && !unknown.contains(topic) {
                unknown.push(Arc::clone(topic));
            }
        }
        unknown
    }

    /// Makes sure that `topic` exists.
    ///
    /// # Errors
    /// If it does not and can't be created.
    pub async fn ensure(&self, topic: &Topic) -> Result<()> {
        if self.admin.describe_topic(topic).await?.is_none() {
            let Some(rules) = &self.rules else {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!(
                        "the topic '{topic}' does not exist and topic.creation.enable=false on this \
                         worker; create it"
                    ),
                ));
            };
            let created = self.admin.create_topic(rules(topic)).await;
            created.map_err(|e| Error::from(e).context(format!("create the topic '{topic}'")))?;
            tracing::info!(%topic, "created a topic");
        }
        self.known.lock().insert(Arc::clone(topic));
        Ok(())
    }
}
