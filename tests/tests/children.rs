//! Children on the real host: the control plane, the store, the plugins that ship. Only the model is not real.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::{Arc, Mutex};

use animus_agent::{
    LEASE_MS,
    control::{ControlPlane, Kit, Outfit, Settings, Until},
    events::Hub,
};
use animus_core::{
    Error, Result,
    budget::Budget,
    faculties::{Faculties, Route},
    grant::Grant,
    id::{FocusId, PluginName},
    llm::{
        Content, Embeddings, Message, ModelInfo, Models, Request, Response, ResponseStream, Role, Stop, StreamEvent,
        ToolInput, ToolUse, Usage,
    },
    manifest::Manifest,
    package,
    plugins::PluginSet,
    store::NewGeneration,
    work::{Host, NewWork, State, Work, WorkFilter},
};
use animus_tests::{TestHost, manifest_of, shipped};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// What a model says to a request.
type Say = Box<dyn Fn(&Request) -> Vec<Content> + Send + Sync>;

/// A model that answers as a test says, and keeps what it was asked.
struct Model {
    say: Say,
    asked: Mutex<Vec<Request>>,
}

impl Model {
    fn answer(&self, request: Request) -> Response {
        let content = (self.say)(&request);
        let asks = content.iter().any(|part| matches!(part, Content::ToolUse(_)));
        self.asked.lock().unwrap().push(request);
        Response {
            message: Message { role: Role::Assistant, content },
            stop: if asks { Stop::ToolUse } else { Stop::EndTurn },
            usage: Usage { input_tokens: 40, output_tokens: 10, ..Usage::default() },
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
            max_output: 100,
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

/// A host's foci work with the plugins of the test's host, and with this model.
struct Equipment {
    plugins: Arc<dyn PluginSet>,
    model: Arc<Model>,
    workspace: std::path::PathBuf,
}

#[async_trait]
impl Outfit for Equipment {
    async fn plugins(&self) -> Result<Arc<dyn PluginSet>> {
        Ok(self.plugins.clone())
    }
    async fn plugins_of(&self, _: &Value) -> Result<Arc<dyn PluginSet>> {
        Ok(self.plugins.clone())
    }
    async fn faculties(&self) -> Result<Arc<Faculties>> {
        Ok(Arc::default())
    }
    async fn kit(&self, work: &Work, _: FocusId, _: &Route) -> Result<Kit> {
        Ok(Kit {
            models: self.model.clone(),
            skills: None,
            budget: Budget::new("work", work.left()),
            workspace: Some(self.workspace.clone()),
            place: None,
        })
    }
    fn is_alive(&self, _: u32) -> bool {
        true
    }
}

fn words(text: impl Into<String>) -> Vec<Content> {
    vec![Content::Text { text: text.into() }]
}

fn asks(tool: &str, args: Value) -> Vec<Content> {
    let Value::Object(object) = args else { panic!("arguments are an object") };
    vec![Content::ToolUse(ToolUse { id: "t".to_owned(), name: tool.to_owned(), input: ToolInput::Object(object) })]
}

fn is_split(request: &Request) -> bool {
    request.system.as_deref().is_some_and(|it| it.starts_with("You plan research"))
}

fn is_gathering(request: &Request) -> bool {
    request.system.as_deref().is_some_and(|it| it.starts_with("You write the answer"))
}

/// Installs a faculty that ships, with `grant` or else with all that it asks for.
async fn faculty(host: &TestHost, name: &str, grant: Option<Grant>) {
    let text = manifest_of(name);
    let manifest = Manifest::parse(&text).unwrap();
    let new = NewGeneration {
        name: PluginName::new(name).unwrap(),
        wasm: package::embed(&shipped(name, &[]).wasm, &text).unwrap().into(),
        version: manifest.version.to_string(),
        manifest: text,
        source: "test".to_owned(),
        tools: Vec::new(),
        is_faculty: true,
        is_interpreter: false,
        grant: Some(grant.unwrap_or(manifest.request)),
    };
    host.tenant().plugin_install("test", new).await.unwrap();
}

/// Serves with one place until the item is settled.
async fn served(host: &TestHost, new: NewWork, say: Say) -> (Work, Vec<Work>, Vec<Request>) {
    let tenant = host.tenant().clone();
    let model = Arc::new(Model { say, asked: Mutex::default() });
    let equipment = Equipment { plugins: host.snapshot().await, model: model.clone(), workspace: host.workspace() };
    let settings = Settings {
        max_concurrent: 1,
        only: Default::default(),
        lease_ms: LEASE_MS,
        grace: std::time::Duration::ZERO,
        is_listed: false,
        address: None,
    };
    let hub = Hub::new(tenant.clone());
    let plane = ControlPlane::new(tenant.clone(), Arc::new(equipment), Host::this("test"), settings, hub);
    let work = tenant.work_submit(new).await.unwrap().work.id;
    plane.run(Until::Settled(work), &CancellationToken::new()).await.unwrap();
    let children = tenant.works(WorkFilter { parent: Some(work), ..WorkFilter::default() }).await.unwrap();
    (tenant.work(work).await.unwrap(), children, model.asked.lock().unwrap().clone())
}

fn research(params: Value, tokens: u64) -> NewWork {
    let allowance = animus_core::budget::Allowance { tokens: Some(tokens), microusd: None };
    NewWork {
        faculty: "researcher".to_owned(),
        source: "test".to_owned(),
        instruction: "Why is the sky blue?".to_owned(),
        params,
        allowance,
        ..NewWork::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_awaits_eight_children_completes_with_one_place() {
    let host = TestHost::new().await;
    faculty(&host, "researcher", None).await;
    faculty(&host, "assistant", None).await;
    let questions: Vec<_> = (1..=8).map(|n| format!("question {n}")).collect();
    let say = move |request: &Request| {
        if is_split(request) {
            words(json!(questions).to_string())
        } else if is_gathering(request) {
            words("gathered [1] [8]")
        } else {
            words(format!("the answer to {}", request.messages[0].text()))
        }
    };
    let (parent, children, asked) = served(&host, research(json!({ "children": 8 }), 90_000), Box::new(say)).await;
    assert_eq!((parent.state, &parent.error), (State::Completed, &None));
    assert!(children.len() == 8 && children.iter().all(|child| child.state == State::Completed), "{children:#?}");
    let summary = parent.outcome.as_ref().unwrap()["summary"].as_str().unwrap();
    assert!(summary.starts_with("gathered [1] [8]\n\nChildren:\n[1] "), "{summary}");
    assert!(children.iter().all(|child| summary.contains(&child.id.to_string())), "{summary}");
    let report = asked.iter().find(|request| is_gathering(request)).unwrap().messages[0].text();
    assert!(report.contains("Report 8 on: question 8\nthe answer to question 8"), "{report}");
    // Each has the same share, and what they spent is the parent's.
    let shares: Vec<_> = children.iter().map(|child| child.allowance.tokens.unwrap()).collect();
    assert!(shares.iter().all(|share| share.abs_diff(shares[0]) <= 8 && *share > 9_000), "{shares:?}");
    assert_eq!(parent.tokens, 50 * 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_cannot_use_what_its_parent_lacks_nor_spend_what_it_was_not_given() {
    let host = TestHost::new().await;
    // The assistant holds every tool; the one who spawns it holds none but those of notes.
    let narrow = "llm = { roles = ['default'], max_tokens = 100 }\nledger = ['append']\ntool = ['notes.*']\n\
                  spawn-child = { faculties = ['assistant'], max = 8 }\nlimits = { wall_ms = 60_000 }";
    faculty(&host, "researcher", Some(Grant::parse_toml(narrow).unwrap())).await;
    faculty(&host, "assistant", None).await;
    let fs = manifest_of("fs");
    host.install_manifest(&shipped("fs", &["read_file"]), &fs, Some(Manifest::parse(&fs).unwrap().request)).await;
    std::fs::write(host.workspace().join("secret.txt"), "hunter2").unwrap();
    let say = |request: &Request| {
        if is_split(request) {
            words("[\"read it\", \"read it again\"]")
        } else if is_gathering(request) {
            words("gathered")
        } else if request.messages.len() == 1 {
            asks("fs.read_file", json!({ "path": "secret.txt" }))
        } else if request.messages.len() == 3 {
            asks("spawn_child_work", json!({ "faculty": "assistant", "description": "read it for me" }))
        } else {
            words(format!("{:?}", request.messages))
        }
    };
    let (parent, children, asked) =
        served(&host, research(json!({ "child_tokens": 2_000 }), 90_000), Box::new(say)).await;
    assert_eq!(parent.state, State::Completed, "{:?}", parent.error);
    assert_eq!(children.len(), 2);
    for request in asked.iter().filter(|request| !is_split(request) && !is_gathering(request)) {
        let offered: Vec<_> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
        assert!(!offered.iter().any(|name| name.starts_with("fs.") || name.contains("child")), "{offered:?}");
    }
    let told = format!("{:?}", children.iter().map(|child| &child.outcome).collect::<Vec<_>>());
    assert!(told.contains("denied: tool:fs.read_file"), "{told}");
    assert!(!told.contains("hunter2"));
    let all = host.tenant().works(WorkFilter { limit: Some(100), ..WorkFilter::default() }).await.unwrap();
    assert_eq!(all.len(), 3, "no child has children: nobody granted it any");
    for child in &children {
        assert_eq!(child.allowance.tokens, Some(2_000));
        assert!(child.tokens <= 2_000);
    }

    // Too little for one answer: the child is refused by its own budget, whatever is left to its parent.
    let (parent, children, _) = served(&host, research(json!({ "child_tokens": 60 }), 90_000), Box::new(say)).await;
    assert_eq!(parent.state, State::Failed);
    assert!(children.iter().all(|child| child.tokens == 0 && child.state != State::Completed), "{children:#?}");
    let error = children[0].error.as_ref().unwrap();
    assert!(matches!(error, Error::BudgetExhausted(_)), "{error}");
}
