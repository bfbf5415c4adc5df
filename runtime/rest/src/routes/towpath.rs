//! Ours: what Connect's shapes have no room for.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Shared;
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
