//! The engine's ports on a Kafka cluster.
