//! The engine: herder, pipelines, offsets and dead letter queue over port traits.
