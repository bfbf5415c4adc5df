//! The OpenAPI document is one, and says no less and no more than the worker serves.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Map, Value};

use crate::Running;

const METHODS: &[&str] = &["GET", "PUT", "POST", "DELETE", "PATCH"];

#[tokio::test]
async fn every_route_is_described_and_everything_described_is_a_route() -> Result<()> {
    let running = Running::start("openapi", "").await?;
    let (_, document) = running.ask(Method::GET, "/openapi.json", None, None).await?;
    ensure!(document["openapi"] == "3.1.0", "{}", document["openapi"]);
    for member in ["title", "version"] {
        ensure!(document["info"][member].is_string(), "info.{member}");
    }
    let paths = document["paths"].as_object().context("paths")?;
    ensure!(paths.len() > 20, "{} paths", paths.len());
    for (path, item) in paths {
        let item = item.as_object().context("an item")?;
        well_formed(path, item, &document).with_context(|| path.clone())?;
        let real = path.replace("{connector}", "no-such").replace("{task}", "0");
        let real = real.replace("{plugin}", "no-such").replace("{logger}", "no.such");
        for method in METHODS {
            let described = item.contains_key(&method.to_lowercase());
            // A body that is no JSON, so that nothing comes of the request.
            let body = (*method != "GET").then_some("no JSON");
            let url = format!("http://{}{real}", running.worker.address());
            let mut request = running.client.request(method.parse()?, url);
            if let Some(body) = body {
                request = request.body(body);
            }
            let response = request.send().await?;
            let (status, text) = (response.status(), response.text().await?);
            let unrouted = status == 405 || text.contains("HTTP 404 Not Found");
            ensure!(described != unrouted, "{method} {path}: {status} {text}");
        }
    }
    Ok(())
}

fn well_formed(path: &str, item: &Map<String, Value>, document: &Value) -> Result<()> {
    ensure!(path.starts_with('/'));
    let in_path: Vec<&str> =
        path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
    let declared: Vec<&str> = item
        .get("parameters")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|parameter| parameter["in"] == "path" && parameter["required"] == true)
        .filter_map(|parameter| parameter["name"].as_str())
        .collect();
    ensure!(in_path == declared, "{in_path:?} are in the path, {declared:?} are declared");
    for (method, operation) in item.iter().filter(|(name, _)| *name != "parameters") {
        ensure!(METHODS.contains(&method.to_uppercase().as_str()), "{method} is no method");
        ensure!(
            operation["summary"].as_str().is_some_and(|text| !text.is_empty()),
            "{method}: no summary"
        );
        let responses = operation["responses"].as_object().context("responses")?;
        for (code, response) in responses {
            ensure!(code == "default" || code.len() == 3, "{method}: {code}");
            let described = match response["$ref"].as_str() {
                Some(reference) => {
                    let pointer =
                        reference.strip_prefix('#').context("a reference out of the document")?;
                    &document.pointer(pointer).context("a reference to nothing")?["description"]
                }
                None => &response["description"],
            };
            ensure!(described.is_string(), "{method} {code}: no description");
        }
    }
    Ok(())
}
