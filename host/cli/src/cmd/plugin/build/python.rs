//! Python plugins: the builder of the SDK, run by the machine's own Python.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use animus_core::Error;
use tokio::{fs, io, process::Command};

use super::{MESSAGES, Messages, head};
use crate::{
    fault::{During as _, Fault, Result},
    home::Home,
};

/// What the builder needs, in this order: the first one that is new enough is taken.
const PYTHONS: [&str; 5] = ["python3", "python3.14", "python3.13", "python3.12", "python3.11"];
/// Says of a Python which one it is, and whether it can make virtual environments.
const PROBE: &str = "import sys
print('%d.%d.%d' % sys.version_info[:3])
sys.exit(3) if sys.version_info < (3, 11) else None
try:
    import ensurepip, venv
except ImportError:
    sys.exit(4)
";
const TOO_OLD: i32 = 3;
const NO_VENV: i32 = 4;

/// Builds the plugin in `folder`; returns its component. What was built of the same sources is not built again.
pub(super) async fn python(home: &Home, folder: &Path, messages: Messages) -> Result<PathBuf> {
    let python = find().await?;
    let tools = home.python_tools();
    fs::create_dir_all(&tools).await.during(|| format!("make the folder {}", tools.display()))?;
    let component = folder.join("target").join("python").join("component.wasm");
    let mut command = isolated(python);
    command
        .arg(home.sdk().join("sdk-python").join("build"))
        .arg(folder)
        .arg("--target")
        .arg(&tools)
        .arg("--out")
        .arg(&component)
        // What it and pip say to programs is nothing to this one.
        .stdout(Stdio::null())
        .kill_on_drop(true);
    match messages {
        Messages::Shown => command.stderr(Stdio::inherit()),
        Messages::Kept => command.arg("--quiet").stderr(Stdio::piped()),
    };
    let mut builder = command.spawn().during(|| format!("start {python}"))?;
    let stderr = builder.stderr.take();
    let (stderr, status) = tokio::join!(head(stderr, MESSAGES), builder.wait());
    if status.during(|| format!("wait for {python}"))?.success() {
        return Ok(component);
    }
    let place = folder.display();
    Err(match messages {
        Messages::Shown => Fault::failed(format!("could not build {place}"))
            .advise("mend what the builder shows above, then build again"),
        Messages::Kept => {
            Fault::failed(format!("could not build {place}:\n{}", String::from_utf8_lossy(&stderr).trim_end()))
        }
    })
}

/// A Python that can run the builder.
async fn find() -> Result<&'static str> {
    let mut found = None;
    for python in PYTHONS {
        let probed = match isolated(python).args(["-c", PROBE]).output().await {
            Ok(probed) => probed,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Fault::from(Error::Unavailable(format!("could not start {python}: {e}")))),
        };
        let version = String::from_utf8_lossy(&probed.stdout).trim().to_owned();
        let (problem, advice) = match probed.status.code() {
            Some(0) => return Ok(python),
            Some(TOO_OLD) => (format!("{python} is {version}, and Python plugins need 3.11 or later"), newer()),
            Some(NO_VENV) => (format!("{python} ({version}) has no venv"), venv(&version)),
            _ => {
                let said = String::from_utf8_lossy(&probed.stderr).trim().to_owned();
                (format!("{python} does not work ({}): {said}", probed.status), install())
            }
        };
        // The one that people mean by Python is told of.
        found.get_or_insert((problem, advice));
    }
    let (problem, advice) =
        found.unwrap_or_else(|| ("Python plugins are built with python3, and there is none".into(), install()));
    Err(Fault::from(Error::Unavailable(problem)).advise(advice))
}

/// A Python that hears nothing of the environment's, and leaves no compiled files in the SDK.
fn isolated(python: &str) -> Command {
    let mut command = Command::new(python);
    command.args(["-B", "-E", "-s"]).stdin(Stdio::null());
    command
}

fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists()
}

fn install() -> String {
    if is_debian() {
        "apt-get install python3 python3-venv".to_owned()
    } else if cfg!(target_os = "macos") {
        "brew install python3".to_owned()
    } else {
        "install Python 3.11 or later with venv, as python3; see https://www.python.org/downloads".to_owned()
    }
}

/// A newer one stands beside the system's own, under a name with its version.
fn newer() -> String {
    if cfg!(target_os = "macos") {
        return install();
    }
    "put a newer one beside it, as python3.13 or the like: uv python install 3.13".to_owned()
}

/// Debian has the package of venv by the version of the Python.
fn venv(version: &str) -> String {
    let minor = version.rsplit_once('.').map_or(version, |(minor, _)| minor);
    if is_debian() { format!("apt-get install python{minor}-venv") } else { install() }
}
