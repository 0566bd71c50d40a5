//! Instances of an interpreter that are made before anybody needs them.
//!
//! A fresh CPython costs some milliseconds to make and to touch the pages that every run touches. That can be done
//! while nobody waits. Such an instance has run nothing but the interpreter's own `warm`, as nobody and with nothing in
//! reach; it is given away once, to one principal, and dropped after that one run.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use animus_core::{authority::Authority, id::Digest, services::Principal};
use wasmtime::{Store, component::Instance};

use crate::{
    call::{Linked, store},
    egress::Egress,
    install::nobodys,
    state::State,
};

/// How many instances of one interpreter wait. Each holds its touched pages: a few MiB for CPython.
const AHEAD: usize = 4;
/// The longest that getting ready may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An instance that nobody has used.
pub(crate) struct Ready {
    pub(crate) store: Store<State>,
    pub(crate) instance: Instance,
}

/// The instances of one interpreter that wait.
#[derive(Default)]
pub(crate) struct Waiting {
    ready: Mutex<Vec<Ready>>,
    /// One is being made. More at once would only hinder each other, and the programs that run.
    making: AtomicBool,
}

impl Waiting {
    /// One of them, if there is one.
    pub(crate) fn take(&self) -> Option<Ready> {
        self.lock().pop()
    }

    /// Begins to make those that are missing, one after another, in a task of its own.
    pub(crate) fn refill(self: &Arc<Self>, linked: &Arc<Linked>, authority: &Authority, egress: &Arc<Egress>) {
        if self.lock().len() >= AHEAD || self.making.swap(true, Ordering::AcqRel) {
            return;
        }
        let (this, linked, egress) = (Arc::downgrade(self), linked.clone(), egress.clone());
        let authority = super::nobody(authority);
        tokio::spawn(async move {
            loop {
                let made = tokio::time::timeout(PATIENCE, make(&linked, authority.clone(), &egress)).await;
                // Nobody waits for the instances of an interpreter that is gone.
                let Some(this) = this.upgrade() else { return };
                let enough = match made {
                    Ok(Ok(ready)) => {
                        let mut waiting = this.lock();
                        waiting.push(ready);
                        waiting.len() >= AHEAD
                    }
                    // Whoever needs one makes it, and is told what is wrong.
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "no instance could be made ahead");
                        true
                    }
                    Err(_) => {
                        tracing::warn!("an interpreter did not get ready in {} s", PATIENCE.as_secs());
                        true
                    }
                };
                if enough {
                    this.making.store(false, Ordering::Release);
                    return;
                }
            }
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Ready>> {
        // A list of instances is valid at every point.
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn make(linked: &Linked, authority: Arc<Authority>, egress: &Arc<Egress>) -> wasmtime::Result<Ready> {
    let limits = *authority.limits();
    let cx = nobodys();
    let principal = Principal {
        tenant: cx.tenant.clone(),
        focus: cx.focus,
        authority,
        generation: 0,
        digest: Digest::of(b""),
        depth: 0,
        parent: None,
    };
    let mut store = store(linked, State::new(principal, &cx, Arc::default(), egress)?, &limits);
    let instance = linked.pre.instantiate_async(&mut store).await?;
    if let Some(interpreter) = &linked.interpreter {
        interpreter.load(&mut store, &instance)?.call_warm(&mut store).await?;
    }
    Ok(Ready { store, instance })
}
