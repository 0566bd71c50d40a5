//! `animus exec`: has an interpreter run a program, as the operator.

use std::{collections::BTreeSet, fs, path::PathBuf, sync::Arc};

use animus_agent::{RunContext, Script};
use animus_core::{
    Error,
    authority::Authority,
    budget::{Amount, Budget},
    code::{Failure, MAX_SOURCE, Program, Ran},
    event::Unwatched,
    grant::{Grant, Pattern},
    id::{FocusId, PluginName, WorkId},
    limits::{Limits, SomeLimits},
    plugins::PluginSet as _,
};
use clap::Args;
use serde::Serialize;

use super::{OPERATOR, words};
use crate::{
    context::Context,
    fault::{During as _, Exit, Fault, Result},
    hooks, interrupt, machine,
    out::{self, BAD, paint},
    watch::{Spinner, Viewer},
};

#[derive(Args)]
pub(crate) struct Exec {
    /// The program's file; `-` reads standard input
    file: PathBuf,
    /// What the program gets as `args`, a JSON object
    #[arg(long, default_value = "{}", value_name = "JSON")]
    args: String,
    /// The folder that plugins with a grant for `$workspace` see [default: the current folder]
    #[arg(long, value_name = "FOLDER")]
    workspace: Option<PathBuf>,
    /// The longest that it may take, in seconds [default: the interpreter's limit]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: Option<u64>,
    /// Only these tools, whatever is granted: a name or a pattern such as 'fs.*'; may be repeated
    #[arg(long = "tool", value_name = "PATTERN")]
    tools: Vec<Pattern>,
    /// The interpreter plugin
    #[arg(long, default_value = "python", value_name = "PLUGIN")]
    interpreter: PluginName,
}

#[derive(Serialize)]
struct Executed {
    work: WorkId,
    focus: FocusId,
    #[serde(flatten)]
    ran: Ran,
    /// As in every failed command's object; left out when the program ended well.
    #[serde(flatten)]
    fault: Option<serde_json::Value>,
    spent: Amount,
}

impl Exec {
    pub(crate) async fn run(self, cx: &Context) -> Result<Exit> {
        let program = self.program()?;
        let cancel = interrupt::listen(&cx.out)?;
        let workspace = cx.workspace(self.workspace.as_deref())?;
        let config = cx.config(&workspace)?;
        let ceiling = config.ceiling();
        let host = cx.host(&ceiling).await?;
        let interpreter = self.interpreter.as_str();
        let Some(plugin) = host.plugins.plugin(interpreter).filter(|plugin| plugin.is_interpreter) else {
            let none = Error::NotFound(format!("there is no interpreter '{interpreter}'"));
            return Err(Fault::from(none).advise("see which are: animus plugin list"));
        };
        if !cx.registry().await?.is_compiled(&plugin.digest) {
            let _spinner = Spinner::start(&cx.out, &format!("compiling the interpreter {interpreter}, once"));
            host.plugins.compile(interpreter).await?;
        }
        let (models, _) = cx.router(&config, None).await?;
        let viewer = (!cx.out.is_json()).then(|| Viewer::start(&cx.out, "running"));
        let hooks = hooks::of(cx, &*host.tenant, &config).await?;
        let run = RunContext {
            tenant: host.tenant,
            plugins: host.plugins,
            skills: None,
            hooks,
            models: Arc::new(models),
            watcher: viewer.as_ref().map_or_else(|| Arc::new(Unwatched), Viewer::watcher),
            budget: Budget::new("run", config.budget.allowance()),
            tools: (!self.tools.is_empty()).then(|| self.tools.into_iter().collect()),
            workspace: Some(workspace),
            host: machine::host(),
            faculty: Arc::default(),
            slot: None,
            cancel,
        };
        let script = Script {
            interpreter: interpreter.to_owned(),
            program,
            authority: operator(ceiling)?,
            wall_ms: self.timeout.map(|seconds| seconds.saturating_mul(1_000)),
        };
        let report = animus_agent::run_script(run, script).await;
        if let Some(viewer) = viewer {
            viewer.finish(&cx.out);
        }
        let report = report?;
        let ran = report.ran?;
        let fault = ran.failure.as_ref().map(fault);
        let exit = fault.as_ref().map_or(Exit::Done, Fault::exit);
        let fault = fault.map(|fault| fault.to_json()).transpose()?;
        let executed = Executed { work: report.work, focus: report.focus, ran, fault, spent: report.spent };
        if cx.out.is_json() {
            cx.out.object(&executed);
        } else {
            show(cx, &executed.ran);
        }
        Ok(exit)
    }

    fn program(&self) -> Result<Program> {
        let (name, source) = if self.file.as_os_str() == "-" {
            ("<stdin>".to_owned(), words(&["-".to_owned()])?)
        } else {
            let shown = self.file.display().to_string();
            let size = fs::metadata(&self.file).during(|| format!("read {shown}"))?.len();
            if size > MAX_SOURCE as u64 {
                return Err(Fault::usage(format!("{shown} has {size} bytes; at most {MAX_SOURCE} are run")));
            }
            let source = fs::read_to_string(&self.file).during(|| format!("read {shown}"))?;
            (shown, source)
        };
        let program = Program { args: self.args.clone(), ..Program::body(name, source) };
        program.check().map_err(|error| Fault::usage(error.to_string()))?;
        Ok(program)
    }
}

/// What the operator's programs may reach: everything that plugins offer, within the ceiling. Folders and hosts are
/// reached through tools, under their plugins' grants.
pub(super) fn operator(ceiling: Grant) -> Result<Authority> {
    // Of the limits, those of the interpreter count.
    let limits = SomeLimits::all(Limits::unlimited());
    let all = Grant { http: None, paths: BTreeSet::new(), limits, ..Grant::everything() };
    Ok(Authority::new(PluginName::new(OPERATOR)?, all.clone(), all, ceiling))
}

/// What the program's failure is for the one who ran it: the refusal or limit behind it, or the exception.
fn fault(failure: &Failure) -> Fault {
    match &failure.cause {
        Some(cause) => cause.clone().into(),
        None => Fault::invalid(format!("{}: {}", failure.kind, failure.message)),
    }
}

/// The value alone goes to standard output; what was written on the way stands beside it.
fn show(cx: &Context, ran: &Ran) {
    for stream in [&ran.stdout, &ran.stderr] {
        if !stream.is_empty() {
            cx.out.note(out::safe(stream.trim_end_matches('\n')));
        }
    }
    match &ran.failure {
        None if ran.text.is_empty() => {}
        None => cx.out.line(out::safe(&ran.text)),
        Some(failure) => {
            if !failure.traceback.is_empty() {
                cx.out.note(out::safe(failure.traceback.trim_end()));
            }
            match &failure.cause {
                Some(cause) => drop(Fault::from(cause.clone()).report(&cx.out)),
                None if failure.traceback.is_empty() => {
                    let what = format!("{}: {}", failure.kind, failure.message);
                    cx.out.note(format_args!("{} {}", paint(BAD, "error:"), out::safe(&what)));
                }
                None => {}
            }
        }
    }
}
