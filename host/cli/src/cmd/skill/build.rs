//! `animus skill build` and `animus skill test`.

use std::path::PathBuf;

use animus_core::{Error, code::Tested, id::Digest, skill::SkillName, tool::Tool};
use clap::Args;
use serde::Serialize;

use super::{Bench, folder, read, report, standalone};
use crate::{
    context::Context,
    fault::{During as _, Exit, Fault, Result},
    out::{self, GOOD, paint},
    sdk,
    watch::Spinner,
};

#[derive(Args)]
pub(crate) struct Build {
    /// The skill's folder [default: the current folder]
    path: Option<PathBuf>,
    /// Put the interpreter into the component as well, so that it needs no other plugin: some 18 MB, built with
    /// componentize-py
    #[arg(long)]
    standalone: bool,
    /// The file to write [default: target/NAME.wasm in the skill's folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Test {
    /// The skill's folder [default: the current folder]
    path: Option<PathBuf>,
    /// The folder that tools with a grant for `$workspace` see [default: the current folder]
    #[arg(long, value_name = "FOLDER")]
    workspace: Option<PathBuf>,
}

#[derive(Serialize)]
struct Built {
    name: SkillName,
    wasm: PathBuf,
    bytes: usize,
    digest: Digest,
    tools: Vec<Tool>,
    /// What it imports.
    imports: Vec<String>,
    tests: Vec<Tested>,
}

#[derive(Serialize)]
struct Ran {
    name: SkillName,
    passed: usize,
    failed: usize,
    tests: Vec<Tested>,
}

impl Build {
    pub(super) async fn run(self, cx: &Context) -> Result<Exit> {
        let folder = folder(self.path);
        let files = read(&folder)?;
        let bench = Bench::open(cx, None).await?;
        let spinner = Spinner::start(&cx.out, "testing and compiling");
        let forged = bench.forge(&files).await?;
        drop(spinner);
        let Some(forged) = forged else {
            return Err(Fault::usage("the skill has no code, so there is nothing to compile")
                .advise("install it as it is: animus skill install"));
        };
        forged.expect_tested()?;
        let name = forged.skill.name.clone();
        let wasm = self.out.unwrap_or_else(|| folder.join("target").join(format!("{name}.wasm")));
        let (bytes, imports) = if self.standalone {
            let bytes = standalone::build(cx, &folder, &files, &forged).await?;
            let imports = animus_runtime::inspect(&bytes).map_err(Error::from)?.imports;
            (bytes, imports)
        } else {
            (forged.wasm.to_vec(), forged.inspection.imports)
        };
        sdk::write(&wasm, &bytes)?;
        // For programs, whatever folder they run in.
        let wasm = wasm.canonicalize().during(|| format!("find {}", wasm.display()))?;
        let built = Built {
            name,
            wasm,
            bytes: bytes.len(),
            digest: Digest::of(&bytes),
            tools: forged.tools,
            imports,
            tests: forged.tests,
        };
        cx.out.show(&built, |built| {
            let tools = built.tools.iter().map(|tool| format!("  · {}\n", out::safe(&tool.name))).collect::<String>();
            format!(
                "{} {} ({} bytes, {} tests passed)\n{tools}",
                paint(GOOD, "built"),
                built.wasm.display(),
                built.bytes,
                built.tests.len()
            )
        });
        Ok(Exit::Done)
    }
}

impl Test {
    pub(super) async fn run(self, cx: &Context) -> Result<Exit> {
        let files = read(&folder(self.path))?;
        let bench = Bench::open(cx, self.workspace.as_deref()).await?;
        let spinner = Spinner::start(&cx.out, "testing");
        let forged = bench.forge(&files).await?;
        drop(spinner);
        let Some(forged) = forged else {
            return Err(Fault::usage("the skill has no code, so there is nothing to test"));
        };
        let failed = forged.tests.iter().filter(|test| test.failure.is_some()).count();
        let passed = forged.tests.len() - failed;
        let ran = Ran { name: forged.skill.name, passed, failed, tests: forged.tests };
        cx.out.show(&ran, |ran| {
            format!("{}: {} passed, {} failed\n{}", ran.name, ran.passed, ran.failed, report(&ran.tests))
        });
        Ok(if failed > 0 { Exit::Failed } else { Exit::Done })
    }
}
