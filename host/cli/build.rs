//! Puts the first-party plugins and the SDKs into the binary: builds `plugins/` for wasm32-wasip2 and `plugins/python`
//! with componentize-py, packs each component with its manifest, and lists the files that `animus plugin new` unpacks.
#![allow(clippy::print_stdout, reason = "a build script speaks to cargo by its standard output")]

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    ffi::OsStr,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use animus_core::{id::Digest, manifest::Manifest, package};

const TARGET: &str = "wasm32-wasip2";
/// Set, it leaves the Python interpreter out, so that a machine without Python can build.
const WITHOUT_PYTHON: &str = "ANIMUS_WITHOUT_PYTHON";

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() {
    if let Err(error) = run() {
        // Cargo shows what a failed build script printed; each line so marked stands out at the top.
        for line in error.to_string().lines() {
            println!("cargo::error={line}");
        }
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    fs::write(out.join("plugins.rs"), plugins(&root, &out)?)?;
    fs::write(out.join("sdk.rs"), sdk(&root)?)?;
    fs::write(out.join("skills.rs"), skills(&root)?)?;
    Ok(())
}

/// Builds and packs the plugins, and writes the Rust expression that embeds them.
fn plugins(root: &Path, out: &Path) -> Result<String> {
    let folder = &root.join("plugins");
    let mut list = String::from("&[\n");
    let mut sources = Vec::new();
    files(folder, &mut sources)?;
    watch(&sources);
    println!("cargo::rerun-if-env-changed={WITHOUT_PYTHON}");
    let mut built = build(folder, out)?;
    for manifest_path in sources.iter().filter(|path| path.ends_with("plugin.toml")) {
        let home = manifest_path.parent().ok_or("plugin.toml has no folder")?;
        if home.join(SCRIPT).is_file() {
            if env::var_os(WITHOUT_PYTHON).is_some() {
                println!("cargo::warning={WITHOUT_PYTHON} is set: this build has no Python interpreter");
                continue;
            }
            built.push((home.join(SCRIPT), python(home, out)?));
        }
        let wasm = built
            .iter()
            .find(|(package, _)| package.parent() == Some(home))
            .map(|(_, wasm)| wasm)
            .ok_or_else(|| format!("{} has a manifest, but cargo built no component for it", home.display()))?;
        let text = fs::read_to_string(manifest_path)?;
        let manifest = Manifest::parse(&text).map_err(|e| format!("{}: {e}", manifest_path.display()))?;
        let packed = package::embed(&fs::read(wasm)?, &text)?;
        let file = out.join(format!("{}.wasm", manifest.name));
        fs::write(&file, &packed)?;
        writeln!(
            list,
            "    Embedded {{ name: {:?}, digest: {:?}, wasm: include_bytes!({file:?}) }},",
            manifest.name.as_str(),
            Digest::of(&packed).to_string(),
        )?;
    }
    list.push(']');
    Ok(list)
}

/// The script that builds a plugin which cargo does not build.
const SCRIPT: &str = "build.py";

/// Has a plugin's own script build it.
fn python(home: &Path, out: &Path) -> Result<PathBuf> {
    let target = out.ancestors().nth(4).ok_or("OUT_DIR is not inside a target folder")?.join("python");
    let wasm = target.join("component.wasm");
    let script = home.join(SCRIPT);
    let status = Command::new("python3").arg(&script).arg("--target").arg(&target).arg("--out").arg(&wasm).status();
    let advice = format!("or build without the Python interpreter: {WITHOUT_PYTHON}=1 cargo build");
    match status {
        Ok(status) if status.success() => Ok(wasm),
        Ok(_) => Err(format!("{} failed; see above, {advice}", script.display()).into()),
        Err(e) => Err(format!(
            "the Python interpreter is built with python3, which could not be started: {e}\n\
             Install it (Debian: apt-get install python3 python3-venv), {advice}"
        )
        .into()),
    }
}

/// Builds the guests' workspace; returns each component with the Cargo.toml that it belongs to.
fn build(folder: &Path, out: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let found = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output()?;
    if !found.status.success() || !Path::new(String::from_utf8_lossy(&found.stdout).trim()).is_dir() {
        return Err(format!(
            "the first-party plugins are WebAssembly components, and this toolchain lacks the target {TARGET}.\n\
             Add it, then build again: rustup target add {TARGET}"
        )
        .into());
    }
    // Outside the outer target folder's lock, and the same for every profile: <target>/guests.
    let target = out.ancestors().nth(4).ok_or("OUT_DIR is not inside a target folder")?.join("guests");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target)
        .stderr(Stdio::inherit());
    if folder.join("Cargo.lock").is_file() {
        cargo.arg("--locked");
    }
    // What the outer build is told (flags, wrappers, this package's own variables) is about the host, not about guests.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let keep =
            matches!(&*text, "CARGO" | "CARGO_HOME" | "CARGO_MAKEFLAGS" | "CARGO_TARGET_DIR" | "CARGO_INCREMENTAL")
                || text.starts_with("CARGO_NET_")
                || text.starts_with("CARGO_HTTP_")
                || text.starts_with("CARGO_REGISTRIES_")
                || text.starts_with("CARGO_REGISTRY_")
                || text.starts_with("CARGO_SOURCE_");
        let of_outer = text.starts_with("CARGO_")
            || text.starts_with("DEP_")
            || matches!(&*text, "RUSTFLAGS" | "RUSTDOCFLAGS" | "RUSTC" | "RUSTC_WRAPPER" | "RUSTC_WORKSPACE_WRAPPER")
            || matches!(&*text, "TARGET" | "HOST" | "PROFILE" | "OPT_LEVEL" | "DEBUG" | "NUM_JOBS" | "OUT_DIR");
        if of_outer && !keep {
            cargo.env_remove(&name);
        }
    }
    let output = cargo.output().map_err(|e| format!("could not start cargo to build {}: {e}", folder.display()))?;
    if !output.status.success() {
        return Err(format!("building the first-party plugins in {} failed; see above", folder.display()).into());
    }
    let mut built = Vec::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        let package = message.get("manifest_path").and_then(serde_json::Value::as_str);
        let produced = message.get("filenames").and_then(serde_json::Value::as_array);
        let (Some(package), Some(produced)) = (package, produced) else { continue };
        let wasm = produced.iter().filter_map(serde_json::Value::as_str).find(|file| file.ends_with(".wasm"));
        built.extend(wasm.map(|wasm| (PathBuf::from(package), PathBuf::from(wasm))));
    }
    Ok(built)
}

/// Writes the Rust expression that embeds the skills that ship: for each the paths and texts of its files.
fn skills(root: &Path) -> Result<String> {
    let folder = root.join("skills");
    let mut found = Vec::new();
    files(&folder, &mut found)?;
    watch(&found);
    let mut by_skill: BTreeMap<String, Vec<(String, PathBuf)>> = BTreeMap::new();
    for file in found {
        let path = file.strip_prefix(&folder)?.to_str().ok_or("a path of a skill is not UTF-8")?;
        let (skill, path) = path.split_once('/').ok_or_else(|| format!("{path} is in no skill's folder"))?;
        by_skill.entry(skill.to_owned()).or_default().push((path.to_owned(), file.clone()));
    }
    let mut list = String::from("&[\n");
    for (skill, files) in by_skill {
        writeln!(list, "    ({skill:?}, &[")?;
        for (path, file) in files {
            writeln!(list, "        ({path:?}, include_bytes!({file:?})),")?;
        }
        list.push_str("    ]),\n");
    }
    list.push(']');
    Ok(list)
}

/// Writes the Rust expression that lists the SDK, the contracts and the template, by path below the repository.
fn sdk(root: &Path) -> Result<String> {
    let mut found = Vec::new();
    for folder in ["sdk-rust", "sdk-python", "wit"] {
        files(&root.join(folder), &mut found)?;
    }
    watch(&found);
    let mut list = String::from("&[\n");
    for file in found {
        let path = file.strip_prefix(root)?.to_str().ok_or("a path in the SDK is not UTF-8")?;
        writeln!(list, "    ({path:?}, include_str!({file:?})),")?;
    }
    list.push(']');
    Ok(list)
}

/// All files below a folder, sorted; build products and tests left out.
fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let read = fs::read_dir(folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
    let mut entries = read.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            // The tests of a template belong to it.
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let skipped = ["target", "__pycache__", "tests"].contains(&name) || name.starts_with('.');
            if !skipped || (name == "tests" && folder.ends_with("template")) {
                files(&path, found)?;
            }
        } else if path.extension() != Some(OsStr::new("orig")) {
            found.push(path);
        }
    }
    Ok(())
}

/// Has cargo run this again when one of the files changes. Folders would be watched with the build products in them.
fn watch(files: &[PathBuf]) {
    for file in files {
        println!("cargo::rerun-if-changed={}", file.display());
    }
}
