//! `execute_code`: a small program with one tool call on a full CPython that nobody has used; and a loop in it.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use animus_agent::Focus;
use animus_core::{
    code::Program,
    services::{Principal, Services as _},
};
use anyhow::{Context as _, Result, ensure};
use tokio::time::sleep;

use crate::{
    fixture::Host,
    measure::Samples,
    rival::{self, Rival},
    table::{Row, time},
};

/// The program that every rival runs in its own words.
const SCRIPT: &str = r#"words = ["alpha", "beta", "gamma"]
answer = tools.bench0.echo(text=" ".join(words))
return f"{answer} {len(words)}""#;
const ANSWER: &str = "alpha beta gamma 3";
/// For a process of its own, which has no tool to call but a function.
const ALONE: &str =
    "echo = lambda text: text\nwords = ['alpha', 'beta', 'gamma']\nprint(echo(' '.join(words)), len(words))";
/// The rounds, and how often each takes its turn in one: far more often than anything is prepared ahead.
const ROUNDS: usize = 10;
const BURST: usize = 50;
/// Between turns: nobody's preparations for the next run shall cost the one who comes after.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs a program once as an agent's, without a journal, and says what came of it.
pub(crate) async fn once(focus: &Focus, by: &Principal, source: &str) -> Result<String> {
    let ran = focus.code_run(by, "python", Program::body("<code>", source)).await?;
    if let Some(failure) = ran.failure {
        anyhow::bail!("{}: {}", failure.kind, failure.message);
    }
    Ok(ran.text)
}

/// The small program of this row.
pub(crate) async fn small(focus: &Focus, by: &Principal) -> Result<()> {
    let text = once(focus, by, SCRIPT).await?;
    ensure!(text == ANSWER, "the program answered '{text}'");
    Ok(())
}

/// What one way of running it took: one right after another, and after a pause.
#[derive(Default)]
struct Turns {
    burst: Vec<Duration>,
    spaced: Vec<Duration>,
}

impl Turns {
    fn rival(&mut self, rival: &mut Rival, burst: usize) -> Result<()> {
        self.burst.extend(rival.run(burst)?);
        std::thread::sleep(PAUSE);
        self.spaced.extend(rival.run(1)?);
        Ok(())
    }
}

/// Against the rivals that are there.
pub(crate) async fn execute(host: &Host) -> Result<Vec<Row>> {
    let (focus, by) = host.caller()?;
    for _ in 0..20 {
        small(&focus, &by).await?;
    }
    let python = rival::any();
    let mut rivals = Vec::new();
    let mut rows = Vec::new();
    for name in ["full", "subset"] {
        match rival::installed().map(|python| Rival::start(&python, name)) {
            Some(Ok(rival)) => rivals.push((name, rival, Turns::default())),
            Some(Err(error)) => rows.push(Row::failed("python", &error)),
            None => rows.push(Row::unmeasured("python", &format!("{name}: no Python 3.12 or later for the rivals"))),
        }
    }
    let (mut ours, mut process) = (Turns::default(), Vec::new());
    let tell = alone(&python)?.1;
    for _ in 0..ROUNDS {
        for turn in 0..=BURST {
            if turn == BURST {
                sleep(PAUSE).await;
            }
            let begun = Instant::now();
            small(&focus, &by).await?;
            let turns = if turn == BURST { &mut ours.spaced } else { &mut ours.burst };
            turns.push(begun.elapsed());
        }
        sleep(PAUSE).await;
        for (_, rival, turns) in &mut rivals {
            turns.rival(rival, BURST)?;
            sleep(PAUSE).await;
        }
        for _ in 0..5 {
            process.push(alone(&python)?.0);
        }
    }
    let burst = Samples::new(ours.burst);
    let spaced = Samples::new(ours.spaced);
    for (name, rival, turns) in rivals {
        let of_rival = [Samples::new(turns.burst), Samples::new(turns.spaced)];
        for (how, mine, theirs) in [("back to back", &burst, &of_rival[0]), ("after a pause", &spaced, &of_rival[1])] {
            rows.push(against(name, &rival.version, how, mine, theirs));
        }
    }
    let process = Samples::new(process);
    let ratio = process.p50().as_secs_f64() / burst.p50().as_secs_f64();
    rows.push(Row {
        id: "python",
        figure: format!("the same, back to back: `python3 -I -c` without a tool ({tell}) / ours (more is better)"),
        ours: format!("{} / {}", time(burst.p50()), time(burst.p99())),
        baseline: format!("{} / {}", time(process.p50()), time(process.p99())),
        ratio,
        target: "–".into(),
        met: true,
    });
    Ok(rows)
}

fn against(name: &str, version: &str, how: &str, ours: &Samples, theirs: &Samples) -> Row {
    let ratio = theirs.p50().as_secs_f64() / ours.p50().as_secs_f64();
    // The claim is against the other full CPython, without a pause.
    let claim = name == "full" && how == "back to back";
    Row {
        id: "python",
        figure: format!("execute_code, unused full CPython, one tool call, {how}: {version} / ours (more is better)"),
        ours: format!("{} / {}", time(ours.p50()), time(ours.p99())),
        baseline: format!("{} / {}", time(theirs.p50()), time(theirs.p99())),
        ratio,
        target: if claim { "≥ 4" } else { "–" }.into(),
        met: !claim || ratio >= 4.0,
    }
}

/// A process of its own, and which Python it was.
fn alone(python: &Path) -> Result<(Duration, String)> {
    let begun = Instant::now();
    let done = Command::new(python).args(["-I", "-c", ALONE]).output().context("could not start python3")?;
    let took = begun.elapsed();
    ensure!(done.stdout.starts_with(ANSWER.as_bytes()), "python3 answered '{}'", String::from_utf8_lossy(&done.stdout));
    let version = Command::new(python).arg("--version").output()?.stdout;
    Ok((took, String::from_utf8_lossy(&version).trim().to_owned()))
}

/// A loop of a million iterations, against the machine's own CPython.
pub(crate) async fn cpu(host: &Host) -> Result<Vec<Row>> {
    const LOOP: &str = "sum(i * i for i in range(1_000_000))";
    let (focus, by) = host.caller()?;
    let mut native = Rival::start(&rival::any(), "native")?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..11 {
        let begun = Instant::now();
        let text = once(&focus, &by, LOOP).await?;
        let took = begun.elapsed();
        ensure!(text == "333332833333500000", "the loop answered '{text}'");
        let native = native.run(1)?;
        if round > 0 {
            ours.push(took);
            theirs.extend(native);
        }
    }
    let (ours, theirs) = (Samples::new(ours), Samples::new(theirs));
    let ratio = ours.p50().as_secs_f64() / theirs.p50().as_secs_f64();
    Ok(vec![Row {
        id: "python cpu",
        figure: format!("1 M iterations in execute_code (CPython 3.14) / {}", native.version),
        ours: format!("{} / {}", time(ours.p50()), time(ours.p99())),
        baseline: format!("{} / {}", time(theirs.p50()), time(theirs.p99())),
        ratio,
        target: "≤ 6".into(),
        met: ratio <= 6.0,
    }])
}
