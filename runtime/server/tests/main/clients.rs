//! Clients, command lines and consoles of Kafka Connect, with the habits that they have.

use anyhow::{Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::Running;

#[tokio::test]
async fn slashes_content_types_and_queries_as_clients_send_them() -> Result<()> {
    let running = Running::start("clients", "").await?;
    trailing_slashes(&running).await?;
    content_types(&running).await?;
    bodies(&running).await?;
    paused_at_birth(&running).await
}

async fn trailing_slashes(running: &Running) -> Result<()> {
    for path in
        ["/connectors", "/connector-plugins", "/admin/loggers", "/admin/loggers/root", "/health"]
    {
        let plain = running.ask(Method::GET, path, None, None).await?;
        let slashed = running.ask(Method::GET, &format!("{path}/"), None, None).await?;
        ensure!(plain == slashed && plain.0 == StatusCode::OK, "{path}: {plain:?} {slashed:?}");
    }
    let expanded =
        running.ask(Method::GET, "/connectors/?expand=status&expand=info", None, None).await?;
    ensure!(expanded == (StatusCode::OK, json!({})), "{expanded:?}");
    Ok(())
}

async fn content_types(running: &Running) -> Result<()> {
    let config = json!({
        "connector.class": "FileStreamSink",
        "topics": "none",
        "file": running.file("clients.out"),
    });
    for content_type in [
        None,
        Some("application/json"),
        Some("application/json; charset=utf-8"),
        Some("application/vnd.kafka.v2+json"),
        Some("text/plain"),
        // What curl says if nobody tells it.
        Some("application/x-www-form-urlencoded"),
        Some("*/*"),
    ] {
        let body = json!({"name": "clients", "config": config}).to_string();
        let (status, answer) =
            running.ask(Method::POST, "/connectors/", content_type, Some(&body)).await?;
        ensure!(status == StatusCode::CREATED, "{content_type:?}: {status} {answer}");
        let patch = json!({"tasks.max": "2"}).to_string();
        let path = "/connectors/clients/config/";
        let (status, answer) = running.ask(Method::PATCH, path, content_type, Some(&patch)).await?;
        ensure!(
            status == StatusCode::OK && answer["config"]["tasks.max"] == "2",
            "{status} {answer}"
        );
        // Some send a body, and its type, where none is needed.
        for (path, expected) in
            [("/connectors/clients/pause", 202), ("/connectors/clients/resume/", 202)]
        {
            let (status, answer) = running.ask(Method::PUT, path, content_type, Some("{}")).await?;
            ensure!(status == expected, "{path} {content_type:?}: {status} {answer}");
        }
        let (status, answer) =
            running.ask(Method::DELETE, "/connectors/clients/", content_type, None).await?;
        ensure!(status == StatusCode::NO_CONTENT, "{content_type:?}: {status} {answer}");
    }
    Ok(())
}

/// What is wrong with a body is the client's mistake, and says where.
async fn bodies(running: &Running) -> Result<()> {
    for (body, says) in [
        ("", "needs a JSON body"),
        ("{", "line 1 column 1"),
        ("[]", "must be a JSON object"),
        (r#"{"name":"x","config":{"a":{"b":"c"}}}"#, "line 1 column"),
        (r#"{"name":"x","config":{"a":["b"]}}"#, "line 1 column"),
        (r#"{"name":"x","nome":"x","config":{}}"#, "nome"),
    ] {
        let (status, answer) = running.ask(Method::POST, "/connectors", None, Some(body)).await?;
        let text = answer["message"].as_str().unwrap_or_default();
        ensure!(
            status == StatusCode::BAD_REQUEST && text.contains(says),
            "{body}: {status} {answer}"
        );
        ensure!(answer["error_code"] == 400, "{answer}");
    }
    let large = format!(r#"{{"name":"x","config":{{"a":"{}"}}}}"#, "a".repeat(2 << 20));
    let (status, answer) = running.ask(Method::POST, "/connectors", None, Some(&large)).await?;
    ensure!(
        status == StatusCode::PAYLOAD_TOO_LARGE && answer["error_code"] == 413,
        "{status} {answer}"
    );
    Ok(())
}

async fn paused_at_birth(running: &Running) -> Result<()> {
    let config =
        json!({"connector.class": "FileStreamSink", "topics": "none", "file": running.file("p")});
    let body =
        json!({"name": "born paused", "initial_state": "paused", "config": config}).to_string();
    let (status, answer) = running.ask(Method::POST, "/connectors", None, Some(&body)).await?;
    ensure!(status == StatusCode::CREATED, "{status} {answer}");
    let path = "/connectors/born%20paused/status";
    let paused = || async {
        running.ask(Method::GET, path, None, None).await.is_ok_and(|(status, answer)| {
            status == StatusCode::OK
                && answer["connector"]["state"] == "PAUSED"
                && answer["tasks"] == json!([])
        })
    };
    running.worker.until("the connector is paused and has no tasks yet", paused).await
}
