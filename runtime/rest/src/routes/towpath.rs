//! Ours: what Connect's shapes have no room for.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use towpath_sdk::signal::Signal;

use super::Shared;
use crate::body::Body;
use crate::error::ApiError;

pub(super) async fn worker(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let health = shared.herder.health().await;
    let connectors = shared.herder.connectors().await?.len();
    let version = env!("CARGO_PKG_VERSION");
    Ok(Json(json!({"version": version, "health": health, "connectors": connectors}))
        .into_response())
}

pub(super) async fn status(
    State(shared): State<Shared>,
    Path(connector): Path<String>,
) -> Result<Response, ApiError> {
    Ok(Json(shared.herder.detail(&connector).await?).into_response())
}

/// A signal as people write it; the names are Debezium's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignalRequest {
    id: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    data: Map<String, Value>,
}

/// Hands a signal to the tasks here. 409 if none of them listens: it would be lost unnoticed.
pub(super) async fn signal(
    State(shared): State<Shared>,
    Path(connector): Path<String>,
    Body(request): Body<SignalRequest>,
) -> Result<Response, ApiError> {
    let SignalRequest { id, kind, data } = request;
    let heard = shared.herder.signal(&connector, &Signal { id, kind, data }).await?;
    if heard == 0 {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "no task of the connector on this worker listens to signals, or those that do have too many \
             waiting; see its status",
        ));
    }
    Ok((StatusCode::ACCEPTED, Json(json!({"tasks": heard}))).into_response())
}
