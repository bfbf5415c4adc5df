//! `/admin/loggers` (KIP-495, KIP-976).

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use towpath_formats::messages;
use towpath_formats::rest::SetLoggerLevel;

use super::{Shared, who};
use crate::body::Body;
use crate::error::ApiError;

pub(super) async fn list(State(shared): State<Shared>) -> Response {
    Json(shared.loggers.all()).into_response()
}

pub(super) async fn read(
    State(shared): State<Shared>,
    Path(logger): Path<String>,
) -> Result<Response, ApiError> {
    let level = shared
        .loggers
        .level(&logger)
        .ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, messages::logger_not_found(&logger)))?;
    Ok(Json(level).into_response())
}

pub(super) async fn set(
    State(shared): State<Shared>,
    Path(logger): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    Body(body): Body<SetLoggerLevel>,
) -> Result<Response, ApiError> {
    let Some(level) = body.level else {
        return Err(ApiError::bad_request(messages::log_level_missing()));
    };
    let unknown = || ApiError::new(StatusCode::NOT_FOUND, messages::invalid_log_level(&level));
    let cluster = query.as_deref().unwrap_or_default().split('&').any(|pair| {
        pair.split_once('=')
            .is_some_and(|(key, value)| key == "scope" && value.eq_ignore_ascii_case("cluster"))
    });
    if cluster {
        if !crate::logging::is_level(&level) {
            return Err(unknown());
        }
        shared.herder.set_fleet_log_level(&logger, &level, who(&headers)).await?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let concerned = shared.loggers.set(&logger, &level).map_err(|_| unknown())?;
    Ok(Json(concerned).into_response())
}
