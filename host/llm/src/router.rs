//! Roles to models, and what happens when one fails: retries, then the next model.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use animus_core::{
    Error, Result,
    llm::{
        EMBED_ROLE, Embeddings, Message, ModelInfo, Models, Price, Request, Response, ResponseStream, Role,
        StreamEvent, check_embedded,
    },
};
use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{
    assemble::{Assembled, Assembler},
    config::{Kind, LlmConfig, RetryConfig},
    embed::{self, Embedding},
    failure::{Failure, Next, reworded},
    http,
    keys::KeySource,
    lexical,
    names::Names,
    ollama, price,
    provider::{self, Provider},
    scripted,
    vendor::{self, Call, Reader},
};

/// The role of a request that names none.
const DEFAULT_ROLE: &str = "default";
/// What an operator does when there is no model at all.
pub const NO_MODEL: &str = "set ANTHROPIC_API_KEY or OPENAI_API_KEY (or: animus secret set anthropic), start Ollama, or \
                            name a model in [llm.roles] of animus.toml";
/// Events of a stream that wait to be read; then the vendor waits.
const BACKLOG: usize = 64;

/// Models by role. Cheap to clone.
#[derive(Clone)]
pub struct Router(Arc<Inner>);

pub(crate) struct Inner {
    roles: BTreeMap<String, Vec<Target>>,
    pub(crate) keys: Arc<dyn KeySource>,
    retry: RetryConfig,
}

/// One model.
pub(crate) struct Target {
    /// `<provider>:<model>`.
    pub(crate) label: String,
    pub(crate) source: Source,
    window: u64,
    max_output: u32,
    temperature: bool,
    images: Option<bool>,
    pub(crate) price: Option<Price>,
}

/// Where a model's answers come from.
pub(crate) enum Source {
    Vendor {
        provider: Arc<Provider>,
        model: String,
    },
    Script(PathBuf),
    /// Embeddings that this host computes, of so many dimensions.
    Lexical(usize),
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let roles =
            self.0.roles.iter().map(|(role, targets)| (role, targets.iter().map(|it| &it.label).collect::<Vec<_>>()));
        f.debug_map().entries(roles).finish()
    }
}

impl Router {
    /// Checks the configuration; nothing is fetched or connected yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a role that leads nowhere or to itself, a model (or its price or window) of an unknown
    /// provider, and a provider that cannot be called as declared.
    pub fn new(config: LlmConfig, keys: Arc<dyn KeySource>) -> Result<Self> {
        let providers = provider::all(&config)?;
        for label in config.prices.keys().chain(config.windows.keys()) {
            // A price that no model can ever have is a slip of the pen.
            provider_of(label, &providers)?;
        }
        let mut roles = config.flatten()?;
        roles.entry(EMBED_ROLE.to_owned()).or_insert_with(|| vec![lexical::DEFAULT.to_owned()]);
        let roles = roles
            .into_iter()
            .map(|(role, models)| {
                let targets = models.iter().map(|label| target(label, &providers, &config));
                Ok((role, targets.collect::<Result<Vec<_>>>()?))
            })
            .collect::<Result<BTreeMap<_, _>>>()?;
        for target in roles.get(EMBED_ROLE).into_iter().flatten() {
            embed::able(target).map_err(|error| match error {
                Error::Invalid(text) => Error::Invalid(format!("llm.roles.{EMBED_ROLE}: {text}")),
                error => error,
            })?;
        }
        Ok(Self(Arc::new(Inner { roles, keys, retry: config.retry })))
    }

    pub(crate) fn targets(&self, role: &str) -> Result<&[Target]> {
        self.0.targets(role)
    }

    pub(crate) fn keys(&self) -> &dyn KeySource {
        self.0.keys.as_ref()
    }
}

fn target(label: &str, providers: &BTreeMap<String, Arc<Provider>>, config: &LlmConfig) -> Result<Target> {
    let (provider, model) = provider_of(label, providers)?;
    let price = config.prices.get(label).copied();
    let window = config.windows.get(label).copied();
    if window == Some(0) {
        return Err(Error::Invalid(format!("llm.windows.\"{label}\" must be at least 1")));
    }
    let Some(provider) = provider else {
        let lexical = label.strip_prefix(lexical::PROVIDER).is_some_and(|rest| rest.starts_with(':'));
        return Ok(Target {
            label: label.to_owned(),
            source: if lexical { Source::Lexical(lexical::dims(model)?) } else { Source::Script(PathBuf::from(model)) },
            window: window.unwrap_or(price::DEFAULT_WINDOW),
            max_output: price::DEFAULT_MAX_OUTPUT,
            temperature: true,
            images: Some(true),
            price: price.or(Some(FREE)),
        });
    };
    let known = price::known(model);
    let local = provider.kind == Kind::Ollama;
    let default_window = if local { price::OLLAMA_WINDOW } else { known.map_or(price::DEFAULT_WINDOW, |it| it.window) };
    let window = window.unwrap_or(default_window);
    // An answer shares the window with the conversation.
    let half = u32::try_from(window / 2).unwrap_or(u32::MAX).max(1);
    Ok(Target {
        label: label.to_owned(),
        source: Source::Vendor { provider: Arc::clone(provider), model: model.to_owned() },
        window,
        max_output: known.map_or(price::DEFAULT_MAX_OUTPUT, |it| it.max_output).min(half),
        temperature: known.is_none_or(|it| it.temperature),
        images: provider.images.or(if local { None } else { Some(known.is_none_or(|it| it.images)) }),
        price: price.or_else(|| match known {
            Some(known) if provider.official => Some(known.price),
            // What runs on the operator's own machine has no bill; Ollama's hosted models, named so, do.
            _ if local && !model.ends_with("-cloud") => Some(FREE),
            _ => None,
        }),
    })
}

/// Takes `<provider>:<model>` apart. No provider means `scripted` or `lexical`.
fn provider_of<'a>(
    label: &'a str,
    providers: &'a BTreeMap<String, Arc<Provider>>,
) -> Result<(Option<&'a Arc<Provider>>, &'a str)> {
    let (name, model) = label.split_once(':').unwrap_or((label, ""));
    if model.is_empty() {
        return Err(Error::Invalid(format!("'{label}' names no model; write PROVIDER:MODEL")));
    }
    match providers.get(name) {
        None if name != "scripted" && name != lexical::PROVIDER => {
            let known = providers.keys().cloned().collect::<Vec<_>>();
            Err(Error::Invalid(format!(
                "'{label}': there is no provider '{name}'{}; declare llm.providers.{name}, or use one of: {}, scripted, lexical",
                nearest(name, &known),
                known.join(", ")
            )))
        }
        provider => Ok((provider, model)),
    }
}

const FREE: Price = Price { input: 0, output: 0, cached: None, cache_write: None };

/// `; did you mean 'x'?`, where one of `known` is near.
fn nearest(wanted: &str, known: &[String]) -> String {
    let near = known.iter().map(|name| (strsim::damerau_levenshtein(wanted, name), name)).min();
    match near {
        Some((distance, name)) if distance <= 2 => format!(" (did you mean '{name}'?)"),
        _ => String::new(),
    }
}

#[async_trait]
impl Models for Router {
    fn roles(&self) -> Vec<String> {
        self.0.roles.keys().cloned().collect()
    }

    fn resolve(&self, role: &str) -> Result<ModelInfo> {
        let targets = self.targets(role)?;
        // Fallbacks may hold less; they refuse what does not fit, and then the caller knows.
        let window = targets.first().map_or(price::DEFAULT_WINDOW, |target| target.window);
        let prices: Option<Vec<Price>> = targets.iter().map(|target| target.price).collect();
        Ok(ModelInfo {
            role: if role.is_empty() { DEFAULT_ROLE } else { role }.to_owned(),
            models: targets.iter().map(|target| target.label.clone()).collect(),
            context_window: window,
            max_output: targets.iter().map(|target| target.max_output).max().unwrap_or(price::DEFAULT_MAX_OUTPUT),
            price: prices.and_then(|prices| prices.into_iter().reduce(price::highest)),
        })
    }

    async fn stream(&self, request: Request, cancel: CancellationToken) -> Result<ResponseStream> {
        self.targets(&request.model)?;
        let inner = Arc::clone(&self.0);
        let (events, received) = mpsc::channel(BACKLOG);
        let cancel = cancel.child_token();
        let guard = cancel.clone().drop_guard();
        let work = async move {
            let sink = Sink(Some(events.clone()));
            let outcome = inner.run(&request.model, &Answer { request: &request, sink: &sink }, &cancel).await;
            // Nobody listens any more when this fails.
            let _ = events.send(outcome.map(StreamEvent::Done)).await;
        };
        tokio::spawn(work.in_current_span());
        // The guard goes with the stream: whoever drops it cancels the request.
        Ok(stream::unfold((received, guard), |(mut received, guard)| async {
            let event = received.recv().await?;
            Some((event, (received, guard)))
        })
        .boxed())
    }

    async fn complete(&self, request: Request, cancel: CancellationToken) -> Result<Response> {
        self.0.run(&request.model, &Answer { request: &request, sink: &Sink(None) }, &cancel).await
    }

    async fn embed(&self, role: &str, texts: &[String], cancel: CancellationToken) -> Result<Embeddings> {
        check_embedded(texts)?;
        self.0.run(role, &Embedding { texts }, &cancel).await
    }
}

/// What is asked of the models of a role, one after another.
#[async_trait]
pub(crate) trait Job: Sync {
    /// What comes of it.
    type Done: Send;

    /// One try with one model.
    async fn attempt(&self, inner: &Inner, target: &Target) -> Result<Self::Done, Failure>;

    /// A try failed; another follows after `wait`.
    async fn retry(&self, reason: String, wait: Duration) -> Result<(), Failure>;
}

/// An answer.
struct Answer<'a> {
    request: &'a Request,
    sink: &'a Sink,
}

#[async_trait]
impl Job for Answer<'_> {
    type Done = Response;

    async fn attempt(&self, inner: &Inner, target: &Target) -> Result<Response, Failure> {
        inner.attempt(target, self.request, self.sink).await
    }

    async fn retry(&self, reason: String, wait: Duration) -> Result<(), Failure> {
        self.sink.retry(reason, wait).await
    }
}

/// Where the events of an answer go; nowhere, when it is asked for whole.
struct Sink(Option<mpsc::Sender<Result<StreamEvent>>>);

impl Sink {
    async fn send(&self, event: StreamEvent) -> Result<(), Failure> {
        match &self.0 {
            Some(events) => events.send(Ok(event)).await.map_err(|_| Failure::stop(Error::Cancelled)),
            None => Ok(()),
        }
    }

    async fn retry(&self, reason: String, wait: Duration) -> Result<(), Failure> {
        tracing::warn!(wait_ms = wait.as_millis(), reason, "a model call is tried again");
        self.send(StreamEvent::Retry { reason, wait }).await
    }
}

impl Inner {
    fn targets(&self, role: &str) -> Result<&[Target]> {
        let role = if role.is_empty() { DEFAULT_ROLE } else { role };
        self.roles.get(role).map(Vec::as_slice).ok_or_else(|| {
            let known: Vec<String> = self.roles.keys().filter(|known| *known != EMBED_ROLE).cloned().collect();
            match known.as_slice() {
                // Asking again does not help: somebody has to configure one.
                [] => Error::Invalid(format!("no model is configured; {NO_MODEL}")),
                known => Error::NotFound(format!(
                    "no model has the role '{role}'{}; there are: {}",
                    nearest(role, known),
                    known.join(", ")
                )),
            }
        })
    }

    /// The one place where cancellation is heeded: it drops whatever is being waited for.
    async fn run<J: Job>(&self, role: &str, job: &J, cancel: &CancellationToken) -> Result<J::Done> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::Cancelled),
            outcome = self.fall_back(role, job) => outcome.map_err(|failure| failure.error),
        }
    }

    /// Tries the models of the role in order.
    async fn fall_back<J: Job>(&self, role: &str, job: &J) -> Result<J::Done, Failure> {
        let mut targets = self.targets(role).map_err(Failure::stop)?.iter().peekable();
        let mut before: Vec<String> = Vec::new();
        while let Some(target) = targets.next() {
            let failure = match self.persist(target, job).await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            match (failure.next, targets.peek()) {
                (Next::Again { .. } | Next::Fallback, Some(next)) => {
                    job.retry(format!("{}; now trying {}", failure.error, next.label), Duration::ZERO).await?;
                    before.push(failure.error.to_string());
                }
                _ if before.is_empty() => return Err(failure),
                _ => return Err(failure.reworded(|text| format!("{text} (before that: {})", before.join("; ")))),
            }
        }
        Err(Failure::stop(Error::NotFound(format!("no model has the role '{}'", role))))
    }

    /// Tries one model until it answers, the failure is of a lasting kind, or patience ends.
    async fn persist<J: Job>(&self, target: &Target, job: &J) -> Result<J::Done, Failure> {
        let mut tries = 0;
        loop {
            let failure = match job.attempt(self, target).await {
                Ok(done) => return Ok(done),
                Err(failure) => target.scrubbed(failure),
            };
            let Next::Again { after } = failure.next else { return Err(failure) };
            let longest = Duration::from_millis(self.retry.max_wait_ms);
            let wait = after.unwrap_or_else(|| backoff(self.retry.base_ms, tries).min(longest));
            if tries >= self.retry.max || wait > longest {
                return Err(failure);
            }
            tries += 1;
            let reason = format!("{}; try {tries} of {} follows", failure.error, self.retry.max);
            job.retry(reason, wait).await?;
            sleep(wait).await;
        }
    }

    /// One try.
    async fn attempt(&self, target: &Target, request: &Request, sink: &Sink) -> Result<Response, Failure> {
        let assembled = match &target.source {
            Source::Script(file) => {
                let names = Names::of(request);
                let mut out = Assembler::new("scripted", &names, request.messages.len());
                let pace = scripted::play(file, request, &mut out).await?;
                for event in out.drain() {
                    if !pace.is_zero() {
                        sleep(pace).await;
                    }
                    sink.send(event).await?;
                }
                out.finish()
            }
            Source::Lexical(_) => {
                return Err(Failure::fallback(Error::Invalid(format!(
                    "{} makes embeddings only; name a model that answers for the role '{}'",
                    target.label,
                    if request.model.is_empty() { DEFAULT_ROLE } else { &request.model },
                ))));
            }
            Source::Vendor { provider, model } => {
                let total = Duration::from_millis(provider.timeouts.total_ms);
                let work = self.exchange(target, provider, model, request, sink);
                timeout(total, work).await.map_err(|_| http::overdue(provider))??
            }
        };
        let Assembled { content, stop, usage } = assembled.ok_or_else(|| {
            Failure::again(Error::Unavailable(format!("the answer of {} broke off before its end", target.label)))
        })?;
        Ok(Response {
            message: Message { role: Role::Assistant, content },
            stop,
            usage: usage.unwrap_or_default(),
            // What nobody counted has no price, rather than none to pay.
            cost_microusd: target.price.zip(usage).map(|(price, usage)| price.cost(&usage)),
            model: target.label.clone(),
        })
    }

    /// One request and its answer; none when that broke off.
    async fn exchange(
        &self,
        target: &Target,
        provider: &Arc<Provider>,
        model: &str,
        request: &Request,
        sink: &Sink,
    ) -> Result<Option<Assembled>, Failure> {
        let key = provider.key(self.keys.as_ref()).await.map_err(Failure::fallback)?;
        let headers = provider.headers(key.as_ref()).map_err(Failure::fallback)?;
        let client = provider.client().map_err(Failure::fallback)?;
        let images = match target.images {
            Some(images) => images,
            None => !Call::has_images(request) || ollama::sees(provider, &client, &headers, model).await?,
        };
        let stream = sink.0.is_some() && provider.stream;
        let names = Names::of(request);
        let mut out = Assembler::new(&provider.name, &names, request.messages.len());
        let call = Call {
            provider,
            model,
            request,
            names: &names,
            max_tokens: request.max_tokens.unwrap_or(target.max_output),
            window: target.window,
            // As it was written: 0.2, not 0.20000000298023224.
            temperature: request
                .temperature
                .filter(|_| target.temperature)
                .map(|temperature| (f64::from(temperature) * 1000.0).round() / 1000.0),
            images,
            stream,
        };
        let url = format!("{}{}", provider.base, vendor::path(provider.kind));
        let post = client.post(url).headers(headers).json(&call.body());
        let first_byte = stream.then(|| Duration::from_millis(provider.timeouts.first_byte_ms));
        let response = http::send(provider, model, post, first_byte).await?;
        if !stream || http::is_whole(&response) {
            vendor::read_whole(provider, model, &http::text(provider, response).await?, &mut out)?;
        } else {
            let mut reader = Reader::new(provider, model, http::chunks(Arc::clone(provider), response));
            while reader.step(&mut out).await? {
                for event in out.drain() {
                    sink.send(event).await?;
                }
            }
        }
        for event in out.drain() {
            sink.send(event).await?;
        }
        Ok(out.finish())
    }
}

impl Target {
    /// The last look at an error before it leaves: no key may be in it, whichever way it came.
    fn scrubbed(&self, failure: Failure) -> Failure {
        match &self.source {
            Source::Vendor { provider, .. } => {
                Failure { error: reworded(failure.error, |text| provider.scrub(text)), ..failure }
            }
            Source::Script(_) | Source::Lexical(_) => failure,
        }
    }
}

/// Doubled with every try, and between half and all of that by chance, so that many hosts do not come back at once.
fn backoff(base_ms: u64, tries: u32) -> Duration {
    let full = base_ms.saturating_mul(1_u64.checked_shl(tries).unwrap_or(u64::MAX));
    let chance = getrandom::u32().unwrap_or(u32::MAX);
    let half = full / 2;
    let part = u128::from(half) * u128::from(chance) / u128::from(u32::MAX);
    Duration::from_millis(half.saturating_add(u64::try_from(part).unwrap_or(half)))
}
