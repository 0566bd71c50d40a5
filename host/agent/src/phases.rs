//! What a focus consists of: the phases of its faculty, each an effect of its own.
//!
//! A faculty has `engage`, and of the others what it exports: `orient` before it, `consolidate` after it, `recover` after a
//! failure in any of them. For what it does not export nothing is written.

use animus_core::{
    Denial, Error, Result,
    journal::{EffectKind, Intent, Record},
    plugins::{FacultyOutcome, Failure, MAX_CONTEXT, Phase, Phases, Recovery, Task},
    services::{CallContext, Ending},
    text::head,
    work::Work,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    focus::{Focus, REQUEST, bounded},
    judge::{Judged, ended_early, judge, may_mend},
};

/// The most that a faculty is told of its failure, in bytes.
const MOST_OF_ERROR: usize = 4 << 10;

/// What the faculty is to do, and which one. A focus keeps to what it was asked first, whatever has become of the work item
/// or the configuration since.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Asked {
    pub(crate) faculty: String,
    pub(crate) task: Task,
    /// The phases that its journal has.
    #[serde(skip)]
    begun: Phases,
    /// What its `recover` phase was told.
    #[serde(skip)]
    told: Option<Failure>,
}

impl Asked {
    /// Of a focus that begins.
    pub(crate) fn new(focus: &Focus, work: &Work) -> Self {
        // What was asked for may be a faculty on another plugin, or a kind of work.
        let faculty = focus.cx().faculty.plugin.as_ref().map_or_else(|| work.faculty.clone(), ToString::to_string);
        let task = Task {
            work_id: work.id.to_string(),
            instruction: work.instruction.clone(),
            params: work.params.clone(),
            attempt: work.attempts,
            context: String::new(),
        };
        Self { faculty, task, begun: Phases::default(), told: None }
    }

    /// Of a focus that has a journal.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the journal of a focus that runs no faculty.
    pub(crate) fn of(records: &[Record]) -> Result<Self> {
        let phases = || records.iter().filter(|record| record.intent.kind == EffectKind::Phase);
        let named = |name: &str| phases().find(|record| record.intent.subject == name);
        let first = phases().next().ok_or_else(|| {
            Error::Invalid("this focus had no faculty do work, so there is nothing to replay in it".to_owned())
        })?;
        let asked = Self::deserialize(&first.intent.request)
            .map_err(|error| Error::internal("the journal does not say what the faculty was to do", &error))?;
        let failure =
            |record: &Record| record.intent.request.get("failure").and_then(|it| Failure::deserialize(it).ok());
        let begun = Phases {
            orient: named("orient").is_some(),
            consolidate: named("consolidate").is_some(),
            recover: named("recover").is_some(),
        };
        Ok(Self { begun, told: named("recover").and_then(failure), ..asked })
    }
}

/// Which attempts a work item has.
#[derive(Clone, Copy)]
pub(crate) struct Attempts {
    /// At most so many.
    pub(crate) most: u32,
    /// Whether a queue makes another one by itself.
    pub(crate) queued: bool,
}

impl Attempts {
    /// Those of an item that is run from the queue, or not.
    pub(crate) fn of(work: &Work, queued: bool) -> Self {
        Self { most: work.max_attempts, queued }
    }
}

/// What all phases came to.
pub(crate) struct Worked {
    /// What the faculty says, or why it failed.
    pub(crate) result: Result<FacultyOutcome>,
    /// What that comes to, with how its loops ended.
    pub(crate) judged: Judged,
    /// How its last engage loop ended, where it ran one; one that ended early where one did.
    pub(crate) ending: Option<Ending>,
    /// Whether its `recover` phase wants no other attempt.
    pub(crate) gives_up: bool,
}

/// What came of `engage` or `consolidate`, as the journal keeps it: with how the last engage loop in it ended.
#[derive(Serialize, Deserialize)]
struct Came {
    #[serde(flatten)]
    outcome: FacultyOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ending: Option<Ending>,
    /// Which hook stopped that loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block: Option<Denial>,
}

#[derive(Serialize, Deserialize)]
struct Found {
    context: String,
}

#[derive(Serialize, Deserialize)]
struct Recovered {
    recovery: Recovery,
}

/// Has the faculty do its work, phase after phase.
pub(crate) async fn phases(focus: &Focus, asked: Asked, attempts: Attempts) -> Worked {
    let Asked { faculty, mut task, begun, told } = asked;
    let found = focus.cx().plugins.phases(&faculty).await;
    // What cannot be loaded fails in the first phase that is not over.
    let (phases, broken) = found.map_or_else(|error| (begun, Some(error)), |phases| (phases, None));
    let run = Run { focus, faculty, broken };
    let (mut phase, mut loops) = (Phase::Orient, Loops::default());
    let result = run.work(&mut task, phases, &mut phase, &mut loops).await;
    let mut judged = judge(result.clone(), loops.ending, loops.block, focus.is_cancelled());
    let mut gives_up = false;
    if judged.failed() && !focus.is_over() {
        let will_retry = attempts.queued && task.attempt < attempts.most && may_mend(judged.error.as_ref());
        let failure = Failure {
            phase,
            error: words(&judged),
            attempt: task.attempt,
            max_attempts: told.as_ref().map_or(attempts.most, |told| told.max_attempts),
            will_retry: told.map_or(will_retry, |told| told.will_retry),
        };
        if phases.recover {
            gives_up = run.recover(task, failure).await;
        }
    }
    if !focus.is_cancelled()
        && let Err(error) = focus.ended()
    {
        judged = Judged::failing(error);
    }
    if let Some(halted) = focus.halted() {
        judged = Judged::failing(halted);
    }
    Worked { result, judged, ending: loops.ending, gives_up }
}

/// How the engage loops of the faculty's phases ended. That of a later phase counts where the earlier one came to its end.
#[derive(Default)]
struct Loops {
    ending: Option<Ending>,
    block: Option<Denial>,
}

impl Loops {
    fn note(&mut self, ending: Option<Ending>, block: Option<Denial>) {
        if self.ended_early() || ending.is_none() {
            return;
        }
        (self.ending, self.block) = (ending, block);
    }

    fn ended_early(&self) -> bool {
        self.ending.is_some_and(ended_early)
    }
}

/// A faculty at work.
struct Run<'a> {
    focus: &'a Focus,
    faculty: String,
    /// Why its code cannot be loaded.
    broken: Option<Error>,
}

impl Run<'_> {
    /// All phases that lead to an outcome. `phase` is the one that spoke last.
    async fn work(
        &self,
        task: &mut Task,
        phases: Phases,
        phase: &mut Phase,
        loops: &mut Loops,
    ) -> Result<FacultyOutcome> {
        let faculty = &self.faculty;
        let mut request = json!({ "faculty": faculty, "task": task });
        if phases.orient {
            task.context = self.orient(request, task.clone()).await?;
            self.focus.set_context(task.context.clone());
            request = json!({ "faculty": faculty, "context": task.context });
        }
        *phase = Phase::Engage;
        let given = task.clone();
        let engaged = self.phase("engage", request, move |host, cx, faculty| async move {
            let outcome = host.cx().plugins.engage(&cx, &faculty, given).await?;
            Ok(Came { outcome, ending: host.ending(), block: host.block() })
        });
        let mut outcome = self.came(engaged.await, loops)?;
        if !phases.consolidate || loops.ending == Some(Ending::Cancelled) {
            return Ok(outcome);
        }
        if !loops.ended_early() {
            *phase = Phase::Consolidate;
        }
        // Stores give keys back in orders of their own.
        if let Some(data) = &mut outcome.data {
            data.sort_all_objects();
        }
        let request = json!({ "faculty": faculty, "outcome": bounded(&outcome, REQUEST) });
        let given = task.clone();
        let consolidated = self.phase("consolidate", request, move |host, cx, faculty| async move {
            let outcome = host.cx().plugins.consolidate(&cx, &faculty, given, outcome).await?;
            Ok(Came { outcome, ending: host.ending(), block: host.block() })
        });
        let consolidated = consolidated.await;
        if consolidated.is_err() {
            *phase = Phase::Consolidate;
        }
        self.came(consolidated, loops)
    }

    fn came(&self, came: Result<Came>, loops: &mut Loops) -> Result<FacultyOutcome> {
        match came {
            Ok(Came { outcome, ending, block }) => {
                loops.note(ending, block);
                Ok(outcome)
            }
            Err(error) => {
                loops.note(self.focus.ending(), self.focus.block());
                Err(error)
            }
        }
    }

    async fn orient(&self, request: Value, task: Task) -> Result<String> {
        let found = self.phase("orient", request, move |host, cx, faculty| async move {
            let context = host.cx().plugins.orient(&cx, &faculty, task).await?;
            Ok(Found { context: cut(context) })
        });
        Ok(found.await?.context)
    }

    /// Whether the faculty gives up. Where it cannot say, it does not.
    async fn recover(&self, task: Task, failure: Failure) -> bool {
        let will_retry = failure.will_retry;
        let request = json!({ "faculty": self.faculty, "failure": failure });
        let recovered = self.phase("recover", request, move |host, cx, faculty| async move {
            let recovery = host.cx().plugins.recover(&cx, &faculty, task, failure).await?;
            Ok(Recovered { recovery })
        });
        let gives_up = match recovered.await {
            Ok(Recovered { recovery }) => recovery == Recovery::GiveUp,
            Err(error) => {
                if !self.focus.is_over() {
                    tracing::warn!(faculty = %self.faculty, %error, "the phase after a failure failed itself");
                }
                false
            }
        };
        if gives_up && will_retry {
            self.focus.notice("the faculty gives up, so the work is not tried again");
        }
        gives_up
    }

    /// One phase, as an effect.
    async fn phase<T, F, D>(&self, name: &str, request: Value, deed: D) -> Result<T>
    where
        D: FnOnce(Focus, CallContext, String) -> F + Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let intent =
            Intent { kind: EffectKind::Phase, caller: "host".into(), subject: name.into(), request, parent: None };
        let (host, faculty, broken) = (self.focus.clone(), self.faculty.clone(), self.broken.clone());
        // How loops of an earlier phase ended is no matter of this one.
        self.focus.forget_ending();
        self.focus
            .effect(intent, move |acting| async move {
                if let Some(error) = broken {
                    return Err(error);
                }
                let cx = host.call_context(0, acting.seq, acting.cancel);
                deed(host, cx, faculty).await
            })
            .await
    }
}

/// The beginning of a context, which says that there was more.
fn cut(mut context: String) -> String {
    if context.len() > MAX_CONTEXT {
        let bytes = context.len();
        context.truncate(context.floor_char_boundary(MAX_CONTEXT.saturating_sub(64)));
        let more = bytes.saturating_sub(context.len());
        context.push_str(&format!("\n[cut: {more} more bytes]"));
    }
    context
}

/// Why an attempt failed, for its faculty.
fn words(judged: &Judged) -> String {
    let text = match (&judged.error, &judged.outcome) {
        // What is the host's own affair is told in a line.
        (Some(error @ Error::Internal(_)), _) => error.for_model().lines().next().unwrap_or_default().to_owned(),
        (Some(error), _) => error.for_model(),
        (None, Some(outcome)) if !outcome.summary.trim().is_empty() => outcome.summary.clone(),
        (None, _) => "the work was left undone".to_owned(),
    };
    head(&text, MOST_OF_ERROR).to_owned()
}
