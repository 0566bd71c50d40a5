//! `animus skill`: the life of a skill.

mod approve;
mod build;
mod install;
mod new;
mod show;
mod standalone;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use animus_agent::RunContext;
use animus_core::{
    Error,
    budget::Budget,
    code::Tested,
    event::Unwatched,
    skill::{MAX_FILES, MAX_FOLDER_BYTES, SKILL_FILE, SkillFiles, SkillName},
    work::NewWork,
};
use animus_runtime::skill::{Forge, Forged};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    cmd::exec::operator,
    config::Config,
    context::Context,
    fault::{During as _, Exit, Fault, Result},
    hooks, interrupt, machine,
    out::{self, BAD, GOOD, paint},
};

#[derive(Args)]
pub(crate) struct Skill {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Begin a skill in a new folder
    New(new::New),
    /// List the skills
    List(show::List),
    /// Show a skill: its text, files, versions and use
    Show(show::Show),
    /// Compile a skill's code into a plugin: a component of a few kilobytes
    Build(build::Build),
    /// Run a skill's tests in the sandbox
    Test(build::Test),
    /// Install a skill from its folder, and its tools with it
    Install(install::Install),
    /// Decide about a skill that an agent made and that waits
    Approve(approve::Approve),
    /// Remove a skill with its versions, and its plugin
    Remove(install::Remove),
}

impl Skill {
    pub(crate) async fn run(self, cx: &Context) -> Result<Exit> {
        match self.command {
            Command::New(new) => new.run(cx),
            Command::List(list) => list.run(cx).await,
            Command::Show(show) => show.run(cx).await,
            Command::Build(build) => build.run(cx).await,
            Command::Test(test) => test.run(cx).await,
            Command::Install(install) => install.run(cx).await,
            Command::Approve(approve) => approve.run(cx).await,
            Command::Remove(remove) => remove.run(cx).await,
        }
    }
}

/// The files of a skill's folder. Hidden files and `target/` are left out.
fn read(folder: &Path) -> Result<SkillFiles> {
    let folder = folder.canonicalize().during(|| format!("find {}", folder.display()))?;
    if !folder.join(SKILL_FILE).is_file() {
        return Err(Fault::from(Error::NotFound(format!("{} has no {SKILL_FILE}", folder.display())))
            .advise("begin a skill: animus skill new NAME"));
    }
    let mut files = Vec::new();
    let mut left = vec![folder.clone()];
    let mut bytes = 0;
    while let Some(at) = left.pop() {
        for entry in fs::read_dir(&at).during(|| format!("read {}", at.display()))? {
            let entry = entry.during(|| format!("read {}", at.display()))?;
            let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
            if name.starts_with('.') || name == "__pycache__" || (at == folder && name == "target") {
                continue;
            }
            // A link could lead anywhere, and what a skill holds travels with it.
            let kind = entry.file_type().during(|| format!("read {}", path.display()))?;
            if kind.is_dir() {
                left.push(path);
            } else if kind.is_file() {
                let content = fs::read(&path).during(|| format!("read {}", path.display()))?;
                bytes += content.len();
                let relative = path.strip_prefix(&folder).unwrap_or(&path).to_string_lossy().replace('\\', "/");
                files.push((relative, content));
            } else {
                return Err(Fault::invalid(format!("{} is neither a file nor a folder", path.display())));
            }
            if files.len() > MAX_FILES || bytes > MAX_FOLDER_BYTES {
                return Err(Fault::invalid(format!(
                    "{} has more than {MAX_FILES} files or {MAX_FOLDER_BYTES} bytes",
                    folder.display()
                )));
            }
        }
    }
    let files = SkillFiles::new(files)?;
    files.skill(folder.file_name().and_then(|name| name.to_str()))?;
    Ok(files)
}

/// What is done with a forge needs a focus, because tests call tools.
struct Bench {
    forge: Arc<Forge>,
    run: RunContext,
    config: Config,
}

impl Bench {
    async fn open(cx: &Context, workspace: Option<&Path>) -> Result<Self> {
        let cancel = interrupt::listen(&cx.out)?;
        let workspace = cx.workspace(workspace)?;
        let config = cx.config(&workspace)?;
        let host = cx.host(&config.ceiling()).await?;
        let (models, _) = cx.router(&config, None).await?;
        let hooks = hooks::of(cx, &*host.tenant, &config).await?;
        let run = RunContext {
            tenant: host.tenant,
            plugins: host.plugins,
            skills: None,
            hooks,
            models: Arc::new(models),
            watcher: Arc::new(Unwatched),
            budget: Budget::new("run", config.budget.allowance()),
            tools: None,
            workspace: Some(workspace),
            host: machine::host(),
            faculty: Arc::default(),
            slot: None,
            cancel,
        };
        Ok(Self { forge: cx.forge(&config).await?, run, config })
    }

    /// Makes the plugin of a skill; none where it has no code.
    async fn forge(&self, files: &SkillFiles) -> Result<Option<Forged>> {
        let by = operator(self.config.ceiling())?;
        let done = animus_agent::operate(self.run.clone(), work(files.skill(None)?.name), async |cx, plugins| {
            self.forge.forge(&cx, &*plugins, &by, files).await
        });
        Ok(done.await?)
    }
}

fn work(skill: SkillName) -> NewWork {
    NewWork::held("python", "skill", format!("make the plugin of the skill {skill}"), json!({}))
}

/// How tests went, a line each; what failed with its traceback.
fn report(tests: &[Tested]) -> String {
    let mut text = String::new();
    for test in tests {
        match &test.failure {
            None => text.push_str(&format!("  {} {}\n", paint(GOOD, "✓"), out::safe(&test.name))),
            Some(failure) => {
                let why = if failure.traceback.is_empty() { &failure.message } else { &failure.traceback };
                let why = out::safe(why.trim_end()).replace('\n', "\n      ");
                text.push_str(&format!("  {} {}\n      {why}\n", paint(BAD, "✗"), out::safe(&test.name)));
            }
        }
    }
    text
}

/// A folder, or the current one.
fn folder(path: Option<PathBuf>) -> PathBuf {
    path.unwrap_or_else(|| ".".into())
}
