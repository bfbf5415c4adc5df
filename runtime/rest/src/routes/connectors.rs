//! `/connectors`.

use axum::extract::{Path, RawQuery, State};
use axum::http::header::InvalidHeaderValue;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use towpath_formats::messages;
use towpath_formats::rest::CreateConnectorRequest;
use towpath_formats::{PatchMap, Properties};

use super::{Shared, etag, if_match, who};
use crate::body::Body;
use crate::error::ApiError;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/connectors", get(list).post(create))
        .route("/connectors/{connector}", get(info).delete(remove))
        .route("/connectors/{connector}/config", get(config).put(put_config).patch(patch_config))
        .route("/connectors/{connector}/status", get(status))
        .route("/connectors/{connector}/restart", post(restart))
        .route("/connectors/{connector}/pause", put(pause))
        .route("/connectors/{connector}/resume", put(resume))
        .route("/connectors/{connector}/stop", put(stop))
        .route("/connectors/{connector}/fence", put(internal))
        .route("/connectors/{connector}/tasks", get(tasks).post(internal))
        .route("/connectors/{connector}/tasks/{task}/status", get(task_status))
        .route("/connectors/{connector}/tasks/{task}/restart", post(restart_task))
        .route("/connectors/{connector}/topics", get(topics))
        .route("/connectors/{connector}/topics/reset", put(reset_topics))
}

/// The values of a query parameter, in order.
fn values<'q>(query: Option<&'q str>, name: &'q str) -> impl Iterator<Item = &'q str> {
    query
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(move |(key, _)| *key == name)
        .map(|(_, value)| value)
}

fn flag(query: Option<&str>, name: &str) -> bool {
    values(query, name).last().is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

async fn list(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query = query.as_deref();
    let expand: Vec<&str> = values(query, "expand").collect();
    if expand.is_empty() {
        return Ok(Json(shared.herder.connectors().await?).into_response());
    }
    let status = expand.contains(&"status");
    let info = expand.contains(&"info");
    Ok(Json(shared.herder.connectors_expanded(status, info).await?).into_response())
}

async fn create(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Body(request): Body<CreateConnectorRequest>,
) -> Result<Response, ApiError> {
    let name = request.trimmed_name().to_owned();
    let initial = request.initial_state;
    let Some(config) = request.config else {
        return Err(ApiError::bad_request(
            "the request must have a 'config': an object with the connector's properties",
        ));
    };
    let created = shared.herder.create(&name, config, initial, who(&headers)).await?;
    let path = percent_encoded(&name);
    let location = format!("{}/connectors/{path}", shared.base_url);
    let mut response = (StatusCode::CREATED, Json(created.info)).into_response();
    if let Ok(location) = location.parse() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    etag(response.headers_mut(), created.version);
    Ok(response)
}

fn percent_encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

async fn info(
    State(shared): State<Shared>,
    Path(connector): Path<String>,
) -> Result<Response, ApiError> {
    Ok(Json(shared.herder.info(&connector).await?).into_response())
}

async fn remove(
    State(shared): State<Shared>,
    Path(connector): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let leftovers = shared.herder.delete(&connector, who(&headers)).await?;
    // Connect answers without a body.
    let mut response = StatusCode::NO_CONTENT.into_response();
    for leftover in leftovers {
        if let Ok(value) = header_value(&leftover) {
            response.headers_mut().append(LEFTOVER, value);
        }
    }
    Ok(response)
}

/// A header of the answer to a deletion, once for each thing that stays in the outside system.
const LEFTOVER: HeaderName = HeaderName::from_static("towpath-leftover");

/// A text as a header's value: what is no visible ASCII shows as `?`.
fn header_value(text: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let shown: String =
        text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
    HeaderValue::from_str(&shown)
}

async fn config(
    State(shared): State<Shared>,
    Path(connector): Path<String>,
) -> Result<Response, ApiError> {
    let (config, version) = shared.herder.config(&connector).await?;
    let mut response = Json(config).into_response();
    etag(response.headers_mut(), version);
    Ok(response)
}

async fn put_config(
    State(shared): State<Shared>,
    Path(connector): Path<String>,
    headers: HeaderMap,
    Body(config): Body<Properties>,
) -> Result<Response, ApiError> {
    let expected = if_match(&headers)?;
    let put = shared.herder.put_config(&connector, config, expected, who(&headers)).await?;
    let status = if put.created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = (status, Json(put.info)).into_response();
    if put.created {
        let location = format!("{}/connectors/{}", shared.base_url, percent_encoded(&connector));
        if let Ok(location) = location.parse() {
            response.headers_mut().insert(header::LOCATION, location);
        }
    }
    etag(response.headers_mut(), put.version);
    Ok(response)
}

async fn patch_config(
    State(shared): State<Shared>,
    Path(connector): Path<String>,
    headers: HeaderMap,
    Body(patch): Body<PatchMap>,
) -> Result<Response, ApiError> {
    let expected = if_match(&headers)?;
    let put = shared.herder.patch_config(&connector, &patch, expected, who(&headers)).await?;
    let mut response = Json(put.info).into_response();
    etag(response.headers_mut(), put.version);
    Ok(response)
}

async fn status(
    State(shared): State<Shared>,
    Path(connector): Path<String>,
) -> Result<Response, ApiError> {
    Ok(Json(shared.herder.status(&connector).await?).into_response())
}

async fn restart(
    State(shared): State<Shared>,
    Path(connector): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = query.as_deref();
    let (tasks, only_failed) = (flag(query, "includeTasks"), flag(query, "onlyFailed"));
    let state = shared.herder.restart(&connector, tasks, only_failed, who(&headers)).await?;
    Ok(match (tasks, only_failed) {
        (false, false) => StatusCode::NO_CONTENT.into_response(),
        _ => (StatusCode::ACCEPTED, Json(state)).into_response(),
    })
}

async fn pause(
    State(shared): State<Shared>,
    Path(connector): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    shared.herder.pause(&connector, who(&headers)).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn resume(
    State(shared): State<Shared>,
    Path(connector): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    shared.herder.resume(&connector, who(&headers)).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn stop(
    State(shared): State<Shared>,
    Path(connector): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    shared.herder.stop(&connector, who(&headers)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Calls between the workers of a fleet on the JVM, which sign them. Ours use none.
async fn internal() -> ApiError {
    ApiError::bad_request(messages::internal_signature_missing())
}

async fn tasks(
    State(shared): State<Shared>,
    Path(connector): Path<String>,
) -> Result<Response, ApiError> {
    Ok(Json(shared.herder.tasks(&connector).await?).into_response())
}

/// A task's number; what is none is a path that there isn't, as in Connect.
fn task_number(text: &str) -> Result<u32, ApiError> {
    text.parse().map_err(|_| ApiError::bare(StatusCode::NOT_FOUND))
}

async fn task_status(
    State(shared): State<Shared>,
    Path((connector, task)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    Ok(Json(shared.herder.task_status(&connector, task_number(&task)?).await?).into_response())
}

async fn restart_task(
    State(shared): State<Shared>,
    Path((connector, task)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    shared.herder.restart_task(&connector, task_number(&task)?, who(&headers)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn topics(
    State(shared): State<Shared>,
    Path(connector): Path<String>,
) -> Result<Response, ApiError> {
    Ok(Json(shared.herder.active_topics(&connector).await?).into_response())
}

async fn reset_topics(
    State(shared): State<Shared>,
    Path(connector): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    shared.herder.reset_topics(&connector, who(&headers)).await?;
    Ok(StatusCode::ACCEPTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_and_names() {
        let query = Some("expand=status&expand=info&onlyFailed=TRUE&x");
        assert_eq!(values(query, "expand").collect::<Vec<_>>(), ["status", "info"]);
        assert!(flag(query, "onlyFailed") && !flag(query, "includeTasks"));
        assert_eq!(percent_encoded("a/b é"), "a%2Fb%20%C3%A9");
        assert_eq!(header_value("slot é\r\nX: y").unwrap(), "slot ???X: y");
    }
}
