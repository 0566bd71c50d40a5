//! One HTTP exchange: timeouts, `Retry-After`, and every way to fail, by class.

use std::time::{Duration, SystemTime};

use animus_core::Error;
use bytes::{Bytes, BytesMut};
use futures::{Stream, stream};
use reqwest::{
    RequestBuilder, Response,
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use tokio::time::timeout;

use crate::{
    failure::{Failure, Refusal},
    provider::Provider,
};

/// Longer answers are refused: no model writes as much, and memory is finite.
const LONGEST_ANSWER: usize = 32 << 20;
/// As much of an error answer is read.
const LONGEST_REFUSAL: usize = 64 << 10;

/// Sends a request, and returns the answer if its status says success.
pub(crate) async fn send(
    provider: &Provider,
    model: &str,
    request: RequestBuilder,
    first_byte: Option<Duration>,
) -> Result<Response, Failure> {
    let sent = async { request.send().await.map_err(|error| broken(provider, error)) };
    let response = match first_byte {
        Some(limit) => {
            timeout(limit, sent).await.map_err(|_| silent(provider, "no first byte", "first_byte_ms", limit))??
        }
        None => sent.await?,
    };
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status().as_u16();
    let after = retry_after(response.headers(), SystemTime::now());
    let body = beginning(response).await;
    Err(provider.refused(Refusal { after, ..Refusal::read(status, &body) }, model))
}

/// Whether the answer comes whole, whatever was asked for.
pub(crate) fn is_whole(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// The bytes of an answer as they come.
pub(crate) fn chunks(
    provider: std::sync::Arc<Provider>,
    response: Response,
) -> impl Stream<Item = Result<Bytes, Failure>> + Send + 'static {
    let first = Duration::from_millis(provider.timeouts.first_byte_ms);
    let idle = Duration::from_millis(provider.timeouts.idle_ms);
    stream::try_unfold((provider, response, 0), move |(provider, mut response, total)| async move {
        let (limit, what, key) =
            if total == 0 { (first, "no first byte", "first_byte_ms") } else { (idle, "nothing further", "idle_ms") };
        let chunk = match timeout(limit, response.chunk()).await {
            Err(_) => return Err(silent(&provider, what, key, limit)),
            Ok(Err(error)) => return Err(broken(&provider, error)),
            Ok(Ok(None)) => return Ok(None),
            Ok(Ok(Some(chunk))) => chunk,
        };
        let total = total + chunk.len();
        if total > LONGEST_ANSWER {
            return Err(too_long(&provider));
        }
        Ok(Some((chunk, (provider, response, total))))
    })
}

/// A whole answer.
pub(crate) async fn text(provider: &Provider, mut response: Response) -> Result<String, Failure> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(provider, error))? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return Err(too_long(provider));
        }
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body.into()).map_err(|error| {
        Failure::again(Error::Unavailable(format!("{} sent an answer that is no UTF-8: {error}", provider.name)))
    })
}

/// The beginning of an error answer; what cannot be read of it is left out.
async fn beginning(mut response: Response) -> String {
    let mut body = Vec::new();
    while let Ok(Ok(Some(chunk))) = timeout(Duration::from_secs(5), response.chunk()).await {
        body.extend_from_slice(&chunk);
        if body.len() >= LONGEST_REFUSAL {
            body.truncate(LONGEST_REFUSAL);
            break;
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}

/// The whole try took too long.
pub(crate) fn overdue(provider: &Provider) -> Failure {
    let limit = provider.timeouts.total_ms;
    Failure::fallback(Error::Timeout(format!(
        "{} did not finish its answer within {limit} ms; raise llm.providers.{}.timeouts.total_ms if that is too short",
        provider.name, provider.name
    )))
}

fn silent(provider: &Provider, what: &str, key: &str, limit: Duration) -> Failure {
    let name = &provider.name;
    Failure::again(Error::Timeout(format!(
        "{name} sent {what} within {} ms; raise llm.providers.{name}.timeouts.{key} if that is too short",
        limit.as_millis()
    )))
}

fn too_long(provider: &Provider) -> Failure {
    Failure::fallback(Error::Unavailable(format!("{} sent more than {LONGEST_ANSWER} bytes", provider.name)))
}

/// A connection that failed, with the whole chain of causes: the outermost says little.
fn broken(provider: &Provider, error: reqwest::Error) -> Failure {
    let (name, base) = (&provider.name, &provider.base);
    let error = error.without_url();
    if error.is_timeout() {
        let limit = provider.timeouts.connect_ms;
        return Failure::again(Error::Timeout(format!("cannot connect to {name} at {base} within {limit} ms")));
    }
    let mut causes = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    causes.dedup();
    let causes = causes.join(": ");
    Failure::again(Error::Unavailable(if error.is_connect() {
        format!("cannot reach {name} at {base}: {causes}")
    } else {
        format!("the connection to {name} broke: {causes}")
    }))
}

/// How long the vendor asks us to wait: milliseconds, seconds or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(ms / 1000.0).ok();
    }
    let text = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(name: &'static str, value: &'static str) -> Option<Duration> {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        retry_after(&headers, now)
    }

    #[test]
    fn retry_after_is_read_as_seconds_milliseconds_or_a_date() {
        assert_eq!(after("retry-after", "30"), Some(Duration::from_secs(30)));
        assert_eq!(after("retry-after", "0.5"), Some(Duration::from_millis(500)));
        assert_eq!(after("retry-after-ms", "1500"), Some(Duration::from_millis(1500)));
        assert_eq!(after("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(after("retry-after", "Sunday, 06-Nov-94 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(after("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
    }

    #[test]
    fn a_senseless_retry_after_counts_as_none() {
        for senseless in ["soon", "-1", "NaN", "1e300", ""] {
            assert_eq!(after("retry-after", senseless), None, "{senseless}");
        }
    }
}
