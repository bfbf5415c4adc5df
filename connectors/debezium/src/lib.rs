//! Transforms for captured changes, under Debezium's class names, keys and defaults.
//!
//! Invariants:
//! - what comes out, schemas included, is what Debezium 3.7 writes of the same record; where that is
//!   not so, the module's head says why;
//! - what depends on schemas alone is worked out once for each schema of an envelope, and the schemas
//!   that come out are shared, so that converters know them again;
//! - a record that can't be worked on is left as it was.
//!
//! Deliberately absent: Debezium's other transforms, and those for MongoDB.

mod envelope;
pub mod outbox;
pub mod unwrap;

use std::sync::Arc;

use towpath_sdk::config::{ConnectorConfig, FieldErrors, Properties};
use towpath_sdk::plugin::{
    BuildFor, PluginInfo, PluginName, Registry, TransformPlugin, definition_of,
};
use towpath_sdk::transform::Transform;

/// Adds everything in this crate to `registry`.
pub fn register(registry: &mut Registry) {
    registry
        .transform(plugin::<unwrap::ExtractNewRecordState>(
            unwrap::NAMES,
            "Puts the row after a change in the place of the change.",
        ))
        .transform(plugin::<outbox::EventRouter>(
            outbox::NAMES,
            "Makes events of the rows that are inserted into an outbox table, and routes them.",
        ));
}

/// A transform that is made of its configuration.
trait Configured: Transform + Sized {
    type Config: ConnectorConfig;

    /// Makes one of a configuration that was read.
    ///
    /// # Errors
    /// What can only be seen when it is put together.
    fn of(config: Self::Config) -> Result<Self, FieldErrors>;
}

fn plugin<T: Configured>(names: &'static [PluginName], summary: &'static str) -> TransformPlugin {
    fn make<T: Configured>(properties: &Properties) -> Result<T, FieldErrors> {
        T::of(T::Config::parse(properties)?)
    }
    fn build<T: Configured>(
        properties: &Properties,
        _: BuildFor,
    ) -> Result<Arc<dyn Transform>, FieldErrors> {
        Ok(Arc::new(make::<T>(properties)?))
    }
    TransformPlugin {
        info: PluginInfo { names, version: env!("CARGO_PKG_VERSION"), summary },
        definition: definition_of::<T::Config>,
        validate: |properties| make::<T>(properties).err().unwrap_or_default(),
        build: build::<T>,
    }
}
