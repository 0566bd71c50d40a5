//! `animus plugin build`: from source to a component that carries its manifest.

mod python;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};

use animus_core::{
    Error,
    id::{Digest, PluginName},
    manifest::Manifest,
    package,
};
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
};

use crate::{
    context::Context,
    fault::{During as _, Exit, Fault, Result},
    out::{GOOD, paint},
    sdk,
};

const TARGET: &str = "wasm32-wasip2";
/// How much of a compiler's messages is kept, in bytes. The first errors are the ones to mend first.
const MESSAGES: u64 = 64 << 10;
/// How much a compiler may say to programs, in bytes.
const ARTIFACTS: u64 = 64 << 20;

#[derive(Args)]
pub(crate) struct Build {
    /// The plugin's folder, with plugin.toml and Cargo.toml or app.py
    #[arg(default_value = ".")]
    path: PathBuf,
}

#[derive(Serialize)]
struct Built {
    name: PluginName,
    version: String,
    wasm: PathBuf,
    bytes: usize,
    digest: Digest,
}

impl Build {
    pub(super) async fn run(self, cx: &Context) -> Result<Exit> {
        let folder = self.path.canonicalize().during(|| format!("find {}", self.path.display()))?;
        let Packed { manifest, wasm, bytes } = build(cx, &folder, Messages::Shown).await?;
        let built = Built {
            name: manifest.name,
            version: manifest.version.to_string(),
            wasm,
            bytes: bytes.len(),
            digest: Digest::of(&bytes),
        };
        let source = self.path.display().to_string();
        cx.out.show(&built, |built| {
            format!(
                "{} {} ({} KiB)\nnext: animus plugin install {source}",
                paint(GOOD, "built"),
                built.wasm.display(),
                built.bytes.div_ceil(1024),
            )
        });
        Ok(Exit::Done)
    }
}

/// What a compiler's messages are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::cmd) enum Messages {
    /// A person reads them on standard error as they come.
    Shown,
    /// They are the text of the failure, and nothing is shown of a build that passes.
    Kept,
}

/// A component that carries its manifest.
pub(in crate::cmd) struct Packed {
    pub(in crate::cmd) manifest: Manifest,
    /// Where it was written.
    pub(in crate::cmd) wasm: PathBuf,
    pub(in crate::cmd) bytes: Vec<u8>,
}

/// Builds a plugin's folder, an absolute path, and writes the component to where [`output`] says. Dropping the future
/// ends the compiler.
pub(in crate::cmd) async fn build(cx: &Context, folder: &Path, messages: Messages) -> Result<Packed> {
    let (text, manifest) = read_manifest(folder)?;
    // A project that was made by another build of this version gets the SDK of this one.
    sdk::unpack(&cx.home)?;
    let component = compile(cx, folder, messages).await?;
    let bytes = fs::read(&component).during(|| format!("read {}", component.display()))?;
    let bytes = package::embed(&bytes, &text)?;
    animus_runtime::inspect(&bytes).map_err(Error::from)?;
    let wasm = output(folder, &manifest.name);
    sdk::write(&wasm, &bytes)?;
    Ok(Packed { manifest, wasm, bytes })
}

/// Compiles what is in `folder`, by the files that its language has; returns the component without its manifest.
async fn compile(cx: &Context, folder: &Path, messages: Messages) -> Result<PathBuf> {
    if folder.join("Cargo.toml").is_file() {
        return cargo(folder, messages).await;
    }
    if is_python(folder) {
        return python::python(&cx.home, folder, messages).await;
    }
    Err(Fault::from(Error::NotFound(format!("{} has neither Cargo.toml nor app.py", folder.display())))
        .advise("build the component with its own tools and install the file: animus plugin install FILE.wasm"))
}

/// Whether a folder is a Python plugin: it has an app.py, and nothing that cargo builds.
pub(super) fn is_python(folder: &Path) -> bool {
    !folder.join("Cargo.toml").is_file() && folder.join("app.py").is_file()
}

/// Where `animus plugin build` puts the component of a folder.
pub(super) fn output(folder: &Path, name: &PluginName) -> PathBuf {
    folder.join("target").join(format!("{name}.wasm"))
}

/// The manifest of a plugin's folder, as text and checked.
pub(super) fn read_manifest(folder: &Path) -> Result<(String, Manifest)> {
    let path = folder.join("plugin.toml");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Fault::from(Error::NotFound(format!("{} has no plugin.toml", folder.display())))
                .advise("begin a plugin: animus plugin new --lang rust NAME, or --lang python"));
        }
        Err(e) => return Err(Fault::failed(format!("could not read {}: {e}", path.display()))),
    };
    let manifest = Manifest::parse(&text)?;
    Ok((text, manifest))
}

/// Builds the package in `folder` for release; returns its component.
async fn cargo(folder: &Path, messages: Messages) -> Result<PathBuf> {
    let package = folder.join("Cargo.toml");
    check_target(folder).await?;
    let mut command = Command::new("cargo");
    command
        .args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    match messages {
        Messages::Shown => command.stderr(Stdio::inherit()),
        // Then only warnings and errors are left.
        Messages::Kept => command.arg("--quiet").stderr(Stdio::piped()),
    };
    let mut cargo = command.spawn().map_err(|e| no_rust("cargo", &e))?;
    let (stdout, stderr) = (cargo.stdout.take(), cargo.stderr.take());
    let (stdout, stderr, status) = tokio::join!(head(stdout, ARTIFACTS), head(stderr, MESSAGES), cargo.wait());
    let status = status.during(|| "wait for cargo".into())?;
    if !status.success() {
        let place = folder.display();
        return Err(match messages {
            Messages::Shown => Fault::failed(format!("cargo could not build {place}"))
                .advise("mend what cargo shows above, then build again"),
            Messages::Kept => Fault::failed(format!(
                "cargo could not build {place}:\n{}",
                String::from_utf8_lossy(&stderr).trim_end()
            )),
        });
    }
    String::from_utf8_lossy(&stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message.get("manifest_path").and_then(Value::as_str).map(Path::new) == Some(&package))
        .filter_map(|message| {
            let files = message.get("filenames")?.as_array()?;
            files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
        })
        .next_back()
        .ok_or_else(|| {
            Fault::invalid(format!("{} builds no component", package.display()))
                .advise("add to it: [lib] crate-type = [\"cdylib\"]")
        })
}

/// The first `most` bytes of a stream, which is read to its end all the same, so that nobody waits who writes to it.
async fn head(stream: Option<impl AsyncRead + Unpin>, most: u64) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut stream) = stream {
        // A stream that breaks off has ended.
        let _ = (&mut stream).take(most).read_to_end(&mut kept).await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
    kept
}

/// The toolchain of that folder must know the target; rustup's own message would not say so plainly.
async fn check_target(folder: &Path) -> Result {
    let found = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(folder)
        .output()
        .await
        .map_err(|e| no_rust("rustc", &e))?;
    let folder = String::from_utf8_lossy(&found.stdout);
    if found.status.success() && Path::new(folder.trim()).is_dir() {
        return Ok(());
    }
    Err(Fault::from(Error::Unavailable(format!("this Rust toolchain lacks the target {TARGET}")))
        .advise(format!("rustup target add {TARGET}")))
}

fn no_rust(program: &str, error: &io::Error) -> Fault {
    Fault::from(Error::Unavailable(format!("could not start {program}: {error}")))
        .advise("install Rust from https://rustup.rs")
}
