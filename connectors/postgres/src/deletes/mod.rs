//! Deletes that no log tells of any more.
//!
//! Duty: after a loss, find the keys that the topics have and the tables don't, and make the deletes of
//! them. Keys are compared as the bytes that they are in Kafka: those of the rows go through the
//! connector's own transforms and key converter.
//!
//! Why no row can be deleted that is there: a delete is made of a key that was decoded from the topic,
//! and is handed over only if it would be written under the very bytes that it was decoded from, and no
//! row's delete would. The delete of a row that is there would be, since it is made the same way. Where
//! keys can't be decoded, or the topic may be others' too, nothing is deleted, and that is said.
//!
//! Invariant: memory is bounded however many keys there are; what does not fit is looked at in a further
//! pass over table and topic.

mod fit;
mod keys;
mod search;

pub(crate) use search::{Lack, Search, Shown, Way, is_answer};
