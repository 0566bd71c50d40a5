//! Programs in interpreter plugins: an instance that nobody has used, given to the principal whose code it runs.

mod convert;
mod ready;

use std::sync::Arc;

use animus_core::{
    Error, Result,
    authority::Authority,
    code::{Description, Program, Ran, Tested},
    grant::Grant,
    services::CallContext,
};

pub(crate) use self::ready::{Ready, Waiting};
use crate::{bindings::code_types, call::Callee, limits::Limit};

/// Runs a program on a fresh instance, or on one that was made ahead.
pub(crate) async fn run(callee: &Callee<'_>, cx: &CallContext, ready: Option<Ready>, program: Program) -> Result<Ran> {
    let export = callee.linked.interpreter.as_ref().ok_or_else(|| no_interpreter(callee.name))?;
    let program = code_types::Program::from(program);
    let (outcome, kept, refused) = callee
        .run_in(cx, ready, "run", async |store, instance| {
            let outcome = export.load(&mut *store, instance)?.call_run(&mut *store, &program).await?;
            let state = store.data();
            Ok(outcome.map(|outcome| (outcome, state.refusal.clone(), state.meter.refused())))
        })
        .await?;
    let mut ran = convert::ran(callee.name, outcome)?;
    let value = ran.value.as_ref().map_or(0, |value| value.to_string().len());
    let size = ran.text.len().saturating_add(value);
    let limits = callee.authority.limits();
    if u64::try_from(size).unwrap_or(u64::MAX) > limits.output_bytes {
        return Err(Limit::Output.error(callee.name, limits));
    }
    // The interpreter only knows that it got no more memory.
    if let (Some(failure), Some(limit @ Limit::Memory)) = (&mut ran.failure, refused)
        && failure.cause.is_none()
        && failure.kind == "MemoryError"
    {
        failure.cause = Some(limit.error(callee.name, limits));
    }
    // The program read less of its denial than the operator may.
    if let Some(failure) = &mut ran.failure
        && let (Some(Error::Denied(given)), Some(kept)) = (&failure.cause, kept)
        && given.capability == kept.capability
    {
        failure.cause = Some(kept.into());
    }
    Ok(ran)
}

/// Looks at a program, with nothing in reach.
pub(crate) async fn describe(callee: &Callee<'_>, cx: &CallContext, program: Program) -> Result<Description> {
    let export = callee.linked.interpreter.as_ref().ok_or_else(|| no_interpreter(callee.name))?;
    let program = code_types::Program::from(program);
    let found = callee
        .run(cx, "describe", async |store, instance| {
            export.load(&mut *store, instance)?.call_describe(&mut *store, &program).await
        })
        .await?;
    convert::description(found)
}

/// Runs the tests of a program on a fresh instance.
pub(crate) async fn test(callee: &Callee<'_>, cx: &CallContext, program: Program) -> Result<Vec<Tested>> {
    let export = callee.linked.interpreter.as_ref().ok_or_else(|| no_interpreter(callee.name))?;
    let program = code_types::Program::from(program);
    let tested = callee
        .run(cx, "test", async |store, instance| {
            export.load(&mut *store, instance)?.call_test(&mut *store, &program).await
        })
        .await?;
    Ok(tested.into_iter().map(|tested| convert::tested(callee.name, tested)).collect())
}

/// The authority of an interpreter that looks at a program: nothing, within its limits.
pub(crate) fn nobody(interpreter: &Authority) -> Arc<Authority> {
    let plugin = interpreter.plugin().clone();
    let nothing = Authority::new(plugin, Grant::default(), Grant::default(), Grant::default());
    Arc::new(nothing.bounded(interpreter.limits()))
}

fn no_interpreter(name: &str) -> Error {
    Error::Invalid(format!("'{name}' does not export animus:interpreter/interpreter"))
}
