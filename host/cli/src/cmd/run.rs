//! `animus run`: has a faculty do a piece of work.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use animus_agent::{RunContext, RunReport};
use animus_core::{
    budget::Budget,
    grant::{Grant, Pattern},
    work::NewWork,
};
use clap::Args;
use serde_json::{Map, Value};

use super::words;
use crate::{
    config::{self, Usd},
    context::{Context, Host, expect_model},
    fault::{Exit, Fault, Result},
    hooks, interrupt, machine, serve,
    watch::Viewer,
};

#[derive(Args)]
pub(crate) struct Run {
    /// What to do, in words; `-` reads standard input
    #[arg(required = true)]
    prompt: Vec<String>,
    /// The faculty that does it [default: assistant]
    #[arg(long, env = "ANIMUS_FACULTY")]
    faculty: Option<String>,
    /// The folder that plugins with a grant for `$workspace` see [default: the current folder]
    #[arg(long, value_name = "FOLDER")]
    workspace: Option<PathBuf>,
    /// A role of the configuration, or a model of the form provider:model [default: default]
    #[arg(long, env = "ANIMUS_MODEL", value_name = "ROLE")]
    model: Option<String>,
    /// At most so many model calls
    #[arg(long, env = "ANIMUS_MAX_TURNS", value_name = "N")]
    max_turns: Option<u32>,
    /// At most so many tokens, read and written
    #[arg(long, env = "ANIMUS_BUDGET_TOKENS", value_name = "N")]
    budget_tokens: Option<u64>,
    /// At most so many US dollars
    #[arg(long, env = "ANIMUS_BUDGET_USD", value_name = "USD")]
    budget_usd: Option<Usd>,
    /// Only these tools, whatever is granted: a name or a pattern such as 'fs.*'; may be repeated
    #[arg(long = "tool", value_name = "PATTERN")]
    tools: Vec<Pattern>,
}

impl Run {
    pub(crate) async fn run(self, cx: &Context) -> Result<Exit> {
        let instruction = words(&self.prompt)?;
        if instruction.trim().is_empty() {
            return Err(Fault::usage("the prompt is empty"));
        }
        let cancel = interrupt::listen(&cx.out)?;
        let workspace = cx.workspace(self.workspace.as_deref())?;
        let config = cx.config(&workspace)?;
        let faculty = self.faculty.or(config.run.faculty.clone()).unwrap_or_else(|| "assistant".into());
        let budget = config::Budget {
            tokens: self.budget_tokens.or(config.budget.tokens),
            usd: self.budget_usd.or(config.budget.usd),
        };
        let max_turns = self.max_turns.or(config.run.max_turns);
        let model = self.model.or(config.run.model.clone());

        let host = cx.host(&config.ceiling()).await?;
        host.expect_faculty(&faculty)?;
        let faculties = serve::faculties(cx, &workspace)?;
        // A faculty that is not there is told of when the work begins.
        let route = serve::route(&faculties, &host.tenant.plugins().await?, &faculty);
        let how = route.map(|route| route.config).unwrap_or_default();
        let (models, role) = cx.router(&config, model.as_deref()).await?;
        expect_model(&models, role.as_deref())?;
        let mut params = Map::new();
        params.extend(role.map(|role| ("model".to_owned(), Value::from(role))));
        params.extend(max_turns.map(|most| ("max_turns".to_owned(), Value::from(most))));
        let tools: Option<BTreeSet<_>> = (!self.tools.is_empty()).then(|| self.tools.into_iter().collect());
        let budget = budget.allowance();
        let new = NewWork {
            // Should a server try it again, it holds no more there than here, and works in the same place.
            cap: tools.clone().map(|tool| Grant { tool, ..Grant::everything() }),
            allowance: budget,
            workspace: Some(workspace.display().to_string()),
            ..NewWork::held(faculty, "cli", instruction, Value::Object(params))
        };
        let work = host.tenant.work_submit(new).await?.work;

        let viewer = Viewer::start(&cx.out, "thinking");
        let hooks = hooks::of(cx, &*host.tenant, &config).await?;
        let run = RunContext {
            tenant: host.tenant,
            plugins: host.plugins,
            skills: Some(cx.forge(&config).await?),
            hooks,
            models: Arc::new(models),
            watcher: viewer.watcher(),
            budget: Budget::new("run", budget),
            tools,
            workspace: Some(workspace),
            host: machine::host(),
            faculty: how,
            slot: None,
            cancel,
        };
        let mut reloads = cx.registry().await?.reloads();
        let report = animus_agent::run(run, work).await;
        Host::pass_on(&mut reloads, &*viewer.watcher());
        viewer.finish(&cx.out);
        Ok(exit(report))
    }
}

/// The event `done` has already told why.
pub(super) fn exit(report: RunReport) -> Exit {
    match (report.success(), report.error) {
        (true, _) => Exit::Done,
        (false, Some(error)) => Fault::from(error).exit(),
        (false, None) => Exit::Failed,
    }
}
