//! `animus skill approve`.

use std::collections::BTreeSet;

use animus_core::{
    code::Tested,
    skill::{Decision, SkillFiles, SkillName, SkillRecord, SkillState},
    store::Tenant,
};
use clap::Args;
use serde::Serialize;
use similar::TextDiff;

use super::{Bench, report, work};
use crate::{
    cmd::{OPERATOR, exec::operator, plugin::written},
    context::Context,
    fault::{During as _, Exit, Fault, Result},
    out::{self, BAD, BOLD, GOOD, paint},
    watch::Spinner,
};

#[derive(Args)]
pub(crate) struct Approve {
    /// The skill
    name: SkillName,
    /// Another version than the oldest that waits
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// Approve without being asked
    #[arg(long, conflicts_with = "reject")]
    yes: bool,
    /// Reject it
    #[arg(long)]
    reject: bool,
    /// Why, for the record
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
}

#[derive(Serialize)]
struct Decided {
    skill: SkillName,
    version: u64,
    state: SkillState,
    /// What its code may reach from now on, in written form.
    granted: Vec<String>,
    tools: Vec<String>,
}

impl Approve {
    pub(super) async fn run(self, cx: &Context) -> Result<Exit> {
        let bench = Bench::open(cx, None).await?;
        let tenant = &*bench.run.tenant;
        let waiting = self.waiting(tenant).await?;
        if !self.reject && !self.yes {
            let known = tenant.skills().await?.into_iter().find(|record| record.name == self.name);
            cx.out.note(shown(&waiting, known.as_ref().map(|record| &record.files)).trim_end());
            if cx.out.is_json() || !out::is_interactive() {
                return Err(Fault::usage("nobody can be asked here").advise("decide with --yes or --reject"));
            }
            if !out::confirm("approve it?").during(|| "ask".into())? {
                return Err(Fault::usage("nothing was decided").advise("to reject it: --reject"));
            }
        }
        let decided = if self.reject {
            let (name, version) = (&self.name, waiting.version);
            let record = tenant.skill_decide(OPERATOR, name, version, Decision::Reject, &self.reason).await?;
            Decided { skill: record.name, version, state: record.state, granted: Vec::new(), tools: Vec::new() }
        } else {
            self.approve(cx, &bench, &waiting).await?
        };
        cx.out.show(&decided, |decided| {
            let (style, word) =
                if decided.state == SkillState::Active { (GOOD, "approved") } else { (BAD, "rejected") };
            let tools = decided.tools.iter().map(|tool| format!("  · {}\n", out::safe(tool))).collect::<String>();
            format!("{} {} (version {})\n{tools}", paint(style, word), decided.skill, decided.version)
        });
        Ok(Exit::Done)
    }

    async fn waiting(&self, tenant: &dyn Tenant) -> Result<SkillRecord> {
        let all = tenant.skill_pending().await?;
        let is = |record: &&SkillRecord| {
            record.name == self.name && self.version.is_none_or(|version| version == record.version)
        };
        all.iter().find(is).cloned().ok_or_else(|| {
            let names: BTreeSet<_> = all.iter().map(|record| record.name.as_str()).collect();
            let advice = match names.len() {
                0 => "no skill waits for approval".to_owned(),
                _ => format!("these wait: {}", names.into_iter().collect::<Vec<_>>().join(", ")),
            };
            let none = animus_core::Error::NotFound(format!("no version of '{}' waits for approval", self.name));
            Fault::from(none).advise(advice)
        })
    }

    async fn approve(&self, cx: &Context, bench: &Bench, waiting: &SkillRecord) -> Result<Decided> {
        let by = operator(bench.config.ceiling())?;
        let _spinner = Spinner::start(&cx.out, "testing and compiling");
        let done = animus_agent::operate(bench.run.clone(), work(waiting.name.clone()), async |cx, plugins| {
            bench.forge.approve(&cx, &*plugins, &by, OPERATOR, waiting, &self.reason).await
        });
        let (record, plugin) = done.await?;
        let granted = plugin.as_ref().and_then(|plugin| plugin.granted.as_ref()).map(written).unwrap_or_default();
        let tools = plugin.map(|plugin| plugin.tools.into_iter().map(|tool| tool.name).collect()).unwrap_or_default();
        Ok(Decided { skill: record.name, version: record.version, state: record.state, granted, tools })
    }
}

/// What an operator reads before deciding: where it comes from, what it would be granted, tests, and every change.
fn shown(waiting: &SkillRecord, known: Option<&SkillFiles>) -> String {
    let report_of = |key: &str| waiting.report.as_ref().and_then(|report| report.get(key).cloned());
    let mut text =
        format!("{} version {}, made by {}\n", paint(BOLD, &waiting.name), waiting.version, waiting.created_by);
    if let Some(work) = &waiting.origin.work {
        text.push_str(&format!("made during work {work}: animus ledger show {work}\n"));
    }
    for finding in &waiting.origin.findings {
        text.push_str(&format!("  from: {}\n", out::safe(finding)));
    }
    let grant = report_of("grant").and_then(|grant| serde_json::from_value(grant).ok());
    for capability in grant.as_ref().map(written).unwrap_or_default() {
        text.push_str(&format!("  may use: {}\n", out::safe(&capability)));
    }
    let tests = report_of("tests").and_then(|tests| serde_json::from_value::<Vec<Tested>>(tests).ok());
    if let Some(tests) = tests.filter(|tests| !tests.is_empty()) {
        text.push_str("tests, as its maker ran them:\n");
        text.push_str(&report(&tests));
    }
    let none = |path: &str, files: Option<&SkillFiles>| {
        files.and_then(|files| files.get(path)).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    let paths: BTreeSet<String> = known
        .into_iter()
        .flat_map(SkillFiles::iter)
        .chain(waiting.files.iter())
        .map(|(path, _)| path.to_owned())
        .collect();
    for path in paths {
        let (old, new) = (none(&path, known), none(&path, Some(&waiting.files)));
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        if old == new {
            continue;
        }
        let diff = TextDiff::from_lines(&old, &new);
        let unified =
            diff.unified_diff().context_radius(3).header(&format!("a/{path}"), &format!("b/{path}")).to_string();
        for line in out::safe(&unified).lines() {
            let line = match line.chars().next() {
                Some('+') => paint(GOOD, line),
                Some('-') => paint(BAD, line),
                _ => line.to_owned(),
            };
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}
