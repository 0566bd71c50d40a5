//! Calls a second with many callers at once, against as many processes as cores with one caller each, at the same time.
//!
//! Such processes share nothing but the machine, so that what many callers of one process lose against them is lost by
//! the host. One caller alone says less: a core does more while the others are idle, and where two processors are threads
//! of one core, twice as much as one does alone is more than the machine has. Those figures stand beside it. Each round is
//! made by new processes, because one is faster than another by a fifth as long as it lives, whatever it does.

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Instant,
};

use animus_core::services::Services as _;
use anyhow::{Context as _, Result, ensure};
use tempfile::tempdir;

use crate::{
    fixture::{Host, guest},
    raw::Raw,
    rows::CHILD,
    table::Row,
};

const CALLERS: usize = 64;
/// A multiple of the callers and of the cores.
const CALLS: usize = 20_480;
const WARM_UP: usize = 2_048;
const ROUNDS: usize = 31;
const ARGS: &str = r#"{"text":"hello"}"#;
const READY: &str = "ready";

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let home = tempdir()?;
    let host = Host::with_plugins(home.path(), 1).await?;
    host.call_all().await?;
    let raw = Raw::new(host.engine.wasmtime(), &guest()?)?;
    let cores = std::thread::available_parallelism()?.get().min(2);
    let engine = Way::Engine(raw);
    let [mut processes, mut alone, mut engines] = [Pairs::default(), Pairs::default(), Pairs::default()];
    for _ in 0..ROUNDS {
        let many = together(home.path(), 1, CALLERS)?;
        processes.add(many, together(home.path(), cores, 1)?);
        alone.add(many, together(home.path(), 1, 1)? * cores as f64);
        let one = engine.rate(1, CALLS).await? * cores as f64;
        engines.add(engine.rate(CALLERS, CALLS).await?, one);
    }
    let many = format!("calls/s, {CALLERS} callers on {cores} cores");
    Ok(vec![
        processes.row(format!("{many} / {cores} processes at once, 1 caller each (more is better)"), "≥ 0.9"),
        alone.row(format!("{many} / 1 caller alone × {cores} (more is better)"), "–"),
        engines.row(format!("the engine alone: {many} / 1 caller alone × {cores} (more is better)"), "–"),
    ])
}

/// Rates that were taken one right after the other.
#[derive(Default)]
struct Pairs(Vec<(f64, f64)>);

impl Pairs {
    fn add(&mut self, many: f64, baseline: f64) {
        self.0.push((many, baseline));
    }

    /// The ratio is the median of the pairs' ratios: what the machine gives changes from one moment to the next.
    fn row(self, figure: String, target: &str) -> Row {
        let [many, baseline, ratio] = [|(m, _)| m, |(_, b)| b, |(m, b): (f64, f64)| m / b]
            .map(|of: fn((f64, f64)) -> f64| median(self.0.iter().copied().map(of).collect()));
        Row {
            id: "parallel",
            figure,
            ours: format!("{many:.0}/s"),
            baseline: format!("{baseline:.0}/s"),
            ratio,
            target: target.into(),
            met: target == "–" || ratio >= 0.9,
        }
    }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// Who is called.
#[derive(Clone)]
enum Way {
    Ours(Arc<Host>),
    Engine(Raw),
}

impl Way {
    /// So many calls, one after another.
    async fn calls(&self, calls: usize) -> Result<()> {
        match self {
            Self::Ours(host) => {
                let (focus, by) = host.caller()?;
                for _ in 0..calls {
                    focus.tool_call(&by, "bench0.echo", ARGS.into()).await?;
                }
            }
            Self::Engine(raw) => {
                for _ in 0..calls {
                    raw.call("echo", ARGS).await?;
                }
            }
        }
        Ok(())
    }

    /// Calls a second, so many of so many callers together, until the last of them has ended.
    async fn rate(&self, callers: usize, calls: usize) -> Result<f64> {
        let begun = Instant::now();
        let tasks: Vec<_> = (0..callers)
            .map(|_| {
                let way = self.clone();
                tokio::spawn(async move { way.calls(calls / callers).await })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        Ok((calls / callers * callers) as f64 / begun.elapsed().as_secs_f64())
    }
}

/// Calls a second of so many new processes at once, each with so many callers, until the last of them has ended.
fn together(home: &Path, processes: usize, callers: usize) -> Result<f64> {
    let mut apart = (0..processes).map(|_| Apart::start(home, callers)).collect::<Result<Vec<_>>>()?;
    let mut all = |calls: usize| -> Result<f64> {
        let begun = Instant::now();
        apart.iter_mut().try_for_each(|it| it.ask(calls / processes))?;
        apart.iter_mut().try_for_each(Apart::answered)?;
        Ok(calls as f64 / begun.elapsed().as_secs_f64())
    };
    all(WARM_UP)?;
    all(CALLS)
}

/// A process of its own, whose callers wait to be told.
struct Apart {
    child: Child,
    asks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Apart {
    fn start(home: &Path, callers: usize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([CHILD, "parallel"])
            .arg(home)
            .arg(callers.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("could not start the child")?;
        let asks = child.stdin.take().context("the child has no input")?;
        let answers = BufReader::new(child.stdout.take().context("the child has no output")?).lines();
        let mut apart = Self { child, asks, answers };
        apart.answered()?;
        Ok(apart)
    }

    fn ask(&mut self, calls: usize) -> Result<()> {
        Ok(writeln!(self.asks, "{calls}")?)
    }

    fn answered(&mut self) -> Result<()> {
        let line = self.answers.next().context("the child ended early")??;
        ensure!(line == READY, "the child said '{line}'");
        Ok(())
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes as many calls as each line of the input says, and tells when they are done.
#[allow(clippy::print_stdout, reason = "how the child tells its parent")]
pub(crate) async fn child(home: &Path, callers: usize) -> Result<()> {
    let host = Arc::new(Host::open(home).await?);
    host.call_all().await?;
    let ours = Way::Ours(host);
    println!("{READY}");
    for line in std::io::stdin().lines() {
        ours.rate(callers, line?.trim().parse()?).await?;
        println!("{READY}");
    }
    Ok(())
}
