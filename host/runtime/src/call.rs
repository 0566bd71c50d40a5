//! One call's life: a never-used instance, every limit set, the call, and what came of it in clear words.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::Duration,
};

use animus_core::{
    Error, Gate,
    authority::Authority,
    id::Digest,
    limits::Limits,
    services::{CallContext, Principal},
};
use futures::FutureExt as _;
use wasmtime::{
    PoolConcurrencyLimitError, Store, Trap, WasmBacktrace,
    component::{Instance, InstancePre, ResourceTableError},
};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_config::WasiConfigVariables;

use crate::{
    bindings::{consolidate, faculty, guest_error, hook, interpreter, orient, recover, tools, types},
    egress::{Egress, is_of_egress},
    interpreter::Ready,
    limits::{Limit, Meter, Reached},
    measure,
    reload::Fared,
    state::State,
    text,
};

/// The longest explanation of a trap, in bytes: a deep recursion's backtrace would fill a model's context.
const MAX_TRAP: usize = 4 << 10;
/// `unlimited` must not overflow the clock.
const YEAR_MS: u64 = 365 * 24 * 3_600 * 1_000;

/// A component that is linked for a grant's shape.
pub(crate) struct Linked {
    pub(crate) pre: InstancePre<State>,
    /// Present when it exports `animus:tool/tools`.
    pub(crate) tools: Option<tools::GuestIndices>,
    /// Present when it exports `animus:faculty/faculty`.
    pub(crate) faculty: Option<faculty::GuestIndices>,
    /// Present when it exports `animus:faculty/orient`.
    pub(crate) orient: Option<orient::GuestIndices>,
    /// Present when it exports `animus:faculty/consolidate`.
    pub(crate) consolidate: Option<consolidate::GuestIndices>,
    /// Present when it exports `animus:faculty/recover`.
    pub(crate) recover: Option<recover::GuestIndices>,
    /// Present when it exports `animus:interpreter/interpreter`.
    pub(crate) interpreter: Option<interpreter::GuestIndices>,
    /// Present when it exports `animus:hook/hook`.
    pub(crate) hook: Option<hook::GuestIndices>,
}

impl Linked {
    pub(crate) fn new(pre: InstancePre<State>) -> Self {
        let tools = tools::GuestIndices::new(&pre).ok();
        let faculty = faculty::GuestIndices::new(&pre).ok();
        let orient = orient::GuestIndices::new(&pre).ok();
        let consolidate = consolidate::GuestIndices::new(&pre).ok();
        let recover = recover::GuestIndices::new(&pre).ok();
        let interpreter = interpreter::GuestIndices::new(&pre).ok();
        let hook = hook::GuestIndices::new(&pre).ok();
        Self { pre, tools, faculty, orient, consolidate, recover, interpreter, hook }
    }
}

/// What of a plugin a call needs.
pub(crate) struct Callee<'a> {
    pub(crate) linked: &'a Linked,
    /// What errors call it.
    pub(crate) name: &'a str,
    /// The plugin whose code it is.
    pub(crate) plugin: &'a str,
    pub(crate) authority: &'a Arc<Authority>,
    pub(crate) generation: u64,
    pub(crate) digest: Digest,
    pub(crate) config: &'a Arc<WasiConfigVariables>,
    pub(crate) egress: &'a Arc<Egress>,
    /// How the call fared, where that says something about the plugin; set when it ends.
    pub(crate) fared: OnceLock<Fared>,
}

impl Callee<'_> {
    /// Runs `work` on a fresh instance, in a call of `export`: a tool of the plugin, or a function. The store lives no longer than this, whatever comes of it.
    ///
    /// # Errors
    /// The plugin's own error; a limit that bit; a trap as [`Error::Internal`] with the plugin's backtrace;
    /// [`Error::Unavailable`] when all instances are taken; [`Error::Cancelled`].
    pub(crate) async fn run<T>(
        &self,
        cx: &CallContext,
        export: &str,
        work: impl AsyncFnOnce(&mut Store<State>, &Instance) -> wasmtime::Result<Result<T, types::Error>>,
    ) -> Result<T, Error> {
        self.run_in(cx, None, export, work).await
    }

    /// The same on an instance that was made ahead, if there is one.
    ///
    /// # Errors
    /// As [`Callee::run`].
    pub(crate) async fn run_in<T>(
        &self,
        cx: &CallContext,
        ready: Option<Ready>,
        export: &str,
        work: impl AsyncFnOnce(&mut Store<State>, &Instance) -> wasmtime::Result<Result<T, types::Error>>,
    ) -> Result<T, Error> {
        let plugin = self.name;
        let capped = cx.cap.as_ref().filter(|_| cx.depth == 0).map(|cap| Arc::new(self.authority.capped(cap)));
        let authority = capped.as_ref().unwrap_or(self.authority);
        let limits = authority.limits();
        if cx.depth > limits.call_depth {
            return Err(Limit::CallDepth.error(plugin, limits));
        }
        let principal = Principal {
            tenant: cx.tenant.clone(),
            focus: cx.focus,
            authority: authority.clone(),
            generation: self.generation,
            digest: self.digest,
            depth: cx.depth,
            parent: cx.parent,
        };
        let (mut store, instance) = match ready {
            Some(Ready { mut store, instance }) => {
                store.data_mut().assign(principal, cx, self.config.clone(), self.egress)?;
                bound(&mut store, limits);
                (store, Some(instance))
            }
            None => {
                let state = State::new(principal, cx, self.config.clone(), self.egress)?;
                (store(self.linked, state, limits), None)
            }
        };

        let ended = {
            let call = async {
                let instance = match instance {
                    Some(instance) => instance,
                    None => self.linked.pre.instantiate_async(&mut store).await?,
                };
                work(&mut store, &instance).await
            };
            tokio::select! {
                biased;
                ended = AssertUnwindSafe(call).catch_unwind() => Ended::Returned(ended),
                () = cx.cancel.cancelled() => Ended::Cancelled,
                // Neither epochs nor fuel pass while the guest waits in the host; this covers the whole.
                () = tokio::time::sleep(Duration::from_millis(limits.wall_ms.min(YEAR_MS))) => Ended::TimedOut,
            }
        };
        let state = store.data_mut();
        state.finish().await;
        if matches!(ended, Ended::Returned(Ok(Ok(_)))) {
            let _ = self.fared.set(Fared::Answered);
        }
        let outcome = match &ended {
            Ended::Returned(Ok(Ok(Ok(_)))) => "ok",
            Ended::Returned(Ok(Ok(Err(_)))) => "error",
            Ended::Returned(Ok(Err(_))) => "stopped",
            Ended::Returned(Err(_)) => "host-failure",
            Ended::Cancelled => "cancelled",
            Ended::TimedOut => "timeout",
        };
        let result = match ended {
            Ended::Returned(Ok(Ok(Ok(value)))) => Ok(value),
            Ended::Returned(Ok(Ok(Err(error)))) => Err(self.own_error(state, error)),
            Ended::Returned(Ok(Err(error))) => Err(self.trapped(state, &error)),
            Ended::Returned(Err(_)) => {
                // The panic hook has told where; the guest could not have caused it by anything it may do.
                tracing::error!(plugin, "the host panicked in a plugin's call");
                Err(Error::Internal(format!("the host failed while it served '{plugin}'; its log has the cause")))
            }
            Ended::Cancelled => Err(Error::Cancelled),
            Ended::TimedOut => Err(Limit::Wall.error(plugin, limits)),
        };
        let broke = matches!(self.fared.get(), Some(Fared::Broke));
        measure::call(cx, self.plugin, export, if broke { "trap" } else { outcome }, &state.meter);
        // What the guest kept to itself is the operator's to know all the same. Other refusals were told where they fell:
        // those of HTTP with the exchange, those of the focus and of called plugins by themselves.
        if let Some(kept) = state.refusal.take()
            && kept.who == self.authority.plugin().as_str()
            && kept.gate != Gate::Principal
            && !is_of_egress(&kept)
        {
            state.who.services.denied(&state.who.principal, &kept).await;
        }
        if self.linked.interpreter.is_some() {
            // Giving back what an interpreter touched takes milliseconds now and then, and nobody needs to wait for it.
            tokio::task::spawn_blocking(move || drop(store));
        }
        result
    }

    /// The error that the plugin returned. Where it passes on a denial, or fails after one over HTTP, the operator gets
    /// the denial whole.
    fn own_error(&self, state: &mut State, error: types::Error) -> Error {
        let error = guest_error(self.name, error);
        match (&error, state.refusal.take()) {
            // Over HTTP the guest learns that it was denied and no more, so the texts need not agree.
            (Error::Denied(given), Some(kept))
                if given.capability == kept.capability || (is_of_egress(given) && is_of_egress(&kept)) =>
            {
                kept.into()
            }
            (Error::Unavailable(_) | Error::Internal(_), Some(kept)) if is_of_egress(&kept) => kept.into(),
            _ => error,
        }
    }

    fn trapped(&self, state: &State, error: &wasmtime::Error) -> Error {
        let plugin = self.name;
        let limits = state.who.principal.authority.limits();
        if let Some(Reached(limit)) = error.downcast_ref() {
            return limit.error(plugin, limits);
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return Error::Unavailable(format!(
                "all instances are taken, so '{plugin}' cannot run now; try again later"
            ));
        }
        if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
            return Limit::Resources.error(plugin, limits);
        }
        let mut reason = match (error.downcast_ref::<Trap>(), error.downcast_ref::<I32Exit>()) {
            (Some(Trap::StackOverflow), _) => "it recursed too deeply (1 MiB of stack)".to_owned(),
            (Some(Trap::UnreachableCodeReached), _) => "it panicked or aborted".to_owned(),
            (Some(trap), _) => trap.to_string(),
            (None, Some(I32Exit(status))) => format!("it exited with status {status}"),
            // The root says it; what is above are frames of the engine's own story.
            (None, None) => error.root_cause().to_string(),
        };
        // The engine's errors of these two are not types that can be asked for.
        if reason.contains("fuel allocated for hostcalls") {
            return Limit::HostCallBytes.error(plugin, limits);
        }
        if reason.contains("store handle limit exceeded") {
            return Limit::Resources.error(plugin, limits);
        }
        let trap = error.downcast_ref::<Trap>();
        if let Some(limit) = state.meter.refused()
            && trap.is_none_or(|trap| *trap == Trap::UnreachableCodeReached)
        {
            // It asked for more than it may have, was refused, and aborted (or could not even start).
            return limit.error(plugin, limits);
        }
        // Nobody but the plugin's own code is left to blame.
        let _ = self.fared.set(Fared::Broke);
        let words = state.capture.last_words();
        if !words.is_empty() {
            reason = format!("{reason}: {words}");
        }
        let backtrace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string).unwrap_or_default();
        let backtrace = text::escaped(backtrace.trim_end());
        let gap = if backtrace.is_empty() { "" } else { "\n" };
        Error::Internal(text::cut(format!("'{plugin}' broke: {reason}{gap}{backtrace}"), MAX_TRAP))
    }
}

/// A store of `state`, with its limits set.
pub(crate) fn store(linked: &Linked, state: State, limits: &Limits) -> Store<State> {
    let mut store = Store::new(linked.pre.engine(), state);
    store.limiter(|state| &mut state.meter);
    store.epoch_deadline_callback(Meter::on_epoch);
    bound(&mut store, limits);
    store
}

fn bound(store: &mut Store<State>, limits: &Limits) {
    store.set_epoch_deadline(1);
    store.set_hostcall_fuel(usize::try_from(limits.host_call_bytes).unwrap_or(usize::MAX));
    store.set_max_component_handles(usize::try_from(limits.resources).unwrap_or(usize::MAX));
}

enum Ended<T> {
    Returned(T),
    Cancelled,
    TimedOut,
}
