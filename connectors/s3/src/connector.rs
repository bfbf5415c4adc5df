//! The plug-ins: Confluent's dialect with our own name, and Aiven's.

use std::sync::Arc;

use towpath_sdk::context::SinkTaskContext;
use towpath_sdk::error::{Error, Result};
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::plugin::{PluginInfo, PluginName};
use towpath_sdk::sink::SinkConnector;
use uuid::Uuid;

use crate::client::Client;
use crate::config::{Plan, aiven, confluent};
use crate::task::{Task, check_write};

const SUMMARY: &str = "Writes records into objects of an S3 bucket.";

/// The sink that speaks Confluent's configuration.
#[derive(Debug)]
pub struct S3Sink;

impl SinkConnector for S3Sink {
    type Config = confluent::Config;
    type Task = Task;

    fn plugin() -> PluginInfo {
        const NAMES: &[PluginName] = &[
            PluginName::with_defaults("s3-sink", confluent::OUR_DEFAULTS),
            PluginName::new("io.confluent.connect.s3.S3SinkConnector"),
        ];
        PluginInfo { names: NAMES, version: env!("CARGO_PKG_VERSION"), summary: SUMMARY }
    }

    fn guarantee(config: &confluent::Config) -> Guarantee {
        guarantee(config.plan())
    }

    async fn task(config: Arc<confluent::Config>, cx: SinkTaskContext) -> Result<Task> {
        Ok(Task::new(plan(config.plan())?, cx).await)
    }

    async fn check(config: Arc<confluent::Config>) -> Result<()> {
        check(plan(config.plan())?).await
    }
}

/// The sink that speaks Aiven's configuration.
#[derive(Debug)]
pub struct AivenS3Sink;

impl SinkConnector for AivenS3Sink {
    type Config = aiven::Config;
    type Task = Task;

    fn plugin() -> PluginInfo {
        const NAMES: &[PluginName] = &[
            PluginName::new("io.aiven.kafka.connect.s3.AivenKafkaConnectS3SinkConnector"),
            PluginName::new("io.aiven.kafka.connect.s3.S3SinkConnector"),
        ];
        PluginInfo { names: NAMES, version: env!("CARGO_PKG_VERSION"), summary: SUMMARY }
    }

    fn guarantee(config: &aiven::Config) -> Guarantee {
        guarantee(config.plan())
    }

    async fn task(config: Arc<aiven::Config>, cx: SinkTaskContext) -> Result<Task> {
        Ok(Task::new(plan(config.plan())?, cx).await)
    }

    async fn check(config: Arc<aiven::Config>) -> Result<()> {
        check(plan(config.plan())?).await
    }
}

type Planned = std::result::Result<Plan, Vec<towpath_sdk::config::FieldError>>;

fn plan(plan: Planned) -> Result<Plan> {
    plan.map_err(|errors| {
        Error::config(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })
}

fn guarantee(plan: Planned) -> Guarantee {
    match plan {
        Ok(plan) => plan.guarantee(),
        Err(_) => Guarantee::at_least_once("the configuration is not valid"),
    }
}

/// Sees that the bucket is there and can be written.
async fn check(mut plan: Plan) -> Result<()> {
    // A person waits for the answer.
    plan.connection.retries = 0;
    let client = Client::new(&plan.connection, plan.objects.clone()).await;
    client.check_bucket().await?;
    check_write(&client, &plan, &Uuid::new_v4().simple().to_string()).await
}
