//! How answers are written.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::Refused;

/// A JSON answer that ends its line, for people with `curl` and programs that read lines.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(mut body) => {
                body.push(b'\n');
                ([(header::CONTENT_TYPE, "application/json")], body).into_response()
            }
            // Its text is no value that could fail again.
            Err(error) => Refused::from(animus_core::Error::internal("write the answer", &error)).into_response(),
        }
    }
}
