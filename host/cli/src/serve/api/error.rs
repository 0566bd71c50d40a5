//! How the HTTP interface refuses: one shape, and the status that fits.

use animus_core::Error;
use axum::{
    extract::{
        FromRequest, FromRequestParts, Request,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use super::Json;

/// How soon to ask again what cannot be answered now, in seconds.
const AGAIN: u64 = 1;

/// What a refused request is answered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Failure {
    error: Body,
}

#[derive(Debug, Serialize, ToSchema)]
struct Body {
    /// `denied`, `budget-exhausted`, `cancelled`, `timeout`, `invalid`, `not-found`, `conflict`, `unavailable`, `diverged`, `uncertain`, `internal`.
    class: String,
    /// What is wrong, for people.
    message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// A refusal on its way.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    class: &'static str,
    message: String,
    advice: Option<String>,
}

impl Refused {
    fn new(status: StatusCode, class: &'static str, message: impl Into<String>) -> Self {
        Self { status, class, message: message.into(), advice: None }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "denied", message)
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "denied", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    pub(crate) fn method(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid", message)
    }

    pub(crate) fn timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message)
    }

    /// Says what to do about it.
    pub(crate) fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Denied(_) => StatusCode::FORBIDDEN,
            Error::BudgetExhausted(_) => StatusCode::TOO_MANY_REQUESTS,
            Error::Cancelled | Error::Conflict(_) | Error::Uncertain(_) => StatusCode::CONFLICT,
            Error::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Error::Invalid(_) => StatusCode::BAD_REQUEST,
            Error::NotFound(_) => StatusCode::NOT_FOUND,
            Error::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Error::Diverged(_) | Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::error!(%error, "a request failed");
        }
        Self::new(status, error.class(), error.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self { status, class, message, advice } = self;
        let mut headers = HeaderMap::new();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, AGAIN.into());
        }
        let failure = Failure { error: Body { class: class.to_owned(), message, advice } };
        (status, headers, Json(failure)).into_response()
    }
}

/// A JSON body, or the refusal in our shape.
pub(super) struct Sent<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = Refused;
    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(sent)) => Ok(Self(sent)),
            Err(rejection) => {
                let advice = matches!(rejection, JsonRejection::MissingJsonContentType(_))
                    .then_some("send JSON, with the header Content-Type: application/json");
                let refused = Refused::new(rejection.status(), "invalid", rejection.body_text());
                Err(match advice {
                    Some(advice) => refused.advise(advice),
                    None => refused,
                })
            }
        }
    }
}

/// A part of the path that must parse; what does not is nowhere.
pub(super) struct Named<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Refused;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(named)) => Ok(Self(named)),
            Err(PathRejection::FailedToDeserializePathParams(_)) => {
                Err(Refused::not_found("there is nothing of that identifier"))
            }
            Err(rejection) => Err(Refused::new(rejection.status(), "invalid", rejection.body_text())),
        }
    }
}

/// The query, or the refusal in our shape.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refused;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(asked)) => Ok(Self(asked)),
            Err(QueryRejection::FailedToDeserializeQueryString(why)) => Err(Refused::bad_request(why.body_text())),
            Err(rejection) => Err(Refused::new(rejection.status(), "invalid", rejection.body_text())),
        }
    }
}
