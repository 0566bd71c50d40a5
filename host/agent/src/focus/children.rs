//! Children: work that this focus gives to others. Each draws from this focus's budget, holds no more than who spawned it,
//! and is known only to the work that it is a child of.

use std::collections::BTreeMap;

use animus_core::{
    Error, Result,
    budget::{Allowance, Amount, Reservation},
    child::{self, Child, MAX_CHILDREN, MAX_FAMILY, NewChild, SPAWN},
    event::Event,
    grant::{Capability, Grant},
    id::WorkId,
    journal::EffectKind,
    ledger::Filter,
    services::Principal,
    text, trace,
    work::{Disposal, MAX_DEPTH, NewWork, State, Submission, Work, WorkFilter},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Focus, lock, services::intent};

/// What an event shows of a description, in bytes.
const SHOWN: usize = 2_000;
/// Entries of a child's ledger that its parent sees, the last ones.
const ENTRIES: u32 = 200;

/// The children of one focus.
#[derive(Default)]
pub(super) struct Children {
    /// How often it spawned.
    spawned: u32,
    /// What is set aside for each; none once its end was seen.
    held: BTreeMap<WorkId, Option<Reservation>>,
    /// How long it waited in vain, in milliseconds.
    waited_ms: u64,
}

/// What the journal keeps of a spawn.
#[derive(Serialize, Deserialize)]
struct Spawned {
    id: WorkId,
    allowance: Allowance,
}

impl Focus {
    /// Gives work to a child. `by` must be granted its faculty.
    pub(crate) async fn spawn_child(&self, by: &Principal, new: NewChild) -> Result<WorkId> {
        let capability = Capability::SpawnChild(new.faculty.clone());
        if let Err(denial) = by.authority.check(&capability) {
            return Err(self.refuse(denial).await);
        }
        new.check()?;
        let held = by.authority.effective();
        let places = self.take_place(held.spawn_child.as_ref().map_or(0, |it| it.max.min(MAX_CHILDREN)))?;
        let cap = match &self.cx().tools {
            Some(tools) => held.meet(&Grant { tool: tools.clone(), ..Grant::everything() }),
            None => held.clone(),
        };
        let plugin = by.authority.plugin().clone();
        let intent = intent(by, EffectKind::Child, SPAWN, super::bounded(&new, super::REQUEST));
        let focus = self.clone();
        let spawned: Result<Spawned> = self
            .effect(intent, move |acting| async move {
                let parent = focus.cx().tenant.work(focus.0.work).await?;
                focus.check_family(&parent).await?;
                let (allowance, reservation) = focus.set_aside(&new, places)?;
                let own = focus.0.work;
                let work = NewWork {
                    faculty: new.faculty,
                    source: "child".into(),
                    instruction: new.description,
                    params: new.params,
                    disposal: Disposal::Queue,
                    dedup_key: new.dedup_key.map(|key| format!("child:{own}:{plugin}:{key}")),
                    idempotency_key: acting.seq.map(|seq| format!("child:{}:{seq}", focus.0.lease.focus)),
                    priority: new.priority.map_or(parent.priority, |own| own.min(parent.priority)),
                    parent: Some(own),
                    cap: Some(child::cap(&cap, parent.cap.as_ref())),
                    allowance,
                    workspace: focus.cx().workspace.as_ref().and_then(|folder| folder.to_str()).map(str::to_owned),
                    trace: trace::current_traceparent().or(parent.trace),
                    ..NewWork::default()
                };
                let submitted = focus.cx().tenant.work_submit(work).await?;
                let Work { id, faculty, instruction, allowance, .. } = submitted.work;
                if submitted.how == Submission::Created {
                    lock(&focus.0.children).held.insert(id, Some(reservation));
                }
                let description = text::head(&instruction, SHOWN).to_owned();
                focus.tell(Event::ChildSpawned { child: id, faculty, description });
                Ok(Spawned { id, allowance })
            })
            .await;
        let spawned = match spawned {
            Ok(spawned) => spawned,
            Err(error) => {
                // There is no child of it, so that the next one may have its place.
                lock(&self.0.children).spawned -= 1;
                return Err(error);
            }
        };
        // Of a spawn that was answered from the journal, or made before a crash, nothing is set aside yet.
        self.set_aside_again(&spawned);
        Ok(spawned.id)
    }

    /// What a child was given in something that does not happen again, or what became of it there.
    pub(super) fn remember_child(&self, subject: &str, response: &Value) {
        if let (SPAWN, Ok(spawned)) = (subject, Spawned::deserialize(response)) {
            lock(&self.0.children).spawned += 1;
            self.set_aside_again(&spawned);
        } else if let Ok(children) = Vec::<Child>::deserialize(response) {
            self.saw(children);
        }
    }

    fn set_aside_again(&self, spawned: &Spawned) {
        let Spawned { id, allowance } = *spawned;
        let known = lock(&self.0.children).held.contains_key(&id);
        if !known {
            let reservation = self.0.spending.reserve(amount(allowance)).ok();
            lock(&self.0.children).held.insert(id, reservation);
        }
    }

    /// Counts one more spawn, and says how many may still come, this one included.
    fn take_place(&self, max: u32) -> Result<u32> {
        let mut children = lock(&self.0.children);
        let places = max.saturating_sub(children.spawned);
        if places == 0 {
            return Err(Error::BudgetExhausted(format!(
                "this run has spawned the {max} children that it may have; go on with those, or have the operator raise \
                 spawn-child.max"
            )));
        }
        children.spawned += 1;
        Ok(places)
    }

    /// A family that has grown too large gets no more members, however they are spread over it.
    async fn check_family(&self, own: &Work) -> Result<()> {
        let tenant = &self.cx().tenant;
        let mut root = own.clone();
        while let Some(parent) = root.parent {
            root = tenant.work(parent).await?;
        }
        let (mut size, mut open) = (1, vec![root]);
        while let Some(member) = open.pop() {
            // What no focus has begun on has no children.
            if member.depth >= MAX_DEPTH || member.attempts == 0 {
                continue;
            }
            let limit = u32::try_from(MAX_FAMILY).ok();
            let children = tenant.works(WorkFilter { parent: Some(member.id), limit, ..WorkFilter::default() }).await?;
            size += children.len();
            if size >= MAX_FAMILY {
                return Err(Error::BudgetExhausted(format!(
                    "this work, its parents and all their children are {size} items, and may be at most {MAX_FAMILY}; go \
                     on with those that there are"
                )));
            }
            open.extend(children);
        }
        Ok(())
    }

    /// What a child may spend, set aside here: what was asked for, or an equal share of what is left, where `places`
    /// children may still be spawned and the parent itself goes on.
    fn set_aside(&self, new: &NewChild, places: u32) -> Result<(Allowance, Reservation)> {
        let left = self.0.spending.left();
        let share = |left: Option<u64>| left.map(|left| left / u64::from(places.saturating_add(1)));
        let allowance = Allowance {
            tokens: new.max_tokens.or_else(|| share(left.tokens)),
            microusd: new.max_microusd.or_else(|| share(left.microusd)),
        };
        if allowance.tokens == Some(0) || allowance.microusd == Some(0) {
            return Err(Error::BudgetExhausted("nothing is left of this run's budget for a child".into()));
        }
        Ok((allowance, self.0.spending.reserve(amount(allowance))?))
    }

    /// Waits until all these children have ended. Meanwhile the focus lends its place to others.
    pub(crate) async fn await_children(&self, by: &Principal, ids: Vec<String>, timeout_ms: u64) -> Result<Vec<Child>> {
        let (known, request) = (named(&ids)?, json!({ "ids": ids, "timeout_ms": timeout_ms }));
        let (focus, who) = (self.clone(), by.clone());
        let answer = self
            .effect(intent(by, EffectKind::Child, "await", request), move |acting| async move {
                focus.wait(&who, &known, timeout_ms, &acting.cancel).await
            })
            .await;
        match answer {
            Ok(children) => Ok(self.saw(children)),
            Err(Error::Timeout(why)) => {
                let mut children = lock(&self.0.children);
                children.waited_ms = children.waited_ms.saturating_add(timeout_ms);
                Err(Error::Timeout(format!("{why} ({} s of waiting in vain so far)", children.waited_ms / 1_000)))
            }
            Err(error) => Err(error),
        }
    }

    async fn wait(
        &self,
        by: &Principal,
        ids: &[WorkId],
        timeout_ms: u64,
        cancel: &CancellationToken,
    ) -> Result<Vec<Child>> {
        // Before the first look, so that no change falls between the two.
        let mut watch = self.cx().tenant.work_watch().await?;
        let mut works = self.look(by, ids).await?;
        if !works.iter().all(|work| work.state.is_settled()) {
            let deadline = Instant::now() + Duration::from_millis(timeout_ms);
            let wait = async {
                while !works.iter().all(|work| work.state.is_settled()) {
                    let over = tokio::select! {
                        biased;
                        () = cancel.cancelled() => return Err(Error::Cancelled),
                        changed = timeout_at(deadline, watch.changed()) => changed.is_err(),
                    };
                    works = self.look(by, ids).await?;
                    if over {
                        break;
                    }
                }
                Ok(())
            };
            match &self.cx().slot {
                Some(slot) => slot.lend(wait).await?,
                None => wait.await?,
            }
        }
        let open: Vec<_> = ids.iter().zip(&works).filter(|(_, work)| !work.state.is_settled()).collect();
        if !open.is_empty() {
            let open: Vec<_> = open.iter().map(|(id, work)| format!("{id} ({})", work.state)).collect();
            return Err(Error::Timeout(format!(
                "after {} s these children have not ended: {}; nothing is lost, await them again or cancel them",
                timeout_ms / 1_000,
                open.join(", ")
            )));
        }
        self.told(ids, &works).await
    }

    /// Where these children stand.
    pub(crate) async fn check_children(&self, by: &Principal, ids: Vec<String>) -> Result<Vec<Child>> {
        let (known, request) = (named(&ids)?, json!({ "ids": ids }));
        let (focus, who) = (self.clone(), by.clone());
        let children = self
            .effect(intent(by, EffectKind::Child, "check", request), move |_| async move {
                let works = focus.look(&who, &known).await?;
                focus.told(&known, &works).await
            })
            .await?;
        Ok(self.saw(children))
    }

    /// Asks for the end of a child and of its own.
    pub(crate) async fn cancel_child(&self, by: &Principal, id: String) -> Result<()> {
        let (known, request) = (named(std::slice::from_ref(&id))?, json!({ "id": id }));
        let (focus, who) = (self.clone(), by.clone());
        self.effect(intent(by, EffectKind::Child, "cancel", request), move |_| async move {
            let actor = format!("plugin:{}", who.authority.plugin());
            for work in focus.look(&who, &known).await? {
                focus.cx().tenant.work_cancel(&actor, work.id).await?;
            }
            Ok(())
        })
        .await
    }

    /// The items that these children stand at. What is not this work's child, or of a faculty that `by` may not give work
    /// to, is as unknown as what is not there.
    async fn look(&self, by: &Principal, ids: &[WorkId]) -> Result<Vec<Work>> {
        let tenant = &self.cx().tenant;
        let mut works = Vec::with_capacity(ids.len());
        for id in ids {
            let mut work = match tenant.work(*id).await {
                Ok(work) if work.parent == Some(self.0.work) && may_see(by, &work) => work,
                Ok(_) | Err(Error::NotFound(_)) => return Err(unknown(&id.to_string())),
                Err(error) => return Err(error),
            };
            // The same work of the same plugin and parent; its item stands for this one.
            if let (State::Merged, Some(canonical)) = (work.state, work.merged_into) {
                work = tenant.work(canonical).await?;
            }
            works.push(work);
        }
        Ok(works)
    }

    async fn told(&self, ids: &[WorkId], works: &[Work]) -> Result<Vec<Child>> {
        let mut children = Vec::with_capacity(ids.len());
        for (id, work) in ids.iter().zip(works) {
            let filter = Filter { entry_type: None, last_n: Some(ENTRIES) };
            let entries = self.cx().tenant.ledger_read(work.id, filter).await?;
            children.push(Child::of(*id, work, &entries, ids.len()));
        }
        Ok(children)
    }

    /// Takes note of what was seen: who has ended has spent what it spent, and what was set aside for the rest is free.
    fn saw(&self, children: Vec<Child>) -> Vec<Child> {
        for child in children.iter().filter(|child| child.state.is_settled()) {
            let Some(reservation) = lock(&self.0.children).held.get_mut(&child.id).and_then(Option::take) else {
                continue;
            };
            reservation.settle(Amount { tokens: child.tokens, microusd: child.cost_microusd });
            let Child { id, faculty, state, tokens, cost_microusd, .. } = child.clone();
            self.tell(Event::ChildFinished { child: id, faculty, state, tokens, cost_microusd });
        }
        children
    }

    /// At the end of this focus: children whose end nobody saw have spent what they spent, and those that go on without
    /// their parent all that they may.
    pub(crate) async fn settle_children(&self) {
        let held = std::mem::take(&mut lock(&self.0.children).held);
        for (id, reservation) in held {
            let Some(reservation) = reservation else { continue };
            match self.cx().tenant.work(id).await {
                Ok(work) => {
                    let Work { tokens, cost_microusd, allowance, .. } = work;
                    let goes_on = !work.state.is_settled();
                    let most = |spent: u64, most: Option<u64>| most.filter(|_| goes_on).unwrap_or(0).max(spent);
                    let (tokens, microusd) = (most(tokens, allowance.tokens), most(cost_microusd, allowance.microusd));
                    reservation.settle(Amount { tokens, microusd });
                }
                Err(error) => {
                    tracing::warn!(child = %id, %error, "cannot read what a child has spent; it counts as all it might");
                    let all = reservation.amount();
                    reservation.settle(all);
                }
            }
        }
    }
}

fn may_see(by: &Principal, work: &Work) -> bool {
    by.authority.effective().allows(&Capability::SpawnChild(work.faculty.clone()))
}

fn amount(allowance: Allowance) -> Amount {
    Amount { tokens: allowance.tokens.unwrap_or(0), microusd: allowance.microusd.unwrap_or(0) }
}

/// The same for whatever is no child of this work, so that nobody learns which items there are.
fn unknown(id: &str) -> Error {
    Error::NotFound(format!("this work has no child '{}'", text::escape(text::head(id, 64))))
}

/// The ids of a call.
fn named(ids: &[String]) -> Result<Vec<WorkId>> {
    let most = usize::try_from(MAX_CHILDREN).unwrap_or(usize::MAX);
    if ids.is_empty() || ids.len() > most {
        return Err(Error::Invalid(format!("name 1 to {most} children; this names {}", ids.len())));
    }
    ids.iter().map(|id| id.parse().map_err(|_| unknown(id))).collect()
}
