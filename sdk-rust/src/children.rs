//! Children: work given to other faculties. Needs the capability `spawn-child`, which names the faculties and how many
//! children one run may have.
//!
//! A child runs under its own faculty's grant and holds nothing that this plugin does not hold; what it spends is spent
//! from the budget of this work.
//!
//! ```no_run
//! use animus_sdk::{children::{self, NewChild}, prelude::*};
//!
//! # fn f() -> Result<()> {
//! let ids = ["the history", "the present"]
//!     .map(|part| children::spawn(&NewChild::new("assistant", format!("Find out: {part}"))));
//! let ids: Vec<String> = ids.into_iter().collect::<Result<_>>()?;
//! for child in children::await_all(&ids, 600_000)? {
//!     println!("{}: {}", child.id, child.summary);
//! }
//! # Ok(())
//! # }
//! ```

use crate::{Error, Result, host::spawn_child as host};

pub use crate::bindings::imports::animus::spawn_child::spawn_child::{Child, NewChild, State};

impl NewChild {
    /// A child without parameters, with this work's priority and an equal share of what is left of its budget.
    pub fn new(faculty: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            faculty: faculty.into(),
            description: description.into(),
            params: "{}".to_owned(),
            priority: None,
            max_tokens: None,
            max_cost: None,
            dedup_key: None,
        }
    }
}

impl State {
    /// Whether the child goes on by itself, so that there is something to wait for.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }
}

/// Gives work to a faculty, and returns the child's id at once.
///
/// # Errors
/// [`Error::Denied`]; [`Error::BudgetExhausted`] when there are too many children, or too little is left;
/// [`Error::Invalid`], also when this work is itself a child of the fifth generation.
pub fn spawn(new: &NewChild) -> Result<String> {
    host::spawn(new).map_err(Error::from_host)
}

/// Waits until all of these have ended, and returns them in this order. Each may have failed: see [`Child::success`].
///
/// # Errors
/// [`Error::Timeout`] names those that have not ended; nothing is lost, they may be awaited again. [`Error::NotFound`]
/// for an id that is none of this work's children.
pub fn await_all<S: AsRef<str>>(ids: &[S], timeout_ms: u64) -> Result<Vec<Child>> {
    host::await_(&owned(ids), timeout_ms).map_err(Error::from_host)
}

/// Where these stand now, in this order.
///
/// # Errors
/// [`Error::NotFound`] for an id that is none of this work's children.
pub fn check<S: AsRef<str>>(ids: &[S]) -> Result<Vec<Child>> {
    host::check(&owned(ids)).map_err(Error::from_host)
}

/// Asks for the end of a child and of its own children. One that has ended stays as it is.
///
/// # Errors
/// [`Error::NotFound`] for an id that is none of this work's children.
pub fn cancel(id: &str) -> Result<()> {
    host::cancel(id).map_err(Error::from_host)
}

fn owned<S: AsRef<str>>(ids: &[S]) -> Vec<String> {
    ids.iter().map(|id| id.as_ref().to_owned()).collect()
}
