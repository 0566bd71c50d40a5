//! A skill as a component that holds its own interpreter: a Python plugin made of the skill's files.

use std::path::Path;

use animus_core::{Error, skill::SkillFiles};
use animus_runtime::skill::Forged;
use toml::Table;

use crate::{
    cmd::plugin::{Messages, build as build_plugin},
    context::Context,
    fault::{During as _, Fault, Result},
    sdk,
};

/// The folder of the Python plugin, below the skill's own `target/`.
const FOLDER: &str = "target/standalone";
/// The module that holds the skill's code in it.
const CODE: &str = "skill_code";

/// Lays out the plugin and builds it.
pub(super) async fn build(cx: &Context, folder: &Path, files: &SkillFiles, forged: &Forged) -> Result<Vec<u8>> {
    let Some(code) = files.code(&forged.skill)? else { return Err(Fault::usage("the skill has no code")) };
    if code.interpreter.as_str() != "python" {
        let error =
            Error::Invalid(format!("only Python stands alone, and this skill's code is for '{}'", code.interpreter));
        return Err(error.into());
    }
    let home = folder.canonicalize().during(|| format!("find {}", folder.display()))?.join(FOLDER);
    sdk::write(&home.join("plugin.toml"), manifest(&forged.inspection.manifest_text)?.as_bytes())?;
    sdk::write(&home.join(format!("{CODE}.py")), code.source.1.as_bytes())?;
    for (name, source) in &code.modules {
        let path = home.join(format!("{}.py", name.replace('.', "/")));
        sdk::write(&path, source.as_bytes())?;
    }
    let tools: Vec<&str> = forged.tools.iter().filter_map(|tool| Some(tool.name.split_once('.')?.1)).collect();
    sdk::write(&home.join("app.py"), app(&tools).as_bytes())?;
    Ok(build_plugin(cx, &home, Messages::Shown).await?.bytes)
}

/// The request without the interpreter, which it does not need any more.
fn manifest(text: &str) -> Result<String> {
    let mut manifest: Table = text.parse().during(|| "read the skill's manifest".into())?;
    if let Some(capabilities) = manifest.get_mut("capabilities").and_then(|value| value.as_table_mut()) {
        capabilities.remove("interpreter");
    }
    toml::to_string(&manifest).during(|| "write the plugin's manifest".into())
}

/// A plugin whose tools are these functions of the code.
fn app(tools: &[&str]) -> String {
    let imports: String = tools.iter().map(|tool| format!("{tool} = _offered(\"{tool}\")\n")).collect();
    format!(
        "import builtins\n\nimport animus\nfrom animus import tool\nfrom animus.plugin import MARK\n\n\
         # Names that the interpreter gives to code without an import.\n\
         for _name in (\"tools\", \"ledger\", \"memory\", \"llm\"):\n    setattr(builtins, _name, getattr(animus, _name))\n\n\
         import {CODE}\n\n\n\
         def _offered(name):\n    \
         for value in vars({CODE}).values():\n        \
         mark = getattr(value, MARK, None)\n        \
         if mark is not None and mark.name == name:\n            return value\n    \
         return tool(getattr({CODE}, name))\n\n\n{imports}"
    )
}
