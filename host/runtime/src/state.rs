//! What a store holds: the principal it belongs to, its meter, and the contexts of the interfaces that are linked.

use std::sync::Arc;

use animus_core::{
    Denial, Error,
    grant::Capability,
    services::{CallContext, Principal, Services, VirtualClock},
};
use http::Request;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{
    Error as Code, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::{
    bindings::types,
    deterministic,
    egress::{Egress, Outgoing},
    folders,
    limits::{Meter, Reached},
    stdio::Capture,
};

/// On whose behalf a store runs, and the host's side of that. Never changes.
pub(crate) struct Who {
    pub(crate) principal: Principal,
    pub(crate) services: Arc<dyn Services>,
}

impl Who {
    /// Checks one use against the plugin's own grant.
    pub(crate) fn check(&self, capability: &Capability) -> Result<(), Error> {
        self.principal.authority.check(capability).map_err(Into::into)
    }
}

/// A store's data. It lives for one call.
pub(crate) struct State {
    pub(crate) who: Arc<Who>,
    pub(crate) meter: Meter,
    pub(crate) capture: Arc<Capture>,
    pub(crate) table: ResourceTable,
    pub(crate) wasi: WasiCtx,
    pub(crate) config: Arc<WasiConfigVariables>,
    /// The clock of a program that runs again when its focus is resumed.
    pub(crate) program: Option<Arc<VirtualClock>>,
    /// The first denial of this call, with what the operator can do about it; the guest saw less.
    pub(crate) refusal: Option<Denial>,
    http: WasiHttpCtx,
    way_out: WayOut,
}

impl State {
    /// Opens the granted folders, and a way out for HTTP where it is granted.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a granted folder that cannot be opened, [`Error::Invalid`] for `$workspace` where the
    /// call has none, and for a folder of it that leads out of it.
    pub(crate) fn new(
        principal: Principal,
        cx: &CallContext,
        config: Arc<WasiConfigVariables>,
        egress: &Arc<Egress>,
    ) -> Result<Self, Error> {
        let limits = *principal.authority.limits();
        let who = Arc::new(Who { principal, services: cx.services.clone() });
        let capture = Capture::new(who.clone());
        let mut table = ResourceTable::new();
        table.set_max_capacity(usize::try_from(limits.resources).unwrap_or(usize::MAX));
        Ok(Self {
            meter: Meter::new(limits),
            table,
            wasi: context(&who, &capture, cx)?,
            capture,
            config,
            program: clock_of(cx),
            refusal: None,
            http: WasiHttpCtx::new(),
            way_out: WayOut::of(&who, egress),
            who,
        })
    }

    /// Gives a store that nobody has used to the principal that it belongs to from now on. The guest has no handle but
    /// those of the standard streams, which lead to the new owner's log.
    ///
    /// # Errors
    /// As [`State::new`]. The store is then nobody's and must be dropped.
    pub(crate) fn assign(
        &mut self,
        principal: Principal,
        cx: &CallContext,
        config: Arc<WasiConfigVariables>,
        egress: &Arc<Egress>,
    ) -> Result<(), Error> {
        let limits = *principal.authority.limits();
        let who = Arc::new(Who { principal, services: cx.services.clone() });
        self.wasi = context(&who, &self.capture, cx)?;
        self.capture.assign(who.clone());
        self.meter.renew(limits);
        self.table.set_max_capacity(usize::try_from(limits.resources).unwrap_or(usize::MAX));
        self.config = config;
        self.program = clock_of(cx);
        self.refusal = None;
        self.way_out = WayOut::of(&who, egress);
        self.who = who;
        Ok(())
    }

    /// The host's own interfaces' view of the store.
    pub(crate) fn host(&mut self) -> HostView<'_> {
        HostView { who: &self.who, meter: &mut self.meter, table: &mut self.table, refusal: &mut self.refusal }
    }

    /// Ends what the call left behind: buffered output, requests under way. Returns when that is logged and journaled.
    pub(crate) async fn finish(&mut self) {
        self.capture.finish();
        if let WayOut::Open(outgoing) = std::mem::replace(&mut self.way_out, WayOut::Closed(Closed)) {
            self.refusal = self.refusal.take().or_else(|| outgoing.refusal());
            outgoing.finish().await;
        }
    }
}

fn clock_of(cx: &CallContext) -> Option<Arc<VirtualClock>> {
    cx.deterministic.as_ref().map(|program| program.clock.clone())
}

/// The WASI context of `who`: the granted folders, no environment, output into `capture`.
fn context(who: &Who, capture: &Arc<Capture>, cx: &CallContext) -> Result<WasiCtx, Error> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdout(capture.stdout()).stderr(capture.stderr()).max_random_size(1 << 20);
    if let Some(program) = &cx.deterministic {
        deterministic::apply(&mut wasi, program);
    }
    folders::open(&mut wasi, who.principal.authority.effective(), cx.workspace.as_deref())?;
    Ok(wasi.build())
}

/// The part of the state that the host's own interfaces use.
pub(crate) struct HostView<'a> {
    pub(crate) who: &'a Who,
    pub(crate) meter: &'a mut Meter,
    pub(crate) table: &'a mut ResourceTable,
    refusal: &'a mut Option<Denial>,
}

impl<'a> HostView<'a> {
    /// Counts the call, and says who makes it; beyond `host_calls` the guest is ended.
    pub(crate) fn enter(&mut self) -> Result<&'a Who, Reached> {
        self.meter.host_call()?;
        Ok(self.who)
    }

    /// What the guest gets of an outcome. A denial is kept whole for the operator.
    pub(crate) fn answer<T, U: From<T>>(&mut self, outcome: Result<T, Error>) -> Result<U, types::Error> {
        outcome.map(Into::into).map_err(|error| {
            if let Error::Denied(denial) = &error {
                let Principal { tenant, focus, .. } = &self.who.principal;
                tracing::warn!(%tenant, %focus, %denial, "denied");
                self.refusal.get_or_insert_with(|| (**denial).clone());
            }
            error.into()
        })
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let hooks: &mut dyn WasiHttpHooks = match &mut self.way_out {
            WayOut::Open(outgoing) => outgoing,
            WayOut::Closed(closed) => closed,
        };
        WasiHttpCtxView { hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

enum WayOut {
    Open(Outgoing),
    Closed(Closed),
}

impl WayOut {
    fn of(who: &Who, egress: &Arc<Egress>) -> Self {
        match who.principal.authority.effective().http {
            Some(_) => Self::Open(egress.open(who.principal.clone(), who.services.clone())),
            None => Self::Closed(Closed),
        }
    }
}

/// No way out: without an HTTP grant nothing is linked that leads here, and after a call nothing runs.
struct Closed;

impl WasiHttpHooks for Closed {
    fn send_request(
        &mut self,
        _: Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Code>> + Send>,
    ) -> Box<
        dyn Future<Output = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Code>> + Send>), Code>>
            + Send,
    > {
        Box::new(async { Err(Code::HttpRequestDenied) })
    }
}
