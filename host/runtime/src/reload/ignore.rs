//! Which files are nobody's source.

/// Whether a file or folder of this name is hidden, or one of those that editors and downloads make for a moment.
pub(super) fn is_passing(name: &str) -> bool {
    name.starts_with('.')
        || name.ends_with('~')
        || (name.starts_with('#') && name.ends_with('#'))
        // vim tries with this one whether it may write to the folder.
        || name == "4913"
        || [".tmp", ".temp", ".swp", ".swx", ".part", ".partial", ".crdownload"].iter().any(|end| name.ends_with(end))
}

/// Whether a folder holds what tools make of sources. To watch it would set off a build by a build.
pub(super) fn is_made(name: &str) -> bool {
    matches!(name, "target" | "node_modules" | "__pycache__" | "venv")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_and_hidden_names_are_passing_and_sources_are_not() {
        for name in [".git", ".tmpAb1", "lib.rs~", "#lib.rs#", "4913", "a.wasm.part", "a.tmp", ".lib.rs.swp"] {
            assert!(is_passing(name), "{name}");
        }
        for name in ["lib.rs", "a.wasm", "plugin.toml", "tmp", "part.wasm", "4913.rs"] {
            assert!(!is_passing(name), "{name}");
        }
    }
}
