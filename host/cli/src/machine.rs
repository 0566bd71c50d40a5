//! This machine and its processes, as the store is to know who runs what.

use std::{fs, path::Path, sync::OnceLock};

use animus_core::work::Host;

/// This process.
pub(crate) fn host() -> Host {
    Host::this(name())
}

/// A name that no other machine has which shares a store with this one: the system's own identifier of itself, with its
/// host name before it for people. A container without either is named after its process space.
pub(crate) fn name() -> String {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let read =
            |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|t| !t.is_empty());
        let host = read("/proc/sys/kernel/hostname").or_else(|| read("/etc/hostname")).unwrap_or_else(|| "host".into());
        // Of containers that are copies of one image only the boot and the process space tell them apart.
        let boot = read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let space = fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default();
        let mut name: String = format!("{host}/{boot}/{space}");
        name.retain(|c| c.is_ascii_alphanumeric() || "-._/".contains(c));
        name
    })
    .clone()
}

/// Whether a process of this machine runs, as far as this system tells.
pub(crate) fn is_alive(process: u32) -> bool {
    let all = Path::new("/proc");
    !all.is_dir() || all.join(process.to_string()).exists()
}
