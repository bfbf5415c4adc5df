//! A seat in the fleet.
//!
//! Duty: let one worker per `group.id` run. The seat is the first partition of the config topic, in
//! the consumer group `group.id`: whoever is assigned it runs. The member's static id is the worker's
//! advertised address, so that a worker which was killed takes its own seat back at once instead of
//! waiting for its former session to end.
//!
//! Invariants:
//! - a worker has its seat from `Joined` to `Left`; the broker's generation sees to it that no two
//!   have it;
//! - a second worker is told who has the seat, after it had the chance to be the successor of a dead
//!   one: the session time-out of the group and a little more.
//!
//! Deliberately absent: handing tasks out to several workers.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::producer::Producer as _;
use tokio::time::Instant;
use towpath_core::budget::Budget;
use towpath_core::ports::{
    Admin as _, ClientOverrides, Consumer as _, ConsumerEvent, GroupMember, Membership,
    MembershipEvent, PortError, PortErrorKind, PortResult, Subscription,
};

use crate::admin::KafkaAdmin;
use crate::cluster::KafkaCluster;
use crate::consumer::{KafkaConsumer, Start};
use crate::native::{self, AdminError};
use crate::options::ClientKind;

/// What a dead member's session may last longer than configured.
const MARGIN: Duration = Duration::from_secs(2);
/// How often the group is looked at while another member is in it.
const LOOK: Duration = Duration::from_millis(500);

/// A worker's seat.
pub(crate) struct KafkaMembership {
    consumer: KafkaConsumer,
    seated: bool,
    /// A rebalance that waits until this worker has heard of it.
    leaving: Option<towpath_core::ports::Revoked>,
    first: Option<MembershipEvent>,
}

/// Takes the seat.
pub(crate) async fn join(
    cluster: &KafkaCluster,
    group_id: String,
    advertised: String,
) -> PortResult<KafkaMembership> {
    let options = cluster.options();
    let admin = Arc::clone(cluster.own_admin().await?);
    refuse_connect(&admin, &group_id).await?;
    let client_id = format!("towpath-{advertised}");
    let forced: Vec<(&str, &str)> = [
        ("group.id", group_id.as_str()),
        ("group.instance.id", advertised.as_str()),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("partition.assignment.strategy", "cooperative-sticky"),
    ]
    .into_iter()
    .chain(options.seat.iter().map(|(k, v)| (k.as_str(), v.as_str())))
    .collect();
    let none = ClientOverrides::new();
    let settings = options.client(ClientKind::Consumer, &client_id, &none, &forced)?;
    let session = settings.millis("session.timeout.ms", Duration::from_secs(10));
    let deadline = Instant::now() + session + MARGIN;
    wait_for_others(&admin, &group_id, &advertised, deadline).await?;
    let consumer = KafkaConsumer::start(Start {
        settings,
        brokers: options.brokers().to_owned(),
        subscription: Subscription::Topics(vec![options.seat_topic.clone()]),
        matcher: None,
        // The seat's partition is never started: nothing is fetched.
        budget: Budget::new(1),
        request_timeout: options.request_timeout,
    })?;
    let mut membership = KafkaMembership { consumer, seated: false, leaving: None, first: None };
    // The others that were there are gone; who came at the same time has the seat, or this one has.
    let deadline = deadline.max(Instant::now() + options.request_timeout);
    let event = membership.seat(&admin, &group_id, &advertised, deadline).await?;
    membership.first = Some(event);
    Ok(membership)
}

impl KafkaMembership {
    async fn seat(
        &mut self,
        admin: &KafkaAdmin,
        group_id: &str,
        advertised: &str,
        deadline: Instant,
    ) -> PortResult<MembershipEvent> {
        let mut trouble = None;
        loop {
            tokio::select! {
                event = self.consumer.next() => match event? {
                    ConsumerEvent::Trouble(now) => trouble = now,
                    event => if let Some(event) = self.heard(event) {
                        return Ok(event);
                    },
                },
                () = tokio::time::sleep(LOOK) => {}
            }
            if Instant::now() < deadline {
                continue;
            }
            if let Some(other) = others(admin, group_id, advertised).await?.first() {
                return Err(occupied(group_id, other));
            }
            return Err(trouble.unwrap_or_else(|| {
                let text = format!(
                    "the broker did not give this worker its seat in group.id={group_id} in time"
                );
                PortError::new(PortErrorKind::Unknown, text)
            }));
        }
    }

    /// What an event of the consumer means for the seat.
    fn heard(&mut self, event: ConsumerEvent) -> Option<MembershipEvent> {
        match event {
            ConsumerEvent::Assigned { partitions, .. } => {
                if !partitions.iter().any(|place| place.partition == 0) {
                    return None;
                }
                self.seated = true;
                let generation = self.consumer.generation();
                Some(MembershipEvent::Joined { generation, leader: true })
            }
            ConsumerEvent::Revoking { partitions, done } => {
                // The group goes on when the worker has taken the news: at its next call.
                self.leaving = Some(done);
                self.left(&partitions, "the group gave the seat to another worker")
            }
            ConsumerEvent::Lost { partitions } => self.left(
                &partitions,
                "the session with the group's coordinator ended (no heartbeat got through)",
            ),
            ConsumerEvent::Trouble(Some(error)) => {
                tracing::warn!(%error, "the group's coordinator is in trouble");
                None
            }
            ConsumerEvent::Batch(_) | ConsumerEvent::Trouble(None) => None,
        }
    }

    fn left(
        &mut self,
        partitions: &[towpath_sdk::record::TopicPartition],
        reason: &str,
    ) -> Option<MembershipEvent> {
        let seat = partitions.iter().any(|place| place.partition == 0);
        (seat && std::mem::take(&mut self.seated))
            .then(|| MembershipEvent::Left { reason: reason.to_owned() })
    }

    async fn next_event(&mut self) -> PortResult<MembershipEvent> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        self.leaving = None;
        loop {
            let event = self.consumer.next().await.map_err(|e| match e.kind {
                PortErrorKind::Fenced => e.context(
                    "another worker with the same advertised address joined the same group.id",
                ),
                _ => e,
            })?;
            if let Some(event) = self.heard(event) {
                return Ok(event);
            }
        }
    }
}

impl Membership for KafkaMembership {
    fn next(&mut self) -> BoxFuture<'_, PortResult<MembershipEvent>> {
        Box::pin(self.next_event())
    }

    fn leave(self: Box<Self>) -> BoxFuture<'static, ()> {
        let Self { consumer, leaving, .. } = *self;
        drop(leaving);
        Box::new(consumer).close()
    }
}

/// A group of Kafka Connect's is no seat: its members would be thrown out, or this worker refused.
async fn refuse_connect(admin: &KafkaAdmin, group_id: &str) -> PortResult<()> {
    let group = group_id.to_owned();
    let what = format!("failed to look at group {group_id}");
    let found = admin
        .ask(what, move |client, timeout| {
            let list = client.native.client().fetch_group_list(Some(&group), timeout);
            let list = list.map_err(|e| failure(e.rdkafka_error_code()))?;
            let named = list.groups().iter().find(|g| g.name() == group);
            Ok(named.map(|g| {
                let first = g.members().first();
                (
                    g.protocol_type().to_owned(),
                    first.map(|m| (m.client_id().to_owned(), m.client_host().to_owned())),
                )
            }))
        })
        .await?;
    match found {
        Some((protocol, Some((client_id, host))))
            if !matches!(protocol.as_str(), "consumer" | "") =>
        {
            let whose = if protocol == "connect" {
                "a Kafka Connect cluster".to_owned()
            } else {
                format!("a group of type {protocol}")
            };
            let text = format!(
                "group.id={group_id} is in use by {whose} ({client_id} at {}); give this worker \
                 another group.id, or stop that one",
                host.trim_start_matches('/')
            );
            Err(PortError::new(PortErrorKind::Occupied, text))
        }
        _ => Ok(()),
    }
}

fn failure(code: Option<Code>) -> AdminError {
    let code = code.unwrap_or(Code::Fail) as i32;
    AdminError { code, text: native::describe_code(code) }
}

/// Waits until no other worker is in the group: a dead one's session ends in time, a live one's does
/// not.
async fn wait_for_others(
    admin: &KafkaAdmin,
    group_id: &str,
    advertised: &str,
    deadline: Instant,
) -> PortResult<()> {
    let mut told = false;
    loop {
        let Some(other) = others(admin, group_id, advertised).await?.into_iter().next() else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            return Err(occupied(group_id, &other));
        }
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(
                "{} Waiting for its session to end, in case it is not running any more",
                occupied(group_id, &other)
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The other members of the group.
async fn others(
    admin: &KafkaAdmin,
    group_id: &str,
    advertised: &str,
) -> PortResult<Vec<GroupMember>> {
    let members = admin.group_members(group_id).await?;
    let foreign = |member: &GroupMember| member.instance_id.as_deref() != Some(advertised);
    Ok(members.into_iter().filter(foreign).collect())
}

fn occupied(group_id: &str, other: &GroupMember) -> PortError {
    let name = match &other.instance_id {
        Some(instance) => instance.clone(),
        None => other.client_id.clone(),
    };
    let host = &other.host;
    let text = format!(
        "another worker ({name}, connected from {host}) is running with group.id={group_id}; give \
         this one another group.id, or stop that one"
    );
    PortError::new(PortErrorKind::Occupied, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_the_seat_is_named() {
        let other = GroupMember {
            client_id: "towpath-w1:8083".into(),
            instance_id: Some("w1:8083".into()),
            host: "10.0.0.7".into(),
        };
        let error = occupied("fleet", &other);
        assert_eq!(error.kind, PortErrorKind::Occupied);
        assert!(error.text.contains("w1:8083, connected from 10.0.0.7"), "{error}");
        assert!(error.text.contains("group.id=fleet"), "{error}");
    }
}
