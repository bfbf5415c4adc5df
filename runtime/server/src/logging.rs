//! Logs to standard error, with levels that change while running.

use towpath_rest::logging::LogControl;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The levels now.
pub(crate) type Logging = LogControl;

/// Starts logging at the level `default`, or as `TOWPATH_LOG` says (`warn,towpath_core=debug`).
/// `TOWPATH_LOG_FORMAT=json` writes one JSON object a line.
pub(crate) fn start(default: &str) -> Logging {
    let filter = std::env::var("TOWPATH_LOG").unwrap_or_else(|_| default.to_owned());
    let (layer, handle) = tracing_subscriber::reload::Layer::new(EnvFilter::new(&filter));
    let control = LogControl::new(&filter, move |directives| {
        if let Err(error) = handle.reload(EnvFilter::new(directives)) {
            tracing::warn!(%error, "log levels could not be changed");
        }
    });
    let registry = tracing_subscriber::registry().with(layer);
    let json = std::env::var("TOWPATH_LOG_FORMAT").is_ok_and(|format| format == "json");
    if json {
        registry.with(tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr)).init();
    } else {
        registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr)).init();
    }
    control
}
