//! Other ways to run Python, in the same run: drivers of `rivals/`, each a process that lives through its rows.

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::fixture::target;

/// A driver that waits for its turn.
pub(crate) struct Rival {
    /// Its name and version, as it says them.
    pub(crate) version: String,
    child: Child,
    asks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Rival {
    /// Starts `rivals/NAME.py`, and runs it a few times unmeasured.
    pub(crate) fn start(python: &Path, name: &str) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals").join(format!("{name}.py"));
        let mut child = Command::new(python)
            // No compiled files beside the sources.
            .arg("-B")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start {}", python.display()))?;
        let asks = child.stdin.take().context("the rival has no input")?;
        let mut answers = BufReader::new(child.stdout.take().context("the rival has no output")?).lines();
        let line = answers.next().with_context(|| format!("the rival '{name}' did not start"))??;
        let version = line.strip_prefix("ready ").with_context(|| format!("the rival '{name}' said '{line}'"))?;
        let mut rival = Self { version: version.to_owned(), child, asks, answers };
        rival.run(5)?;
        Ok(rival)
    }

    /// Runs it so many times, one right after another, and returns how long each took.
    pub(crate) fn run(&mut self, times: usize) -> Result<Vec<Duration>> {
        writeln!(self.asks, "{times}")?;
        let line = self.answers.next().with_context(|| format!("{} ended early", self.version))??;
        let nanos = line.split_whitespace().map(|nanos| Ok(Duration::from_nanos(nanos.parse()?)));
        let took = nanos.collect::<Result<Vec<_>>>()?;
        ensure!(took.len() == times, "{} took {} times instead of {times}", self.version, took.len());
        Ok(took)
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Python in which `cargo xtask bench` installs the rivals; none where there was no Python that they run on.
pub(crate) fn installed() -> Option<PathBuf> {
    let python = target().join("rivals/bin/python");
    python.exists().then_some(python)
}

/// The same, or else whatever `python3` is: enough for what needs nothing installed.
pub(crate) fn any() -> PathBuf {
    installed().unwrap_or_else(|| "python3".into())
}
