//! `animus skill list` and `animus skill show`.

use animus_core::{
    id::Digest,
    skill::{Approvals, Author, SKILL_FILE, SkillName, SkillOrigin, SkillRecord, SkillState},
    store::Tenant,
};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::{
    context::Context,
    fault::{Exit, Fault, Result},
    out::{self, BOLD, DIM, GOOD, Table, WARN, plain},
};

#[derive(Args)]
pub(crate) struct List {
    /// Only those that wait for approval
    #[arg(long)]
    pending: bool,
}

#[derive(Args)]
pub(crate) struct Show {
    /// The skill
    name: SkillName,
    /// Another version than the active one
    #[arg(long, value_name = "N")]
    version: Option<u64>,
}

#[derive(Serialize)]
struct Listed {
    skills: Vec<Row>,
    /// What became of the skills that agents made.
    approvals: Decided,
}

#[derive(Serialize)]
struct Decided {
    #[serde(flatten)]
    counts: Approvals,
    /// Approved of all that were decided by an operator; none while there is none.
    ratio: Option<f64>,
}

#[derive(Serialize)]
struct Row {
    name: SkillName,
    version: u64,
    state: SkillState,
    description: String,
    created_by: Author,
    auto_activate: bool,
    /// Whether its code became a plugin.
    has_tools: bool,
    activations: u64,
    last_activated_ms: Option<u64>,
}

#[derive(Serialize)]
struct Shown {
    name: SkillName,
    version: u64,
    state: SkillState,
    digest: Digest,
    created_by: Author,
    origin: SkillOrigin,
    plugin_generation: Option<u64>,
    report: Option<Value>,
    reason: Option<String>,
    at_ms: u64,
    files: Vec<File>,
    /// The text of its SKILL.md.
    text: String,
    versions: Vec<Version>,
}

#[derive(Serialize)]
struct File {
    path: String,
    bytes: usize,
}

#[derive(Serialize)]
struct Version {
    version: u64,
    state: SkillState,
    created_by: Author,
    at_ms: u64,
}

impl List {
    pub(super) async fn run(self, cx: &Context) -> Result<Exit> {
        let tenant = cx.seeded().await?;
        let mut records = if self.pending { Vec::new() } else { tenant.skills().await? };
        records.extend(tenant.skill_pending().await?);
        let mut skills = Vec::with_capacity(records.len());
        for record in records {
            skills.push(row(&*tenant, record).await?);
        }
        let counts = tenant.skill_approvals().await?;
        let approvals = Decided { ratio: counts.ratio(), counts };
        cx.out.show(&Listed { skills, approvals }, table);
        Ok(Exit::Done)
    }
}

async fn row(tenant: &dyn Tenant, record: SkillRecord) -> Result<Row> {
    let used = tenant.skill_activations(&record.name).await?;
    let line = record.files.skill(None)?.line();
    Ok(Row {
        name: record.name,
        version: record.version,
        state: record.state,
        description: line.description,
        created_by: record.created_by,
        auto_activate: line.auto_activate,
        has_tools: record.plugin_generation.is_some(),
        activations: used.count,
        last_activated_ms: used.last_ms,
    })
}

fn word(state: SkillState) -> (anstyle::Style, String) {
    match state {
        SkillState::Active => (GOOD, "active".to_owned()),
        SkillState::Pending => (WARN, "pending".to_owned()),
        SkillState::Rejected => (DIM, "rejected".to_owned()),
        SkillState::Retired => (DIM, "retired".to_owned()),
    }
}

fn table(listed: &Listed) -> String {
    if listed.skills.is_empty() {
        return "no skills; to make one: animus skill new NAME".to_owned();
    }
    let mut table = Table::new(["SKILL", "VERSION", "STATE", "BY", "USED", "DESCRIPTION"]);
    for row in &listed.skills {
        table.row([
            (BOLD, row.name.to_string()),
            plain(row.version),
            word(row.state),
            plain(row.created_by),
            plain(row.activations),
            plain(out::short(&row.description, 80)),
        ]);
    }
    let mut text = table.to_string();
    if let Some(ratio) = listed.approvals.ratio {
        text.push_str(&format!("\n{:.0} % of what agents proposed was approved\n", ratio * 100.0));
    }
    if listed.skills.iter().any(|row| row.state == SkillState::Pending) {
        text.push_str("\nto decide about one that is pending: animus skill approve NAME\n");
    }
    text
}

impl Show {
    pub(super) async fn run(self, cx: &Context) -> Result<Exit> {
        let tenant = cx.seeded().await?;
        let versions = tenant.skill_versions(&self.name).await?;
        // One that only waits has no active version.
        let newest = versions.first().map(|record| record.version);
        let has_active = versions.iter().any(|record| record.state == SkillState::Active);
        let wanted = self.version.or(if has_active { None } else { newest });
        let record = tenant
            .skill(&self.name, wanted)
            .await
            .map_err(|error| Fault::from(error).advise("see which there are: animus skill list"))?;
        let text = record.files.get(SKILL_FILE).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let shown = Shown {
            name: record.name,
            version: record.version,
            state: record.state,
            digest: record.digest,
            created_by: record.created_by,
            origin: record.origin,
            plugin_generation: record.plugin_generation,
            report: record.report,
            reason: record.reason,
            at_ms: record.at_ms,
            files: record
                .files
                .iter()
                .map(|(path, bytes)| File { path: path.to_owned(), bytes: bytes.len() })
                .collect(),
            text: text.unwrap_or_default(),
            versions: versions
                .into_iter()
                .map(|v| Version { version: v.version, state: v.state, created_by: v.created_by, at_ms: v.at_ms })
                .collect(),
        };
        cx.out.show(&shown, text_of);
        Ok(Exit::Done)
    }
}

fn text_of(shown: &Shown) -> String {
    let (style, state) = word(shown.state);
    let mut text = format!(
        "{} version {} · {} · made by {}\n",
        out::paint(BOLD, &shown.name),
        shown.version,
        out::paint(style, state),
        shown.created_by
    );
    if let Some(work) = &shown.origin.work {
        text.push_str(&format!("made during work {work}\n"));
    }
    for finding in &shown.origin.findings {
        text.push_str(&format!("  from: {}\n", out::safe(finding)));
    }
    for file in &shown.files {
        text.push_str(&format!("  {} ({} bytes)\n", out::safe(&file.path), file.bytes));
    }
    text.push('\n');
    text.push_str(&out::safe(&shown.text));
    text
}
