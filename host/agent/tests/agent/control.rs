//! The control plane between its claim and the beginning of a run, with a kit that takes long, or cannot be made.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use animus_agent::{
    control::{ControlPlane, Kit, Outfit, Served, Settings, Until},
    events::Hub,
};
use animus_core::{
    Error, Result,
    faculties::{Faculties, Faculty, Route},
    faculty::FacultyConfig,
    id::{FocusId, WorkId},
    plugins::PluginSet,
    work::{Disposal, Host, MAX_TAKEOVERS, State, Work},
};
use async_trait::async_trait;
use futures::{FutureExt as _, future::BoxFuture};
use serde_json::Value;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::support::{Bench, FakePlugins, Script, says};

type Making = Box<dyn FnOnce() -> BoxFuture<'static, Result<()>> + Send>;

/// Makes each kit in its own way, and from then on at once.
struct Kits {
    bench: Bench,
    ways: Mutex<VecDeque<Making>>,
    made: Mutex<usize>,
    plugins_of: Mutex<Option<Error>>,
}

#[async_trait]
impl Outfit for Kits {
    async fn plugins(&self) -> Result<Arc<dyn PluginSet>> {
        Ok(self.bench.cx.plugins.clone())
    }
    async fn plugins_of(&self, _: &Value) -> Result<Arc<dyn PluginSet>> {
        match &*self.plugins_of.lock().unwrap() {
            Some(error) => Err(error.clone()),
            None => Ok(self.bench.cx.plugins.clone()),
        }
    }
    async fn faculties(&self) -> Result<Arc<Faculties>> {
        let config = FacultyConfig { concurrent: true, ..FacultyConfig::default() };
        let (name, source) = ("assistant".to_owned(), "test".to_owned());
        Ok(Arc::new(Faculties::new([Faculty { name, source, config: Arc::new(config), is_project: false }])?))
    }
    async fn kit(&self, _: &Work, _: FocusId, _: &Route) -> Result<Kit> {
        *self.made.lock().unwrap() += 1;
        let way = self.ways.lock().unwrap().pop_front();
        if let Some(way) = way {
            way().await?;
        }
        Ok(Kit {
            models: self.bench.cx.models.clone(),
            skills: None,
            hooks: Default::default(),
            budget: self.bench.cx.budget.clone(),
            workspace: None,
            place: None,
        })
    }
    fn is_alive(&self, _: u32) -> bool {
        true
    }
}

/// A host that serves.
struct Serving {
    outfit: Arc<Kits>,
    plane: Arc<ControlPlane>,
    stop: CancellationToken,
    task: JoinHandle<Result<Served>>,
}

impl Serving {
    fn begin(bench: Bench, ways: Vec<Making>) -> Self {
        let tenant = bench.tenant.clone();
        let outfit = Arc::new(Kits {
            bench,
            ways: Mutex::new(ways.into()),
            made: Mutex::default(),
            plugins_of: Mutex::default(),
        });
        let settings = Settings {
            max_concurrent: 2,
            only: Default::default(),
            lease_ms: 20,
            grace: Duration::ZERO,
            is_listed: false,
            address: None,
        };
        let hub = Hub::new(tenant.clone());
        let plane = ControlPlane::new(tenant, outfit.clone(), Host::this("test"), settings, hub);
        let (stop, runs) = (CancellationToken::new(), plane.clone());
        let until = stop.clone();
        let task = tokio::spawn(async move { runs.run(Until::Stopped, &until).await });
        Self { outfit, plane, stop, task }
    }

    fn made(&self) -> usize {
        *self.outfit.made.lock().unwrap()
    }

    async fn end(self) -> Served {
        self.stop.cancel();
        self.task.await.unwrap().unwrap()
    }
}

/// Another host of the same store.
fn beside(bench: &Bench) -> Bench {
    let (tenant, script, watch, cx) =
        (bench.tenant.clone(), bench.script.clone(), bench.watch.clone(), bench.cx.clone());
    Bench { tenant, script, watch, cx }
}

fn queued(bench: &Bench) -> WorkId {
    let id = bench.tenant.submit("assistant", "do it").id;
    bench.tenant.change(id, |work| work.disposal = Disposal::Queue);
    id
}

/// An item whose first host is gone after it had asked the model.
async fn cut_off(bench: &Bench) -> WorkId {
    let twin = Bench::new(Script::of([says("done")]), FakePlugins::new());
    twin.run().await;
    let is_write = |it: &&String| it.starts_with("intent ") || it.starts_with("outcome ");
    let writes: Vec<_> = twin.tenant.order().into_iter().filter(|it| is_write(&it)).collect();
    let answered = writes.iter().position(|it| it.starts_with("outcome llm")).unwrap() + 1;
    let tenant = &bench.tenant;
    *tenant.writes_left.lock().unwrap() = Some(answered);
    let work = tenant.submit("assistant", "do it");
    let id = work.id;
    tokio::select! {
        _ = animus_agent::run(bench.cx.clone(), work) => panic!("it has more to write"),
        () = tenant.gone.notified() => {}
    }
    tenant.change(id, |work| work.disposal = Disposal::Queue);
    id
}

/// Waits for something that must come.
async fn comes(what: impl Fn() -> bool) {
    let looking = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looking).await.expect("it never comes");
}

fn fails(error: Error) -> Making {
    Box::new(move || async move { Err(error) }.boxed())
}

#[tokio::test]
async fn a_host_that_cannot_go_on_with_a_focus_leaves_it_and_its_journal_to_others() {
    let bench = Bench::new(Script::of([says("done")]), FakePlugins::new());
    let work = cut_off(&bench).await;
    let (tenant, script, asked) = (bench.tenant.clone(), bench.script.clone(), bench.script.calls());
    assert!(asked == 1 && !tenant.journal().is_empty());
    // Its machine has no such folder.
    let first = Serving::begin(beside(&bench), vec![fails(Error::Invalid("no such folder here".into()))]);
    tenant.abandon(work);
    comes(|| first.made() == 1 && first.plane.running() == 0).await;
    assert_eq!(tenant.state(work), State::Running, "another host may have the folder");

    // The lease has run out, and the host looks for work again.
    let [_, claims, _] = tenant.asked();
    tenant.abandon(work);
    comes(|| tenant.asked()[1] > claims + 1 || first.made() > 1).await;
    assert_eq!(first.made(), 1, "it does not take at once what it could not go on with");

    let second = Serving::begin(beside(&bench), Vec::new());
    comes(|| tenant.state(work) == State::Completed).await;
    assert_eq!((tenant.submitted(work).attempts, script.calls()), (1, asked), "the journal answers");
    assert_eq!((first.end().await.claimed, second.end().await.claimed), (1, 1));
}

#[tokio::test]
async fn a_focus_that_no_host_can_go_on_with_comes_to_an_end_that_says_why() {
    let bench = Bench::new(Script::of([says("done")]), FakePlugins::new());
    let work = cut_off(&bench).await;
    let tenant = bench.tenant.clone();
    tenant.change(work, |work| work.takeovers = MAX_TAKEOVERS - 1);
    let serving = Serving::begin(beside(&bench), vec![fails(Error::Unavailable("no key here".into()))]);
    tenant.abandon(work);
    comes(|| tenant.state(work) == State::Failed).await;
    serving.end().await;
    let settled = tenant.settlement();
    assert!(settled.error.unwrap().to_string().contains("no key here"));
    assert_eq!(settled.retry_in_ms, None, "what it did is done");

    // What it began with is gone for good, at its first takeover.
    let bench = Bench::new(Script::of([says("done")]), FakePlugins::new());
    let work = cut_off(&bench).await;
    let tenant = bench.tenant.clone();
    let serving = Serving::begin(bench, Vec::new());
    *serving.outfit.plugins_of.lock().unwrap() = Some(Error::NotFound("its generation is gone".into()));
    tenant.abandon(work);
    comes(|| tenant.state(work) == State::Failed).await;
    serving.end().await;
    assert_eq!(tenant.settlement().retry_in_ms, None);
}

#[tokio::test]
async fn what_is_malformed_before_it_began_is_not_tried_again_and_what_may_mend_is() {
    for (error, again) in [(Error::Invalid("no repository".into()), false), (Error::Unavailable("no".into()), true)] {
        let bench = Bench::new(Script::of([]), FakePlugins::new());
        let (tenant, work) = (bench.tenant.clone(), queued(&bench));
        let serving = Serving::begin(bench, vec![fails(error)]);
        comes(|| tenant.state(work) == State::Failed).await;
        serving.end().await;
        assert_eq!(tenant.settlement().retry_in_ms.is_some(), again);
    }
}

#[tokio::test]
async fn a_lease_is_kept_while_what_the_focus_works_with_is_made() {
    let bench = Bench::new(Script::of([says("done")]), FakePlugins::new());
    let (tenant, work) = (bench.tenant.clone(), queued(&bench));
    let renewed = {
        let tenant = tenant.clone();
        move || async move { comes(|| tenant.asked()[0] > 1).map(Ok).await }.boxed()
    };
    let serving = Serving::begin(bench, vec![Box::new(renewed)]);
    comes(|| tenant.state(work) == State::Completed).await;
    serving.end().await;
}

#[tokio::test]
async fn a_run_that_lost_its_lease_forgets_itself_and_not_its_successor() {
    let bench = Bench::new(Script::of([says("done")]), FakePlugins::new());
    let (tenant, work) = (bench.tenant.clone(), queued(&bench));
    let (ended, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let told = ended.clone();
    let hangs: Making = Box::new(move || {
        let guard = Tells(told);
        async move {
            let _guard = guard;
            std::future::pending().await
        }
        .boxed()
    });
    let allowed = go.clone();
    let waits: Making = Box::new(move || async move { allowed.notified().map(Ok).await }.boxed());
    let serving = Serving::begin(bench, vec![hangs, waits]);
    comes(|| serving.made() == 1).await;
    // It was away for so long that its lease ran out; and then it is the first to ask for work.
    tenant.abandon(work);
    let lost = tokio::time::timeout(Duration::from_secs(60), ended.notified()).await;
    lost.expect("it goes on although it has lost its lease");
    comes(|| serving.made() == 2).await;
    assert_eq!(serving.plane.running(), 1, "the second one runs");
    go.notify_one();
    comes(|| tenant.state(work) == State::Completed).await;
    comes(|| serving.plane.running() == 0).await;
    serving.end().await;
}

/// Tells when it is dropped.
struct Tells(Arc<Notify>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}
