//! S3's answers as errors that a person can act on.
//!
//! Duty: tell what each answer means for the task ([`ErrorKind`]) and say what would help. The error
//! of the SDK is kept as the source.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use towpath_sdk::error::{Error, ErrorKind};

/// What a request was about, for texts.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What was being done: reads after "failed to".
    pub doing: &'a str,
    /// The bucket.
    pub bucket: &'a str,
}

/// Why a request did not do what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The condition did not hold: something of that name is there (412).
    Exists,
    /// Somebody else is writing the same name right now (409).
    Race,
    /// There is no such upload: it was completed or aborted.
    UploadGone,
    /// There is no such object.
    Missing,
    /// The store does not know the conditional header.
    NotImplemented,
}

/// The refusals that the caller decides about, told from all other errors.
pub fn refusal<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<Refusal> {
    let status = error.raw_response().map(|response| response.status().as_u16());
    match (error.as_service_error().and_then(ProvideErrorMetadata::code), status) {
        (Some("NoSuchUpload"), _) => Some(Refusal::UploadGone),
        (Some("PreconditionFailed"), _) | (_, Some(412)) => Some(Refusal::Exists),
        (Some("ConditionalRequestConflict" | "OperationAborted"), _) | (_, Some(409)) => {
            Some(Refusal::Race)
        }
        (Some("NotImplemented"), _) | (_, Some(501)) => Some(Refusal::NotImplemented),
        (Some("NoSuchKey" | "NotFound") | None, Some(404)) => Some(Refusal::Missing),
        _ => None,
    }
}

/// The error for `failed`, whatever it is.
pub fn explain<E>(failed: SdkError<E, HttpResponse>, subject: Subject<'_>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let Subject { doing, bucket } = subject;
    let (kind, why) = match &failed {
        SdkError::TimeoutError(_) => (ErrorKind::Timeout, "no answer in time".to_owned()),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            (ErrorKind::Timeout, "no answer in time".to_owned())
        }
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => not_sent(&failed),
        SdkError::ResponseError(_) => {
            (ErrorKind::Unavailable, "the answer could not be read".to_owned())
        }
        _ => {
            let status = failed.raw_response().map(|response| response.status().as_u16());
            let service = failed.as_service_error();
            let code = service.and_then(ProvideErrorMetadata::code);
            let message = service.and_then(ProvideErrorMetadata::message);
            answered(code, message, status.unwrap_or_default(), bucket)
        }
    };
    Error::new(kind, format!("{doing}: {why}")).with_source(failed)
}

/// The request did not get out: no credentials, or nobody listens.
fn not_sent(failed: &(dyn std::error::Error + 'static)) -> (ErrorKind, String) {
    let mut cause = Some(failed);
    let mut innermost = String::new();
    while let Some(error) = cause {
        if error.is::<aws_credential_types::provider::error::CredentialsError>() {
            let hint = "no credentials were found: set aws.access.key.id and aws.secret.access.key, or \
                        give the worker an AWS profile, role or environment";
            return (ErrorKind::Unauthenticated, hint.to_owned());
        }
        innermost = error.to_string();
        cause = error.source();
    }
    (ErrorKind::Unavailable, format!("the store can't be reached ({innermost})"))
}

fn answered(
    code: Option<&str>,
    message: Option<&str>,
    status: u16,
    bucket: &str,
) -> (ErrorKind, String) {
    let said = message.unwrap_or("no explanation");
    let code = code.unwrap_or_default();
    match (code, status) {
        ("NoSuchBucket", _) => (
            ErrorKind::NotFound,
            format!("the bucket '{bucket}' does not exist: create it, or correct its name"),
        ),
        ("InvalidBucketName", _) => {
            (ErrorKind::Config, format!("'{bucket}' is not a valid name of a bucket"))
        }
        (
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "InvalidToken"
            | "ExpiredToken"
            | "TokenRefreshRequired"
            | "InvalidSecurity"
            | "NotSignedUp",
            _,
        )
        | (_, 401) => (
            ErrorKind::Unauthenticated,
            format!("the credentials were refused ({code}: {said}): correct or renew them"),
        ),
        ("RequestTimeTooSkewed", _) => (
            ErrorKind::Unauthenticated,
            format!("the clock of this machine differs too much from the store's ({said})"),
        ),
        (
            "SlowDown"
            | "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "TooManyRequests"
            | "ServiceUnavailable",
            _,
        )
        | (_, 429 | 503) => (ErrorKind::Throttled, format!("the store asks for less ({said})")),
        ("RequestTimeout", _) | (_, 408 | 504) => {
            (ErrorKind::Timeout, "the store waited in vain for data".to_owned())
        }
        ("QuotaExceeded" | "StorageFull" | "XMinioStorageFull" | "InsufficientStorage", _)
        | (_, 507) => (ErrorKind::OutOfSpace, format!("the store is full ({said})")),
        ("AccessDenied" | "AllAccessDisabled" | "AccountProblem", _) | (_, 403) => (
            ErrorKind::Forbidden,
            format!(
                "access to the bucket '{bucket}' was denied ({said}): the credentials need \
                 s3:PutObject, s3:GetObject, s3:ListBucket, s3:AbortMultipartUpload and \
                 s3:ListBucketMultipartUploads"
            ),
        ),
        (
            "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException",
            _,
        )
        | (_, 301 | 307) => (
            ErrorKind::Config,
            format!("the bucket '{bucket}' is in another region than the configured one ({said})"),
        ),
        (_, 404) => (
            ErrorKind::NotFound,
            format!("'{bucket}' was not found: create the bucket, or correct its name"),
        ),
        ("PreconditionFailed" | "ConditionalRequestConflict", _) | (_, 409 | 412) => {
            (ErrorKind::Conflict, format!("a condition did not hold ({code}: {said})"))
        }
        ("NotImplemented", _) | (_, 501) => {
            (ErrorKind::Unsupported, format!("the store can't do this ({said})"))
        }
        (_, 500..) => (ErrorKind::Unavailable, format!("the store failed (HTTP {status}, {said})")),
        _ => (ErrorKind::Internal, format!("the store refused (HTTP {status}, {code}: {said})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_kind() {
        for (code, status, kind) in [
            ("NoSuchBucket", 404, ErrorKind::NotFound),
            ("", 404, ErrorKind::NotFound),
            ("InvalidAccessKeyId", 403, ErrorKind::Unauthenticated),
            ("SignatureDoesNotMatch", 403, ErrorKind::Unauthenticated),
            ("ExpiredToken", 400, ErrorKind::Unauthenticated),
            ("AccessDenied", 403, ErrorKind::Forbidden),
            ("", 403, ErrorKind::Forbidden),
            ("SlowDown", 503, ErrorKind::Throttled),
            ("", 503, ErrorKind::Throttled),
            ("TooManyRequests", 429, ErrorKind::Throttled),
            ("RequestTimeout", 400, ErrorKind::Timeout),
            ("InternalError", 500, ErrorKind::Unavailable),
            ("", 502, ErrorKind::Unavailable),
            ("XMinioStorageFull", 507, ErrorKind::OutOfSpace),
            ("PermanentRedirect", 301, ErrorKind::Config),
            ("AuthorizationHeaderMalformed", 400, ErrorKind::Config),
            ("InvalidBucketName", 400, ErrorKind::Config),
            ("PreconditionFailed", 412, ErrorKind::Conflict),
            ("NotImplemented", 501, ErrorKind::Unsupported),
            ("MalformedXML", 400, ErrorKind::Internal),
        ] {
            let (found, text) = answered(Some(code).filter(|c| !c.is_empty()), None, status, "b");
            assert_eq!(found, kind, "{code} {status}: {text}");
            assert!(!text.ends_with('.') && text.chars().next().is_some_and(|c| !c.is_uppercase()));
        }
    }
}
