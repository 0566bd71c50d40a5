//! `animus plugin new`: a plugin that builds, in a new folder.

use std::{fs, path::PathBuf};

use animus_core::id::PluginName;
use clap::Args;
use serde::Serialize;

use crate::{
    context::Context,
    fault::{During as _, Exit, Fault, Result},
    sdk::{self, Language},
};

#[derive(Args)]
pub(crate) struct New {
    /// The language
    #[arg(long, value_enum, default_value = "rust")]
    lang: Language,
    /// The plugin's name: a-z, then a-z, 0-9, '-' and '_'
    name: PluginName,
    /// The folder to make [default: the name, in the current folder]
    path: Option<PathBuf>,
}

#[derive(Serialize)]
struct Made {
    name: PluginName,
    path: PathBuf,
    files: Vec<String>,
    sdk: PathBuf,
}

impl New {
    pub(super) fn run(self, cx: &Context) -> Result<Exit> {
        let path = self.path.unwrap_or_else(|| self.name.as_str().into());
        if fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Fault::usage(format!("{} is not empty", path.display())).advise("name another folder"));
        }
        sdk::unpack(&cx.home)?;
        let sdk = sdk::of(&cx.home, self.lang);
        let sdk_text = sdk.to_str().ok_or_else(|| Fault::failed(format!("{} is not UTF-8", sdk.display())))?;
        let mut files = Vec::new();
        for (file, text) in sdk::template(self.lang) {
            let filled = text.replace("{{name}}", self.name.as_str()).replace("{{sdk}}", sdk_text);
            sdk::write(&path.join(file), filled.as_bytes())?;
            files.push(file.to_owned());
        }
        // With these versions the SDK was built and tested, and they are cached where the first-party plugins were.
        if let (Language::Rust, Some(lock)) = (self.lang, sdk::lock_file()) {
            sdk::write(&path.join("Cargo.lock"), lock.as_bytes())?;
            files.push("Cargo.lock".to_owned());
        }
        let path = path.canonicalize().during(|| format!("find {}", path.display()))?;
        cx.out.show(&Made { name: self.name, path, files, sdk }, |made| {
            format!(
                "made {}\nnext: animus plugin build {name} && animus plugin install {name}",
                made.path.display(),
                name = made.path.display(),
            )
        });
        Ok(Exit::Done)
    }
}
