//! `animus plugin build`: from source to a component that carries its manifest.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
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

use crate::{
    context::Context,
    fault::{During as _, Exit, Fault, Result},
    out::{GOOD, paint},
    sdk,
};

const TARGET: &str = "wasm32-wasip2";

#[derive(Args)]
pub(crate) struct Build {
    /// The plugin's folder, with plugin.toml and Cargo.toml
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
        let (text, manifest) = read_manifest(&folder)?;
        // A project that was made by another build of this version gets the SDK of this one.
        sdk::unpack(&cx.home)?;
        let component = cargo(&folder)?;
        let bytes = fs::read(&component).during(|| format!("read {}", component.display()))?;
        let packed = package::embed(&bytes, &text)?;
        animus_runtime::inspect(&packed).map_err(Error::from)?;
        let wasm = output(&folder, &manifest.name);
        sdk::write(&wasm, &packed)?;
        let built = Built {
            name: manifest.name,
            version: manifest.version.to_string(),
            wasm,
            bytes: packed.len(),
            digest: Digest::of(&packed),
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
                .advise("begin a plugin: animus plugin new --lang rust NAME"));
        }
        Err(e) => return Err(Fault::failed(format!("could not read {}: {e}", path.display()))),
    };
    let manifest = Manifest::parse(&text)?;
    Ok((text, manifest))
}

/// Builds the package in `folder` for release; returns its component. Cargo's own messages go to standard error.
fn cargo(folder: &Path) -> Result<PathBuf> {
    let package = folder.join("Cargo.toml");
    if !package.is_file() {
        return Err(Fault::from(Error::NotFound(format!("{} has no Cargo.toml", folder.display())))
            .advise("build the component with its own tools and install the file: animus plugin install FILE.wasm"));
    }
    check_target(folder)?;
    let output = Command::new("cargo")
        .args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"])
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| no_rust("cargo", &e))?;
    if !output.status.success() {
        return Err(Fault::failed(format!("cargo could not build {}", folder.display()))
            .advise("mend what cargo shows above, then build again"));
    }
    String::from_utf8_lossy(&output.stdout)
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

/// The toolchain of that folder must know the target; rustup's own message would not say so plainly.
fn check_target(folder: &Path) -> Result {
    let found = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(folder)
        .output()
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
