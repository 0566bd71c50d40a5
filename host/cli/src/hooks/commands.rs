//! The operator's command hooks: `hooks/<name>/HOOK.md` in the home, run by `sh`.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};

use animus_core::{
    Error,
    hook::{
        COMMAND, CommandHook, CommandHooks, HookEvent, Settings, Verdict,
        command::{self, FILE, HookFile, MAX_STDOUT},
    },
    text,
};
use async_trait::async_trait;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};

use crate::fault::{During as _, Fault, Result};

/// The folder of the home in which they stand.
const FOLDER: &str = "hooks";
/// The most of them.
const MOST: usize = 64;
/// How much of what a command writes to standard error is kept, in bytes.
const LAST_WORDS: u64 = 2_048;

/// A folder with a `HOOK.md`.
#[derive(Debug)]
pub(crate) struct Found {
    /// The name of the folder.
    pub(crate) name: String,
    folder: PathBuf,
    /// What it says, or what is wrong with it.
    pub(crate) file: Result<HookFile, String>,
}

impl Found {
    /// Switches it as the operator last typed.
    pub(super) fn switch(&mut self, to: Option<bool>) {
        if let (Ok(file), Some(to)) = (&mut self.file, to) {
            file.settings.enabled = to;
        }
    }
}

/// The command hooks of a home, by name.
pub(super) fn find(home: &Path) -> Result<Vec<Found>> {
    let folder = home.join(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Fault::failed(format!("could not read {}: {e}", folder.display()))),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.during(|| format!("read {}", folder.display()))?.path();
        if path.join(FILE).is_file() {
            folders.push(path);
        }
    }
    folders.sort();
    if folders.len() > MOST {
        return Err(Fault::invalid(format!("{} has more than {MOST} hooks; take some out", folder.display())));
    }
    let read = |folder: PathBuf| {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let file = match fs::read_to_string(folder.join(FILE)) {
            Ok(text) => HookFile::parse(&text, &name).map_err(|e| e.to_string()),
            Err(e) => Err(format!("could not read {FILE}: {e}")),
        };
        Found { name, folder, file }
    };
    Ok(folders.into_iter().map(read).collect())
}

/// Those that are run.
pub(crate) struct Commands {
    hooks: Vec<CommandHook>,
    /// What each says, and where.
    files: BTreeMap<String, (PathBuf, HookFile)>,
}

impl Commands {
    /// Of those that were found the sound ones, each switched as `switched` says. One that is not sound counts as a hook
    /// that always fails: whoever relies on it must not lose it by a typing error.
    pub(super) fn of(found: Vec<Found>, switched: &BTreeMap<String, bool>) -> Self {
        let mut commands = Self { hooks: Vec::new(), files: BTreeMap::new() };
        for mut one in found {
            one.switch(switched.get(&format!("{COMMAND}{}", one.name)).copied());
            let settings = match one.file {
                Ok(file) => {
                    let settings = file.settings.clone();
                    commands.files.insert(one.name.clone(), (one.folder, file));
                    settings
                }
                Err(problem) => {
                    tracing::error!(hook = %one.name, problem, "a command hook cannot be read; everything counts as stopped by it");
                    let off = switched.get(&format!("{COMMAND}{}", one.name)) == Some(&false);
                    Settings { enabled: !off, ..Settings::default() }
                }
            };
            commands.hooks.push(CommandHook { name: one.name, settings });
        }
        commands
    }
}

#[async_trait]
impl CommandHooks for Commands {
    fn hooks(&self) -> &[CommandHook] {
        &self.hooks
    }

    async fn run(&self, name: &str, event: &HookEvent) -> Result<Verdict, Error> {
        let (folder, file) = self
            .files
            .get(name)
            .ok_or_else(|| Error::NotFound(format!("the command hook '{name}' cannot be read: animus hook list")))?;
        let input = command::input(event, file.partial)?;
        let point = event.point();
        let output = execute(name, folder, &file.command, point.as_str(), input).await?;
        command::verdict(point, &output)
    }
}

/// Runs the command, and returns what it wrote. Dropped, it kills the command with all that it started.
async fn execute(name: &str, folder: &Path, command: &str, event: &str, input: Vec<u8>) -> Result<Vec<u8>, Error> {
    let failed = |what: &str, e: &io::Error| Error::Internal(format!("the command of the hook '{name}': {what}: {e}"));
    let mut sh = Command::new("sh");
    sh.arg("-c").arg(command).current_dir(folder).env_clear();
    for kept in ["PATH", "HOME"] {
        if let Some(value) = std::env::var_os(kept) {
            sh.env(kept, value);
        }
    }
    sh.env("ANIMUS_HOOK_EVENT", event).env("ANIMUS_HOOK_NAME", name);
    sh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let mut child = sh.spawn().map_err(|e| failed("cannot start it", &e))?;
    let mut group = Group(child.id());
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A command need not read its event.
            let _ = stdin.write_all(&input).await;
        }
    };
    let most = u64::try_from(MAX_STDOUT).unwrap_or(u64::MAX);
    let ((), output, words) = tokio::join!(write, read(stdout, most.saturating_add(1)), read(stderr, LAST_WORDS));
    let output = output.map_err(|e| failed("cannot read its answer", &e))?;
    if output.len() > MAX_STDOUT {
        return Err(Error::Invalid(format!("the hook '{name}' answered more than {MAX_STDOUT} bytes")));
    }
    let status = child.wait().await.map_err(|e| failed("cannot wait for it", &e))?;
    // Its number may be another's from now on.
    group.0 = None;
    if !status.success() {
        let words = String::from_utf8_lossy(&words.unwrap_or_default()).trim().to_owned();
        return Err(Error::Internal(format!("the hook '{name}' ended with {status}: {}", text::escape(&words))));
    }
    Ok(output)
}

/// The first `most` bytes of a stream, read to its end where it has no more.
async fn read(stream: Option<impl AsyncRead + Unpin>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        let mut stream = stream.take(most);
        stream.read_to_end(&mut bytes).await?;
        if stream.limit() == 0 && most < u64::try_from(MAX_STDOUT).unwrap_or(u64::MAX) {
            // What nobody keeps must not hold the command up.
            tokio::io::copy(&mut stream.into_inner(), &mut tokio::io::sink()).await?;
        }
    }
    Ok(bytes)
}

/// The processes that a command started, killed when this is dropped while they may still run.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // The shell's own `kill` knows process groups, and nothing unsafe is needed here. This form every shell reads.
            let killed = std::process::Command::new("sh")
                .args(["-c", &format!("kill -s KILL -- -{leader}")])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            if let Err(error) = killed {
                tracing::warn!(%error, leader, "cannot end what a command hook started");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use animus_core::hook::{Patch, TurnEnd};

    use super::*;

    fn turn() -> HookEvent {
        let (work_id, caller, text) = ("w".to_owned(), "assistant".to_owned(), "all done".to_owned());
        HookEvent::AfterTurn(TurnEnd { work_id, caller, turn: 1, text, tool_calls: 0 })
    }

    fn home(command: &str) -> (tempfile::TempDir, Commands) {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("hooks/notify");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("run.sh"), command).unwrap();
        let front = "name: notify\ndescription: tells\nevents: [after-turn]\ncommand: sh ./run.sh";
        fs::write(folder.join(FILE), format!("---\n{front}\n---\n")).unwrap();
        let commands = Commands::of(find(home.path()).unwrap(), &BTreeMap::new());
        (home, commands)
    }

    async fn run(command: &str) -> Result<Verdict, Error> {
        home(command).1.run("notify", &turn()).await
    }

    #[tokio::test]
    async fn it_reads_the_event_in_its_folder_and_a_clean_environment_and_its_word_counts() {
        let block = r#"cat > event; env > env; echo '{"action":"block","reason":"no"}'"#;
        let (home, commands) = home(block);
        assert_eq!(commands.run("notify", &turn()).await, Ok(Verdict::Block("no".into())));
        let folder = home.path().join("hooks/notify");
        let event: HookEvent = serde_json::from_slice(&fs::read(folder.join("event")).unwrap()).unwrap();
        assert_eq!(event, turn());
        let env = fs::read_to_string(folder.join("env")).unwrap();
        let names = env.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name);
        let own = ["PATH", "HOME", "ANIMUS_HOOK_EVENT", "ANIMUS_HOOK_NAME"];
        // What a shell sets by itself.
        let shells = ["PWD", "OLDPWD", "SHLVL", "_"];
        let strange: Vec<_> = names.filter(|name| !own.contains(name) && !shells.contains(name)).collect();
        assert!(strange.is_empty(), "{strange:?}");
        assert!(env.contains("ANIMUS_HOOK_EVENT=after-turn") && env.contains("ANIMUS_HOOK_NAME=notify"));
    }

    #[tokio::test]
    async fn silence_is_consent_and_everything_else_that_is_no_answer_is_a_failure() {
        assert_eq!(run("exit 0").await, Ok(Verdict::Continue));
        let failed = run("echo broken >&2; exit 3").await.unwrap_err();
        assert!(failed.to_string().contains("3: broken"), "{failed}");
        assert!(matches!(run("echo yes").await, Err(Error::Invalid(_))));
        assert!(matches!(run("head -c 70000 /dev/zero").await, Err(Error::Invalid(_))));
        let chatty = run("head -c 200000 /dev/zero >&2; echo '{\"action\":\"allow\"}'").await;
        assert_eq!(chatty, Ok(Verdict::Continue));
    }

    #[tokio::test]
    async fn what_it_started_ends_with_it() {
        let (home, commands) = home("sleep 600 & echo $! > pid; wait");
        let pid = home.path().join("hooks/notify/pid");
        let event = turn();
        let hangs = commands.run("notify", &event);
        let started = async {
            while fs::read_to_string(&pid).map_or(true, |text| text.trim().is_empty()) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            ended = hangs => panic!("it does not end by itself: {ended:?}"),
            () = started => {}
        }
        let pid = fs::read_to_string(&pid).unwrap();
        // Ended, it may still be a name that nobody has collected.
        let runs = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
        };
        while runs() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn one_that_cannot_be_read_is_a_hook_that_fails() {
        let (home, _) = home("exit 0");
        fs::write(home.path().join("hooks/notify").join(FILE), "---\nname: notify\n---\n").unwrap();
        let commands = Commands::of(find(home.path()).unwrap(), &BTreeMap::new());
        assert_eq!(commands.hooks()[0].settings, Settings::default());
        assert!(matches!(commands.run("notify", &turn()).await, Err(Error::NotFound(_))));
        let off = BTreeMap::from([("command:notify".to_owned(), false)]);
        assert!(!Commands::of(find(home.path()).unwrap(), &off).hooks()[0].settings.enabled);
    }

    #[tokio::test]
    async fn a_patch_is_for_its_event() {
        let patched = run(r#"echo '{"action":"modify","patch":{"text":"x"}}'"#).await;
        assert!(matches!(patched, Err(Error::Invalid(_))), "{patched:?}");
        let answer =
            command::verdict(animus_core::hook::Point::AfterLlmCall, br#"{"action":"modify","patch":{"text":"x"}}"#);
        assert_eq!(answer, Ok(Verdict::Modify(Patch::Answer("x".into()))));
    }
}
