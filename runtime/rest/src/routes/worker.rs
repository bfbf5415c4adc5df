//! The worker itself: `/`, `/health`, `/metrics`, `/openapi.json`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use towpath_formats::rest::WorkerInfo;

use super::{API_VERSION, Shared};
use crate::error::ApiError;

pub(super) async fn info(State(shared): State<Shared>) -> Response {
    let info = WorkerInfo {
        version: API_VERSION.to_owned(),
        commit: concat!("towpath-", env!("CARGO_PKG_VERSION")).to_owned(),
        kafka_cluster_id: (shared.cluster_id)().await,
    };
    Json(info).into_response()
}

pub(super) async fn health(State(shared): State<Shared>) -> Response {
    let health = shared.herder.health().await;
    let status = StatusCode::from_u16(health.status.http_status());
    (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(health)).into_response()
}

pub(super) async fn metrics(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let text = shared.metrics.render().map_err(|_| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics can't be written as text")
    })?;
    let mut response = text.into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
    );
    Ok(response)
}

pub(super) async fn openapi() -> Response {
    Json(crate::openapi::document()).into_response()
}
