//! Request bodies.
//!
//! Duty: JSON whatever the content type says, since clients send all kinds; a wrong body is the client's
//! mistake (400 with line and column), where genuine Connect answers 500.

use axum::extract::{FromRequest, Request};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// A JSON body.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let collected = request.into_body().collect().await.map_err(|error| {
            if is_too_large(&error) {
                ApiError::too_large()
            } else {
                ApiError::bad_request(format!("the request body could not be read: {error}"))
            }
        })?;
        let bytes = collected.to_bytes();
        if bytes.is_empty() {
            return Err(ApiError::bad_request("the request needs a JSON body"));
        }
        // Serde would take a list for a struct, member by member.
        if bytes.trim_ascii_start().first().is_some_and(|byte| matches!(byte, b'[' | b'"')) {
            return Err(ApiError::bad_request("the request body must be a JSON object"));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            ApiError::bad_request(format!("the request body is not as it must be: {error}"))
        })
    }
}

fn is_too_large(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(one) = error {
        if one.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        error = one.source();
    }
    false
}
