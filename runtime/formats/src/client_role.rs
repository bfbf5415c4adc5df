//! What a Kafka client is for.

/// The three kinds of clients that connectors and workers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientRole {
    /// Writes records.
    Producer,
    /// Reads records.
    Consumer,
    /// Creates topics, reads and changes group offsets, fences.
    Admin,
}

impl ClientRole {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Producer, Self::Consumer, Self::Admin];

    /// The role in a word, as it is in prefixes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
            Self::Admin => "admin",
        }
    }

    /// In front of a worker's properties for its connectors' clients.
    pub fn worker_prefix(self) -> &'static str {
        match self {
            Self::Producer => "producer.",
            Self::Consumer => "consumer.",
            Self::Admin => "admin.",
        }
    }

    /// In front of a connector's own properties for its clients.
    pub fn override_prefix(self) -> &'static str {
        match self {
            Self::Producer => "producer.override.",
            Self::Consumer => "consumer.override.",
            Self::Admin => "admin.override.",
        }
    }
}
