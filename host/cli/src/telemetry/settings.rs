//! What is exported and whereto: the standard variables of OpenTelemetry, and `[telemetry]` in the operator's file.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::fault::{Fault, Result};

/// How long one delivery may take where `OTEL_EXPORTER_OTLP_TIMEOUT` says nothing, and the longest that it may say.
const TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(60);

/// `[telemetry]`. Data leaves the machine by it, so only the operator's own file may hold it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The collector's base URL for OTLP over HTTP, such as `http://127.0.0.1:4318`. Nothing is exported without one.
    pub(crate) endpoint: Option<String>,
    /// What this service calls itself; `animus` when it is not named.
    pub(crate) service_name: Option<String>,
    /// Whether traces are exported; they are when there is no such key.
    pub(crate) traces: Option<bool>,
    /// Whether metrics are exported; they are when there is no such key.
    pub(crate) metrics: Option<bool>,
    /// Whether logs are exported; they are when there is no such key.
    pub(crate) logs: Option<bool>,
    /// Whether prompts, answers, arguments and results go along; never when there is no such key.
    pub(crate) content: Option<bool>,
}

/// What this process does, file and environment put together.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) traces: Option<To>,
    pub(super) metrics: Option<To>,
    pub(super) logs: Option<To>,
    pub(super) content: bool,
    /// None where the environment names the service.
    pub(super) service_name: Option<String>,
    pub(super) timeout: Duration,
}

/// Where a signal goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct To {
    /// None where the environment says it, which the exporter reads itself.
    pub(super) endpoint: Option<String>,
}

impl Plan {
    /// Puts both together; the environment, read by `env`, stands over the file.
    ///
    /// # Errors
    /// For an endpoint that is no URL of a web server.
    pub(super) fn new(settings: Settings, env: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let Settings { endpoint, service_name, traces, metrics, logs, content } = settings;
        let env = |name: &str| env(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let is_off = env("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let base = endpoint.as_deref().map(|text| web(text, "telemetry.endpoint")).transpose()?;
        let to = |name: &str, wanted: Option<bool>| -> Result<Option<To>> {
            let upper = name.to_ascii_uppercase();
            let exporter = env(&format!("OTEL_{upper}_EXPORTER"));
            if is_off || !wanted.unwrap_or(true) || exporter.is_some_and(|text| text.eq_ignore_ascii_case("none")) {
                return Ok(None);
            }
            for variable in [format!("OTEL_EXPORTER_OTLP_{upper}_ENDPOINT"), "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned()] {
                if let Some(text) = env(&variable) {
                    web(&text, &variable)?;
                    return Ok(Some(To { endpoint: None }));
                }
            }
            let endpoint = |base: &Url| format!("{}/v1/{name}", base.as_str().trim_end_matches('/'));
            Ok(base.as_ref().map(|base| To { endpoint: Some(endpoint(base)) }))
        };
        let named = env("OTEL_SERVICE_NAME").is_some()
            || env("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|text| {
                text.split(',').any(|pair| pair.split_once('=').is_some_and(|(key, _)| key.trim() == "service.name"))
            });
        let timeout = env("OTEL_EXPORTER_OTLP_TIMEOUT").and_then(|text| text.parse().ok()).map(Duration::from_millis);
        Ok(Self {
            traces: to("traces", traces)?,
            metrics: to("metrics", metrics)?,
            logs: to("logs", logs)?,
            content: content.unwrap_or(false),
            service_name: (!named).then(|| service_name.unwrap_or_else(|| "animus".to_owned())),
            timeout: timeout.unwrap_or(TIMEOUT).clamp(Duration::from_millis(1), LONGEST),
        })
    }
}

fn web(text: &str, name: &str) -> Result<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| {
        Fault::usage(format!("{name} is not the URL of a collector"))
            .advise("such as http://127.0.0.1:4318, where it takes OTLP over HTTP")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(settings: Settings, env: &[(&str, &str)]) -> Result<Plan> {
        Plan::new(settings, &|name| env.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned()))
    }

    fn file(endpoint: &str) -> Settings {
        Settings { endpoint: Some(endpoint.to_owned()), ..Settings::default() }
    }

    fn at(endpoint: &str) -> Option<To> {
        Some(To { endpoint: Some(endpoint.to_owned()) })
    }

    const FROM_ENV: Option<To> = Some(To { endpoint: None });

    #[test]
    fn nothing_is_exported_unless_an_endpoint_is_named() {
        let plan = plan(Settings { content: Some(true), ..Settings::default() }, &[]).unwrap();
        assert_eq!((plan.traces, plan.metrics, plan.logs), (None, None, None));
        assert_eq!(plan.service_name.as_deref(), Some("animus"));
    }

    #[test]
    fn the_file_names_endpoint_service_and_what_is_exported() {
        let settings = Settings {
            service_name: Some("mine".into()),
            metrics: Some(false),
            content: Some(true),
            ..file("http://c:4318/base/")
        };
        let plan = plan(settings, &[]).unwrap();
        assert_eq!((plan.traces, plan.logs), (at("http://c:4318/base/v1/traces"), at("http://c:4318/base/v1/logs")));
        assert_eq!((plan.metrics, plan.content), (None, true));
        assert_eq!(plan.service_name.as_deref(), Some("mine"));
        assert!(!self::plan(file("http://c"), &[]).unwrap().content);
    }

    #[test]
    fn the_environment_stands_over_the_file() {
        let over = plan(file("http://c"), &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://d")]).unwrap();
        assert_eq!((over.traces, over.metrics, over.logs), (FROM_ENV, FROM_ENV, FROM_ENV));
        let one = plan(file("http://c"), &[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://d/x")]).unwrap();
        assert_eq!((one.traces, one.logs), (at("http://c/v1/traces"), FROM_ENV));
        let off = plan(file("http://c"), &[("OTEL_SDK_DISABLED", "TRUE")]).unwrap();
        assert_eq!((off.traces, off.metrics, off.logs), (None, None, None));
        let none = plan(file("http://c"), &[("OTEL_TRACES_EXPORTER", "none")]).unwrap();
        assert_eq!((none.traces, none.metrics), (None, at("http://c/v1/metrics")));
        for named in [("OTEL_SERVICE_NAME", "x"), ("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name=x")] {
            assert_eq!(plan(file("http://c"), &[named]).unwrap().service_name, None);
        }
        let slow = plan(file("http://c"), &[("OTEL_EXPORTER_OTLP_TIMEOUT", "1500")]).unwrap();
        assert_eq!(slow.timeout, Duration::from_millis(1500));
        assert_eq!(plan(file("http://c"), &[("OTEL_EXPORTER_OTLP_TIMEOUT", "999999999")]).unwrap().timeout, LONGEST);
    }

    #[test]
    fn an_endpoint_that_is_none_is_refused_by_its_name_and_not_repeated() {
        for (settings, env, name) in [
            (file("collector:4318"), vec![], "telemetry.endpoint"),
            (file("file:///etc"), vec![], "telemetry.endpoint"),
            (Settings::default(), vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "s3cret")], "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ] {
            let said = format!("{:?}", plan(settings, &env).unwrap_err());
            assert!(said.contains(name) && !said.contains("s3cret"), "{said}");
        }
    }
}
