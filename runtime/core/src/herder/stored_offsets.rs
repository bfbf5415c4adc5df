//! A connector's offsets, as people see and change them (KIP-875).
//!
//! Duty: a source's in its offset topic, a sink's in its consumer group, in Connect's shapes and words.
//!
//! Invariants: nothing is changed unless all of a request is sound. The caller has seen to it that no
//! task of the connector runs while offsets change.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use towpath_formats::Properties;
use towpath_formats::messages::{self, OffsetChange};
use towpath_formats::rest::{ConnectorOffset, ConnectorOffsets, ConnectorType, SinkOffset};
use towpath_sdk::offset::{OffsetMap, SourceOffset, SourcePartition};
use towpath_sdk::record::TopicPartition;
use towpath_sdk::{Error, ErrorKind};

use super::HerderError;
use super::configs::Name;
use super::event::OffsetsChange;
use super::jobs::for_sdk;
use super::launcher::Launcher;
use crate::ports::{Admin, GroupMember, PortError, PortErrorKind};
use crate::sink::is_consumer_of;

/// How long the consumers of tasks that have stopped may stay in their group: the default session
/// time-out, 45 s, and a little more.
const MEMBERS_END: Duration = Duration::from_secs(50);
/// How often the group is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(200);

fn internal(error: &Error) -> HerderError {
    HerderError::Internal(error.chain())
}

fn unknown_class(name: &str) -> HerderError {
    let text = format!("the class of connector {name} is not known to this worker");
    HerderError::Invalid(text)
}

/// The offsets of a connector.
pub(super) async fn read(
    launcher: &dyn Launcher,
    name: Name,
    properties: &Properties,
) -> Result<ConnectorOffsets, HerderError> {
    let properties = for_sdk(properties);
    let offsets = match launcher.describe(&properties).kind {
        ConnectorType::Unknown => return Err(unknown_class(&name)),
        ConnectorType::Source => {
            let store = launcher.source_offsets(Name::clone(&name), properties);
            let store = store.await.map_err(|error| internal(&error))?;
            let offset = |(partition, offset): &(SourcePartition, SourceOffset)| ConnectorOffset {
                partition: Some(partition.as_json().clone()),
                offset: Some(offset.as_json().clone()),
            };
            store.source_offsets(&name).iter().map(offset).collect()
        }
        ConnectorType::Sink => {
            let group =
                launcher.sink_group(&name, &properties).map_err(|error| internal(&error))?;
            let admin = launcher.admin(properties).await.map_err(|error| internal(&error))?;
            let offsets = admin.group_offsets(&group).await;
            let offsets = offsets.map_err(|error| HerderError::Internal(error.text))?;
            let mut offsets: Vec<SinkOffset> = offsets
                .into_iter()
                .map(|at| SinkOffset {
                    topic: at.partition.topic.to_string(),
                    partition: at.partition.partition,
                    offset: Some(at.offset),
                })
                .collect();
            offsets.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
            offsets.into_iter().map(ConnectorOffset::from).collect()
        }
    };
    Ok(ConnectorOffsets { offsets: Some(offsets) })
}

/// Changes the offsets of a connector of which nothing runs; the reply's text.
pub(super) async fn change(
    launcher: Arc<dyn Launcher>,
    name: Name,
    properties: &Properties,
    change: OffsetsChange,
) -> Result<String, HerderError> {
    let sdk = for_sdk(properties);
    let done = match &change {
        OffsetsChange::Alter(_) => OffsetChange::Altered,
        OffsetsChange::Reset => OffsetChange::Reset,
    };
    match launcher.describe(&sdk).kind {
        ConnectorType::Unknown => return Err(unknown_class(&name)),
        ConnectorType::Source => change_source(launcher, &name, sdk, change).await?,
        ConnectorType::Sink => {
            let group = launcher.sink_group(&name, &sdk).map_err(|error| internal(&error))?;
            let admin = launcher.admin(sdk.clone()).await.map_err(|error| internal(&error))?;
            let tell = |offsets| {
                let telling =
                    launcher.sink_offsets_changed(Name::clone(&name), sdk.clone(), offsets);
                async move { telling.await.map_err(|error| HerderError::Invalid(error.chain())) }
            };
            let failed = |error: PortError| group_error(&name, done, &error);
            let result = match change {
                OffsetsChange::Reset => {
                    let known = admin.group_offsets(&group).await;
                    let known = known.map_err(failed)?;
                    emptied(&*admin, &group, &name).await.map_err(failed)?;
                    tell(known.into_iter().map(|at| (at.partition, None)).collect()).await?;
                    admin.delete_group(&group).await
                }
                OffsetsChange::Alter(offsets) => {
                    let offsets = sink_offsets(&*admin, &offsets).await?;
                    emptied(&*admin, &group, &name).await.map_err(failed)?;
                    tell(offsets.clone()).await?;
                    admin.alter_group_offsets(&group, offsets).await
                }
            };
            result.map_err(failed)?;
        }
    }
    Ok(messages::offsets_changed(done, true))
}

/// Waits until the group has no members, as long as they are consumers of the connector's own tasks: one
/// that was killed, or ended while the group was being formed, is a member until its session ends.
async fn emptied(admin: &dyn Admin, group: &str, name: &str) -> Result<(), PortError> {
    let deadline = Instant::now() + MEMBERS_END;
    loop {
        let members = admin.group_members(group).await?;
        let own = |member: &&GroupMember| is_consumer_of(name, &member.client_id);
        let foreign = members.iter().find(|member| !own(member));
        let late = Instant::now() >= deadline;
        match foreign.or_else(|| members.first().filter(|_| late)) {
            Some(GroupMember { client_id, host, .. }) => {
                let text = format!(
                    "the group {group} still has a member, the client '{client_id}' connected from \
                     {host}; stop it first"
                );
                return Err(PortError::new(PortErrorKind::Occupied, text));
            }
            None if members.is_empty() => return Ok(()),
            None => tokio::time::sleep(LOOK).await,
        }
    }
}

fn group_error(name: &str, done: OffsetChange, error: &PortError) -> HerderError {
    let text = format!("{}: {error}", messages::consumer_group_not_changed(done, name));
    match error.kind {
        PortErrorKind::Occupied => HerderError::Conflict(text),
        PortErrorKind::NotFound | PortErrorKind::Invalid => HerderError::Invalid(text),
        PortErrorKind::Unknown => HerderError::Timeout(text),
        _ => HerderError::Internal(text),
    }
}

/// Sink offsets of a request, all of them of partitions that exist.
async fn sink_offsets(
    admin: &dyn Admin,
    offsets: &[ConnectorOffset],
) -> Result<Vec<(TopicPartition, Option<i64>)>, HerderError> {
    let offsets: Result<Vec<SinkOffset>, String> =
        offsets.iter().map(SinkOffset::try_from).collect();
    let offsets = offsets.map_err(HerderError::Invalid)?;
    let mut partitions: std::collections::BTreeMap<&str, i32> = std::collections::BTreeMap::new();
    for offset in &offsets {
        if !partitions.contains_key(offset.topic.as_str()) {
            let topic = admin.describe_topic(&offset.topic).await;
            let topic = topic.map_err(|error| HerderError::Internal(error.text))?;
            partitions.insert(&offset.topic, topic.map_or(0, |topic| topic.partitions));
        }
    }
    for SinkOffset { topic, partition, offset } in &offsets {
        let there = partitions.get(topic.as_str()).copied().unwrap_or(0);
        // To forget an offset of a partition that is gone is sound.
        if offset.is_some() && !(0..there).contains(partition) {
            let text = match there {
                0 => format!("The topic '{topic}' does not exist"),
                _ => format!(
                    "The topic '{topic}' has {there} partitions, but no partition {partition}"
                ),
            };
            return Err(HerderError::Invalid(text));
        }
        if offset.is_some_and(|offset| offset < 0) {
            let text =
                format!("The offset of partition {partition} of '{topic}' must not be negative");
            return Err(HerderError::Invalid(text));
        }
    }
    let offset = |offset: SinkOffset| {
        let topic = towpath_sdk::record::Topic::from(offset.topic.as_str());
        (TopicPartition { topic, partition: offset.partition }, offset.offset)
    };
    Ok(offsets.into_iter().map(offset).collect())
}

async fn change_source(
    launcher: Arc<dyn Launcher>,
    name: &Name,
    properties: towpath_sdk::config::Properties,
    change: OffsetsChange,
) -> Result<(), HerderError> {
    let asked = match &change {
        OffsetsChange::Alter(offsets) => {
            let asked: Result<Vec<_>, HerderError> = offsets.iter().map(source_offset).collect();
            let asked = asked?;
            let (checker, config, checked) =
                (Arc::clone(&launcher), properties.clone(), asked.clone());
            // The connector's own code: it may block or panic.
            let checking =
                tokio::task::spawn_blocking(move || checker.check_offsets(&config, &checked));
            checking
                .await
                .map_err(|error| {
                    HerderError::Internal(format!("failed to check the offsets: {error}"))
                })?
                .map_err(|error| HerderError::Invalid(error.chain()))?;
            Some(asked)
        }
        OffsetsChange::Reset => None,
    };
    let store = launcher.source_offsets(Arc::clone(name), properties).await;
    let store = store.map_err(|error| internal(&error))?;
    let offsets = asked.unwrap_or_else(|| {
        let known = store.source_offsets(name);
        known.iter().map(|(partition, _)| (partition.clone(), None)).collect()
    });
    store.commit(name, &offsets).await.map_err(|error| {
        let error = Error::from(error).context("write to the offset topic");
        match error.kind() {
            ErrorKind::Timeout => HerderError::Timeout(error.chain()),
            _ => internal(&error),
        }
    })
}

fn source_offset(
    offset: &ConnectorOffset,
) -> Result<(SourcePartition, Option<SourceOffset>), HerderError> {
    let flat = |map: &serde_json::Map<String, serde_json::Value>| {
        OffsetMap::from_json(map.clone()).map_err(|error| HerderError::Invalid(error.chain()))
    };
    let missing =
        || "The partition for a source connector offset cannot be null or missing".to_owned();
    let partition = offset.partition.as_ref().ok_or_else(|| HerderError::Invalid(missing()))?;
    let partition = SourcePartition(Arc::new(flat(partition)?));
    Ok((partition, offset.offset.as_ref().map(flat).transpose()?))
}
