//! A home folder with its workspace, and the binary run in them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use animus_core::package;
use serde_json::Value;
use tempfile::TempDir;

/// A home and a workspace, removed when dropped.
pub(crate) struct Home {
    folder: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    /// Nothing in it yet: the first command makes everything.
    pub(crate) fn empty() -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(home.workspace()).unwrap();
        home
    }

    /// With the first-party plugins installed, which takes a while and so happens once.
    pub(crate) fn new() -> Self {
        static MADE: OnceLock<Home> = OnceLock::new();
        let made = MADE.get_or_init(|| {
            let home = Self::empty();
            home.ok(&["plugin", "list"]);
            home
        });
        let home = Self::empty();
        copy(&made.path(), &home.path());
        home
    }

    /// The same with the interpreter compiled, which takes a while longer and so happens once, too.
    pub(crate) fn with_python() -> Self {
        static MADE: OnceLock<Home> = OnceLock::new();
        let made = MADE.get_or_init(|| {
            let home = Self::new();
            home.feed(&["exec", "-"], "return 1").expect(0);
            home
        });
        let home = Self::empty();
        copy(&made.path(), &home.path());
        home
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.folder.path().join("workspace")
    }

    /// Writes a file into the workspace, and returns its path.
    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.workspace().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The operator's configuration.
    pub(crate) fn configure(&self, text: &str) {
        fs::create_dir_all(self.path()).unwrap();
        fs::write(self.path().join("animus.toml"), text).unwrap();
    }

    /// The binary, in the workspace, without anything that this machine's environment says about it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_animus"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("ANIMUS_")
                || text.starts_with("OTEL_")
                || text == "TRACEPARENT"
                || text == "DATABASE_URL"
                || text.ends_with("_API_KEY")
                || text == "NO_COLOR"
                || text == "CLICOLOR_FORCE"
            {
                command.env_remove(&name);
            }
        }
        command.args(args).env("ANIMUS_HOME", self.path()).current_dir(self.workspace()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        Done::of(self.command(args).output().unwrap())
    }

    /// With something on standard input.
    pub(crate) fn feed(&self, args: &[&str], input: &str) -> Done {
        let path = self.folder.path().join("stdin");
        fs::write(&path, input).unwrap();
        Done::of(self.command(args).stdin(fs::File::open(path).unwrap()).output().unwrap())
    }

    /// Runs a command that must succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> Done {
        self.run(args).expect(0)
    }

    /// The result of a command that must succeed, as JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.ok(&[args, &["--json"]].concat()).json()
    }
}

impl Done {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }

    /// The events of a run.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The bytes of a first-party plugin with another manifest.
pub(crate) fn repacked(plugin: &str, manifest: &str) -> Vec<u8> {
    let wasm = fs::read(Path::new(env!("OUT_DIR")).join(format!("{plugin}.wasm"))).unwrap();
    package::embed(&wasm, manifest).unwrap()
}

/// `notes` under the name `scribe`, with what its manifest says beside the name.
pub(crate) fn scribe(version: &str, rest: &str) -> Vec<u8> {
    repacked("notes", &format!("[plugin]\nname = 'scribe'\nversion = '{version}'\nwit = '0.1'\n{rest}"))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    // The cache of compiled plugins refuses a folder that others may enter.
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
