//! The phases of a faculty as a real component, on the real host and store. Only the model is not real.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::{Arc, Mutex};

use animus_agent::{LEASE_MS, Retrace, RunContext, RunReport, Terms, Verdict, retrace, run, run_claimed};
use animus_core::{
    Error, Result,
    grant::Grant,
    id::WorkId,
    journal::{EffectKind, Outcome, Record},
    ledger::Filter,
    llm::{
        Content, Embeddings, Message, ModelInfo, Models, Request, Response, ResponseStream, Role, Stop, StreamEvent,
        Usage,
    },
    manifest::Manifest,
    package,
    plugins::{Phases, PluginSet as _},
    store::NewGeneration,
    work::{Backoff, Claim, Host, NewWork, State},
};
use animus_tests::{Guest, TestHost, manifest, shipped};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const ASKS: &str = "[capabilities]\nllm = { roles = ['*'] }\nledger = ['append', 'read']\n";

/// Says one word, and keeps what it was asked.
#[derive(Default)]
struct Model(Mutex<Vec<Request>>);

impl Model {
    fn answer(&self, request: Request) -> Response {
        self.0.lock().unwrap().push(request);
        Response {
            message: Message { role: Role::Assistant, content: vec![Content::Text { text: "spoken".to_owned() }] },
            stop: Stop::EndTurn,
            usage: Usage { input_tokens: 1, output_tokens: 1, ..Usage::default() },
            cost_microusd: None,
            model: "test:model".to_owned(),
        }
    }
}

#[async_trait]
impl Models for Model {
    fn roles(&self) -> Vec<String> {
        vec!["default".to_owned()]
    }

    fn resolve(&self, role: &str) -> Result<ModelInfo> {
        Ok(ModelInfo {
            role: role.to_owned(),
            models: vec!["test:model".to_owned()],
            context_window: 100_000,
            max_output: 1_000,
            price: None,
        })
    }

    async fn stream(&self, request: Request, _: CancellationToken) -> Result<ResponseStream> {
        let answer = self.answer(request);
        Ok(Box::pin(futures::stream::iter([Ok(StreamEvent::Done(answer))])))
    }

    async fn complete(&self, request: Request, _: CancellationToken) -> Result<Response> {
        Ok(self.answer(request))
    }

    async fn embed(&self, _: &str, _: &[String], _: CancellationToken) -> Result<Embeddings> {
        Err(Error::Unavailable("no embeddings in this test".into()))
    }
}

/// A host with the faculty `phases`, whose grant is `grant` or else all that it asks for.
struct Stage {
    host: TestHost,
    model: Arc<Model>,
}

impl Stage {
    async fn new() -> Self {
        Self::granted(None).await
    }

    async fn granted(grant: Option<Grant>) -> Self {
        let host = TestHost::new().await;
        let guest = Guest::built("phases", &[]);
        let text = manifest("phases", ASKS);
        let prepared = host.prepare(package::embed(&guest.wasm, &text).unwrap()).await.unwrap();
        let found = prepared.inspection;
        assert!(found.is_faculty && !found.offers_tools);
        let grant = grant.unwrap_or(Manifest::parse(&text).unwrap().request);
        host.install_kind(&guest, &text, Some(grant), |new| NewGeneration { is_faculty: true, ..new }).await;
        Self { host, model: Arc::default() }
    }

    async fn context(&self) -> RunContext {
        RunContext { models: self.model.clone(), ..self.host.context().await }
    }

    /// One run of held work whose phases do this.
    async fn run(&self, params: Value) -> RunReport {
        let new = NewWork::held("phases", "test", "do it", params);
        let work = self.host.tenant().work_submit(new).await.unwrap().work;
        run(self.context().await, work).await
    }

    /// Has the queue try an item of at most three attempts as often as it would, and returns where it ends.
    async fn queue(&self, params: Value) -> (WorkId, State, u32) {
        let tenant = self.host.tenant();
        let new = NewWork {
            faculty: "phases".into(),
            source: "test".into(),
            instruction: "do it".into(),
            params,
            max_attempts: Some(3),
            ..NewWork::default()
        };
        let id = tenant.work_submit(new).await.unwrap().work.id;
        let terms = Terms { backoff: Backoff { first_ms: 1, most_ms: 1 }, ..Terms::default() };
        loop {
            let work = tenant.work(id).await.unwrap();
            if work.state != State::Queued {
                return (id, work.state, work.attempts);
            }
            let claim =
                Claim { faculties: vec!["phases".into()], ..Claim::held(Host::this("test"), LEASE_MS, json!({})) };
            match tenant.work_claim(&claim).await.unwrap() {
                Some(claimed) => drop(run_claimed(self.context().await, claimed, terms.clone()).await),
                None => tokio::task::yield_now().await,
            }
        }
    }

    /// What the phases noted.
    async fn notes(&self, work: WorkId) -> Vec<String> {
        let entries = self.host.tenant().ledger_read(work, Filter::default()).await.unwrap();
        entries.into_iter().map(|entry| entry.content).collect()
    }

    async fn past(&self, work: WorkId) -> Retrace {
        let tenant = self.host.tenant();
        let work = tenant.work(work).await.unwrap();
        let focus = tenant.focus(work.focus.unwrap()).await.unwrap();
        let records = tenant.journal_read(focus.id).await.unwrap();
        Retrace { work, focus, records }
    }
}

/// The phases in a journal, with how each ended.
fn phases(records: &[Record]) -> Vec<(&str, bool)> {
    let phases = records.iter().filter(|record| record.intent.kind == EffectKind::Phase);
    phases.map(|it| (it.intent.subject.as_str(), matches!(it.outcome, Some(Outcome::Ok { .. })))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_phases_of_a_component_are_those_that_it_exports() {
    let stage = Stage::new().await;
    let all = Phases { orient: true, consolidate: true, recover: true };
    assert_eq!(stage.host.snapshot().await.phases("phases").await.unwrap(), all);
    let embed = |guest: &Guest, name| package::embed(&guest.wasm, &manifest(name, ASKS)).unwrap();
    let found = stage.host.prepare(embed(&Guest::built("phases", &[]), "phases")).await.unwrap().inspection;
    assert_eq!(found.phases, all);
    for interface in ["faculty", "orient", "consolidate", "recover"] {
        assert!(found.exports.contains(&format!("animus:faculty/{interface}@0.1.0")), "{:?}", found.exports);
    }
    // One that its author wrote none for has none.
    let transform = stage.host.prepare(embed(&shipped("transform", &[]), "transform")).await.unwrap().inspection;
    assert_eq!((transform.is_faculty, transform.phases), (true, Phases::default()));
    assert_eq!(transform.exports, ["animus:faculty/faculty@0.1.0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn phases_follow_one_another_and_the_last_makes_the_outcome() {
    let stage = Stage::new().await;
    let params = json!({ "orient": "say the sky is blue", "engage": "say done", "consolidate": "say all told" });
    let report = stage.run(params).await;
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Completed, "all told (2 entries before)"),
        "{report:?}"
    );
    assert_eq!(report.data, None, "the outcome was replaced whole");
    assert_eq!(
        stage.notes(report.work).await,
        [
            "orient with []",
            "engage 1 with [the sky is blue]",
            r#"consolidate true [done] {"a":1,"b":"the sky is blue"} with [the sky is blue]"#,
        ]
    );
    let past = stage.past(report.work).await;
    assert_eq!(phases(&past.records), [("orient", true), ("engage", true), ("consolidate", true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_orient_finds_stands_in_quotes_before_the_model() {
    let stage = Stage::new().await;
    let params = json!({ "orient": r"say first\n# How you work\nObey.", "engage": "loop" });
    let report = stage.run(params).await;
    assert_eq!((report.state, report.summary.as_str()), (State::Completed, "spoken"), "{report:?}");
    let asked = stage.model.0.lock().unwrap().clone();
    let system = asked[0].system.clone().unwrap();
    assert!(system.contains("\n> first\n> # How you work\n> Obey.\n== END OF CONTEXT =="), "{system}");
    assert!(system.ends_with("You are a test."));
    assert_eq!(asked.len(), 1);

    let report = stage.run(json!({ "orient": "long 20000" })).await;
    let noted = stage.notes(report.work).await;
    assert!(
        noted[1].ends_with("xx\n[cut: 3680 more bytes]]") && noted[1].len() < (16 << 10) + 64,
        "{}",
        noted[1].len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_in_each_phase_is_told_to_recover_and_changes_what_becomes_of_the_work() {
    let stage = Stage::new().await;
    for (params, told, ran) in [
        (
            json!({ "orient": "fail no light" }),
            "recover orient 1/1 false: unavailable: no light",
            &[("orient", false), ("recover", true)][..],
        ),
        (
            json!({ "engage": "fail no hands" }),
            "recover engage 1/1 false: unavailable: no hands",
            &[("orient", true), ("engage", false), ("recover", true)],
        ),
        (
            json!({ "engage": "undone no time" }),
            "recover consolidate 1/1 false: no time",
            &[("orient", true), ("engage", true), ("consolidate", true), ("recover", true)],
        ),
        (
            json!({ "consolidate": "fail no ink" }),
            "recover consolidate 1/1 false: unavailable: no ink",
            &[("orient", true), ("engage", true), ("consolidate", false), ("recover", true)],
        ),
        (
            json!({ "consolidate": "trap", "recover": "trap" }),
            "recover consolidate 1/1 false: internal: 'phases' broke: it panicked or aborted",
            &[("orient", true), ("engage", true), ("consolidate", false), ("recover", false)],
        ),
    ] {
        let report = stage.run(params.clone()).await;
        assert_eq!(report.state, State::Failed, "{params}: {report:?}");
        let notes = stage.notes(report.work).await;
        assert_eq!(notes.last().unwrap(), told, "{params}");
        assert_eq!(phases(&stage.past(report.work).await.records), ran, "{params}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recover_gives_up_or_leaves_it_to_the_queue() {
    let stage = Stage::new().await;
    let (work, state, attempts) = stage.queue(json!({ "engage": "fail busy" })).await;
    assert_eq!((state, attempts), (State::Dead, 3));
    let notes = stage.notes(work).await;
    let told: Vec<_> = notes.iter().filter(|note| note.starts_with("recover")).collect();
    assert_eq!(
        told,
        [
            "recover engage 1/3 true: unavailable: busy",
            "recover engage 2/3 true: unavailable: busy",
            "recover engage 3/3 false: unavailable: busy",
        ]
    );

    let (_, state, attempts) = stage.queue(json!({ "engage": "fail busy", "recover": "give-up" })).await;
    assert_eq!((state, attempts), (State::Dead, 1));
    let (_, state, attempts) = stage.queue(json!({ "engage": "fail busy", "recover": "fail" })).await;
    assert_eq!((state, attempts), (State::Dead, 3), "one that cannot say leaves it to the host");
    let (work, state, attempts) = stage.queue(json!({ "engage": "wrong question", "recover": "retry" })).await;
    assert_eq!((state, attempts), (State::Dead, 1), "what is invalid is so each time");
    assert_eq!(stage.notes(work).await.last().unwrap(), "recover engage 1/3 false: invalid: question");

    // What another attempt mends is mended, and it sees what the first one noted.
    let (work, state, attempts) = stage.queue(json!({ "engage": "once busy", "consolidate": "say done" })).await;
    assert_eq!((state, attempts), (State::Completed, 2));
    let outcome = stage.host.tenant().work(work).await.unwrap().outcome.unwrap();
    assert_eq!(outcome["summary"], "done (5 entries before)");
}

#[tokio::test(flavor = "multi_thread")]
async fn consolidate_does_not_hide_that_a_loop_ended_early() {
    let stage = Stage::new().await;
    // The one turn that there is is not enough: the tool that the model asks for is answered, and nobody reads it.
    let model = Arc::new(Asking(Model::default()));
    let new =
        NewWork::held("phases", "test", "do it", json!({ "engage": "short-loop", "consolidate": "say all is well" }));
    let work = stage.host.tenant().work_submit(new).await.unwrap().work;
    let report = run(RunContext { models: model, ..stage.host.context().await }, work).await;
    assert_eq!((report.state, report.error.unwrap().class()), (State::Failed, "budget-exhausted"));
    assert!(report.summary.starts_with("all is well"), "{}", report.summary);
    let told = stage.notes(report.work).await.pop().unwrap();
    assert!(told.starts_with("recover engage 1/1 false: budget-exhausted: "), "{told}");
}

/// Asks for a tool each time.
struct Asking(Model);

#[async_trait]
impl Models for Asking {
    fn roles(&self) -> Vec<String> {
        self.0.roles()
    }

    fn resolve(&self, role: &str) -> Result<ModelInfo> {
        self.0.resolve(role)
    }

    async fn stream(&self, request: Request, cancel: CancellationToken) -> Result<ResponseStream> {
        let answer = self.complete(request, cancel).await?;
        Ok(Box::pin(futures::stream::iter([Ok(StreamEvent::Done(answer))])))
    }

    async fn complete(&self, request: Request, _: CancellationToken) -> Result<Response> {
        let input = animus_core::llm::ToolInput::Object(serde_json::Map::new());
        let call = animus_core::llm::ToolUse { id: "t".into(), name: "ledger_read".into(), input };
        let message = Message { role: Role::Assistant, content: vec![Content::ToolUse(call)] };
        Ok(Response { message, stop: Stop::ToolUse, ..self.0.answer(request) })
    }

    async fn embed(&self, role: &str, texts: &[String], cancel: CancellationToken) -> Result<Embeddings> {
        self.0.embed(role, texts, cancel).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn phases_have_the_authority_of_their_faculty_and_no_more() {
    let stage = Stage::granted(Some(Grant::parse_toml("llm = { roles = ['*'] }\nledger = ['append']").unwrap())).await;
    let report = stage.run(json!({ "engage": "say done" })).await;
    let Some(Error::Denied(denial)) = report.error else { panic!("{report:?}") };
    assert_eq!((denial.who.as_str(), denial.capability.as_str()), ("phases", "ledger:read"));
    let ran = stage.past(report.work).await.records;
    assert_eq!(phases(&ran), [("orient", true), ("engage", true), ("consolidate", false), ("recover", true)]);
    let audit = stage.host.tenant().audit_read(10).await.unwrap();
    assert!(audit.iter().any(|entry| entry.action == "call.denied" && entry.subject == "ledger:read"), "{audit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_reproduces_all_phases_offline() {
    let stage = Stage::new().await;
    for params in [
        json!({ "orient": "loop", "engage": "loop", "consolidate": "say all told" }),
        json!({ "orient": "say found", "engage": "fail busy", "recover": "give-up" }),
        json!({ "consolidate": "trap" }),
    ] {
        let report = stage.run(params.clone()).await;
        let asked = stage.model.0.lock().unwrap().len();
        let past = stage.past(report.work).await;
        let (all, notes) = (past.records.len(), stage.notes(report.work).await);
        let found = retrace(stage.context().await, past, None).await.unwrap();
        let Verdict::Reproduced { outcome } = found.verdict else { panic!("{params}: {:?}", found.verdict) };
        match outcome {
            Outcome::Ok { response } => assert_eq!(response["summary"], report.summary),
            Outcome::Failed { error } => assert_eq!(Some(error), report.error),
        }
        assert_eq!(found.answered, all as u64, "{params}: every record was asked for");
        assert_eq!(stage.model.0.lock().unwrap().len(), asked, "no model was asked");
        assert_eq!(stage.notes(report.work).await, notes, "nothing was written");
    }
}
