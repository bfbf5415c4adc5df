//! The plug-ins of this binary: one line a connector.

use towpath_sdk::plugin::Registry;

/// All of them.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    towpath_builtin::register(&mut registry);
    towpath_connector_file::register(&mut registry);
    registry.sink::<towpath_connector_null::NullSink>();
    registry
}
