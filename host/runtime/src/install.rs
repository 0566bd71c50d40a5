//! What a plugin has to pass before a generation of it is committed.

use std::sync::{Arc, OnceLock};

use animus_core::{
    Denial, Error, Result,
    authority::Authority,
    child::{Child, NewChild},
    code::{Program, Ran},
    grant::{Grant, LedgerAccess, MemoryAccess, PathMode},
    id::{FocusId, MemoryId, TenantId, WorkId},
    journal::{Intent, Outcome},
    ledger::{Entry, EntryType, Filter},
    llm, memory,
    services::{CallContext, EngageOptions, Engagement, Principal, Services},
    store::SecretValue,
    tool::{Output, Tool, is_short_name},
};
use async_trait::async_trait;
use serde_json::Value;

use crate::{
    bindings::{json_object, tool_types::Definition},
    call::{Callee, Linked},
    inspect::{Inspection, Report, inspect},
    linker::Shape,
    registry::Registry,
    text,
};

/// The most tools of a plugin: all of them are offered to models, which choose badly among more.
const MAX_TOOLS: usize = 64;
/// The longest description, in bytes.
const MAX_DESCRIPTION: usize = 8 << 10;
/// The longest schema, in bytes.
const MAX_SCHEMA: usize = 64 << 10;

/// A plugin that may be installed.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What it is.
    pub inspection: Inspection,
    /// Its tools, by full name, in its own order.
    pub tools: Vec<Tool>,
}

impl Registry {
    /// Inspects, compiles, links and tries a plugin: it is instantiated, and asked for its tools, with everything
    /// linked that it requests and nothing of it allowed. The compiled code stays in the cache.
    ///
    /// # Errors
    /// [`Error::Invalid`] that lists every problem found; what [`Artifacts::load`](crate::Artifacts::load) fails with;
    /// the trap or limit that ended the trial.
    pub async fn prepare(&self, wasm: Arc<[u8]>) -> Result<Prepared> {
        let mut inspection = inspect(&wasm)?;
        let shape = if inspection.acts_itself() { Shape::of(&inspection.manifest.request) } else { Shape::all() };
        let component = self.artifacts().load(inspection.digest, async { Ok(wasm) }).await?;
        let linked = Linked::new(self.linkers().link(&component, shape)?);
        let definitions = self.try_out(&inspection, &linked).await?;
        let (tools, mut problems) = check_tools(inspection.manifest.name.as_str(), definitions);
        let lacks = |claims: bool, has: bool| claims && !has;
        if lacks(inspection.offers_tools, linked.tools.is_some())
            || lacks(inspection.is_faculty, linked.faculty.is_some())
            || lacks(inspection.phases.orient, linked.orient.is_some())
            || lacks(inspection.phases.consolidate, linked.consolidate.is_some())
            || lacks(inspection.phases.recover, linked.recover.is_some())
            || lacks(inspection.is_interpreter, linked.interpreter.is_some())
            || lacks(inspection.is_hook, linked.hook.is_some())
        {
            problems.push("an export of it has other types than this host's interface of that name".into());
        }
        if !problems.is_empty() {
            return Err(Report { problems }.into());
        }
        if can_write(&inspection.manifest.request) {
            inspection.notes.extend(tools.iter().filter(|tool| tool.annotations.read_only).map(|tool| {
                format!("{} says that it is read-only, but the plugin asks for what lets it write", tool.name)
            }));
        }
        Ok(Prepared { inspection, tools })
    }

    async fn try_out(&self, inspection: &Inspection, linked: &Linked) -> Result<Vec<Definition>> {
        let manifest = &inspection.manifest;
        let nothing =
            Authority::new(manifest.name.clone(), manifest.request.clone(), Grant::default(), Grant::default());
        let callee = Callee {
            linked,
            name: manifest.name.as_str(),
            plugin: manifest.name.as_str(),
            authority: &Arc::new(nothing),
            generation: 0,
            digest: inspection.digest,
            config: &Arc::new(manifest.config.clone().into_iter().collect()),
            egress: self.egress(),
            fared: OnceLock::new(),
        };
        let cx = nobodys();
        let tried = callee.run(&cx, "list-tools", async |store, instance| match &linked.tools {
            Some(tools) => tools.load(&mut *store, instance)?.call_list_tools(&mut *store).await.map(Ok),
            // A faculty or a hook has nothing to be asked without work; that it starts is all there is to see.
            None => Ok(Ok(Vec::new())),
        });
        tried.await
    }
}

/// A call that nobody makes.
pub(crate) fn nobodys() -> CallContext {
    CallContext {
        tenant: TenantId::local(),
        focus: FocusId::new(),
        depth: 0,
        parent: None,
        cancel: tokio_util::sync::CancellationToken::new(),
        workspace: None,
        deterministic: None,
        cap: None,
        services: Arc::new(Nobody),
    }
}

/// A definition as it stands: a program's, which becomes a plugin's tool only after [`check_tools`].
pub(crate) fn tool_of(definition: Definition) -> Result<Tool> {
    let Definition { name, description, input_schema, output_schema, annotations } = definition;
    Ok(Tool {
        name,
        description,
        input_schema: json_object("a tool's input schema", &input_schema)?.into(),
        output_schema: output_schema
            .map(|schema| json_object("a tool's output schema", &schema).map(Value::from))
            .transpose()?,
        annotations: annotations.into(),
    })
}

/// The tools by full name, and what is wrong with them.
fn check_tools(plugin: &str, definitions: Vec<Definition>) -> (Vec<Tool>, Vec<String>) {
    let mut problems = Vec::new();
    let mut tools: Vec<Tool> = Vec::new();
    if definitions.len() > MAX_TOOLS {
        problems.push(format!("it has {} tools; at most {MAX_TOOLS} are taken, split it", definitions.len()));
    }
    for definition in definitions {
        let Definition { name, description, input_schema, output_schema, annotations } = definition;
        let shown = text::cut(name.escape_debug().to_string(), 80);
        if !is_short_name(&name) {
            problems.push(format!("tool '{shown}': its name is not of the form [a-z][a-z0-9_]*, at most 64 bytes"));
        }
        if description.trim().is_empty() {
            problems.push(format!("tool '{shown}': it has no description, and a model chooses by that"));
        }
        if description.len() > MAX_DESCRIPTION {
            problems.push(format!("tool '{shown}': its description is longer than {MAX_DESCRIPTION} bytes"));
        }
        let mut schema = |what: &str, s: &str| {
            check_schema(s).unwrap_or_else(|problem| {
                problems.push(format!("tool '{shown}': its {what} schema {problem}"));
                Value::Null
            })
        };
        let input_schema = schema("input", &input_schema);
        let output_schema = output_schema.map(|s| schema("output", &s));
        let name = format!("{plugin}.{name}");
        if tools.iter().any(|tool| tool.name == name) {
            problems.push(format!("tool '{shown}': it is defined twice"));
        }
        let description = text::escaped(&description);
        tools.push(Tool { name, description, input_schema, output_schema, annotations: annotations.into() });
    }
    (tools, problems)
}

/// Both kinds describe objects: arguments by the contract, structured answers because MCP's are.
fn check_schema(s: &str) -> Result<Value, String> {
    if s.len() > MAX_SCHEMA {
        return Err(format!("is longer than {MAX_SCHEMA} bytes"));
    }
    let schema = json_object("it", s).map_err(|_| "is not a JSON object")?;
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => Ok(schema.into()),
        _ => Err(r#"does not describe an object: "type" must be "object""#.to_owned()),
    }
}

/// Whether the request holds anything that changes the world.
fn can_write(request: &Grant) -> bool {
    let reads = |method: &String| method == "GET" || method == "HEAD";
    request.memory.contains(&MemoryAccess::Write)
        || request.ledger.contains(&LedgerAccess::Append)
        || !request.tool.is_empty()
        || request.paths.iter().any(|path| path.mode == PathMode::Rw)
        || request.http.as_ref().is_some_and(|http| !http.methods.iter().all(reads))
}

/// The host's side of a trial: nobody's work, and nothing to reach. The plugin's authority of nothing has refused
/// everything before it gets here.
pub(crate) struct Nobody;

fn nothing<T>() -> Result<T> {
    Err(Error::Unavailable("the plugin is being tried, and has no host behind it".into()))
}

#[async_trait]
impl Services for Nobody {
    fn work(&self) -> WorkId {
        WorkId::new()
    }
    async fn llm_stream(&self, _: &Principal, _: llm::Request) -> Result<llm::ResponseStream> {
        nothing()
    }
    async fn llm_complete(&self, _: &Principal, _: llm::Request) -> Result<llm::Response> {
        nothing()
    }
    async fn llm_embed(&self, _: &Principal, _: Vec<String>) -> Result<llm::Embeddings> {
        nothing()
    }
    fn llm_roles(&self) -> Vec<String> {
        Vec::new()
    }
    async fn ledger_append(&self, _: &Principal, _: EntryType, _: String) -> Result<u64> {
        nothing()
    }
    async fn ledger_read(&self, _: &Principal, _: Filter) -> Result<Vec<Entry>> {
        nothing()
    }
    async fn memory_store(&self, _: &Principal, _: String, _: String, _: Vec<String>) -> Result<MemoryId> {
        nothing()
    }
    async fn memory_recall(&self, _: &Principal, _: memory::Query) -> Result<Vec<memory::Hit>> {
        nothing()
    }
    async fn memory_get(&self, _: &Principal, _: MemoryId) -> Result<memory::Memory> {
        nothing()
    }
    async fn memory_update(&self, _: &Principal, _: MemoryId, _: String, _: Option<u64>) -> Result<u64> {
        nothing()
    }
    async fn memory_versions(&self, _: &Principal, _: MemoryId) -> Result<Vec<memory::Version>> {
        nothing()
    }
    async fn memory_forget(&self, _: &Principal, _: MemoryId) -> Result<()> {
        nothing()
    }
    async fn memory_tag(&self, _: &Principal, _: MemoryId, _: String) -> Result<()> {
        nothing()
    }
    fn tools(&self) -> Vec<Arc<Tool>> {
        Vec::new()
    }
    async fn tool_call(&self, _: &Principal, _: &str, _: String) -> Result<Output> {
        nothing()
    }
    async fn code_run(&self, _: &Principal, _: &str, _: Program) -> Result<Ran> {
        nothing()
    }
    async fn child_spawn(&self, _: &Principal, _: NewChild) -> Result<WorkId> {
        nothing()
    }
    async fn child_await(&self, _: &Principal, _: Vec<String>, _: u64) -> Result<Vec<Child>> {
        nothing()
    }
    async fn child_check(&self, _: &Principal, _: Vec<String>) -> Result<Vec<Child>> {
        nothing()
    }
    async fn child_cancel(&self, _: &Principal, _: String) -> Result<()> {
        nothing()
    }
    async fn engage(&self, _: &Principal, _: EngageOptions) -> Result<Engagement> {
        nothing()
    }
    async fn effect_begin(&self, _: &Principal, _: Intent) -> Result<u64> {
        nothing()
    }
    async fn effect_end(&self, _: &Principal, _: u64, _: Outcome) -> Result<()> {
        nothing()
    }
    async fn secret(&self, _: &Principal, _: &str) -> Result<SecretValue> {
        nothing()
    }
    async fn denied(&self, by: &Principal, denial: &Denial) {
        tracing::info!(plugin = %by.authority.plugin(), %denial, "refused on trial");
    }
    fn log(&self, by: &Principal, line: String) {
        tracing::info!(plugin = %by.authority.plugin(), line, "trial output");
    }
}
