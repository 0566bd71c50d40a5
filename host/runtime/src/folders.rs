//! The folders that a guest is granted, opened.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use animus_core::{
    Error,
    grant::{Grant, PathGrant, PathMode},
};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

/// Preopens are the whole authority over files: a guest can name nothing that is not beneath one.
///
/// # Errors
/// [`Error::NotFound`] for a folder that cannot be opened, [`Error::Invalid`] for `$workspace` where there is none, and for
/// a folder of it that leads out of it.
pub(crate) fn open(wasi: &mut WasiCtxBuilder, grant: &Grant, workspace: Option<&Path>) -> Result<(), Error> {
    for path in &grant.paths {
        let perms = match path.mode {
            PathMode::Ro => FsPerms::ReadOnly,
            PathMode::Rw => FsPerms::ReadWrite,
        };
        let folder = Folder::find(path, workspace)?;
        wasi.preopened_dir(folder.place(), &path.guest, perms).map_err(|e| unopened(&folder.named, &e))?;
    }
    Ok(())
}

/// A granted folder of this machine.
#[derive(Debug)]
struct Folder {
    /// As the grant names it.
    named: PathBuf,
    /// As it is opened.
    held: Option<Held>,
}

impl Folder {
    fn find(path: &PathGrant, workspace: Option<&Path>) -> Result<Self, Error> {
        // A grant that comes from a file was checked when it was read; one that was not must not open anything.
        path.check()?;
        if path.host == "*" || path.guest == "*" {
            return Err(Error::Invalid(format!("'{path:?}' names no folder: `*` is for ceilings")));
        }
        let Some(rest) = path.host.strip_prefix("$workspace") else {
            return Ok(Self { named: path.host.clone().into(), held: None });
        };
        let workspace = workspace.ok_or_else(|| {
            Error::Invalid("the plugin is granted $workspace, and this call has none; give one with --workspace".into())
        })?;
        let rest = rest.trim_start_matches('/');
        let named = workspace.join(rest);
        if rest.is_empty() {
            return Ok(Self { named, held: None });
        }
        // Whoever may write there, or made the project, could have put a symbolic link in the folder's place.
        let held = Held::open(&named).map_err(|e| unopened(&named, &e))?;
        let within = workspace.canonicalize().map_err(|e| unopened(workspace, &e))?;
        if !held.real.starts_with(&within) {
            return Err(Error::Invalid(format!(
                "the granted folder {} leads out of the workspace, to {}; take the symbolic link away, or grant that folder",
                named.display(),
                held.real.display()
            )));
        }
        Ok(Self { named, held: Some(held) })
    }

    /// What to open.
    fn place(&self) -> &Path {
        self.held.as_ref().map_or(&self.named, |held| &held.place)
    }
}

/// A folder whose real place is known.
#[derive(Debug)]
struct Held {
    real: PathBuf,
    /// What leads to that very folder, whatever is put in the place of its name.
    place: PathBuf,
    _open: Option<fs::File>,
}

impl Held {
    fn open(folder: &Path) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            use std::os::fd::AsRawFd as _;
            let open = fs::File::open(folder)?;
            let place = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
            // Where there is no /proc, as below.
            if let Ok(real) = fs::read_link(&place) {
                return Ok(Self { real, place, _open: Some(open) });
            }
        }
        let real = folder.canonicalize()?;
        Ok(Self { place: real.clone(), real, _open: None })
    }
}

fn unopened(folder: &Path, e: &dyn std::fmt::Display) -> Error {
    let folder = folder.display();
    Error::NotFound(format!("the granted folder {folder} cannot be opened: {e}; make it, or change the grant"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn grant(host: &str) -> PathGrant {
        PathGrant { host: host.to_owned(), guest: "/data".to_owned(), mode: PathMode::Rw }
    }

    #[test]
    fn a_folder_of_the_workspace_is_one_that_lies_there() {
        let home = tempfile::tempdir().unwrap();
        let (workspace, outside) = (home.path().join("workspace"), home.path().join("outside"));
        fs::create_dir_all(workspace.join("sub/deep")).unwrap();
        fs::create_dir_all(outside.join("deep")).unwrap();
        fs::write(workspace.join("sub/deep/file"), "x").unwrap();
        symlink(&outside, workspace.join("out")).unwrap();
        symlink("../outside", workspace.join("up")).unwrap();
        symlink("sub", workspace.join("inner")).unwrap();
        symlink(&workspace, home.path().join("link")).unwrap();
        let find = |host: &str, workspace: &Path| Folder::find(&grant(host), Some(workspace));
        for workspace in [&workspace, &home.path().join("link")] {
            for host in ["$workspace", "$workspace/sub", "$workspace/inner/deep"] {
                let folder = find(host, workspace).unwrap();
                assert!(fs::read_dir(folder.place()).unwrap().count() > 0, "{host}");
            }
            for host in ["$workspace/out", "$workspace/out/deep", "$workspace/up"] {
                let refused = find(host, workspace).unwrap_err();
                assert!(refused.class() == "invalid" && refused.to_string().contains("leads out"), "{host}: {refused}");
            }
            assert_eq!(find("$workspace/nowhere", workspace).unwrap_err().class(), "not-found");
        }
        assert_eq!(Folder::find(&grant("$workspace/sub"), None).unwrap_err().class(), "invalid");
    }

    #[test]
    fn what_is_put_in_a_folders_place_afterwards_is_not_opened() {
        let home = tempfile::tempdir().unwrap();
        let (workspace, outside) = (home.path().join("workspace"), home.path().join("outside"));
        fs::create_dir_all(workspace.join("sub")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(workspace.join("sub/own"), "x").unwrap();
        let folder = Folder::find(&grant("$workspace/sub"), Some(&workspace)).unwrap();
        fs::rename(workspace.join("sub"), workspace.join("moved")).unwrap();
        symlink(&outside, workspace.join("sub")).unwrap();
        match fs::read_dir(folder.place()) {
            Ok(mut names) => assert_eq!(names.next().unwrap().unwrap().file_name(), "own"),
            // Without /proc the name is gone, and nothing is opened.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
        }
    }
}
