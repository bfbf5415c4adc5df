//! Plans the tasks of a `datagen` source.

use std::num::NonZeroU32;
use std::sync::Arc;

use towpath_sdk::context::{ConnectorContext, SourceTaskContext};
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::offset::{SourceOffset, SourcePartition};
use towpath_sdk::plugin::{PluginInfo, PluginName};
use towpath_sdk::source::{SourceConnector, TaskShare};
use towpath_sdk::{Error, Result};

use crate::config::DatagenConfig;
use crate::progress::{SEED, SEQUENCE, Share, TASK};
use crate::task::DatagenTask;

const NAMES: [PluginName; 1] = [PluginName::new("datagen")];

/// Generates records.
#[derive(Debug)]
pub struct Datagen {
    config: Arc<DatagenConfig>,
}

impl SourceConnector for Datagen {
    type Config = DatagenConfig;
    type Task = DatagenTask;

    fn plugin() -> PluginInfo {
        PluginInfo {
            names: &NAMES,
            version: env!("CARGO_PKG_VERSION"),
            summary: "Generates records from expressions, seeded and at a given rate",
        }
    }

    fn guarantee(_config: &Self::Config) -> Guarantee {
        Guarantee::exactly_once("each record is made from the seed and the record's number")
    }

    async fn start(config: Arc<Self::Config>, _cx: ConnectorContext) -> Result<Self> {
        Ok(Self { config })
    }

    async fn plan(&mut self, max: NonZeroU32) -> Result<Vec<TaskShare>> {
        // No more tasks than records.
        let most = u32::try_from(self.config.count).ok().and_then(NonZeroU32::new);
        let tasks = most.map_or(max, |most| most.min(max)).get();
        Ok((0..tasks).map(|task| Share { task, tasks }.into_properties()).collect())
    }

    async fn task(
        config: Arc<Self::Config>,
        share: TaskShare,
        cx: SourceTaskContext,
    ) -> Result<Self::Task> {
        DatagenTask::new(&config, Share::from_properties(&share)?, cx)
    }

    fn check_offset(
        _config: &Self::Config,
        partition: &SourcePartition,
        offset: Option<&SourceOffset>,
    ) -> Result<()> {
        let Some(offset) = offset else { return Ok(()) };
        if partition.get_i64(SEED).is_none() || partition.get_i64(TASK).is_none() {
            return Err(Error::config(
                "a partition of datagen is {\"seed\": number, \"task\": number}",
            ));
        }
        match offset.get_i64(SEQUENCE) {
            Some(0..) => Ok(()),
            _ => Err(Error::config(
                "an offset of datagen is {\"sequence\": the number of the next record, from 0 on}",
            )),
        }
    }
}
