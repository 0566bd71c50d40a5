//! Hot reload: a changed source becomes the next generation while the one before goes on serving.
//!
//! A [`Watcher`] says which files have changed and are whole; a [`Reloader`] loads them one after another; a [`Follower`]
//! takes over what another process has changed; and the registry takes a generation that keeps breaking out of service
//! ([`TOLERATED`]). Whoever wants to know subscribes with [`Registry::reloads`](crate::Registry::reloads).

mod drop_folder;
mod follower;
mod health;
mod ignore;
mod reloader;
mod watcher;
mod whole;

pub use drop_folder::{DropFolder, Sources};
pub use follower::Follower;
pub use health::TOLERATED;
pub(crate) use health::{Fared, Health};
pub use reloader::{Commit, Reloaded, Reloader};
pub use watcher::{Pace, Scope, Watcher};
