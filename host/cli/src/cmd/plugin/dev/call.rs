//! The calls that are made after every reload.

use std::{path::PathBuf, str::FromStr, sync::Arc, time::Instant};

use animus_agent::RunContext;
use animus_core::{Error, budget::Budget, id::PluginName, tool::Output};
use animus_llm::Router;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::told::{Called, Told};
use crate::{
    config::Config,
    context::Context,
    fault::{Exit, Fault, Result},
    hooks, machine,
    watch::Viewer,
};

/// A tool with its arguments, as the author typed it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    /// A full name, or a name of the plugin's own.
    tool: String,
    arguments: Map<String, Value>,
}

impl FromStr for Call {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tool, arguments) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), "{}"));
        if tool.is_empty() {
            return Err("it names no tool; write 'TOOL' or 'TOOL {\"some\": \"arguments\"}'".into());
        }
        let arguments = serde_json::from_str(arguments.trim())
            .map_err(|e| format!("the arguments of '{tool}' are not a JSON object: {e}"))?;
        Ok(Self { tool: tool.to_owned(), arguments })
    }
}

/// All calls, and what they run with.
pub(super) struct Calls<'a> {
    cx: &'a Context,
    calls: Vec<Call>,
    config: Config,
    workspace: PathBuf,
    cancel: CancellationToken,
    /// Found at the first call: to find one may ask the network.
    models: Option<Arc<Router>>,
}

impl<'a> Calls<'a> {
    pub(super) fn new(
        cx: &'a Context,
        calls: Vec<Call>,
        config: Config,
        workspace: PathBuf,
        cancel: CancellationToken,
    ) -> Self {
        Self { cx, calls, config, workspace, cancel, models: None }
    }

    /// Makes the calls one after another, each with the newest plugins: all of them, or those of `plugin`. Returns the
    /// exit code of the first that failed.
    pub(super) async fn make(&mut self, told: &Told<'_>, plugin: &PluginName, all: bool) -> Exit {
        let mut exit = Exit::Done;
        for Call { tool, arguments } in self.calls.clone() {
            let tool = if tool.contains('.') { tool } else { format!("{plugin}.{tool}") };
            let of_it = tool.split_once('.').is_some_and(|(of, _)| of == plugin.as_str());
            if self.cancel.is_cancelled() || !(all || of_it) {
                continue;
            }
            let begun = Instant::now();
            let output = self.call(&tool, arguments).await;
            let failed = match &output {
                Ok((_, output)) if output.is_error => Exit::Failed,
                Ok(_) => Exit::Done,
                Err(error) => Fault::from(error.clone()).exit(),
            };
            exit = if exit == Exit::Done { failed } else { exit };
            told.called(&Called::new(tool, output, begun.elapsed()));
        }
        exit
    }

    /// The generation that answered, and its answer. What the plugin says meanwhile is shown as it comes.
    async fn call(&mut self, tool: &str, arguments: Map<String, Value>) -> Result<(Option<u64>, Output), Error> {
        let host = self.cx.host(&self.config.ceiling()).await.map_err(Fault::into_error)?;
        host.expect_tool(tool).map_err(Fault::into_error)?;
        let models = match &self.models {
            Some(models) => models.clone(),
            None => {
                let (models, _) = self.cx.router(&self.config, None).await.map_err(Fault::into_error)?;
                self.models.insert(Arc::new(models)).clone()
            }
        };
        let generation = host.generation_of(tool);
        let hooks = hooks::of(self.cx, &*host.tenant, &self.config).await.map_err(Fault::into_error)?;
        let viewer = Viewer::start(&self.cx.out, tool);
        let run = RunContext {
            tenant: host.tenant,
            plugins: host.plugins,
            skills: None,
            hooks,
            models,
            watcher: viewer.watcher(),
            budget: Budget::new("run", self.config.budget.allowance()),
            tools: None,
            workspace: Some(self.workspace.clone()),
            host: machine::host(),
            faculty: Arc::default(),
            slot: None,
            cancel: self.cancel.clone(),
        };
        let report = animus_agent::call_tool(run, tool, Value::Object(arguments).to_string()).await;
        viewer.finish(&self.cx.out);
        Ok((generation, report?.output?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_a_tool_and_an_object() {
        let call = |text: &str| text.parse::<Call>().map(|call| (call.tool, Value::Object(call.arguments).to_string()));
        assert_eq!(call("greet"), Ok(("greet".into(), "{}".into())));
        assert_eq!(call(" a.greet\t {\"name\": \"Ada\"} "), Ok(("a.greet".into(), "{\"name\":\"Ada\"}".into())));
        assert!(call("").unwrap_err().contains("names no tool"));
        assert!(call("greet [1]").unwrap_err().contains("'greet' are not a JSON object"));
        assert!(call("greet Ada").is_err());
    }
}
