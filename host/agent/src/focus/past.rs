//! A focus that began on another host goes on from what its journal says; docs/durability.md has the rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use animus_core::{
    Error, Result,
    grant::Grant,
    id::{Digest, FocusId, WorkId},
    journal::{EffectKind, Intent, Outcome, Record},
    ledger::Entry,
    services::{Deterministic, VirtualClock},
    store::Journal,
    work::Lease,
};
use serde::{Deserialize as _, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    Focus, lock,
    replay::{Answer, Found, Mode, Replay, describe, shown},
};
use crate::run::RunContext;

/// The key under which an answer in the journal holds the time that its program went on from.
const AT: &str = "at_ms";

/// What a focus knows of its past, and of its end before its time.
#[derive(Default)]
pub(super) struct Past {
    replay: Mutex<Option<Replay>>,
    /// Nothing is told to watchers, who were told before.
    quiet: AtomicBool,
    /// Why nothing more may happen: the journal cannot be written, or speaks against what the focus does.
    halt: OnceLock<Error>,
    /// Fires when the host stops, for another one to go on.
    leave: OnceLock<CancellationToken>,
    /// The focus that this one goes on from as another one, if it is not itself. What was paid for it is not paid here.
    of: Option<FocusId>,
    /// Programs that run again when the focus is resumed, by the effect that they are.
    programs: Mutex<BTreeMap<u64, Program>>,
    /// When the focus began, milliseconds since the epoch.
    began_ms: u64,
    /// When a phase got the last answer, milliseconds since the epoch: where the next one begins.
    reached_ms: AtomicU64,
    /// HTTP requests that were made again though they have an outcome.
    repeated: Mutex<BTreeSet<u64>>,
}

/// What there is of a focus that began before.
pub(crate) struct Resumed {
    /// When, milliseconds since the epoch.
    pub(crate) began_ms: u64,
    /// Its journal, in order.
    pub(crate) records: Vec<Record>,
    /// The focus whose journal this is a copy of, if it is one.
    pub(crate) forked: Option<FocusId>,
}

/// What there is of a focus that is looked at again.
pub(crate) struct Replayed {
    /// When it began, milliseconds since the epoch.
    pub(crate) began_ms: u64,
    /// Its journal, in order.
    pub(crate) records: Vec<Record>,
    /// The last record that answers; all do where none.
    pub(crate) until: Option<u64>,
}

struct Program {
    /// What it reads as the time.
    clock: Arc<VirtualClock>,
    /// What a program in it begins with, milliseconds since the epoch: the time of the last model's answer, before which
    /// nothing of the turn began. The clock itself may have gone on meanwhile by what happens at the same time.
    turn_ms: u64,
    is_phase: bool,
}

/// What becomes of an effect that a program asks for.
pub(super) enum Course {
    /// It happens now.
    Live,
    /// It was begun and happens again, as this record; with the outcome that a phase had, where it is looked at again.
    Again(u64, Option<Outcome>),
    /// It happened.
    Answered(Box<Answer>),
    /// It was begun, and nobody knows whether it happened.
    Doubt(u64),
}

impl Focus {
    /// A focus that lost its host, with its journal.
    ///
    /// # Errors
    /// [`Error::Internal`] for a journal that was not kept whole.
    pub(crate) fn resumed(
        cx: RunContext,
        work: WorkId,
        lease: Lease,
        cap: Option<Arc<Grant>>,
        past: Resumed,
    ) -> Result<Self> {
        let journal: Arc<dyn Journal> = cx.tenant.clone();
        let Resumed { began_ms, records, forked } = past;
        let past = Past { of: forked, ..Past::of(records, Mode::Resume, began_ms)? };
        Ok(Self::build(cx, work, lease, Some(journal), cap, past))
    }

    /// A focus that is looked at again: everything is answered from its journal, and nothing is written anywhere.
    ///
    /// # Errors
    /// As [`Focus::resumed`].
    pub(crate) fn replayed(
        cx: RunContext,
        work: WorkId,
        focus: FocusId,
        cap: Option<Arc<Grant>>,
        past: Replayed,
    ) -> Result<Self> {
        let Replayed { began_ms, records, until } = past;
        let past = Past::of(records, Mode::Strict { until }, began_ms)?;
        Ok(Self::build(cx, work, Lease { focus, token: 0 }, None, cap, past))
    }

    /// Why nothing more may happen.
    pub(crate) fn halted(&self) -> Option<Error> {
        self.0.past.halt.get().cloned()
    }

    /// Stops everything, for `error`. Returns the first that it was stopped for.
    pub(super) fn halt(&self, error: Error) -> Error {
        let first = self.0.past.halt.get_or_init(|| error).clone();
        self.0.cancel.cancel();
        first
    }

    /// Sets what fires when the host stops: what is stopped by it has no outcome then, as if the host had died.
    pub(crate) fn may_leave(&self, leave: Option<CancellationToken>) {
        if let Some(leave) = leave {
            // It is set once, before anything happens.
            let _ = self.0.past.leave.set(leave);
        }
    }

    pub(super) fn leaves(&self) -> bool {
        self.0.past.leave.get().is_some_and(CancellationToken::is_cancelled)
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.0.past.quiet.load(Ordering::Acquire)
    }

    /// Whether this is a look at a focus that nobody runs.
    pub(crate) fn is_strict(&self) -> bool {
        lock(&self.0.past.replay).as_ref().is_some_and(Replay::is_strict)
    }

    /// The last record that answered.
    pub(crate) fn last_answered(&self) -> u64 {
        lock(&self.0.past.replay).as_ref().map_or(0, Replay::last)
    }

    /// What becomes of an effect. Programs ask in their own order, so this must be asked before anything waits.
    pub(super) fn course(&self, intent: &Intent) -> Result<Course> {
        if let Some(error) = self.halted() {
            return Err(error);
        }
        let mut replay = lock(&self.0.past.replay);
        let Some(past) = replay.as_mut() else { return Ok(Course::Live) };
        let found = match past.find(intent) {
            Ok(found) => found,
            Err(error) => {
                drop(replay);
                return Err(self.halt(error));
            }
        };
        let (over, strict, aside) = (past.is_over(), past.is_strict(), past.is_aside(intent));
        if over && !strict {
            *replay = None;
        }
        drop(replay);
        let course = match found {
            Found::Answer(answer) => Course::Answered(answer),
            Found::Begun(seq, outcome) if self.is_repeatable(intent) => Course::Again(seq, outcome),
            Found::Begun(seq, _) => Course::Doubt(seq),
            Found::Nothing => Course::Live,
        };
        let is_program = matches!(intent.kind, EffectKind::Phase | EffectKind::Code);
        let goes_on =
            matches!(course, Course::Answered(_)) || (is_program && matches!(course, Course::Again(..))) || aside;
        if !strict && (over || !goes_on) {
            self.0.past.quiet.store(false, Ordering::Release);
        }
        Ok(course)
    }

    /// Whether an effect that was begun may simply happen again.
    fn is_repeatable(&self, intent: &Intent) -> bool {
        match intent.kind {
            // Programs, whose effects are answered, a skill's tests among them; what our own store does once however often
            // it is asked; and models, who change nothing.
            EffectKind::Phase
            | EffectKind::Code
            | EffectKind::Ledger
            | EffectKind::Memory
            | EffectKind::Child
            | EffectKind::Hook
            | EffectKind::Host
            | EffectKind::Llm => true,
            EffectKind::Tool => {
                let plugins = self.plugins();
                plugins.tool(&intent.subject).is_some_and(|t| t.annotations.read_only || t.annotations.idempotent)
            }
            EffectKind::Http => is_safe(intent),
        }
    }

    /// Gives what the journal has.
    pub(super) async fn answer<T: DeserializeOwned>(&self, intent: &Intent, answer: Answer) -> Result<T> {
        let Answer { seq, outcome, spent, inside } = answer;
        if self.0.past.of.is_none() {
            self.0.spending.spend(spent);
        }
        for record in &inside {
            self.remember(record);
            if intent.kind == EffectKind::Phase && record.intent.parent == Some(seq) {
                self.reach(answered_at(record));
            }
        }
        self.give_up(inside).await?;
        match outcome {
            Outcome::Failed { error } => Err(error),
            Outcome::Ok { response } => {
                self.pass(intent, response.get(AT).and_then(Value::as_u64));
                T::deserialize(&response).map_err(|error| {
                    self.halt(Error::Internal(format!(
                        "the journal's answer of #{seq} ({}) cannot be read by this version of the host: {error}",
                        describe(intent)
                    )))
                })
            }
        }
    }

    /// Takes note of what happened inside something that does not happen again.
    fn remember(&self, record: &Record) {
        let Some(Outcome::Ok { response }) = &record.outcome else { return };
        match (record.intent.kind, record.intent.subject.as_str()) {
            (EffectKind::Child, subject) => self.remember_child(subject, response),
            (EffectKind::Ledger, _) => {
                // What was read is a list.
                if let Ok(entry) = Entry::deserialize(response) {
                    self.note(entry);
                }
            }
            _ => {}
        }
    }

    /// What happened inside an effect is not asked for again, for what the effect came to is known.
    pub(super) async fn pass_over(&self, seq: u64) -> Result<()> {
        let inside = self.leave(seq);
        for record in &inside {
            if self.0.past.of.is_none() {
                self.0.spending.spend(record.cost());
            }
            self.remember(record);
        }
        self.give_up(inside).await
    }

    /// Writes that nobody knows whether it happened, and returns that.
    pub(super) async fn doubt(&self, seq: u64, intent: &Intent) -> Error {
        let left = self.leave(seq);
        if let Err(error) = self.give_up(left).await {
            return error;
        }
        let error = uncertain(intent);
        match self.end(seq, &intent.caller, Outcome::Failed { error: error.clone() }).await {
            Ok(()) => error,
            Err(failed) => self.halt(failed),
        }
    }

    /// Ends what was begun and will not be asked for again.
    async fn give_up(&self, left: Vec<Record>) -> Result<()> {
        for record in left.into_iter().filter(|record| record.outcome.is_none()) {
            let outcome = Outcome::Failed { error: uncertain(&record.intent) };
            // Whoever was refused in it was told by what is around it.
            if let Err(error) = self.end(record.seq, &record.intent.caller, outcome).await {
                return Err(self.halt(error));
            }
        }
        Ok(())
    }

    fn leave(&self, seq: u64) -> Vec<Record> {
        lock(&self.0.past.replay).as_mut().map(|past| past.leave(seq)).unwrap_or_default()
    }

    /// An effect has ended: what its record held and nobody asked for is given up, or shows that a program went another
    /// way than it did before.
    pub(super) async fn left<T>(&self, seq: Option<u64>, result: Result<T>) -> Result<T> {
        let Some(seq) = seq else { return result };
        let is_program = lock(&self.0.past.programs).remove(&seq).is_some();
        if is_program && result.is_ok() && !self.is_cancelled() {
            let ended = lock(&self.0.past.replay).as_ref().map_or(Ok(()), |past| past.ended(Some(seq)));
            ended.map_err(|error| self.halt(error))?;
        }
        // Nobody asks any more for what is left; but what was stopped for another host to go on with is left to it.
        if !self.leaves() && self.halted().is_none() {
            let left = self.leave(seq);
            self.give_up(left).await?;
        }
        result
    }

    /// The focus has ended.
    pub(crate) fn ended(&self) -> Result<()> {
        let ended = lock(&self.0.past.replay).as_ref().map_or(Ok(()), |past| past.ended(None));
        ended.map_err(|error| self.halt(error))
    }

    /// Compares what a phase came to with what it had come to.
    pub(super) fn compare(&self, seq: u64, was: Outcome, is: &Outcome) -> Result<()> {
        let plain = |outcome: &Outcome| {
            let mut outcome = serde_json::to_value(outcome).unwrap_or_default();
            if let Some(response) = outcome.get_mut("response").and_then(Value::as_object_mut) {
                response.remove(AT);
            }
            outcome
        };
        let (was, is) = (plain(&was), plain(is));
        if was == is {
            return Ok(());
        }
        Err(self.halt(Error::Diverged(format!(
            "the focus took another way: #{seq} ended with {} in the journal, and ends with {} now",
            shown(&was),
            shown(&is)
        ))))
    }

    /// Whether a program asks that runs again when the focus is resumed, so that it must read the same then.
    pub(crate) fn is_program(&self, parent: Option<u64>) -> bool {
        parent.is_some_and(|seq| lock(&self.0.past.programs).contains_key(&seq))
    }

    /// Looks something up that a program goes on from. A tool's look-ups are not kept: its answer is.
    pub(crate) async fn observe<T, F>(&self, intent: Intent, deed: F) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
        T: serde::Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        if self.is_program(intent.parent) { self.effect(intent, move |_| deed).await } else { deed.await }
    }

    /// From here on a program runs as the effect `seq`. Phases are programs, and code that one of them has run; an
    /// operator's code runs once, by the real clock.
    pub(super) fn enter(&self, kind: EffectKind, parent: Option<u64>, seq: Option<u64>) {
        let Some(seq) = seq else { return };
        let mut programs = lock(&self.0.past.programs);
        let began = match (kind, parent.and_then(|parent| programs.get(&parent))) {
            (EffectKind::Phase, _) => self.0.past.began_ms.max(self.0.past.reached_ms.load(Ordering::Acquire)),
            (EffectKind::Code, Some(outer)) => outer.turn_ms,
            _ => return,
        };
        let clock = Arc::new(VirtualClock::at(began));
        programs.insert(seq, Program { clock, turn_ms: began, is_phase: kind == EffectKind::Phase });
    }

    /// A phase got an answer at that time. What it slept does not count: the journal does not have that of a phase which is
    /// answered.
    fn reach(&self, at_ms: Option<u64>) {
        self.0.past.reached_ms.fetch_max(at_ms.unwrap_or_default(), Ordering::AcqRel);
    }

    /// What the program that `parent` is reads as time and randomness.
    pub(super) fn deterministic(&self, parent: Option<u64>) -> Option<Deterministic> {
        let seq = parent?;
        let clock = lock(&self.0.past.programs).get(&seq)?.clock.clone();
        let focus = self.0.past.of.unwrap_or(self.0.lease.focus);
        let seed = Digest::of(format!("animus program {focus} {seq}").as_bytes());
        Some(Deterministic { clock, seed: *seed.as_bytes() })
    }

    /// Time passes for the program that got an answer.
    fn pass(&self, intent: &Intent, at_ms: Option<u64>) {
        let mut programs = lock(&self.0.past.programs);
        let Some(program) = intent.parent.and_then(|parent| programs.get_mut(&parent)) else { return };
        let Some(at_ms) = at_ms else { return };
        program.clock.advance(at_ms);
        if program.is_phase {
            self.reach(Some(at_ms));
        }
        if matches!(intent.kind, EffectKind::Llm | EffectKind::Host) {
            program.turn_ms = program.turn_ms.max(at_ms);
        }
    }

    /// Stamps an answer that a program goes on from. That is none of a hook, which may be another one next time.
    pub(super) fn stamp(&self, kind: EffectKind, parent: Option<u64>, outcome: &mut Outcome) {
        if kind == EffectKind::Hook || !self.is_program(parent) {
            return;
        }
        if let Outcome::Ok { response: Value::Object(response) } = outcome {
            let at_ms = now_ms();
            response.insert(AT.to_owned(), json!(at_ms));
            let intent = Intent { kind, caller: String::new(), subject: String::new(), request: Value::Null, parent };
            self.pass(&intent, Some(at_ms));
        }
    }

    /// Whether a model call will be answered from the journal.
    pub(super) fn has_answer(&self, intent: &Intent) -> bool {
        lock(&self.0.past.replay).as_ref().is_some_and(|past| past.has_answer(intent))
    }

    /// An HTTP request is about to leave. The journal has no bodies: a program's request that was answered once is made
    /// again where that changes nothing, and refused otherwise.
    pub(super) async fn begin_request(&self, intent: Intent) -> Result<u64> {
        // A tool that is repeated makes its requests again.
        let course = if self.is_program(intent.parent) { self.course(&intent)? } else { Course::Live };
        if self.is_strict() {
            return Err(Error::Unavailable(format!(
                "the journal has no bodies, so {} cannot be told",
                describe(&intent)
            )));
        }
        match course {
            Course::Live => self.begin(intent).await.map(Option::unwrap_or_default).map_err(|error| self.halt(error)),
            Course::Again(seq, _) => Ok(seq),
            Course::Answered(answer) if is_safe(&intent) => {
                lock(&self.0.past.repeated).insert(answer.seq);
                Ok(answer.seq)
            }
            Course::Answered(_) => Err(Error::Uncertain(format!(
                "the request was made before this focus changed hosts, and its response was not kept: {}",
                describe(&intent)
            ))),
            Course::Doubt(seq) => Err(self.doubt(seq, &intent).await),
        }
    }

    /// An HTTP request has ended.
    pub(super) async fn end_request(&self, seq: u64, caller: &str, outcome: Outcome) -> Result<()> {
        if lock(&self.0.past.repeated).remove(&seq) {
            return Ok(());
        }
        self.end(seq, caller, outcome).await
    }
}

impl Past {
    /// Of a focus that begins.
    pub(super) fn none(began_ms: u64) -> Self {
        Self { began_ms, ..Self::default() }
    }

    fn of(records: Vec<Record>, mode: Mode, began_ms: u64) -> Result<Self> {
        let replay = Replay::new(records, mode)?;
        let quiet = mode != Mode::Resume || !replay.is_over();
        let replay = (quiet || replay.is_strict()).then_some(replay);
        Ok(Self { replay: Mutex::new(replay), quiet: AtomicBool::new(quiet), began_ms, ..Self::default() })
    }
}

/// The time that the program of an answer went on from.
fn answered_at(record: &Record) -> Option<u64> {
    match &record.outcome {
        Some(Outcome::Ok { response }) => response.get(AT).and_then(Value::as_u64),
        _ => None,
    }
}

/// Whether a request asks for nothing to be changed.
fn is_safe(intent: &Intent) -> bool {
    ["GET ", "HEAD ", "OPTIONS "].iter().any(|method| intent.subject.starts_with(method))
}

fn uncertain(intent: &Intent) -> Error {
    let Intent { kind, subject, request, .. } = intent;
    Error::Uncertain(format!(
        "the host ended in the middle of {} '{}' with {}: it may or may not have happened; check whether it did before \
         you do it again",
        kind.as_str(),
        subject.escape_debug(),
        shown(request)
    ))
}

pub(super) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
