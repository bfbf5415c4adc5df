//! `/connectors/{connector}/offsets` (KIP-875).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use towpath_formats::rest::{ConnectorOffsets, Message};

use super::{Shared, who};
use crate::body::Body;
use crate::error::ApiError;

pub(super) async fn read(
    State(shared): State<Shared>,
    Path(connector): Path<String>,
) -> Result<Response, ApiError> {
    Ok(Json(shared.herder.offsets(&connector).await?).into_response())
}

pub(super) async fn alter(
    State(shared): State<Shared>,
    Path(connector): Path<String>,
    headers: HeaderMap,
    Body(offsets): Body<ConnectorOffsets>,
) -> Result<Response, ApiError> {
    let message = shared.herder.alter_offsets(&connector, &offsets, who(&headers)).await?;
    Ok(Json(Message { message }).into_response())
}

pub(super) async fn reset(
    State(shared): State<Shared>,
    Path(connector): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let message = shared.herder.reset_offsets(&connector, who(&headers)).await?;
    Ok(Json(Message { message }).into_response())
}
