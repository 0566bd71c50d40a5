//! A vendor, ready to be called.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use animus_core::{Error, Result, store::SecretValue};
use reqwest::{
    Client,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Map, Value};
use url::Url;

use crate::{
    config::{Kind, LlmConfig, ProviderConfig, Timeouts},
    failure::{Failure, Refusal},
    keys::{KeySource, Scrubber},
    lexical,
};

/// Providers that need no declaration: name, wire format, address, variable of the key.
const BUILT_IN: [(&str, Kind, &str, Option<&str>); 3] = [
    ("anthropic", Kind::Anthropic, "https://api.anthropic.com", Some("ANTHROPIC_API_KEY")),
    ("openai", Kind::Openai, "https://api.openai.com/v1", Some("OPENAI_API_KEY")),
    ("ollama", Kind::Ollama, "http://localhost:11434", None),
];

/// The built-in providers and the declared ones, by name.
pub(crate) fn all(config: &LlmConfig) -> Result<BTreeMap<String, Arc<Provider>>> {
    for (name, model) in [("scripted", "scripted:FILE"), (lexical::PROVIDER, lexical::DEFAULT)] {
        if config.providers.contains_key(name) {
            return Err(Error::Invalid(format!("llm.providers.{name}: '{model}' needs no provider; rename this one")));
        }
    }
    let built_in = BUILT_IN.iter().map(|(name, ..)| ((*name).to_owned(), ProviderConfig::default()));
    let declared = config.providers.iter().map(|(name, provider)| (name.clone(), provider.clone()));
    let configs: BTreeMap<String, ProviderConfig> = built_in.chain(declared).collect();
    configs
        .into_iter()
        .map(|(name, config)| {
            let provider = Provider::new(&name, &config)?;
            Ok((name, Arc::new(provider)))
        })
        .collect()
}

/// A vendor, ready to be called.
pub(crate) struct Provider {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Without a final slash.
    pub(crate) base: String,
    /// Whether this is the vendor's own address, where its list prices hold.
    pub(crate) official: bool,
    pub(crate) body: Map<String, Value>,
    pub(crate) images: Option<bool>,
    pub(crate) stream: bool,
    pub(crate) timeouts: Timeouts,
    /// What models were found to take images, where that had to be asked.
    pub(crate) seeing: Mutex<HashMap<String, bool>>,
    key_env: Option<String>,
    key_secret: String,
    key_required: bool,
    headers: HeaderMap,
    scrubber: Mutex<Scrubber>,
    loopback: bool,
    client: OnceLock<Result<Client>>,
}

impl Provider {
    pub(crate) fn new(name: &str, config: &ProviderConfig) -> Result<Self> {
        let wrong = |what: String| Error::Invalid(format!("llm.providers.{name}: {what}"));
        let built_in = BUILT_IN.iter().find(|(known, ..)| *known == name);
        let kind = config.kind.or(built_in.map(|(_, kind, ..)| *kind));
        let kind = kind.ok_or_else(|| wrong("set kind to \"anthropic\", \"openai\" or \"ollama\"".to_owned()))?;
        // A built-in address is that of a wire format: it does not follow a name to another format.
        let default = BUILT_IN.iter().find(|(known, of, ..)| *known == name && *of == kind);
        let base = config.base_url.as_deref().or(default.map(|(_, _, base, _)| *base));
        let base = base.ok_or_else(|| wrong("set base_url".to_owned()))?;
        let url = Url::parse(base).map_err(|error| wrong(format!("base_url '{base}' is no URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(wrong(format!("base_url '{base}' is not an http or https URL")));
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("base_url must have no user, password, query or fragment".to_owned()));
        }
        let timeouts = config.timeouts;
        if [timeouts.connect_ms, timeouts.first_byte_ms, timeouts.idle_ms, timeouts.total_ms].contains(&0) {
            return Err(wrong("a timeout must be at least 1 ms".to_owned()));
        }
        let official = match kind {
            Kind::Anthropic => url.host_str() == Some("api.anthropic.com"),
            Kind::Openai => url.host_str() == Some("api.openai.com"),
            Kind::Ollama => false,
        };
        let mut headers = HeaderMap::new();
        let mut scrubber = Scrubber::default();
        for (key, value) in &config.headers {
            scrubber.add(value);
            let key = HeaderName::try_from(key).map_err(|_| wrong(format!("'{key}' is no header name")))?;
            let mut value =
                HeaderValue::try_from(value).map_err(|_| wrong(format!("header '{key}' has a bad value")))?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        Ok(Self {
            name: name.to_owned(),
            kind,
            base: base.trim_end_matches('/').to_owned(),
            official,
            body: config.body.clone(),
            images: config.images,
            stream: config.stream,
            timeouts,
            seeing: Mutex::default(),
            key_env: config.key_env.clone().or(default.and_then(|(.., env)| env.map(str::to_owned))),
            key_secret: config.key_secret.clone().unwrap_or_else(|| name.to_owned()),
            key_required: config.key_env.is_some()
                || config.key_secret.is_some()
                || kind == Kind::Anthropic
                || official,
            headers,
            scrubber: Mutex::new(scrubber),
            loopback: is_loopback(&url),
            client: OnceLock::new(),
        })
    }

    /// The key, if there is one. Its value is from now on removed from every text of this provider.
    pub(crate) async fn key(&self, keys: &dyn KeySource) -> Result<Option<SecretValue>> {
        let from_env = self.key_env.as_deref().and_then(|name| keys.env(name));
        let key = match from_env.filter(|key| !key.expose().trim().is_empty()) {
            Some(key) => Some(key),
            None => keys.secret(&self.key_secret).await?.filter(|key| !key.expose().trim().is_empty()),
        };
        match key {
            Some(key) => {
                // Earlier keys stay: a request that left with one may still be under way.
                self.scrubber.lock().unwrap_or_else(PoisonError::into_inner).add(key.expose());
                Ok(Some(key))
            }
            None if self.key_required => {
                Err(Error::Invalid(format!("{} has no key; {}", self.name, self.key_advice())))
            }
            None => Ok(None),
        }
    }

    /// Where the operator sets the key.
    pub(crate) fn key_advice(&self) -> String {
        match &self.key_env {
            Some(env) => format!("set it with `animus secret set {}` or in the variable {env}", self.key_secret),
            None => format!("set it with `animus secret set {}`", self.key_secret),
        }
    }

    /// The headers of a request.
    pub(crate) fn headers(&self, key: Option<&SecretValue>) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        if self.kind == Kind::Anthropic {
            headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
        }
        if let Some(key) = key {
            let (name, value) = match self.kind {
                Kind::Anthropic => (HeaderName::from_static("x-api-key"), key.expose().trim().to_owned()),
                Kind::Openai | Kind::Ollama => (AUTHORIZATION, format!("Bearer {}", key.expose().trim())),
            };
            let mut value = HeaderValue::try_from(value).map_err(|_| {
                Error::Invalid(format!(
                    "the key of {} has characters that no key has; {}",
                    self.name,
                    self.key_advice()
                ))
            })?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers.extend(self.headers.clone());
        Ok(headers)
    }

    /// Without keys and secret headers.
    pub(crate) fn scrub(&self, text: &str) -> String {
        self.scrubber.lock().unwrap_or_else(PoisonError::into_inner).scrub(text)
    }

    /// The failure that a vendor's "no" amounts to. Scrubbed before it is cut, so that no half of a key is left.
    pub(crate) fn refused(&self, refusal: Refusal, model: &str) -> Failure {
        let message = self.scrub(&refusal.message);
        Refusal { message, ..refusal }.into_failure(&self.name, model, &self.key_advice())
    }

    /// The HTTP client. Made when first needed: it reads the system's certificates, which a host that only talks to
    /// itself may lack.
    pub(crate) fn client(&self) -> Result<Client> {
        self.client.get_or_init(|| self.make_client()).clone()
    }

    fn make_client(&self) -> Result<Client> {
        // Whoever comes first wins; any provider will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("animus/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_millis(self.timeouts.connect_ms))
            // A redirect would carry keys in headers to whoever it names.
            .redirect(reqwest::redirect::Policy::none());
        if self.loopback {
            builder = builder.no_proxy();
        }
        builder
            .build()
            .map_err(|error| Error::internal(format!("cannot make an HTTP client for {}", self.name), &error))
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(domain)) => domain == "localhost" || domain.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
