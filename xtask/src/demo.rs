//! `cargo xtask demo`: an agent at work on this repository, and what the host keeps of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::sh;

const TASK: &str = "Read the invariants in docs/architecture.md, find the code in host/runtime/src that keeps the first one, \
    and try whether you can read /etc/hostname. Write what you found to target/demo/report.md.";

const SECOND_TASK: &str = "How many lines of Rust has each room below host/? Have code count them. Keep what worked as a skill with tests, \
    then call the skill's tool, and see whether you can make a skill that stores memories.";

/// How to run it.
#[derive(Args)]
pub(crate) struct Demo {
    /// Play the recorded transcript even if a model can be reached
    #[arg(long)]
    recorded: bool,
}

impl Demo {
    /// The demo as CI runs it: the same everywhere.
    pub(crate) fn recorded() -> Self {
        Self { recorded: true }
    }

    pub(crate) fn run(self, root: &Path) -> Result<()> {
        sh::run(
            "build (the first time takes some minutes)",
            &mut sh::cargo(root, &["build", "--locked", "--workspace", "--bin", "animus"]),
        )?;
        let demo = Stage::new(root)?;
        let report = root.join("target/demo/report.md");
        fs::remove_file(&report).or_else(|error| if report.exists() { Err(error) } else { Ok(()) })?;

        let recorded = self.recorded || !demo.reaches_a_model()?;
        if recorded {
            sh::say(
                "\nNo model can be reached (or --recorded was given): a recorded transcript plays the model's part. The tool calls, files and results are real.",
            );
        }
        demo.show("The assistant works on this repository", &demo.work(TASK, "transcript.json", recorded), 0)?;
        ensure!(report.is_file(), "the assistant ended without writing {}", report.display());
        demo.show("The ledger: what the agent planned, found and did", &words(&["ledger", "show", "last"]), 0)?;

        demo.show(
            "The web tool may reach one host from now on …",
            &words(&["plugin", "grant", "web", "--allow", "http:GET docs.rs:443"]),
            0,
        )?;
        demo.show(
            "… and is refused at every other",
            &words(&["tool", "call", "web.fetch", r#"{"url":"https://example.org/"}"#]),
            3,
        )?;
        // The operator of this home lets agents make skills without asking.
        fs::write(demo.home.join("animus.toml"), "[skills]\ncreate = \"auto\"\n")?;
        demo.show(
            "The assistant has code run, keeps it as a skill, and calls the skill's tool in the next turn",
            &demo.work(SECOND_TASK, "skill.json", recorded),
            0,
        )?;
        demo.show("The skill is a plugin: a component of a few kilobytes", &words(&["plugin", "list"]), 0)?;
        demo.show(
            "Another process calls it",
            &words(&["tool", "call", "code-size.lines_by_folder", r#"{"pattern": "*.py", "folder": "sdk-python"}"#]),
            if recorded { 0 } else { UNKNOWN },
        )?;
        demo.show("An operator's program, over the same tools", &words(&["exec", "xtask/demo/documents.py"]), 0)?;
        demo.show("The audit log: who changed what, and what was refused", &words(&["audit", "show"]), 0)?;
        demo.show("Every entry is chained to the one before it", &words(&["audit", "verify"]), 0)?;
        demo.show("Where things stand, with the cost", &words(&["status"]), 0)?;
        sh::say(&format!(
            "\nThe report: {}\nThe home of this demo: {} (ANIMUS_HOME)",
            report.display(),
            demo.home.display()
        ));
        Ok(())
    }
}

/// A model names its skill as it likes, so that nobody knows how a call of it ends.
const UNKNOWN: i32 = -1;

/// The binary, and a fresh home for it.
struct Stage {
    root: PathBuf,
    binary: PathBuf,
    home: PathBuf,
}

impl Stage {
    fn new(root: &Path) -> Result<Self> {
        let target = sh::target(root);
        let home = target.join("demo/home");
        if home.exists() {
            fs::remove_dir_all(&home).with_context(|| format!("cannot remove {}", home.display()))?;
        }
        fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        let binary = target.join("debug").join(format!("animus{}", std::env::consts::EXE_SUFFIX));
        Ok(Self { root: root.to_owned(), binary, home })
    }

    fn animus(&self, args: &[String]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).current_dir(&self.root).env("ANIMUS_HOME", &self.home);
        command
    }

    fn reaches_a_model(&self) -> Result<bool> {
        let tried = self.animus(&words(&["model", "test", "--json"])).output().context("could not start animus")?;
        Ok(tried.status.success())
    }

    fn work(&self, task: &str, transcript: &str, recorded: bool) -> Vec<String> {
        let mut args = words(&["run", task]);
        if recorded {
            let transcript = self.root.join("xtask/demo").join(transcript);
            args.extend(["--model".to_owned(), format!("scripted:{}", transcript.display())]);
        }
        args
    }

    /// Runs `animus`, shows the command as a person would type it, and checks how it ends.
    fn show(&self, what: &str, args: &[String], code: i32) -> Result<()> {
        let typed: Vec<_> =
            args.iter().map(|arg| if arg.contains([' ', '"']) { format!("'{arg}'") } else { arg.clone() }).collect();
        sh::say(&format!("\n━━ {what}\n$ animus {}", typed.join(" ")));
        let status = self.animus(args).status().context("could not start animus")?;
        ensure!(
            code == UNKNOWN || status.code() == Some(code),
            "`animus {}` ended with {status} instead of {code}",
            typed.join(" ")
        );
        if let Some(code) = status.code().filter(|code| *code != 0) {
            sh::say(&format!("(exit code {code})"));
        }
        Ok(())
    }
}

fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}
