//! What this host gives its foci: the plugins of the registry, models, skills, a budget and a place.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use animus_agent::control::{Kit, Outfit};
use animus_core::{
    Error, Result,
    budget::Allowance,
    faculties::{Faculties, Route},
    faculty::Isolation,
    grant::Grant,
    id::FocusId,
    plugins::PluginSet,
    skill::Workshop,
    store::Tenant,
    work::Work,
};
use animus_llm::Router;
use animus_runtime::skill::Forge;
use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{day::Day, worktree::Worktree};
use crate::{config::Config, context::Context, fault::Fault, hooks, machine};

/// How long the files of faculties are believed.
const BELIEVED: Duration = Duration::from_secs(1);

/// The outfit of a host with one tenant.
pub(super) struct Hosted {
    cx: Context,
    config: Config,
    tenant: Arc<dyn Tenant>,
    workspace: PathBuf,
    ceiling: Grant,
    day: Day,
    /// Models and skills, from the first focus on: a host that waits for work needs neither.
    rooms: OnceCell<(Router, Arc<Forge>)>,
    faculties: Mutex<Option<(Instant, Arc<Faculties>)>>,
}

impl Hosted {
    pub(super) fn new(cx: Context, config: Config, tenant: Arc<dyn Tenant>, workspace: PathBuf) -> Self {
        Self {
            ceiling: config.ceiling(),
            day: Day::new(config.serve.day.allowance()),
            cx,
            config,
            tenant,
            workspace,
            rooms: OnceCell::new(),
            faculties: Mutex::default(),
        }
    }

    async fn rooms(&self) -> Result<&(Router, Arc<Forge>)> {
        let make = || async {
            let (router, _) = self.cx.router(&self.config, None).await?;
            let registry = self.cx.registry().await?.clone();
            let forge = Forge::new(registry, self.tenant.clone(), self.ceiling.clone(), self.config.skills.rules());
            Ok::<_, Fault>((router, Arc::new(forge)))
        };
        self.rooms.get_or_try_init(make).await.map_err(Fault::into_error)
    }
}

/// What both leave.
fn least(a: Allowance, b: Allowance) -> Allowance {
    fn lower(a: Option<u64>, b: Option<u64>) -> Option<u64> {
        match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
    Allowance { tokens: lower(a.tokens, b.tokens), microusd: lower(a.microusd, b.microusd) }
}

#[async_trait]
impl Outfit for Hosted {
    async fn plugins(&self) -> Result<Arc<dyn PluginSet>> {
        let registry = self.cx.registry().await.map_err(Fault::into_error)?;
        Ok(registry.refresh(&self.tenant, &self.ceiling).await?)
    }

    async fn plugins_of(&self, pinned: &Value) -> Result<Arc<dyn PluginSet>> {
        let registry = self.cx.registry().await.map_err(Fault::into_error)?;
        Ok(registry.pinned(&self.tenant, pinned, &self.ceiling).await?)
    }

    async fn faculties(&self) -> Result<Arc<Faculties>> {
        let mut known = self.faculties.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, faculties)) = &*known
            && at.elapsed() < BELIEVED
        {
            return Ok(faculties.clone());
        }
        let faculties = super::faculties(&self.cx, &self.workspace).map_err(Fault::into_error)?;
        let faculties = Arc::new(faculties);
        *known = Some((Instant::now(), faculties.clone()));
        Ok(faculties)
    }

    async fn kit(&self, work: &Work, focus: FocusId, route: &Route) -> Result<Kit> {
        let (models, skills) = self.rooms().await?;
        let workspace = work.workspace.as_deref().map_or(self.workspace.as_path(), Path::new);
        if !workspace.is_dir() {
            // On another one it may be.
            return Err(Error::Unavailable(format!(
                "the workspace {} of the work is no folder on this machine",
                workspace.display()
            )));
        }
        let hooks = hooks::of(&self.cx, &*self.tenant, &self.config).await.map_err(Fault::into_error)?;
        // The last that may fail: nothing would clear it away.
        let place = match route.config.isolation {
            Isolation::None => None,
            Isolation::Worktree => {
                let all = self.cx.home.path().join("worktrees");
                Some(Worktree::make(&*self.tenant, workspace, &all, focus).await?)
            }
        };
        let allowance = least(self.config.budget.allowance(), work.left());
        Ok(Kit {
            models: Arc::new(models.clone()),
            skills: Some(skills.clone() as Arc<dyn Workshop>),
            hooks,
            budget: self.day.budget().derive("work", allowance),
            workspace: Some(place.as_ref().map_or_else(|| workspace.to_owned(), |place| place.folder().to_owned())),
            place: place.map(|place| Arc::new(place) as _),
        })
    }

    fn is_alive(&self, process: u32) -> bool {
        machine::is_alive(process)
    }
}
