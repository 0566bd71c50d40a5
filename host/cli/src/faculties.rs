//! `faculties/<name>.toml`: the operator's own in `$ANIMUS_HOME`, and a project's beside its `animus.toml`.
//!
//! A project's file comes from strangers. It may define faculties of its own, under names that nothing of the operator's has;
//! over one of the operator's it chooses among what the operator allows: bounds become the lower of both, and the plugin
//! stays. Where the operator says nothing, the defaults are the operator's word. Nothing in such a file grants anything.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use animus_agent::TURNS;
use animus_core::{
    faculties::{Faculties, Faculty},
    faculty::{Awareness, Engage, FacultyConfig, Isolation, Orient, Recover},
    grant::Grant,
    id::is_name,
    work::Backoff,
};
use toml::Table;

use crate::{
    config::{self, merge, project_file},
    fault::{During as _, Fault, Result},
};

/// The folder of the files.
pub(crate) const FOLDER: &str = "faculties";
/// The most files of one folder.
const MOST: usize = 1_000;
/// The largest file, in bytes.
const LARGEST: u64 = 64 << 10;

/// All faculties that are configured for work in `folder`.
///
/// Names what is wrong with the first file that does not read, with its line.
pub(crate) fn load(home: &Path, folder: &Path) -> Result<Faculties> {
    let mine = read_folder(&home.join(FOLDER))?;
    let project = project_file(folder, &home.join(config::FILE))?;
    let theirs = match project.as_deref().and_then(Path::parent) {
        Some(root) if root != home => read_folder(&root.join(FOLDER))?,
        _ => Vec::new(),
    };
    let mut all: Vec<Faculty> = Vec::new();
    for file in theirs {
        let place = file.path.display();
        if let Some(own) = mine.iter().find(|own| own.name == file.name) {
            let source = format!("{} and {place}", own.path.display());
            all.push(Faculty { source, config: Arc::new(own.under(&file)?), name: file.name, is_project: false });
            continue;
        }
        if let Some(own) = mine.iter().find(|own| own.config.accepts.contains(&file.name)) {
            return Err(Fault::invalid(format!(
                "{place}: work of the kind '{}' goes to the faculty '{}' of the operator's",
                file.name, own.name
            ))
            .advise("give the project's faculty a name of its own"));
        }
        let config = Arc::new(file.unsaid().under(&file)?);
        all.push(Faculty { source: place.to_string(), config, name: file.name, is_project: true });
    }
    for own in mine {
        if !all.iter().any(|faculty| faculty.name == own.name) {
            let source = own.path.display().to_string();
            all.push(Faculty { source, config: Arc::new(own.config), name: own.name, is_project: false });
        }
    }
    Ok(Faculties::new(all)?)
}

/// One file.
#[derive(Clone, Debug)]
struct File {
    name: String,
    path: PathBuf,
    table: Table,
    config: FacultyConfig,
}

fn read_folder(folder: &Path) -> Result<Vec<File>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Fault::failed(format!("could not read {}: {e}", folder.display()))),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.during(|| format!("read {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    if files.len() > MOST {
        return Err(Fault::invalid(format!("{} holds more than {MOST} faculties", folder.display())));
    }
    files.sort();
    files.into_iter().map(read).collect()
}

fn read(path: PathBuf) -> Result<File> {
    let place = path.display().to_string();
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if !is_name(&name) {
        return Err(Fault::invalid(format!(
            "{place}: a faculty is named as its file is, and '{}' is not of the form [a-z][a-z0-9_-]*, at most 64 bytes",
            name.escape_debug()
        )));
    }
    let size = fs::metadata(&path).during(|| format!("read {place}"))?.len();
    if size > LARGEST {
        return Err(Fault::invalid(format!(
            "{place} has {size} bytes; the configuration of a faculty has {LARGEST} at most"
        )));
    }
    let text = fs::read_to_string(&path).during(|| format!("read {place}"))?;
    let config: FacultyConfig = config::parse(&text, &place)?;
    config.check().map_err(|error| {
        let why = error.to_string();
        let line = line_of(&text, &why).map(|line| format!(":{line}")).unwrap_or_default();
        Fault::invalid(format!("{place}{line}: {why}"))
    })?;
    let table = toml::from_str(&text).during(|| format!("read {place}"))?;
    Ok(File { name, path, table, config })
}

/// The line of the key that a message begins with, such as `engage.max_turns is 1 to 1000`.
fn line_of(text: &str, why: &str) -> Option<usize> {
    let key = why.split_whitespace().next()?.rsplit('.').next()?;
    let at = text.lines().position(|line| {
        line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(['=', '.']))
    });
    at.map(|at| at + 1)
}

impl File {
    /// What the operator says by saying nothing of a faculty that a project defines.
    fn unsaid(&self) -> Self {
        let Self { name, path, config, .. } = self;
        let FacultyConfig { plugin, accepts, .. } = config.clone();
        let config = FacultyConfig { plugin, accepts, ..FacultyConfig::default() };
        Self { name: name.clone(), path: path.clone(), table: Table::new(), config }
    }

    /// What a project makes of a faculty of the operator's.
    fn under(&self, project: &Self) -> Result<FacultyConfig> {
        let (mine, theirs) = (&self.config, &project.config);
        let place = project.path.display();
        let refuse = |what: &str| {
            Err(Fault::invalid(format!(
                "{place}: {what}: {} is the operator's, so a project may only lower its bounds",
                self.path.display()
            ))
            .advise("give the project's faculty a name of its own"))
        };
        if theirs.plugin.is_some() && theirs.plugin != mine.plugin {
            return refuse("it names another plugin");
        }
        if theirs.accepts.iter().any(|kind| !mine.accepts.contains(kind)) {
            return refuse("it accepts more kinds of work");
        }
        let merged: FacultyConfig = merge(self.table.clone(), project.table.clone())
            .try_into()
            .map_err(|e: toml::de::Error| Fault::invalid(format!("{place}: {e}")))?;
        let said = |path: &[&str]| is_there(&project.table, path);
        let (e, t) = (&mine.engage, &merged.engage);
        Ok(FacultyConfig {
            plugin: mine.plugin.clone(),
            description: merged.description,
            accepts: merged.accepts,
            concurrent: mine.concurrent && merged.concurrent,
            max_concurrent: lower(mine.max_concurrent, merged.max_concurrent)
                .filter(|_| mine.concurrent && merged.concurrent),
            isolation: match mine.isolation {
                Isolation::Worktree => Isolation::Worktree,
                Isolation::None => merged.isolation,
            },
            orient: Orient {
                auto_activate_skills: mine.orient.auto_activate_skills && merged.orient.auto_activate_skills,
                max_auto_activated: mine.orient.max_auto_activated.min(merged.orient.max_auto_activated),
            },
            engage: Engage {
                model: t.model.clone(),
                tools: match (&e.tools, &theirs.engage.tools) {
                    (Some(mine), Some(theirs)) => {
                        let grant = |tools: &[animus_core::grant::Pattern]| Grant {
                            tool: tools.iter().cloned().collect(),
                            ..Grant::default()
                        };
                        Some(grant(mine).meet(&grant(theirs)).tool.into_iter().collect())
                    }
                    (mine, theirs) => mine.clone().or(theirs.clone()),
                },
                // More than faculties get without a word would be more.
                max_turns: e
                    .max_turns
                    .map_or_else(|| t.max_turns.map(|n| n.min(TURNS)), |n| lower(Some(n), t.max_turns)),
                max_tokens: lower(e.max_tokens, t.max_tokens),
                temperature: t.temperature,
                parallel_tools: e.parallel_tools && t.parallel_tools,
                max_parallel_tools: e.max_parallel_tools.min(t.max_parallel_tools),
                compact_threshold: e.compact_threshold.min(t.compact_threshold),
                compact_keep_recent: e.compact_keep_recent.min(t.compact_keep_recent),
                ledger_nudge_interval: t.ledger_nudge_interval,
                truncate_closed_blocks: t.truncate_closed_blocks,
                code_execution: e.code_execution && t.code_execution,
            },
            awareness: Awareness {
                enabled: mine.awareness.enabled && merged.awareness.enabled,
                lookback_hours: mine.awareness.lookback_hours.min(merged.awareness.lookback_hours),
                max_running: mine.awareness.max_running.min(merged.awareness.max_running),
                max_recent_completed: mine.awareness.max_recent_completed.min(merged.awareness.max_recent_completed),
                max_recent_findings: mine.awareness.max_recent_findings.min(merged.awareness.max_recent_findings),
                include_child_work: mine.awareness.include_child_work && merged.awareness.include_child_work,
            },
            recover: Recover {
                max_attempts: mine.recover.max_attempts.min(merged.recover.max_attempts),
                backoff: match said(&["recover", "backoff"]) {
                    // Trying again sooner would be more.
                    true => Backoff {
                        first_ms: mine.recover.backoff.first_ms.max(merged.recover.backoff.first_ms),
                        most_ms: mine.recover.backoff.most_ms.max(merged.recover.backoff.most_ms),
                    },
                    false => mine.recover.backoff,
                },
            },
        })
    }
}

fn is_there(table: &Table, path: &[&str]) -> bool {
    let Some((last, folders)) = path.split_last() else { return true };
    let inner = folders.iter().try_fold(table, |table, key| table.get(*key).and_then(toml::Value::as_table));
    inner.is_some_and(|table| table.contains_key(*last))
}

fn lower<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folders {
        home: tempfile::TempDir,
        project: tempfile::TempDir,
    }

    impl Folders {
        fn new() -> Self {
            let folders = Self { home: tempfile::tempdir().unwrap(), project: tempfile::tempdir().unwrap() };
            fs::write(folders.project.path().join(config::FILE), "").unwrap();
            for root in [folders.home.path(), folders.project.path()] {
                fs::create_dir(root.join(FOLDER)).unwrap();
            }
            folders
        }

        fn operator(self, name: &str, text: &str) -> Self {
            fs::write(self.home.path().join(FOLDER).join(name), text).unwrap();
            self
        }

        fn project(self, name: &str, text: &str) -> Self {
            fs::write(self.project.path().join(FOLDER).join(name), text).unwrap();
            self
        }

        fn load(&self) -> Result<Faculties> {
            load(self.home.path(), self.project.path())
        }

        fn config(&self, name: &str) -> FacultyConfig {
            (*self.load().unwrap().get(name).unwrap().config).clone()
        }

        fn refusal(&self) -> String {
            format!("{:?}", self.load().unwrap_err())
        }
    }

    #[test]
    fn a_faculty_is_named_as_its_file_is_and_a_project_may_have_its_own() {
        let folders = Folders::new()
            .operator("coder.toml", "plugin = 'assistant'\naccepts = ['code']")
            .operator("notes.txt", "no faculty")
            .project("tester.toml", "plugin = 'assistant'\naccepts = ['test']\n[recover]\nmax_attempts = 2");
        let all = folders.load().unwrap();
        let names: Vec<_> = all.configured().map(|faculty| faculty.name.as_str()).collect();
        assert_eq!(names, ["coder", "tester"]);
        let tester = folders.config("tester");
        assert_eq!((tester.recover.max_attempts, tester.accepts), (2, vec!["test".to_owned()]));
        assert_eq!(tester.plugin.unwrap().as_str(), "assistant");
        assert!(all.get("tester").unwrap().is_project && !all.get("coder").unwrap().is_project);
        assert!(all.get("coder").unwrap().source.ends_with("faculties/coder.toml"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_file_and_line() {
        for (text, place, also) in [
            ("\n[engage]\nmax_turn = 3", "coder.toml:3: unknown field `max_turn`", "max_turns"),
            ("[engage]\n\nmax_turns = 0", "coder.toml:3: engage.max_turns is 1 to 1000", ""),
            ("isolation = 'container'", "coder.toml:1: unknown variant `container`", ""),
            ("[recover]\nbackoff = { first = 1 }", "coder.toml:2: unknown field `first`", "first_ms"),
        ] {
            let said = Folders::new().operator("coder.toml", text).refusal();
            assert!(said.contains(place) && said.contains(also), "{said}");
        }
        let named = Folders::new().operator("My Faculty.toml", "").refusal();
        assert!(named.contains("named as its file is"), "{named}");
    }

    #[test]
    fn two_that_accept_one_kind_are_an_error_that_names_both() {
        let both = Folders::new().operator("a.toml", "accepts = ['x']").project("b.toml", "accepts = ['x']").refusal();
        assert!(both.contains("'a' and 'b' both accept 'x'"), "{both}");
    }

    #[test]
    fn a_project_lowers_the_bounds_of_the_operators_faculty_and_never_raises_them() {
        let operator = "concurrent = true\nmax_concurrent = 3\n[engage]\nmax_turns = 10\nmax_tokens = 100\n\
                        tools = ['fs.*', 'web.fetch']\nmax_parallel_tools = 4\ncode_execution = false\n\
                        [recover]\nmax_attempts = 2\nbackoff = { first_ms = 1000, most_ms = 5000 }\n\
                        [awareness]\nmax_running = 5";
        let more = "concurrent = true\nmax_concurrent = 9\n[engage]\nmax_turns = 99\nmax_tokens = 999\n\
                    tools = ['fs.read_file', 'notes.*']\nmax_parallel_tools = 64\ncode_execution = true\nmodel = 'fast'\n\
                    [recover]\nmax_attempts = 9\nbackoff = { first_ms = 1, most_ms = 9000 }\n[awareness]\nmax_running = 50";
        let config = Folders::new().operator("coder.toml", operator).project("coder.toml", more).config("coder");
        assert_eq!((config.concurrent, config.max_concurrent), (true, Some(3)));
        let engage = config.engage;
        assert_eq!((engage.max_turns, engage.max_tokens, engage.max_parallel_tools), (Some(10), Some(100), 4));
        assert!(!engage.code_execution);
        assert_eq!(engage.tools, Some(vec!["fs.read_file".parse().unwrap()]));
        assert_eq!(engage.model.as_deref(), Some("fast"), "a choice among what is allowed");
        assert_eq!(config.recover.max_attempts, 2);
        assert_eq!(config.recover.backoff, Backoff { first_ms: 1_000, most_ms: 9_000 });
        assert_eq!(config.awareness.max_running, 5);

        let less = "concurrent = false\n[engage]\nmax_turns = 3\n[recover]\nmax_attempts = 1";
        let config = Folders::new().operator("coder.toml", operator).project("coder.toml", less).config("coder");
        assert_eq!((config.concurrent, config.max_concurrent), (false, None));
        assert_eq!((config.engage.max_turns, config.recover.max_attempts), (Some(3), 1));

        let silent = Folders::new().operator("coder.toml", "").project("coder.toml", "[recover]\nmax_attempts = 50");
        assert_eq!(silent.config("coder").recover.max_attempts, 3, "the default is the operator's word");
    }

    #[test]
    fn what_the_operator_says_nothing_of_a_project_does_not_raise_beyond_the_defaults() {
        let most = "plugin = 'assistant'\nconcurrent = true\nmax_concurrent = 64\n[orient]\nmax_auto_activated = 99\n\
                    [engage]\nmax_turns = 1000\nmax_parallel_tools = 64\ncompact_keep_recent = 1000\n\
                    [awareness]\nlookback_hours = 9999\nmax_running = 99\ninclude_child_work = true\n\
                    [recover]\nmax_attempts = 50\nbackoff = { first_ms = 1, most_ms = 1 }";
        let config = Folders::new().project("assistant.toml", most).config("assistant");
        let default = FacultyConfig::default();
        assert_eq!(config.engage.max_turns, Some(TURNS));
        let engage = Engage { max_turns: Some(TURNS), ..default.engage.clone() };
        assert_eq!(config, FacultyConfig { plugin: config.plugin.clone(), engage, ..default });
        let silent = Folders::new().operator("coder.toml", "").project("coder.toml", "[engage]\nmax_turns = 1000");
        assert_eq!(silent.config("coder").engage.max_turns, Some(TURNS));
        let said = Folders::new().operator("coder.toml", "[engage]\nmax_turns = 300");
        assert_eq!(said.project("coder.toml", "[engage]\nmax_turns = 200").config("coder").engage.max_turns, Some(200));
    }

    #[test]
    fn a_project_cannot_point_the_operators_faculty_elsewhere() {
        let operator = |text| Folders::new().operator("coder.toml", text);
        let plugin = operator("plugin = 'assistant'").project("coder.toml", "plugin = 'evil'").refusal();
        assert!(plugin.contains("another plugin"), "{plugin}");
        let kinds = operator("accepts = ['a']").project("coder.toml", "accepts = ['a', 'everything']").refusal();
        assert!(kinds.contains("more kinds"), "{kinds}");
        let named = operator("accepts = ['report']").project("report.toml", "plugin = 'evil'").refusal();
        assert!(named.contains("goes to the faculty 'coder' of the operator's"), "{named}");
        let place = operator("isolation = 'worktree'").project("coder.toml", "isolation = 'none'");
        assert_eq!(place.config("coder").isolation, Isolation::Worktree);
    }
}
