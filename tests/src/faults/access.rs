//! Kafka refuses the worker: its password, or what it wants to do.

use anyhow::{Context as _, Result, ensure};

use super::rig::{Rig, append, check_lines, file_sink, lines, source};
use crate::kafka::Kafka;
use crate::permissions::{Feature, Resource, operations};
use crate::{server, stack, unique, with};

/// The settings of a client that logs in.
fn login(mechanism: &str, module: &str, user: &str, password: &str) -> String {
    let module = format!("org.apache.kafka.common.security.{module}");
    let jaas = format!("{module} required username=\"{user}\" password=\"{password}\";");
    // Connectors' clients do not inherit the worker's login.
    ["", "producer.", "consumer.", "admin."]
        .map(|role| {
            format!(
                "{role}security.protocol=SASL_PLAINTEXT\n{role}sasl.mechanism={mechanism}\n\
                 {role}sasl.jaas.config={jaas}\n"
            )
        })
        .concat()
}

/// A user that Kafka does not know says so, without its password; once it is known, the worker goes on.
pub(super) async fn wrong_password() -> Result<()> {
    let (user, password) = (unique("user")?, unique("fake-password")?);
    let settings = login("SCRAM-SHA-256", "scram.ScramLoginModule", &user, &password);
    let mut rig = Rig::planned("credentials", &server("TOWPATH_TEST_KAFKA_SASL")?, &settings)?;
    rig.worker.start()?;
    let said = rig.health_says(&["refused the credentials", "sasl.jaas.config"]).await?;
    let log = rig.worker.logged()?;
    ensure!(!said.contains(&password) && !log.contains(&password), "the password is shown");

    let features = [Feature::Worker];
    grant(&user, &rig.fleet, &features, Resource::Topic).await?;
    grant(&user, &rig.fleet, &features, Resource::Group).await?;
    let scram = format!("SCRAM-SHA-256=[iterations=4096,password={password}]");
    let add = ["--alter", "--entity-type", "users", "--entity-name", &user, "--add-config", &scram];
    stack::kafka_tool("configs", &add).await?;
    rig.worker.ready().await?;
    ensure!(!rig.worker.logged()?.contains(&password), "the password is in the log");
    rig.end().await
}

/// Lets `user` do what `features` need on resources whose names begin with `prefix`.
async fn grant(user: &str, prefix: &str, features: &[Feature], resource: Resource) -> Result<()> {
    let kind = match resource {
        Resource::Topic => "--topic",
        Resource::Group => "--group",
        Resource::TransactionalId => "--transactional-id",
    };
    let user = format!("User:{user}");
    let mut arguments = vec!["--add", "--allow-principal", &user, kind, prefix];
    arguments.extend(["--resource-pattern-type", "prefixed"]);
    for operation in operations(features, resource) {
        arguments.extend(["--operation", operation]);
    }
    stack::kafka_tool("acls", &arguments).await
}

/// Alice may do nothing. Each refusal names what is missing; with exactly what `docs/permissions.md`
/// lists, all of it works.
pub(super) async fn missing_permissions() -> Result<()> {
    let kafka = Kafka::connect()?;
    let password = server("TOWPATH_TEST_KAFKA_ALICE_PASSWORD")?;
    let settings = login("PLAIN", "plain.PlainLoginModule", "alice", &password);
    let settings = format!("{settings}exactly.once.source.support=enabled");
    let mut rig = Rig::planned("access", &server("TOWPATH_TEST_KAFKA_SASL")?, &settings)?;
    // Resources by prefix: those of the worker, of data, and of connectors' groups.
    let data = unique("data")?;
    let groups = format!("connect-{}", rig.fleet);
    rig.worker.start()?;
    rig.health_says(&["authorization failed", &rig.name("configs")]).await?;
    grant("alice", &rig.fleet, &[Feature::Worker], Resource::Topic).await?;
    rig.health_says(&["authorization failed", "Read on the group", &rig.fleet]).await?;
    grant("alice", &rig.fleet, &[Feature::Worker], Resource::Group).await?;
    rig.worker.ready().await?;

    let (input, output) = (rig.file("in"), rig.file("out"));
    let (topic, letters) = (format!("{data}-topic"), format!("{data}-letters"));
    let (from, to) = (rig.name("source"), rig.name("sink"));
    append(&input, &lines(0, 100))?;
    rig.worker.put(&from, &source(&input, &topic)).await?;
    // The ids are fenced before a source starts, which shows as the connector's wait.
    rig.says_anyhow(
        &from,
        &["authorization failed", "transactional id", &format!("{}-{from}-0", rig.fleet)],
    )
    .await?;
    let transactions = [Feature::ExactlyOnceSource];
    grant("alice", &format!("{}-", rig.fleet), &transactions, Resource::TransactionalId).await?;
    rig.waits(&from, &["authorization failed", &topic, "Write"]).await?;

    kafka.create(&letters, &[]).await?;
    let queue = serde_json::json!({
        "errors.tolerance": "all", "errors.deadletterqueue.topic.name": letters,
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
    });
    rig.worker.put(&to, &file_sink(&topic, &output)).await?;
    rig.waits(&to, &["authorization failed", "Read on the group", &format!("connect-{to}")])
        .await?;
    grant("alice", &groups, &[Feature::Sink], Resource::Group).await?;
    rig.waits(&to, &["authorization failed", &topic, "Read"]).await?;
    let strict = with(file_sink(&topic, &rig.file("none")), queue);
    rig.worker.put(&rig.name("letters"), &strict).await?;
    rig.waits(&rig.name("letters"), &["authorization failed", &letters]).await?;

    let all = [Feature::Source, Feature::Sink, Feature::DeadLetters];
    grant("alice", &data, &all, Resource::Topic).await?;
    rig.until_lines(&output, 100).await?;
    check_lines(&output, &lines(0, 100), false)?;
    let dead = async || kafka.read(&letters).await.is_ok_and(|found| found.len() >= 100);
    rig.worker.until("every line is a dead letter, since none is JSON", dead).await?;
    for name in [&from, &to, &rig.name("letters")] {
        rig.runs(name).await?;
    }
    sink_offsets(&rig, &to, &groups).await?;
    ensure!(!rig.worker.logged()?.contains(&password), "the password is in the log");
    rig.end().await
}

/// A sink's offsets can be forgotten by who may delete its group.
async fn sink_offsets(rig: &Rig, sink: &str, groups: &str) -> Result<()> {
    let path = format!("/connectors/{sink}/stop");
    let (status, _) = rig.worker.put_path(&path, &serde_json::json!({})).await?;
    ensure!(status == 204, "stop got {status}");
    let path = format!("/connectors/{sink}/offsets");
    let mut last = String::new();
    let mut answered = async |wanted: u16| {
        let what = format!("forgetting offsets gets {wanted}");
        let got = async || {
            let (status, text) = rig.worker.delete_path(&path).await.ok()?;
            last = format!("{status}: {text}");
            (status == wanted).then_some(text)
        };
        let outcome = rig.worker.until_some(&what, got).await;
        outcome.with_context(|| format!("last it got {last}"))
    };
    let refused = answered(500).await?;
    ensure!(refused.contains("authorization failed"), "it is refused without a reason: {refused}");
    grant("alice", groups, &[Feature::SinkOffsets], Resource::Group).await?;
    answered(200).await.map(drop)
}
