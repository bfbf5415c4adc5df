//! Dependencies point one way: `sdk ← connectors/*`, `{sdk, formats} ← core ← {kafka, embedded, sim,
//! rest} ← server → connectors/*`. A crate that is missing here fails the test: give it a place.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Which crates of ours each crate may name in `[dependencies]`.
const ALLOWED: &[(&str, &[&str])] = &[
    ("towpath-sdk-derive", &[]),
    ("towpath-sdk", &["towpath-sdk-derive"]),
    ("towpath-testkit", &["towpath-sdk"]),
    ("towpath-builtin", &["towpath-sdk"]),
    ("towpath-connector-datagen", &["towpath-sdk"]),
    ("towpath-connector-debezium", &["towpath-sdk", "towpath-builtin"]),
    ("towpath-connector-file", &["towpath-sdk"]),
    ("towpath-connector-null", &["towpath-sdk"]),
    ("towpath-connector-postgres", &["towpath-sdk"]),
    ("towpath-connector-s3", &["towpath-sdk"]),
    ("towpath-formats", &[]),
    ("towpath-core", &["towpath-sdk", "towpath-formats"]),
    ("towpath-broker", &["towpath-sdk", "towpath-formats", "towpath-core"]),
    ("towpath-kafka", &["towpath-sdk", "towpath-formats", "towpath-core"]),
    ("towpath-embedded", &["towpath-sdk", "towpath-formats", "towpath-core", "towpath-broker"]),
    ("towpath-sim", &["towpath-sdk", "towpath-formats", "towpath-core", "towpath-broker"]),
    ("towpath-rest", &["towpath-sdk", "towpath-formats", "towpath-core"]),
    (
        "towpath-server",
        &[
            "towpath-sdk",
            "towpath-formats",
            "towpath-core",
            "towpath-kafka",
            "towpath-embedded",
            "towpath-rest",
            "towpath-builtin",
            "towpath-connector-datagen",
            "towpath-connector-debezium",
            "towpath-connector-file",
            "towpath-connector-null",
            "towpath-connector-postgres",
            "towpath-connector-s3",
        ],
    ),
    ("towpath-tests", &[]),
];

/// Crates that only one of ours may name, apart from the tests.
const KEPT: &[(&str, &str)] = &[
    ("rdkafka", "towpath-kafka"),
    ("rdkafka-sys", "towpath-kafka"),
    ("aws-sdk-s3", "towpath-connector-s3"),
    ("axum", "towpath-rest"),
];

fn dependencies() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut found = BTreeMap::new();
    for package in metadata["packages"].as_array().context("packages")? {
        let named = package["dependencies"].as_array().context("dependencies")?;
        // `kind` is null for ordinary dependencies.
        let named = named.iter().filter(|d| d["kind"].is_null()).map(|d| text(&d["name"]));
        found.insert(text(&package["name"]), named.collect());
    }
    Ok(found)
}

fn violations(found: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut violations = Vec::new();
    for (package, named) in found {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| name == package) else {
            violations.push(format!("{package} has no place in the map"));
            continue;
        };
        for dependency in named {
            let ours = dependency.starts_with("towpath-");
            if ours && !allowed.contains(&dependency.as_str()) {
                violations.push(format!("{package} may not depend on {dependency}"));
            }
            let kept = KEPT.iter().any(|(name, keeper)| name == dependency && keeper != package);
            if kept && package != "towpath-tests" {
                violations.push(format!("{package} may not depend on {dependency}"));
            }
        }
    }
    violations
}

#[test]
fn dependencies_point_one_way() -> Result<()> {
    let found = dependencies()?;
    ensure!(found.len() >= 14, "the workspace was not read: {found:?}");
    let violations = violations(&found);
    ensure!(violations.is_empty(), "{}", violations.join("\n"));
    Ok(())
}

#[test]
fn an_arrow_the_wrong_way_is_seen() {
    let edge = |from: &str, to: &str| {
        violations(&BTreeMap::from([(from.to_owned(), BTreeSet::from([to.to_owned()]))]))
    };
    assert_eq!(edge("towpath-sdk", "towpath-core").len(), 1);
    assert_eq!(edge("towpath-core", "rdkafka").len(), 1);
    assert_eq!(edge("towpath-new", "serde").len(), 1);
    assert!(edge("towpath-kafka", "rdkafka").is_empty());
}
