//! Where a worker's settings come from: the properties file, then the environment.

use std::path::Path;

use anyhow::{Context, Result, bail};
use towpath_formats::Properties;
use towpath_formats::worker_config::WorkerConfig;
use towpath_formats::{environment, properties_file};

/// Reads and understands them.
///
/// # Errors
/// All wrong settings at once.
pub(crate) fn read(file: Option<&Path>) -> Result<WorkerConfig> {
    let mut properties = Properties::new();
    if let Some(file) = file {
        let bytes = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
        let parsed = properties_file::parse(&bytes);
        properties = parsed.with_context(|| format!("read {}", file.display()))?;
    }
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let environment = environment::read(variables);
    for warning in &environment.warnings {
        tracing::warn!("{warning}");
    }
    properties.extend(environment.properties);
    if properties.is_empty() {
        bail!(
            "there are no settings: name a Kafka Connect worker properties file, or set CONNECT_* \
             variables"
        );
    }
    match WorkerConfig::parse(&properties) {
        Ok((config, warnings)) => {
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            Ok(config)
        }
        Err(errors) => {
            let lines: Vec<String> = errors.iter().map(|error| format!("  {error}")).collect();
            bail!("the worker's settings have {} error(s):\n{}", lines.len(), lines.join("\n"))
        }
    }
}
