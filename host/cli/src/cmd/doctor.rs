//! `animus doctor`: checks everything, and says how to mend what is broken.

use animus_core::{
    Error,
    llm::Models as _,
    store::{Plugin, PluginState, Tenant},
};
use animus_llm::{NO_MODEL, Probe, ProbeState};
use clap::Args;
use serde::Serialize;

use crate::{
    context::{Context, has_models},
    fault::{Exit, Result},
    machine,
    out::{self, BAD, BOLD, GOOD, WARN, paint},
    watch::Spinner,
};

#[derive(Args)]
pub(crate) struct Doctor {}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// Works, and yet something is worth doing.
    Warn,
    Broken,
}

#[derive(Serialize)]
struct Check {
    /// What was checked: `home`, `store`, `audit`, `engine`, `plugin:NAME`, `model:MODEL`, …
    name: String,
    level: Level,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

#[derive(Serialize)]
struct Report {
    healthy: bool,
    checks: Vec<Check>,
}

impl Report {
    fn add(&mut self, name: impl Into<String>, level: Level, detail: impl Into<String>, mend: Option<String>) {
        self.healthy &= level != Level::Broken;
        self.checks.push(Check { name: name.into(), level, detail: detail.into(), mend });
    }

    fn good(&mut self, name: impl Into<String>, detail: impl Into<String>) {
        self.add(name, Level::Ok, detail, None);
    }

    fn broken(&mut self, name: impl Into<String>, error: impl std::fmt::Display, mend: impl Into<String>) {
        self.add(name, Level::Broken, error.to_string(), Some(mend.into()));
    }
}

impl Doctor {
    pub(crate) async fn run(self, cx: &Context) -> Result<Exit> {
        let mut report = Report { healthy: true, checks: Vec::new() };
        let spinner = Spinner::start(&cx.out, "checking");
        home(cx, &mut report);
        // Each step needs the one before; what fails is told, and what needs it is left out.
        match cx.tenant().await {
            Err(fault) => report.broken(
                "store",
                fault,
                format!(
                    "see docs/operators-guide.md; check DATABASE_URL and [store] in animus.toml, or move {} away",
                    cx.home.path().display()
                ),
            ),
            Ok(tenant) => {
                store(cx, &*tenant, &mut report).await?;
                if engine(cx, &mut report).await {
                    plugins(cx, &*tenant, &mut report).await?;
                }
                models(cx, &mut report).await;
            }
        }
        drop(spinner);
        cx.out.show(&report, text);
        Ok(if report.healthy { Exit::Done } else { Exit::Failed })
    }
}

fn home(cx: &Context, report: &mut Report) {
    let exposed = cx.home.exposed();
    for (path, command) in &exposed {
        report.broken("home", format_args!("others may enter or read {}", path.display()), command);
    }
    if exposed.is_empty() {
        report.good("home", format!("{} is this user's alone", cx.home.path().display()));
    }
}

async fn store(cx: &Context, tenant: &dyn Tenant, report: &mut Report) -> Result {
    match cx.store().await?.check().await {
        Ok(health) => {
            report.good("store", format!("{} at {}, schema {}", health.backend, health.location, health.schema));
        }
        Err(error) => report.broken("store", error, "put a backup in its place"),
    }
    match tenant.audit_verify().await {
        Ok(verdict) => match verdict.broken {
            None => report.good("audit", format!("{} entries, chain intact", verdict.entries)),
            Some((seq, why)) => {
                report.broken(
                    "audit",
                    format_args!("entry {seq}: {why}"),
                    "compare the log with a backup: animus audit show",
                );
            }
        },
        Err(error) => report.broken("audit", error, "put a backup of the store in its place"),
    }
    for work in tenant.focus_recover(&machine::name(), &machine::is_alive).await? {
        report.add(
            "work",
            Level::Warn,
            format!("the process that ran {work} is gone; it is now marked as failed"),
            None,
        );
    }
    let running = tenant.work_counts().await?.by_state.get("running").copied().unwrap_or_default();
    report.good("work", format!("{running} under way"));
    Ok(())
}

async fn engine(cx: &Context, report: &mut Report) -> bool {
    match cx.registry().await {
        Ok(_) => {
            report.good("engine", format!("starts; compiled plugins are kept in {}", cx.home.artifacts().display()));
            true
        }
        Err(fault) => {
            report.broken("engine", fault, format!("chmod 700 {}", cx.home.artifacts().display()));
            false
        }
    }
}

async fn plugins(cx: &Context, tenant: &dyn Tenant, report: &mut Report) -> Result {
    if let Err(fault) = cx.seeded().await {
        report.broken("plugins", fault, "install animus again");
    }
    for plugin in tenant.plugins().await? {
        let name = format!("plugin:{}", plugin.name);
        let again = format!("animus plugin upgrade {} SOURCE", plugin.name);
        let bytes = match tenant.artifact(&plugin.digest).await {
            Ok(bytes) => bytes,
            Err(error) => {
                report.broken(name, error, again);
                continue;
            }
        };
        match animus_runtime::inspect(&bytes) {
            Err(problems) => report.broken(name, Error::from(problems), again),
            Ok(_) if plugin.state == PluginState::AwaitingGrant => report.add(
                name,
                Level::Warn,
                awaits(&plugin),
                Some(format!("animus plugin grant {} --requested", plugin.name)),
            ),
            Ok(_) => report.good(name, format!("version {}, generation {}", plugin.version, plugin.generation)),
        }
    }
    Ok(())
}

/// What a plugin that awaits its grant does not do meanwhile.
fn awaits(plugin: &Plugin) -> String {
    let what = if plugin.is_hook && plugin.tools.is_empty() {
        "it watches nothing"
    } else if plugin.is_faculty && plugin.tools.is_empty() {
        "it is given no work"
    } else {
        "its tools are not offered"
    };
    format!("awaits a grant, so {what}")
}

async fn models(cx: &Context, report: &mut Report) {
    let config = match cx.workspace(None).and_then(|folder| cx.config(&folder)) {
        Ok(config) => config,
        Err(fault) => return report.broken("configuration", fault, "mend the file, then look again"),
    };
    let router = match cx.router(&config, None).await {
        Ok((router, _)) => router,
        Err(fault) => return report.broken("models", fault, "mend [llm] in animus.toml"),
    };
    let roles = router.roles();
    if !has_models(&router) {
        let detail = "no model is configured, and none was found";
        report.add("models", Level::Warn, detail, Some(NO_MODEL.to_owned()));
    }
    let mut seen = Vec::new();
    for role in roles {
        match router.probe(&role).await {
            Ok(probes) => {
                for Probe { model, state } in probes {
                    if !seen.contains(&model) {
                        probed(report, &model, state);
                        seen.push(model);
                    }
                }
            }
            Err(error) => report.broken(format!("model:{role}"), error, "mend [llm] in animus.toml"),
        }
    }
}

fn probed(report: &mut Report, model: &str, state: ProbeState) {
    let name = format!("model:{model}");
    let vendor = model.split(':').next().unwrap_or(model);
    match state {
        ProbeState::Ready => report.good(name, "ready"),
        ProbeState::Key(why) => report.broken(name, why, format!("animus secret set {vendor}")),
        ProbeState::Unreachable(why) => report.broken(name, why, "check the network, and base_url in animus.toml"),
        ProbeState::NoModel(why) => report.broken(name, why, "name another model in [llm.roles] of animus.toml"),
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for Check { name, level, detail, mend } in &report.checks {
        let mark = match level {
            Level::Ok => paint(GOOD, "✓"),
            Level::Warn => paint(WARN, "!"),
            Level::Broken => paint(BAD, "✗"),
        };
        text.push_str(&format!("{mark} {}: {}\n", paint(BOLD, out::safe(name)), out::safe(detail)));
        if let Some(mend) = mend {
            text.push_str(&format!("  to mend it: {}\n", out::safe(mend)));
        }
    }
    text.push_str(if report.healthy { "all is well\n" } else { "something is broken\n" });
    text
}
