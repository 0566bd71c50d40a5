use std::fs;

use fixture::{Answer, Error, Value, failed, text};
use wasip2::filesystem::{
    preopens::get_directories,
    types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags},
};

/// The first folder that the guest was given.
fn root() -> Result<Descriptor, Error> {
    get_directories().into_iter().next().map(|(folder, _)| folder).ok_or_else(|| failed("no folder"))
}

pub fn read(args: &Value) -> Answer {
    fs::read_to_string(text(args, "path")).map_err(failed)
}

pub fn write(args: &Value) -> Answer {
    fs::write(text(args, "path"), text(args, "text")).map_err(failed)?;
    Ok("written".to_owned())
}

pub fn list(args: &Value) -> Answer {
    let entries = fs::read_dir(text(args, "path")).map_err(failed)?;
    let names: Result<Vec<_>, _> = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect();
    names.map(|names| names.join(",")).map_err(|error: std::io::Error| failed(error))
}

/// Opens `path` in the first folder just as it is written; the standard library would tidy it up before.
pub fn open_at(args: &Value) -> Answer {
    let file = root()?
        .open_at(PathFlags::SYMLINK_FOLLOW, text(args, "path"), OpenFlags::empty(), DescriptorFlags::READ)
        .map_err(failed)?;
    let (bytes, _) = file.read(1 << 16, 0).map_err(failed)?;
    String::from_utf8(bytes).map_err(failed)
}

/// Makes a link at `path` in the first folder to `to`, and reads through it.
pub fn symlink(args: &Value) -> Answer {
    root()?.symlink_at(text(args, "to"), text(args, "path")).map_err(failed)?;
    open_at(args)
}

pub fn hard_link(args: &Value) -> Answer {
    fs::hard_link(text(args, "to"), text(args, "path")).map_err(failed)?;
    read(args)
}

pub fn rename(args: &Value) -> Answer {
    fs::rename(text(args, "path"), text(args, "to")).map_err(failed)?;
    Ok("renamed".to_owned())
}
