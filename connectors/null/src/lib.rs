//! A sink that throws records away, for measuring and trying out. It is also the smallest connector
//! there can be.

use towpath_sdk::config::ConnectorConfig;
use towpath_sdk::plugin::{PluginInfo, PluginName};
use towpath_sdk::record::SinkRecord;
use towpath_sdk::{Result, simple};

/// There is nothing to configure.
#[derive(Debug, ConnectorConfig)]
pub struct NullConfig {}

/// Takes records and does nothing with them.
#[derive(Debug)]
pub struct Null;

/// The connector `null-sink`.
pub type NullSink = simple::Sink<Null>;

impl simple::SimpleSink for Null {
    type Config = NullConfig;
    const PLUGIN: PluginInfo = PluginInfo {
        names: &[PluginName::new("null-sink")],
        version: env!("CARGO_PKG_VERSION"),
        summary: "Throws records away.",
    };

    async fn open(_config: &NullConfig) -> Result<Self> {
        Ok(Self)
    }

    async fn write(&mut self, _records: &[SinkRecord]) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use towpath_sdk::config::Properties;
    use towpath_sdk::plugin::{definition_of, validate_as};
    use towpath_testkit::{KeyWalk, SinkDriver, SinkSuite};

    use super::*;

    struct Void;

    impl SinkDriver for Void {
        type Connector = NullSink;

        async fn fresh(&mut self) -> Properties {
            Properties::new()
        }

        async fn read(&mut self) -> Vec<String> {
            Vec::new()
        }

        fn is_void(&self) -> bool {
            true
        }
    }

    #[test]
    fn the_null_sink_passes() {
        SinkSuite::new(Void).run();
    }

    #[test]
    fn there_is_no_key_without_effect() {
        let definition = definition_of::<NullConfig>();
        KeyWalk::new(definition, Properties::new(), validate_as::<NullConfig>, |_: &Properties| ())
            .finish();
    }
}
