//! From a skill's source to its first answer as a plugin, against a component built by componentize-py.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use animus_core::{
    authority::Authority,
    grant::Grant,
    id::PluginName,
    services::Services as _,
    skill::{Rules, SkillFiles},
    store::NewGeneration,
};
use animus_runtime::{Prepared, skill::Forge};
use anyhow::{Context as _, Result, ensure};
use tempfile::tempdir;

use crate::{
    fixture::{Host, target},
    measure::Samples,
    table::{Row, time},
};

const SKILLS: usize = 50;
const ARGS: &str = r#"{"text":"one two three"}"#;
const CALLS_FOR: &str = "3";

/// The code of the skill, and of the plugin that it is measured against. Each has bytes of its own.
fn code(decorator: &str, number: u128) -> String {
    format!(
        "{decorator}def count_words(text: str) -> int:\n    \"\"\"Counts the words of a text. No {number}.\n\n    \
         Args:\n        text: The text.\n    \"\"\"\n    return len(text.split())\n"
    )
}

pub(crate) async fn measure(host: &Host) -> Result<Vec<Row>> {
    let mut ours = Vec::new();
    for number in 0..SKILLS {
        let took = forged(host, number).await?;
        // The first has the interpreter compiled and its instances made.
        if number > 0 {
            ours.push(took);
        }
    }
    let ours = Samples::new(ours);
    let theirs = componentized(host).await?;
    let ratio = theirs.as_secs_f64() / ours.p50().as_secs_f64();
    Ok(vec![Row {
        id: "skill",
        figure:
            "skill source → its first answer as a new plugin: componentize-py, compile, call (once) / ours (more is \
                 better)"
                .into(),
        ours: format!("{} / {}", time(ours.p50()), time(ours.p99())),
        baseline: time(theirs),
        ratio,
        target: "≥ 100".into(),
        met: ratio >= 100.0,
    }])
}

/// A skill that was not there before: describe, compile, try, install, refresh, call.
async fn forged(host: &Host, number: usize) -> Result<Duration> {
    let everything = Grant::everything();
    let by = Authority::new(PluginName::new("caller")?, everything.clone(), everything.clone(), everything.clone());
    let rules = Rules::default();
    let (focus, _) = host.caller()?;
    let cx = focus.call_context(0, None, tokio_util::sync::CancellationToken::new());
    let skill = format!("---\nname: words-{number}\ndescription: Counts the words of a text.\n---\nCount words.\n");
    let begun = Instant::now();
    let files = SkillFiles::new([
        ("SKILL.md".to_owned(), skill.into_bytes()),
        ("scripts/tools.py".to_owned(), code("", number as u128).into_bytes()),
    ])?;
    let forge = Forge::new(host.registry.clone(), host.tenant.clone(), everything.clone(), rules);
    let forged = forge.forge(&cx, &*host.plugins, &by, &files).await?.context("the skill has code")?;
    let plugin = forge.generation(&forged, Some(forged.grant.clone())).await?;
    host.tenant.plugin_install("bench", plugin).await?;
    answer(host, &format!("words-{number}.count_words")).await?;
    Ok(begun.elapsed())
}

/// The first call, in a snapshot that has the plugin.
async fn answer(host: &Host, tool: &str) -> Result<()> {
    let with = host.refreshed().await?;
    let (focus, by) = with.caller()?;
    let text = focus.tool_call(&by, tool, ARGS.into()).await?.text;
    ensure!(text == CALLS_FOR, "'{tool}' answered '{text}'");
    Ok(())
}

/// The same as a component of its own, by the build of `sdk-python`, in which nothing is kept from an earlier build but
/// the tools themselves.
async fn componentized(host: &Host) -> Result<Duration> {
    let number = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let folder = tempdir()?;
    let manifest =
        "[plugin]\nname = \"baseline\"\nversion = \"0.1.0\"\ndescription = \"Counts words\"\nwit = \"0.1\"\n";
    fs::write(folder.path().join("plugin.toml"), manifest)?;
    let source = format!("from animus import tool\n\n\n{}", code("@tool(read_only=True)\n", number));
    fs::write(folder.path().join("app.py"), source)?;
    let out = folder.path().join("out.wasm");
    let builder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk-python/build");
    let begun = Instant::now();
    let status = Command::new("python3")
        .arg(builder)
        .arg(folder.path())
        .arg("--target")
        .arg(target().join("python"))
        .arg("--out")
        .arg(&out)
        .status()
        .context("could not start python3")?;
    ensure!(status.success(), "the baseline does not build ({status})");
    let wasm: Arc<[u8]> = animus_core::package::embed(&fs::read(&out)?, manifest)?.into();
    let Prepared { inspection, tools } = host.registry.prepare(wasm.clone()).await?;
    let new = NewGeneration {
        name: inspection.manifest.name,
        wasm,
        version: inspection.manifest.version.to_string(),
        manifest: inspection.manifest_text,
        source: "bench".into(),
        tools,
        is_faculty: false,
        is_interpreter: false,
        is_hook: false,
        grant: Some(Grant::default()),
    };
    host.tenant.plugin_install("bench", new).await?;
    answer(host, "baseline.count_words").await?;
    Ok(begun.elapsed())
}
