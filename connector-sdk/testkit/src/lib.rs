//! The acceptance suite that every connector must pass.
//!
//! The author of a connector writes a driver: how to make an empty place in the outside system, how to
//! put records there or read them back. [`SourceSuite`] and [`SinkSuite`] do the rest: they drive the
//! connector as the engine does, with crashes, dropped futures, gaps between offsets and partitions
//! that come and go, and hold what comes out against what the connector promises. [`SourceCheck`] and
//! [`SinkCheck`] list what is checked. [`KeyWalk`] holds every key of a configuration to having an effect.
//! [`FakeHost`] is for tests of one's own.
//!
//! ```
//! use towpath_sdk::config::Properties;
//! use towpath_testkit::{SinkDriver, SinkSuite};
//! # use std::sync::{LazyLock, Mutex};
//! # use towpath_sdk::{Result, config::ConnectorConfig, plugin, record::SinkRecord, simple};
//! # static SHELF: LazyLock<Mutex<Vec<String>>> = LazyLock::new(Mutex::default);
//! # #[derive(Debug, ConnectorConfig)]
//! # struct ShelfConfig {
//! #     /// What to write on the shelf.
//! #     label: String,
//! # }
//! # struct Shelf;
//! # impl simple::SimpleSink for Shelf {
//! #     type Config = ShelfConfig;
//! #     const PLUGIN: plugin::PluginInfo = plugin::PluginInfo {
//! #         names: &[plugin::PluginName::new("shelf-sink")], version: "1", summary: "A shelf." };
//! #     async fn open(_: &ShelfConfig) -> Result<Self> { Ok(Self) }
//! #     async fn write(&mut self, records: &[SinkRecord]) -> Result<()> {
//! #         let id = |r: &SinkRecord| r.value.value.member("id").unwrap().as_str().unwrap().to_owned();
//! #         SHELF.lock().unwrap().extend(records.iter().map(id));
//! #         Ok(())
//! #     }
//! # }
//!
//! struct ShelfDriver;
//!
//! impl SinkDriver for ShelfDriver {
//!     type Connector = simple::Sink<Shelf>;
//!
//!     // An empty shelf, and the configuration for it.
//!     async fn fresh(&mut self) -> Properties {
//!         SHELF.lock().unwrap().clear();
//!         Properties::from([("label", "books")])
//!     }
//!
//!     // The ids of what stands on it: records are `{"id":"…"}`, unless `record` says otherwise.
//!     async fn read(&mut self) -> Vec<String> {
//!         SHELF.lock().unwrap().clone()
//!     }
//! }
//!
//! SinkSuite::new(ShelfDriver).run(); // in a #[test]; it makes runtimes of its own
//! ```
//!
//! Everything is seeded. A failure names its seed, and `TOWPATH_TEST_SEED=<seed>` repeats it, as far as
//! the outside system lets it.
//!
//! Each check has a twin in this crate's own tests: a connector broken on purpose, which the check
//! must find. Deliberately absent: the engine (its tests are in `runtime/core`), performance, and kills
//! of real processes.

mod config_checks;
mod host;
mod item;
mod keys;
mod seed;
mod sink;
mod source;
mod stage;
mod suite;
mod written;

pub use host::{FakeHost, ManualClock};
pub use item::Item;
pub use keys::KeyWalk;
pub use seed::SEED_VARIABLE;
pub use sink::{SinkCheck, SinkDriver, SinkSuite};
pub use source::{SourceCheck, SourceDriver, SourceSuite};
pub use written::KeptTopics;
