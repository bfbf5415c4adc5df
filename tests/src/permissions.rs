//! The permissions that each feature needs: the one list that `docs/permissions.md` shows and the fault
//! suite grants, so that the page is what was tested.

use std::fmt::Write as _;

/// A kind of Kafka resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// A topic.
    Topic,
    /// A consumer group.
    Group,
    /// A transactional id.
    TransactionalId,
}

/// What one feature needs on one kind of resource.
#[derive(Debug, Clone, Copy)]
pub struct Permission {
    /// Which feature.
    pub feature: Feature,
    /// On what.
    pub resource: Resource,
    /// Which ones, in words for the page.
    pub names: &'static str,
    /// The ACL's operations. Read, Write and Delete imply Describe.
    pub operations: &'static [&'static str],
    /// When it can be left out.
    pub unless: &'static str,
}

/// A feature that has permissions of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// The worker itself.
    Worker,
    /// A source connector.
    Source,
    /// `exactly.once.source.support=enabled`.
    ExactlyOnceSource,
    /// A sink connector.
    Sink,
    /// `errors.deadletterqueue.topic.name`.
    DeadLetters,
    /// `DELETE` and `PATCH` of a sink's offsets.
    SinkOffsets,
}

impl Feature {
    const fn title(self) -> &'static str {
        match self {
            Self::Worker => "the worker",
            Self::Source => "a source connector",
            Self::ExactlyOnceSource => "exactly-once sources",
            Self::Sink => "a sink connector",
            Self::DeadLetters => "a dead letter queue",
            Self::SinkOffsets => "changing a sink's offsets by REST",
        }
    }
}

/// All of them. Kafka's operations by the names that `kafka-acls.sh` takes.
pub const KAFKA: &[Permission] = &[
    Permission {
        feature: Feature::Worker,
        resource: Resource::Group,
        names: "`group.id`",
        operations: &["Read"],
        unless: "",
    },
    Permission {
        feature: Feature::Worker,
        resource: Resource::Topic,
        names: "the config, offset and status topics",
        operations: &["Read", "Write"],
        unless: "",
    },
    Permission {
        feature: Feature::Worker,
        resource: Resource::Topic,
        names: "the config, offset and status topics",
        operations: &["Create"],
        unless: "they are there",
    },
    Permission {
        feature: Feature::Worker,
        resource: Resource::Topic,
        names: "the config, offset and status topics",
        operations: &["DescribeConfigs"],
        unless: "nobody need see that they are compacted (a warning says so)",
    },
    Permission {
        feature: Feature::Source,
        resource: Resource::Topic,
        names: "the topics that it writes",
        operations: &["Write"],
        unless: "",
    },
    Permission {
        feature: Feature::Source,
        resource: Resource::Topic,
        names: "the topics that it writes",
        operations: &["Create"],
        unless: "they are there",
    },
    Permission {
        feature: Feature::ExactlyOnceSource,
        resource: Resource::TransactionalId,
        names: "`<group.id>-<connector>-<task>` (a prefixed ACL on `<group.id>-`)",
        operations: &["Write"],
        unless: "",
    },
    Permission {
        feature: Feature::Sink,
        resource: Resource::Group,
        names: "`connect-<connector>`, or `consumer.override.group.id`",
        operations: &["Read"],
        unless: "",
    },
    Permission {
        feature: Feature::Sink,
        resource: Resource::Topic,
        names: "the topics that it reads",
        operations: &["Read"],
        unless: "",
    },
    Permission {
        feature: Feature::DeadLetters,
        resource: Resource::Topic,
        names: "the dead letter topic",
        operations: &["Write"],
        unless: "",
    },
    Permission {
        feature: Feature::DeadLetters,
        resource: Resource::Topic,
        names: "the dead letter topic",
        operations: &["Create"],
        unless: "it is there",
    },
    Permission {
        feature: Feature::SinkOffsets,
        resource: Resource::Group,
        names: "`connect-<connector>`, or `consumer.override.group.id`",
        operations: &["Read", "Delete"],
        unless: "",
    },
];

/// What the S3 sink does in a bucket.
pub const S3: &[(&str, &str)] = &[
    ("s3:PutObject", "write objects and parts of them"),
    ("s3:GetObject", "look whether an object is there and whose it is"),
    ("s3:ListBucket", "find the last object after a restart"),
    ("s3:ListBucketMultipartUploads", "find uploads that a killed worker has left"),
    ("s3:AbortMultipartUpload", "abort them"),
];

/// The tables of `docs/permissions.md`.
#[must_use]
pub fn tables() -> String {
    let mut text =
        String::from("| feature | resource | operations | not needed if |\n|---|---|---|---|\n");
    for Permission { feature, resource, names, operations, unless } in KAFKA {
        let kind = match resource {
            Resource::Topic => "topic",
            Resource::Group => "group",
            Resource::TransactionalId => "transactional id",
        };
        // Writing to a text can't fail.
        let _ok = writeln!(
            text,
            "| {} | {kind}: {names} | {} | {unless} |",
            feature.title(),
            operations.join(", ")
        )
        .is_ok();
    }
    text.push_str("\n| S3 action | what for |\n|---|---|\n");
    for (action, purpose) in S3 {
        let _ok = writeln!(text, "| `{action}` | {purpose} |").is_ok();
    }
    text
}

/// The names of the operations that `features` need on `resource`, each once.
#[must_use]
pub fn operations(features: &[Feature], resource: Resource) -> Vec<&'static str> {
    let mut found: Vec<&str> = KAFKA
        .iter()
        .filter(|p| features.contains(&p.feature) && p.resource == resource)
        .flat_map(|p| p.operations.iter().copied())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}
