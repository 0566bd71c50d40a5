//! An agent whose model plays what a test says.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use animus_agent::{Focus, LEASE_MS, RunContext};
use animus_core::{
    Result,
    authority::Authority,
    grant::Grant,
    id::{Digest, FocusId, PluginName, TenantId, WorkId},
    journal::Record,
    llm::{Content, Message, Request, Response, ToolResult},
    services::{CallContext, EngageOptions, Principal, Services as _},
    store::Tenant,
    work::{Claim, Host, NewWork, State},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{TestHost, models::Scripted};

/// A faculty at work: one focus, and a principal made by hand.
pub struct Agent {
    focus: Focus,
    by: Principal,
    work: WorkId,
    tenant: Arc<dyn Tenant>,
    model: Arc<Scripted>,
    made: Mutex<u32>,
}

impl Agent {
    /// Begins a work item as the faculty `name` under `grant` (TOML), in a context that `adapt` may change.
    pub async fn begin(host: &TestHost, name: &str, grant: &str, adapt: impl FnOnce(RunContext) -> RunContext) -> Self {
        Self::begin_with(host, name, Grant::parse_toml(grant).unwrap_or_else(|e| panic!("{grant}\n{e}")), adapt).await
    }

    /// The same under a grant that is one already.
    pub async fn begin_with(
        host: &TestHost,
        name: &str,
        grant: Grant,
        adapt: impl FnOnce(RunContext) -> RunContext,
    ) -> Self {
        let model = Arc::new(Scripted::default());
        let tenant = host.tenant().clone();
        let work = tenant.work_submit(NewWork::held(name, "test", "do it", json!({}))).await.unwrap().work;
        let claim = Claim::held(Host::this("test"), LEASE_MS, json!({}));
        let lease = tenant.focus_begin(work.id, State::Queued, &claim).await.unwrap().lease;
        let by = Principal {
            tenant: TenantId::local(),
            focus: lease.focus,
            authority: Arc::new(Authority::new(
                PluginName::new(name).unwrap(),
                grant.clone(),
                grant,
                Grant::everything(),
            )),
            generation: 1,
            digest: Digest::of(b""),
            depth: 0,
            parent: None,
        };
        let cx = RunContext { models: model.clone(), ..host.context().await };
        Self { focus: Focus::new(adapt(cx), work.id, lease), by, work: work.id, tenant, model, made: Mutex::new(0) }
    }

    /// Has the model ask for these calls, a turn each, and returns how each was answered.
    pub async fn turns(&self, prompt: &str, calls: &[(&str, Value)]) -> Vec<ToolResult> {
        let turns: VecDeque<_> = calls.iter().map(|(tool, args)| vec![((*tool).to_owned(), args.clone())]).collect();
        self.play(prompt, turns).await
    }

    /// Has the model ask for all of these at once, in one turn.
    pub async fn at_once(&self, calls: &[(&str, Value)]) -> Vec<ToolResult> {
        let turn = calls.iter().map(|(tool, args)| ((*tool).to_owned(), args.clone())).collect();
        self.play("do it", VecDeque::from([turn])).await
    }

    /// Has the model ask for one call.
    pub async fn call(&self, tool: &str, args: Value) -> ToolResult {
        self.turns("do it", &[(tool, args)]).await.remove(0)
    }

    /// Has the model run code without a session; what it reads.
    pub async fn code(&self, source: &str) -> ToolResult {
        self.call("execute_code", json!({ "code": source })).await
    }

    async fn play(&self, prompt: &str, turns: VecDeque<Vec<(String, Value)>>) -> Vec<ToolResult> {
        self.model.begin(turns);
        // Another prompt each time, as another piece of work has.
        let n = {
            let mut made = self.made.lock().unwrap();
            *made += 1;
            *made
        };
        let options = EngageOptions {
            prompt: format!("{prompt} ({n})"),
            tools: vec!["*".into()],
            max_tokens: Some(1_000),
            ..EngageOptions::default()
        };
        self.focus.engage(&self.by, options).await.unwrap();
        let asked = self.model.asked();
        let last = asked.last().expect("the model is asked at least once");
        let contents = last.messages.iter().flat_map(|message| &message.content);
        contents
            .filter_map(|content| match content {
                Content::ToolResult(result) => Some(result.clone()),
                _ => None,
            })
            .collect()
    }

    /// The system prompts of the last engagement, one a turn.
    #[must_use]
    pub fn system_prompts(&self) -> Vec<String> {
        self.model.asked().into_iter().map(|request| request.system.unwrap_or_default()).collect()
    }

    /// The tools on offer in the last engagement, by turn.
    #[must_use]
    pub fn offered(&self) -> Vec<Vec<String>> {
        let names = |request: animus_core::llm::Request| request.tools.iter().map(|tool| tool.name.clone()).collect();
        self.model.asked().into_iter().map(names).collect()
    }

    /// Asks the model once, as the faculty itself.
    ///
    /// # Errors
    /// What the call comes to.
    pub async fn ask(&self, text: &str) -> Result<Response> {
        let request = Request {
            model: String::new(),
            system: None,
            messages: vec![Message::user(text).into()],
            tools: [].into(),
            max_tokens: None,
            temperature: None,
        };
        self.focus.llm_complete(&self.by, request).await
    }

    /// A context for a call into a plugin.
    #[must_use]
    pub fn call_context(&self) -> CallContext {
        self.focus.call_context(1, None, CancellationToken::new())
    }

    /// Everything that the model was given in the last engagement, as one text.
    #[must_use]
    pub fn seen(&self) -> String {
        format!("{:?}", self.model.asked())
    }

    /// What the journal has.
    pub async fn journal(&self) -> Vec<Record> {
        self.tenant.journal_read(self.by.focus).await.unwrap()
    }

    /// The focus.
    #[must_use]
    pub fn focus(&self) -> FocusId {
        self.by.focus
    }

    /// The work item.
    #[must_use]
    pub fn work(&self) -> WorkId {
        self.work
    }
}
