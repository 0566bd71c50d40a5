//! The plugins of a focus: those that it began with, and those that it made itself.

use std::sync::Arc;

use animus_core::{
    Denial, Error, Result,
    authority::Authority,
    code::{Description, Program, Ran, Tested},
    hook::{HookEvent, Verdict},
    id::PluginName,
    plugins::{FacultyOutcome, Failure, Loaded, Phases, PluginSet, Recovery, Task},
    services::CallContext,
    tool::{Output, Tool},
};
use async_trait::async_trait;

/// A pinned snapshot, with one plugin taken from a newer one. What the focus did not make stays as it was.
pub(super) struct With {
    pinned: Arc<dyn PluginSet>,
    newer: Arc<dyn PluginSet>,
    name: PluginName,
    plugins: Vec<Arc<Loaded>>,
    tools: Vec<Arc<Tool>>,
}

impl With {
    pub(super) fn new(pinned: Arc<dyn PluginSet>, newer: Arc<dyn PluginSet>, name: PluginName) -> Result<Self> {
        let made = newer.plugin(name.as_str()).cloned();
        let made = made.ok_or_else(|| Error::Conflict(format!("the plugin '{name}' was removed meanwhile")))?;
        let mut plugins: Vec<_> = pinned.plugins().iter().filter(|plugin| plugin.name != name).cloned().collect();
        plugins.push(made);
        plugins.sort_by(|a, b| a.name.cmp(&b.name));
        let of_it = |tool: &&Arc<Tool>| is_of(&tool.name, &name);
        let mut tools: Vec<_> = pinned.tools().iter().filter(|tool| !of_it(tool)).cloned().collect();
        tools.extend(newer.tools().iter().filter(of_it).cloned());
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { pinned, newer, name, plugins, tools })
    }

    fn of_plugin(&self, name: &str) -> &dyn PluginSet {
        if name == self.name.as_str() { &*self.newer } else { &*self.pinned }
    }

    fn of_tool(&self, tool: &str) -> &dyn PluginSet {
        if is_of(tool, &self.name) { &*self.newer } else { &*self.pinned }
    }
}

fn is_of(tool: &str, plugin: &PluginName) -> bool {
    tool.split_once('.').is_some_and(|(of, _)| of == plugin.as_str())
}

#[async_trait]
impl PluginSet for With {
    fn plugins(&self) -> &[Arc<Loaded>] {
        &self.plugins
    }

    fn plugin(&self, name: &str) -> Option<&Arc<Loaded>> {
        self.of_plugin(name).plugin(name)
    }

    fn tools(&self) -> &[Arc<Tool>] {
        &self.tools
    }

    fn tool(&self, name: &str) -> Option<&Arc<Tool>> {
        self.of_tool(name).tool(name)
    }

    async fn call_tool(&self, cx: &CallContext, name: &str, args: String) -> Result<Output> {
        self.of_tool(name).call_tool(cx, name, args).await
    }

    async fn engage(&self, cx: &CallContext, faculty: &str, task: Task) -> Result<FacultyOutcome> {
        self.of_plugin(faculty).engage(cx, faculty, task).await
    }

    async fn phases(&self, faculty: &str) -> Result<Phases> {
        self.of_plugin(faculty).phases(faculty).await
    }

    async fn orient(&self, cx: &CallContext, faculty: &str, task: Task) -> Result<String> {
        self.of_plugin(faculty).orient(cx, faculty, task).await
    }

    async fn consolidate(
        &self,
        cx: &CallContext,
        faculty: &str,
        task: Task,
        outcome: FacultyOutcome,
    ) -> Result<FacultyOutcome> {
        self.of_plugin(faculty).consolidate(cx, faculty, task, outcome).await
    }

    async fn recover(&self, cx: &CallContext, faculty: &str, task: Task, failure: Failure) -> Result<Recovery> {
        self.of_plugin(faculty).recover(cx, faculty, task, failure).await
    }

    async fn run_code(&self, cx: &CallContext, interpreter: &str, by: &Authority, program: Program) -> Result<Ran> {
        self.of_plugin(interpreter).run_code(cx, interpreter, by, program).await
    }

    async fn describe_code(&self, cx: &CallContext, interpreter: &str, program: Program) -> Result<Description> {
        self.of_plugin(interpreter).describe_code(cx, interpreter, program).await
    }

    async fn test_code(
        &self,
        cx: &CallContext,
        interpreter: &str,
        by: &Authority,
        program: Program,
    ) -> Result<Vec<Tested>> {
        self.of_plugin(interpreter).test_code(cx, interpreter, by, program).await
    }

    async fn warm(&self, plugin: &str) -> Result<()> {
        self.of_plugin(plugin).warm(plugin).await
    }

    async fn hook(&self, cx: &CallContext, plugin: &str, event: &HookEvent) -> Result<Verdict> {
        self.of_plugin(plugin).hook(cx, plugin, event).await
    }

    fn awaiting(&self, tool: &str) -> Option<Denial> {
        self.of_tool(tool).awaiting(tool)
    }
}
