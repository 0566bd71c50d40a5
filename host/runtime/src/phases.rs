//! The phases of a faculty: each is one call into a fresh instance, under the faculty's own grant.

use animus_core::{
    Error, Result,
    plugins::{FacultyOutcome, Failure, Phases, Recovery, Task},
    services::CallContext,
};

use crate::{
    bindings::faculty_types as wit,
    call::{Callee, Linked},
};

/// Which phases a component exports beside `engage`.
pub(crate) fn of(linked: &Linked) -> Phases {
    Phases {
        orient: linked.orient.is_some(),
        consolidate: linked.consolidate.is_some(),
        recover: linked.recover.is_some(),
    }
}

pub(crate) async fn engage(callee: &Callee<'_>, cx: &CallContext, task: Task) -> Result<FacultyOutcome> {
    let export = exported(callee, callee.linked.faculty.as_ref(), "faculty")?;
    let task = wit::Task::from(task);
    let outcome = callee.run(cx, "engage", async |store, instance| {
        export.load(&mut *store, instance)?.call_engage(&mut *store, &task).await
    });
    outcome.await?.try_into()
}

pub(crate) async fn orient(callee: &Callee<'_>, cx: &CallContext, task: Task) -> Result<String> {
    let export = exported(callee, callee.linked.orient.as_ref(), "orient")?;
    let task = wit::Task::from(task);
    let found = callee.run(cx, "orient", async |store, instance| {
        export.load(&mut *store, instance)?.call_orient(&mut *store, &task).await
    });
    found.await
}

pub(crate) async fn consolidate(
    callee: &Callee<'_>,
    cx: &CallContext,
    task: Task,
    outcome: FacultyOutcome,
) -> Result<FacultyOutcome> {
    let export = exported(callee, callee.linked.consolidate.as_ref(), "consolidate")?;
    let (task, outcome) = (wit::Task::from(task), wit::Outcome::from(outcome));
    let outcome = callee.run(cx, "consolidate", async |store, instance| {
        export.load(&mut *store, instance)?.call_consolidate(&mut *store, &task, &outcome).await
    });
    outcome.await?.try_into()
}

pub(crate) async fn recover(callee: &Callee<'_>, cx: &CallContext, task: Task, failure: Failure) -> Result<Recovery> {
    let export = exported(callee, callee.linked.recover.as_ref(), "recover")?;
    let (task, failure) = (wit::Task::from(task), wit::Failure::from(failure));
    let recovery = callee.run(cx, "recover", async |store, instance| {
        export.load(&mut *store, instance)?.call_recover(&mut *store, &task, &failure).await
    });
    recovery.await.map(Recovery::from)
}

fn exported<'a, T>(callee: &Callee<'_>, export: Option<&'a T>, interface: &str) -> Result<&'a T> {
    export.ok_or_else(|| Error::Invalid(format!("'{}' does not export animus:faculty/{interface}", callee.name)))
}
