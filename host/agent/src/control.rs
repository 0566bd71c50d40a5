//! The control plane of a host: claims work that it has room for, runs each item as a focus in a task of its own, and lets
//! go of what it cannot finish.
//!
//! What is to be done is the store's to know. A host that dies in the middle of anything leaves nothing behind but leases
//! that run out.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use animus_core::{
    Result,
    budget::Budget,
    faculties::{Faculties, Route},
    id::{FocusId, WorkId},
    llm::Models,
    plugins::PluginSet,
    skill::Workshop,
    store::Tenant,
    work::{BEAT_MS, Beat, Claim, Disposal, Host, Lease, State, Work, WorkFilter},
};
use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    events::Hub,
    hooks::Hooks,
    lease::Keeper,
    run::{Place, pinned},
    slot::Slot,
};

mod focus;
mod unroutable;

pub use unroutable::Unroutable;

/// Where no hint comes, the queue is looked at after so long.
const POLL: Duration = Duration::from_secs(5);
/// After a look that found nothing, the next one waits so long, however many hints come.
const PACE: Duration = Duration::from_millis(25);
/// How often it is looked whether what runs here is to be cancelled; a lease's renewal tells it as well.
const LOOK: Duration = Duration::from_millis(250);
/// How long what is let go of may take to stop.
const STOPPING: Duration = Duration::from_secs(15);

/// What the host gives its foci to work with.
#[async_trait]
pub trait Outfit: Send + Sync {
    /// The plugins as they are now.
    async fn plugins(&self) -> Result<Arc<dyn PluginSet>>;
    /// The plugins that a focus began with, which another host has run.
    async fn plugins_of(&self, pinned: &Value) -> Result<Arc<dyn PluginSet>>;
    /// The configured faculties as they are now.
    ///
    /// # Errors
    /// What is wrong with a file. The host goes on with those that it had.
    async fn faculties(&self) -> Result<Arc<Faculties>>;
    /// What one item is run with.
    async fn kit(&self, work: &Work, focus: FocusId, route: &Route) -> Result<Kit>;
    /// Whether a process of this machine runs.
    fn is_alive(&self, process: u32) -> bool;
}

/// What one focus is run with.
pub struct Kit {
    /// The models.
    pub models: Arc<dyn Models>,
    /// Where skills are kept and made.
    pub skills: Option<Arc<dyn Workshop>>,
    /// The hooks, as they are set now.
    pub hooks: Hooks,
    /// What it may spend: no more than what is left of its item's allowance.
    pub budget: Budget,
    /// The folder that `$workspace` in a path grant stands for.
    pub workspace: Option<std::path::PathBuf>,
    /// That folder, where it was made for this focus.
    pub place: Option<Arc<dyn Place>>,
}

/// How a host works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// At most so many foci at once.
    pub max_concurrent: u32,
    /// Only these faculties and kinds; all where none is named.
    pub only: BTreeSet<String>,
    /// How long a lease lasts without being renewed, in milliseconds.
    pub lease_ms: u64,
    /// How long what runs may go on when the host stops.
    pub grace: Duration,
    /// Whether other processes are to see this host.
    pub is_listed: bool,
    /// Where its HTTP interface listens, for others to see.
    pub address: Option<String>,
}

/// When a host stops by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Never.
    Stopped,
    /// When it finds nothing more to do, now or later.
    Empty,
    /// When this item is settled.
    Settled(WorkId),
}

/// What a host did until it stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Foci that it began or took over.
    pub claimed: u64,
    /// Of these, those that it let go of because it stopped.
    pub released: u64,
}

/// The control plane of one host for one tenant.
pub struct ControlPlane {
    tenant: Arc<dyn Tenant>,
    outfit: Arc<dyn Outfit>,
    host: Host,
    settings: Settings,
    hub: Arc<Hub>,
    /// Places of the host.
    places: Arc<Semaphore>,
    /// Places of each faculty, by its name and their number.
    faculties: Mutex<HashMap<(String, usize), Arc<Semaphore>>>,
    /// What runs here, under which lease, and how it is cancelled.
    running: Mutex<HashMap<WorkId, (Lease, CancellationToken)>>,
    /// Foci that this host could not go on with, each until when it leaves them to others.
    left_alone: Mutex<HashMap<WorkId, Instant>>,
    unroutable: Mutex<BTreeMap<String, Unroutable>>,
    draining: AtomicBool,
    served: Mutex<Served>,
    /// The last answer of [`Outfit::faculties`] that was one.
    known: Mutex<Arc<Faculties>>,
}

/// What a look at the queue came to.
enum Look {
    /// Something was claimed; there may be more.
    Claimed,
    /// Nothing now; these faculties have no room.
    Nothing(Vec<Arc<Semaphore>>),
}

impl ControlPlane {
    /// A host that has not begun.
    #[must_use]
    pub fn new(
        tenant: Arc<dyn Tenant>,
        outfit: Arc<dyn Outfit>,
        host: Host,
        settings: Settings,
        hub: Arc<Hub>,
    ) -> Arc<Self> {
        let places = usize::try_from(settings.max_concurrent.max(1)).unwrap_or(1).min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            tenant,
            outfit,
            host,
            settings,
            hub,
            places: Arc::new(Semaphore::new(places)),
            faculties: Mutex::default(),
            running: Mutex::default(),
            left_alone: Mutex::default(),
            unroutable: Mutex::default(),
            draining: AtomicBool::new(false),
            served: Mutex::default(),
            known: Mutex::default(),
        })
    }

    /// Whether it has stopped taking work.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// So many foci run here now, those that wait for their children included.
    #[must_use]
    pub fn running(&self) -> usize {
        lock(&self.running).len()
    }

    /// Queued work that no faculty of this host runs, by what it names, as it was last looked at.
    #[must_use]
    pub fn unroutable(&self) -> BTreeMap<String, Unroutable> {
        lock(&self.unroutable).clone()
    }

    /// Cancels an item at once if it runs here. The store must know already: [`animus_core::store::Works::work_cancel`].
    pub fn cancel(&self, work: WorkId) {
        if let Some((_, cancel)) = lock(&self.running).get(&work) {
            cancel.cancel();
        }
    }

    /// Serves until `stop` fires or `until` has come. Then it takes no more work, lets what runs go on for the grace time,
    /// and lets go of the rest, which other hosts go on with.
    ///
    /// # Errors
    /// What the store fails with before anything began. Later failures are logged, and tried again.
    pub async fn run(self: &Arc<Self>, until: Until, stop: &CancellationToken) -> Result<Served> {
        let mut watch = self.tenant.work_watch().await?;
        let (tasks, leave) = (TaskTracker::new(), CancellationToken::new());
        if self.settings.is_listed {
            self.beat().await?;
        }
        let beats = CancellationToken::new();
        let _ends_with_this = beats.clone().drop_guard();
        let this = self.clone();
        tokio::spawn(beats.run_until_cancelled_owned(async move { this.watch_over().await }));
        self.recover().await;
        let mut failing = false;
        loop {
            if stop.is_cancelled() || self.is_over(until).await {
                break;
            }
            let busy = match self.look(&tasks, &leave).await {
                Ok(Look::Claimed) => continue,
                Ok(Look::Nothing(busy)) => {
                    failing = false;
                    busy
                }
                Err(error) => {
                    // Once for each outage.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%error, "the queue cannot be looked at; trying again");
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    Vec::new()
                }
            };
            if until == Until::Empty && tasks.is_empty() && !failing && self.nothing_waits().await {
                break;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep(PACE) => {}
            }
            let due = self.until_due().await;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = watch.changed() => {}
                () = self.room(&busy) => {}
                () = tokio::time::sleep(due) => {}
            }
        }
        self.drain(&tasks, &leave).await;
        Ok(*lock(&self.served))
    }

    async fn is_over(&self, until: Until) -> bool {
        match until {
            Until::Settled(work) => self.tenant.work(work).await.is_ok_and(|work| work.state.is_settled()),
            Until::Stopped | Until::Empty => false,
        }
    }

    /// Whether no item is queued that this host would run, now or later.
    async fn nothing_waits(&self) -> bool {
        let filter = WorkFilter { state: Some(State::Queued), limit: Some(1_000), ..WorkFilter::default() };
        let (Ok(queued), Ok(plugins)) = (self.tenant.works(filter).await, self.outfit.plugins().await) else {
            return false;
        };
        let routes = self.routes(&*plugins).await;
        !queued.iter().any(|work| work.disposal == Disposal::Queue && routes.contains_key(&work.faculty))
    }

    /// What this host takes, with where it goes.
    async fn routes(&self, plugins: &dyn PluginSet) -> BTreeMap<String, Route> {
        let faculties = match self.outfit.faculties().await {
            Ok(faculties) => {
                *lock(&self.known) = faculties.clone();
                faculties
            }
            Err(error) => {
                tracing::error!(%error, "the configuration of faculties cannot be read; those of before stay");
                lock(&self.known).clone()
            }
        };
        let mut routes = faculties.served(plugins);
        let only = &self.settings.only;
        routes.retain(|name, route| only.is_empty() || only.contains(name) || only.contains(&route.faculty));
        routes
    }

    /// How long until something is due by the mere passing of time.
    async fn until_due(&self) -> Duration {
        let Ok(Some(due)) = self.tenant.work_next_due().await else { return POLL };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        // A little later: a lease is over when its last millisecond has passed.
        Duration::from_millis(due + 2).saturating_sub(now).min(POLL)
    }

    /// Comes when there is room for something that has none now.
    async fn room(&self, busy: &[Arc<Semaphore>]) {
        if self.places.available_permits() == 0 {
            let _ = self.places.acquire().await;
            return;
        }
        if busy.is_empty() {
            return std::future::pending().await;
        }
        let _ = futures::future::select_all(busy.iter().map(|places| Box::pin(places.acquire()))).await;
    }

    /// Claims one item, if there is room and work for it.
    async fn look(self: &Arc<Self>, tasks: &TaskTracker, leave: &CancellationToken) -> Result<Look> {
        let Ok(place) = self.places.clone().try_acquire_owned() else { return Ok(Look::Nothing(Vec::new())) };
        let plugins = self.outfit.plugins().await?;
        let mut routes = self.routes(&*plugins).await;
        let (mut free, mut busy): (HashMap<String, (Arc<Semaphore>, OwnedSemaphorePermit)>, Vec<_>) =
            (HashMap::new(), Vec::new());
        for route in routes.values() {
            let places = self.places_of(route);
            if free.contains_key(&route.faculty) {
                continue;
            }
            match places.clone().try_acquire_owned() {
                Ok(permit) => drop(free.insert(route.faculty.clone(), (places, permit))),
                Err(_) => busy.push(places),
            }
        }
        routes.retain(|_, route| free.contains_key(&route.faculty));
        let claim = Claim {
            host: self.host.clone(),
            faculties: routes.keys().cloned().collect(),
            lease_ms: self.settings.lease_ms,
            plugins: pinned(&*plugins),
            except: self.left_alone(),
        };
        let Some(claimed) = self.tenant.work_claim(&claim).await? else { return Ok(Look::Nothing(busy)) };
        let route = routes.remove(&claimed.work.faculty);
        let Some((route, (places, permit))) = route.and_then(|r| free.remove(&r.faculty).map(|places| (r, places)))
        else {
            // The store gave what was not asked for.
            self.tenant.focus_release(claimed.lease).await?;
            return Ok(Look::Nothing(busy));
        };
        drop(free);
        lock(&self.served).claimed += 1;
        let slot = Slot::of(vec![self.places.clone(), places], vec![place, permit]);
        let (lease, cancel) = (claimed.lease, CancellationToken::new());
        // From here on, for making what a focus works with may take longer than a lease lasts.
        let (tenant, lease_ms) = (self.tenant.clone(), self.settings.lease_ms);
        let keeper = Keeper::new(tenant, lease, lease_ms, cancel.clone(), Some(leave.clone()));
        lock(&self.running).insert(claimed.work.id, (lease, cancel.clone()));
        let assignment = focus::Assignment { claimed, route, plugins, slot, cancel, leave: leave.clone(), keeper };
        tasks.spawn(focus::run(self.clone(), assignment));
        Ok(Look::Claimed)
    }

    fn left_alone(&self) -> Vec<WorkId> {
        let mut left_alone = lock(&self.left_alone);
        left_alone.retain(|_, until| *until > Instant::now());
        left_alone.keys().copied().collect()
    }

    fn places_of(&self, route: &Route) -> Arc<Semaphore> {
        let config = &route.config;
        let most = if config.concurrent { config.max_concurrent.unwrap_or(self.settings.max_concurrent) } else { 1 };
        let most = usize::try_from(most.max(1)).unwrap_or(1).min(Semaphore::MAX_PERMITS);
        let mut all = lock(&self.faculties);
        all.entry((route.faculty.clone(), most)).or_insert_with(|| Arc::new(Semaphore::new(most))).clone()
    }

    /// What goes on beside the claiming: being seen, hearing of cancels, finding what dead processes of this machine left,
    /// and work that nobody runs.
    async fn watch_over(&self) {
        let mut since = [Duration::from_millis(BEAT_MS), Duration::ZERO, POLL];
        let mut failing = false;
        loop {
            let [beat, recover, unroutable] = &mut since;
            if self.settings.is_listed && *beat >= Duration::from_millis(BEAT_MS) {
                *beat = Duration::ZERO;
                match self.beat().await {
                    Ok(()) => failing = false,
                    Err(error) if !std::mem::replace(&mut failing, true) => {
                        tracing::warn!(%error, "this host cannot say that it serves; trying again");
                    }
                    Err(_) => {}
                }
            }
            if *recover >= POLL {
                *recover = Duration::ZERO;
                self.recover().await;
            }
            if *unroutable >= POLL {
                *unroutable = Duration::ZERO;
                self.note_unroutable().await;
            }
            self.hear_of_cancels().await;
            tokio::time::sleep(LOOK).await;
            since.iter_mut().for_each(|since| *since += LOOK);
        }
    }

    async fn beat(&self) -> Result<()> {
        let faculties = match self.outfit.plugins().await {
            Ok(plugins) => self.routes(&*plugins).await.into_keys().collect(),
            Err(_) => Vec::new(),
        };
        let beat = Beat {
            host: self.host.clone(),
            faculties,
            max_concurrent: self.settings.max_concurrent,
            running: u32::try_from(self.running()).unwrap_or(u32::MAX),
            draining: self.is_draining(),
            address: self.settings.address.clone(),
        };
        self.tenant.host_beat(&beat).await
    }

    async fn recover(&self) {
        let outfit = self.outfit.clone();
        let alive = move |process| outfit.is_alive(process);
        match self.tenant.focus_recover(&self.host.machine, &alive).await {
            Ok(failed) => {
                for work in failed {
                    tracing::warn!(%work, "the process that ran the work is gone; the work is marked as failed");
                }
            }
            Err(error) => tracing::warn!(%error, "what dead processes left cannot be looked for; trying again"),
        }
    }

    async fn hear_of_cancels(&self) {
        let mut known: Vec<WorkId> = lock(&self.running).keys().copied().collect();
        known.extend(self.left_alone());
        for id in known {
            if self.tenant.work(id).await.is_ok_and(|work| work.cancelling) {
                self.cancel(id);
                // To be claimed, and so to end.
                lock(&self.left_alone).remove(&id);
            }
        }
    }

    async fn drain(&self, tasks: &TaskTracker, leave: &CancellationToken) {
        self.draining.store(true, Ordering::Release);
        if self.settings.is_listed
            && let Err(error) = self.beat().await
        {
            tracing::warn!(%error, "this host cannot say that it takes no more work");
        }
        tasks.close();
        if tokio::time::timeout(self.settings.grace, tasks.wait()).await.is_err() {
            tracing::warn!(running = self.running(), "the grace time is over; what still runs is let go of");
            leave.cancel();
            if tokio::time::timeout(STOPPING, tasks.wait()).await.is_err() {
                tracing::error!(running = self.running(), "some foci do not stop; their leases run out by themselves");
            }
        }
        if self.settings.is_listed
            && let Err(error) = self.tenant.host_gone(&self.host).await
        {
            tracing::warn!(%error, "this host cannot say that it has stopped");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Everything kept behind these locks is valid at every point.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
