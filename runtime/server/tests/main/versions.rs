//! `connector.plugin.version` and its siblings (KIP-891).

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::Running;

const OURS: &str = env!("CARGO_PKG_VERSION");
const PUT: &str = "/connectors/versions/config";

fn config(running: &Running, key: &str, version: &str) -> Value {
    let mut config = json!({
        "connector.class": "FileStreamSink",
        "topics": "none",
        "file": running.file("out"),
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
        "transforms": "x",
        "transforms.x.type": "org.apache.kafka.connect.transforms.ExtractField$Value",
        "transforms.x.field": "f",
        "transforms.x.predicate": "p",
        "predicates": "p",
        "predicates.p.type": "org.apache.kafka.connect.transforms.predicates.RecordIsTombstone",
    });
    config[key] = json!(version);
    config
}

const KEYS: &[&str] = &[
    "connector.plugin.version",
    "key.converter.plugin.version",
    "value.converter.plugin.version",
    "header.converter.plugin.version",
    "transforms.x.plugin.version",
    "predicates.p.plugin.version",
];

#[tokio::test]
async fn a_version_that_there_is_is_taken_and_others_are_refused_with_what_there_is() -> Result<()>
{
    let running = Running::start("versions", "").await?;
    let put = |config: Value| {
        let running = &running;
        async move { running.ask(Method::PUT, PUT, None, Some(&config.to_string())).await }
    };
    for key in KEYS {
        for version in [OURS, "[0.0.1,)", "latest"] {
            let (status, answer) = put(config(&running, key, version)).await?;
            ensure!(status.is_success(), "{key}={version}: {status} {answer}");
        }
        for (version, why) in [
            ("4.3.1", format!("there is only version {OURS}")),
            ("(,0.0.1]", format!("there is only version {OURS}")),
            ("[1,2", "has no end".to_owned()),
        ] {
            let (status, answer) = put(config(&running, key, version)).await?;
            let text = answer["message"].as_str().unwrap_or_default();
            let named = format!("Invalid value {version} for configuration {key}: ");
            ensure!(
                status == 400 && text.contains(&named) && text.contains(&why),
                "{status} {answer}"
            );
            ensure!(text.contains("contains the following 1 error(s)"), "{answer}");
        }
    }
    a_form_offers_the_version_that_there_is(&running).await
}

async fn a_form_offers_the_version_that_there_is(running: &Running) -> Result<()> {
    let mut config = config(running, "connector.plugin.version", "9");
    config["name"] = json!("versions");
    let path = "/connector-plugins/FileStreamSink/config/validate";
    let (status, answer) = running.ask(Method::PUT, path, None, Some(&config.to_string())).await?;
    ensure!(status == 200 && answer["error_count"] == 1, "{status} {answer}");
    for key in KEYS {
        let configs = answer["configs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let found = configs.iter().find(|one| one["value"]["name"] == *key);
        ensure!(
            found.is_some_and(|one| one["value"]["recommended_values"] == json!([OURS])),
            "{key}: {found:?}"
        );
        let errors = found.map_or(0, |one| one["value"]["errors"].as_array().map_or(0, Vec::len));
        ensure!(errors == usize::from(*key == "connector.plugin.version"), "{key}: {found:?}");
    }
    Ok(())
}
