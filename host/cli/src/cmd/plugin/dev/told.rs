//! What the author reads: on a terminal, or as one JSON object a line.

use std::{path::Path, time::Duration};

use animus_core::{
    Error,
    event::{Event, Reload},
    id::PluginName,
    manifest::Manifest,
    store::Plugin,
    tool::Output,
};
use animus_runtime::reload::Reloaded;
use serde::Serialize;

use super::super::{beyond, lines, written};
use crate::{
    fault::Result,
    out::{self, BAD, BOLD, DIM, GOOD, Out, WARN, paint},
};

/// One line of `--json`; `docs/cli.md` describes them.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Watching {
        path: &'a Path,
    },
    Building,
    Reload {
        kind: Reload,
        source: &'a str,
        plugin: Option<&'a PluginName>,
        version: Option<&'a str>,
        generation: Option<u64>,
        tools: &'a Changes,
        request: &'a Changes,
        lacking: &'a [String],
        notes: &'a [String],
        error: Option<&'a Error>,
        build_ms: Option<u64>,
        elapsed_ms: u64,
    },
    Call(&'a Called),
}

/// What there is now, and what of it is new, gone or different since the generation before.
#[derive(Serialize)]
struct Changes {
    now: Vec<String>,
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
}

/// What came of a call.
#[derive(Serialize)]
pub(super) struct Called {
    tool: String,
    /// The generation that answered.
    generation: Option<u64>,
    output: Option<Output>,
    error: Option<Error>,
    elapsed_ms: u64,
}

impl Called {
    pub(super) fn new(tool: String, called: Result<(Option<u64>, Output), Error>, elapsed: Duration) -> Self {
        let (generation, output, error) = match called {
            Ok((generation, output)) => (generation, Some(output), None),
            Err(error) => (None, None, Some(error)),
        };
        Self { tool, generation, output, error, elapsed_ms: ms(elapsed) }
    }
}

/// What its manifest asks for, in written form.
fn requests(plugin: Option<&Plugin>) -> Result<Vec<String>> {
    match plugin {
        Some(plugin) => Ok(written(&Manifest::parse(&plugin.manifest)?.request)),
        None => Ok(Vec::new()),
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Tells the author.
pub(super) struct Told<'a> {
    out: &'a Out,
}

impl<'a> Told<'a> {
    pub(super) fn new(out: &'a Out) -> Self {
        Self { out }
    }

    pub(super) fn watching(&self, path: &Path, once: bool) {
        if self.out.is_json() {
            self.out.object(&Line::Watching { path });
        } else if !once {
            self.out.note(paint(DIM, format_args!("watching {}; Ctrl-C ends it", path.display())));
        }
    }

    pub(super) fn building(&self) {
        if self.out.is_json() {
            self.out.object(&Line::Building);
        } else if !out::is_seen() {
            // On a terminal a spinner says so.
            self.out.note("building…");
        }
    }

    /// What happened to plugins beside the loads of this process.
    pub(super) fn event(&self, event: &Event) {
        if self.out.is_json() {
            self.out.object(event);
        } else if let Event::Reload { plugin, text, .. } = event {
            let plugin = plugin.as_deref().unwrap_or("plugins");
            self.out.line(paint(WARN, format_args!("{plugin}: {}", out::safe(text))));
        }
    }

    pub(super) fn reloaded(&self, reloaded: &Reloaded, built: Option<Duration>) -> Result {
        let now = reloaded.plugin.as_ref();
        let (was, asks) = (requests(reloaded.before.as_ref())?, requests(now)?);
        let lacking = match now {
            Some(plugin) => beyond(&Manifest::parse(&plugin.manifest)?.request, plugin.granted.as_ref()),
            None => Vec::new(),
        };
        let without = |all: &[String], known: &[String]| -> Vec<String> {
            if now.is_none() { Vec::new() } else { all.iter().filter(|c| !known.contains(c)).cloned().collect() }
        };
        let request =
            Changes { added: without(&asks, &was), removed: without(&was, &asks), changed: Vec::new(), now: asks };
        let [added, removed, changed] = if now.is_some() { reloaded.tools() } else { Default::default() };
        let tools = now.map_or(Vec::new(), |plugin| plugin.tools.iter().map(|tool| tool.name.clone()).collect());
        let tools = Changes { now: tools, added, removed, changed };
        if self.out.is_json() {
            let serving = now.or(reloaded.before.as_ref());
            self.out.object(&Line::Reload {
                kind: reloaded.kind,
                source: &reloaded.source,
                plugin: reloaded.name.as_ref(),
                version: serving.map(|plugin| plugin.version.as_str()),
                generation: serving.map(|plugin| plugin.generation),
                tools: &tools,
                request: &request,
                lacking: &lacking,
                notes: &reloaded.notes,
                error: reloaded.error.as_ref(),
                build_ms: built.map(ms),
                elapsed_ms: ms(reloaded.elapsed),
            });
        } else {
            self.out.line(text(reloaded, built, &tools, &request, &lacking).trim_end());
        }
        Ok(())
    }

    pub(super) fn called(&self, called: &Called) {
        if self.out.is_json() {
            return self.out.object(&Line::Call(called));
        }
        let (style, mark, said) = match (&called.output, &called.error) {
            (Some(output), _) if output.is_error => (BAD, "✗", output.text.clone()),
            (Some(output), _) => (GOOD, "✓", output.text.clone()),
            (None, error) => (BAD, "✗", error.as_ref().map(Error::to_string).unwrap_or_default()),
        };
        let time = paint(DIM, format_args!("{} ms", called.elapsed_ms));
        self.out.line(format_args!("{} {} {time}\n{}", paint(style, mark), called.tool, out::safe(&said).trim_end()));
    }
}

fn text(
    reloaded: &Reloaded,
    built: Option<Duration>,
    tools: &Changes,
    request: &Changes,
    lacking: &[String],
) -> String {
    let Some(plugin) = &reloaded.plugin else {
        let error = reloaded.error.as_ref().map(Error::to_string).unwrap_or_default();
        let stays = match &reloaded.before {
            Some(old) => format!("generation {} of {} goes on serving", old.generation, old.name),
            None => "nothing of it serves".to_owned(),
        };
        let source = out::safe(&reloaded.source);
        return format!("{}\n{}\n{stays}", paint(BAD, format_args!("{source} does not load:")), out::safe(&error));
    };
    let (style, word) = match reloaded.kind {
        Reload::Unchanged => (DIM, "unchanged"),
        Reload::AwaitingGrant => (WARN, "awaiting-grant"),
        _ => (GOOD, "serving"),
    };
    let swapped = reloaded.elapsed.saturating_sub(built.unwrap_or_default());
    let time = match built {
        Some(built) => format!("built in {} ms, loaded in {} ms", ms(built), ms(swapped)),
        None => format!("loaded in {} ms", ms(swapped)),
    };
    let mut text = format!(
        "{} {} {} (generation {}) {}\n",
        paint(style, word),
        paint(BOLD, &plugin.name),
        plugin.version,
        plugin.generation,
        paint(DIM, time),
    );
    let is_same = |tool: &&String| !tools.added.contains(tool) && !tools.changed.contains(tool);
    let same: Vec<_> = tools.now.iter().filter(is_same).cloned().collect();
    for (mark, tools) in [("·", &same), ("+", &tools.added), ("~", &tools.changed), ("-", &tools.removed)] {
        text.push_str(&lines(mark, tools));
    }
    for (title, capabilities) in
        [("asks from now on for:\n", &request.added), ("no longer asks for:\n", &request.removed)]
    {
        if !capabilities.is_empty() && reloaded.before.is_some() {
            text.push_str(title);
            text.push_str(&lines("·", capabilities));
        }
    }
    if !lacking.is_empty() {
        text.push_str(&paint(WARN, "is not granted:\n"));
        text.push_str(&lines("?", lacking));
        text.push_str(&format!("to grant it: animus plugin grant {} --requested\n", plugin.name));
    }
    text.push_str(&lines("!", &reloaded.notes));
    text
}
