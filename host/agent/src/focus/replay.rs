//! What a focus did before, as its journal has it, and which of its records answers what it asks now.
//!
//! A record is found by what was asked: inside which record, what kind, by whom, of what, with which request. Of several
//! that are equal the earliest that nobody has asked for yet answers. So effects that happened at the same time may be
//! asked for again in any order.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt::Write as _,
};

use animus_core::{
    Error, Result,
    budget::Amount,
    id::Digest,
    journal::{EffectKind, Intent, Outcome, Record},
};
use serde_json::Value;

/// How much of a request or answer an explanation shows, in bytes.
const SHOWN: usize = 300;

/// What makes two intents the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    parent: Option<u64>,
    kind: EffectKind,
    caller: String,
    subject: String,
    request: Digest,
}

impl Key {
    fn of(intent: &Intent) -> Self {
        let Intent { kind, caller, subject, request, parent } = intent;
        let (caller, subject) = (caller.clone(), subject.clone());
        Self { parent: *parent, kind: *kind, caller, subject, request: digest(request) }
    }
}

/// The digest of a JSON value, the same in whatever order a store gives its keys back.
fn digest(value: &Value) -> Digest {
    let mut text = String::new();
    canonical(value, &mut text);
    Digest::of(text.as_bytes())
}

fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Object(object) => {
            let sorted: BTreeMap<_, _> = object.iter().collect();
            text.push('{');
            for (key, value) in sorted {
                let _ = write!(text, "{}:", Value::String(key.clone()));
                canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        scalar => {
            let _ = write!(text, "{scalar}");
        }
    }
}

/// How far a journal is to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The focus lost its host. What the journal does not have is done now.
    Resume,
    /// The focus is looked at again. Nothing is done; what the journal does not have is a divergence, and phases run again
    /// even where it has their outcome.
    Strict {
        /// The last record that answers.
        until: Option<u64>,
    },
}

/// What the journal says to an intent.
#[derive(Debug)]
pub(crate) enum Found {
    /// It was done, and this came of it.
    Answer(Box<Answer>),
    /// It was begun, and perhaps done: the record that its end belongs to. With the outcome that a phase had, where it is
    /// run again all the same.
    Begun(u64, Option<Outcome>),
    /// It was never begun.
    Nothing,
}

/// A recorded outcome.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) seq: u64,
    pub(crate) outcome: Outcome,
    /// What models cost in it.
    pub(crate) spent: Amount,
    /// What happened inside it, inner before outer: nobody will ask for it again.
    pub(crate) inside: Vec<Record>,
}

/// What nobody has asked for yet.
#[derive(Debug)]
pub(crate) struct Replay {
    mode: Mode,
    records: BTreeMap<u64, Record>,
    /// Not asked for, by what asks for them.
    waiting: HashMap<Key, VecDeque<u64>>,
    /// Not asked for, by what they happened in.
    inside: BTreeMap<Option<u64>, BTreeSet<u64>>,
    /// The last record that was asked for.
    last: u64,
}

impl Replay {
    /// # Errors
    /// [`Error::Internal`] for a journal that was not kept whole where it is needed.
    pub(crate) fn new(records: Vec<Record>, mode: Mode) -> Result<Self> {
        let mut replay =
            Self { mode, records: BTreeMap::new(), waiting: HashMap::new(), inside: BTreeMap::new(), last: 0 };
        for record in records {
            replay.waiting.entry(Key::of(&record.intent)).or_default().push_back(record.seq);
            replay.inside.entry(record.intent.parent).or_default().insert(record.seq);
            replay.records.insert(record.seq, record);
        }
        for record in replay.records.values() {
            let is_cut = matches!(&record.outcome, Some(Outcome::Ok { response }) if is_cut(response));
            if is_cut && !replay.is_inside_answered(record) {
                let what = describe(&record.intent);
                return Err(Error::Internal(format!(
                    "the focus cannot be resumed: the answer of #{} ({what}) was too large for the journal to keep; \
                     `animus work retry` begins anew",
                    record.seq
                )));
            }
        }
        Ok(replay)
    }

    /// Whether something that is answered as a whole holds this record.
    fn is_inside_answered(&self, record: &Record) -> bool {
        let mut parent = record.intent.parent;
        while let Some(outer) = parent.and_then(|seq| self.records.get(&seq)) {
            if self.answers(outer) {
                return true;
            }
            parent = outer.intent.parent;
        }
        false
    }

    fn answers(&self, record: &Record) -> bool {
        record.outcome.is_some() && (self.mode == Mode::Resume || record.intent.kind != EffectKind::Phase)
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.mode != Mode::Resume
    }

    /// Whether everything was asked for.
    pub(crate) fn is_over(&self) -> bool {
        self.inside.is_empty()
    }

    /// The last record that was asked for; 0 for none.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Whether a model call will be answered, as it stands now: it needs no hold on the budget then.
    pub(crate) fn has_answer(&self, call: &Intent) -> bool {
        let next = self.waiting.get(&Key::of(call)).and_then(VecDeque::front);
        next.and_then(|seq| self.records.get(seq)).is_some_and(|record| record.outcome.is_some())
    }

    /// Looks up what a program asks for, which then is asked for.
    ///
    /// # Errors
    /// [`Error::Diverged`] when the journal shows that the program went another way; [`Error::Unavailable`] where a strict
    /// replay ends.
    pub(crate) fn find(&mut self, intent: &Intent) -> Result<Found> {
        let Some(seq) = self.take(&Key::of(intent)) else {
            return self.missing(intent).map(|()| Found::Nothing);
        };
        let Some(record) = self.records.get(&seq) else { return Ok(Found::Nothing) };
        if let Mode::Strict { until: Some(until) } = self.mode
            && seq > until
        {
            return Err(Error::Unavailable(format!("the replay ends before #{seq}, as asked")));
        }
        self.last = self.last.max(seq);
        if !self.answers(record) {
            let is_container = matches!(record.intent.kind, EffectKind::Phase | EffectKind::Code);
            if self.is_strict() && !is_container {
                let what = describe(&record.intent);
                return Err(Error::Unavailable(format!("the journal ends in #{seq} ({what}), which has no outcome")));
            }
            return Ok(Found::Begun(seq, record.outcome.clone()));
        }
        let Some(outcome) = record.outcome.clone() else { return Ok(Found::Nothing) };
        let mut spent = record.cost();
        let inside = self.leave(seq);
        for inner in &inside {
            spent = spent.plus(inner.cost());
        }
        Ok(Found::Answer(Box::new(Answer { seq, outcome, spent, inside })))
    }

    fn take(&mut self, key: &Key) -> Option<u64> {
        let waiting = self.waiting.get_mut(key)?;
        let seq = waiting.pop_front()?;
        if waiting.is_empty() {
            self.waiting.remove(key);
        }
        self.unlist(key.parent, seq);
        Some(seq)
    }

    fn unlist(&mut self, parent: Option<u64>, seq: u64) {
        if let Some(inside) = self.inside.get_mut(&parent) {
            inside.remove(&seq);
            if inside.is_empty() {
                self.inside.remove(&parent);
            }
        }
    }

    /// Nobody will ask any more for what happened inside a record. Returns what is left of it, inner before outer.
    pub(crate) fn leave(&mut self, seq: u64) -> Vec<Record> {
        let mut left = Vec::new();
        let mut next = vec![seq];
        while let Some(outer) = next.pop() {
            for inner in self.inside.remove(&Some(outer)).unwrap_or_default() {
                let Some(record) = self.records.get(&inner).cloned() else { continue };
                let key = Key::of(&record.intent);
                if let Some(waiting) = self.waiting.get_mut(&key) {
                    waiting.retain(|seq| *seq != inner);
                    if waiting.is_empty() {
                        self.waiting.remove(&key);
                    }
                }
                next.push(inner);
                left.push(record);
            }
        }
        left.sort_by_key(|record| std::cmp::Reverse(record.seq));
        left
    }

    /// A program asked for something that the journal does not have. That is as it should be where the journal ends; but
    /// after a model was asked, everything before was asked for. Nothing must be done that the journal speaks against.
    ///
    /// Hooks are no evidence: they are those of today, so that one which is new is asked now, and one which is gone is not
    /// asked again. What they change shows in what is asked of others.
    fn missing(&self, asked: &Intent) -> Result<()> {
        if asked.kind == EffectKind::Hook && !self.is_strict() {
            return Ok(());
        }
        let speaks_against = self.left_in(asked.parent).any(|record| record.intent.kind == EffectKind::Llm);
        match self.left_in(asked.parent).next() {
            Some(first) if self.is_strict() || speaks_against => Err(diverged(first, Some(asked))),
            None if self.is_strict() => Err(Error::Diverged(format!(
                "the focus took another way: after #{} the journal has nothing more {}, and the program asked for {}",
                self.last,
                within(asked.parent),
                describe(asked),
            ))),
            _ => Ok(()),
        }
    }

    /// A program whose every effect is recorded has ended (`None`: the whole focus).
    ///
    /// # Errors
    /// [`Error::Diverged`] when the journal has more of it.
    pub(crate) fn ended(&self, container: Option<u64>) -> Result<()> {
        self.left_in(container).next().map_or(Ok(()), |first| Err(diverged(first, None)))
    }

    /// What nobody has asked for yet of what happened in a record, hooks aside.
    fn left_in(&self, container: Option<u64>) -> impl Iterator<Item = &Record> {
        let left = self.inside.get(&container).into_iter().flatten().filter_map(|seq| self.records.get(seq));
        left.filter(|record| record.intent.kind != EffectKind::Hook)
    }

    /// Whether an effect is none that the journal could have: a hook that is new looks on, or does something.
    pub(crate) fn is_aside(&self, intent: &Intent) -> bool {
        intent.kind == EffectKind::Hook || intent.parent.is_some_and(|seq| !self.records.contains_key(&seq))
    }
}

/// Whether this stands for an answer that the journal did not keep.
fn is_cut(response: &Value) -> bool {
    response.as_object().is_some_and(|object| {
        object.get("cut") == Some(&Value::Bool(true)) && object.contains_key("bytes") && object.contains_key("sha256")
    })
}

fn diverged(recorded: &Record, asked: Option<&Intent>) -> Error {
    let did = match asked {
        Some(asked) => format!("the program asked for {}", describe(asked)),
        None => "the program ended without asking for it".to_owned(),
    };
    Error::Diverged(format!(
        "the focus took another way: the journal has #{} {}, {}, and {did}",
        recorded.seq,
        within(recorded.intent.parent),
        describe(&recorded.intent),
    ))
}

fn within(parent: Option<u64>) -> String {
    parent.map_or_else(|| "in the focus".to_owned(), |seq| format!("in #{seq}"))
}

/// An intent for people and models.
pub(super) fn describe(intent: &Intent) -> String {
    let Intent { kind, caller, subject, request, .. } = intent;
    format!("{} {} by {caller} with {}", kind.as_str(), subject.escape_debug(), shown(request))
}

pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.get(..text.floor_char_boundary(SHOWN)) {
        Some(head) if head.len() < text.len() => format!("{head}… ({} bytes)", text.len()),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn intent(parent: Option<u64>, kind: EffectKind, subject: &str, request: Value) -> Intent {
        Intent { kind, caller: "assistant".into(), subject: subject.into(), request, parent }
    }

    fn record(seq: u64, intent: Intent, outcome: Option<Value>) -> Record {
        let outcome = outcome.map(|response| Outcome::Ok { response });
        Record { seq, intent, outcome, started_ms: seq, ended_ms: None }
    }

    fn tool(parent: Option<u64>, name: &str, n: u64) -> Intent {
        intent(parent, EffectKind::Tool, name, json!({ "n": n }))
    }

    fn phase() -> Record {
        record(1, intent(None, EffectKind::Phase, "engage", json!({})), None)
    }

    fn answered(replay: &mut Replay, intent: &Intent) -> Option<u64> {
        match replay.find(intent).unwrap() {
            Found::Answer(answer) => Some(answer.seq),
            Found::Begun(..) | Found::Nothing => None,
        }
    }

    #[test]
    fn the_order_of_keys_is_no_difference_and_everything_else_is() {
        assert_eq!(
            digest(&json!({ "a": 1, "b": [{ "c": 2, "d": 3 }] })),
            digest(&json!({ "b": [{ "d": 3, "c": 2 }], "a": 1 }))
        );
        for (a, b) in [
            (json!([1, 2]), json!([2, 1])),
            (json!([1, [2]]), json!([[1], 2])),
            (json!({ "a": "1" }), json!({ "a": 1 })),
            (json!({ "a": {} }), json!({ "a": [] })),
            (json!(["a,b"]), json!(["a", "b"])),
            (json!(null), json!("null")),
        ] {
            assert_ne!(digest(&a), digest(&b), "{a} {b}");
        }
    }

    #[test]
    fn equal_calls_are_answered_in_the_order_of_their_numbers() {
        let call = tool(Some(1), "fs.read", 0);
        let records = vec![
            phase(),
            record(2, call.clone(), Some(json!("first"))),
            record(3, call.clone(), Some(json!("second"))),
        ];
        let mut replay = Replay::new(records, Mode::Resume).unwrap();
        assert!(matches!(replay.find(&phase().intent).unwrap(), Found::Begun(1, None)));
        assert_eq!(answered(&mut replay, &call), Some(2));
        assert!(replay.ended(Some(1)).unwrap_err().to_string().contains("#3"));
        assert_eq!(answered(&mut replay, &call), Some(3));
        assert!(matches!(replay.find(&call).unwrap(), Found::Nothing), "a third one was never made");
        replay.ended(Some(1)).unwrap();
        assert!(replay.is_over());
    }

    #[test]
    fn what_happened_inside_an_answer_is_not_asked_for_and_counts_what_it_cost() {
        let outer = tool(Some(1), "skill.do", 0);
        let response = json!({
            "message": { "role": "assistant", "content": [] }, "stop": "end_turn", "model": "a:b", "cost_microusd": 7,
            "usage": { "input_tokens": 2, "output_tokens": 3, "cached_tokens": 0, "cache_write_tokens": 0 },
        });
        let records = vec![
            phase(),
            record(2, outer.clone(), Some(json!("done"))),
            record(3, intent(Some(2), EffectKind::Llm, "default", json!({})), Some(response)),
            record(4, tool(Some(2), "fs.write", 0), None),
        ];
        let mut replay = Replay::new(records, Mode::Resume).unwrap();
        replay.find(&phase().intent).unwrap();
        let Found::Answer(answer) = replay.find(&outer).unwrap() else { panic!("it is there") };
        assert_eq!(answer.spent, Amount { tokens: 5, microusd: 7 });
        assert_eq!(answer.inside.iter().map(|r| r.seq).collect::<Vec<_>>(), [4, 3]);
        assert!(replay.is_over());
    }

    #[test]
    fn nothing_is_done_that_comes_before_what_a_model_was_asked() {
        let model = intent(Some(1), EffectKind::Llm, "default", json!({ "sha256": "a" }));
        let records = vec![phase(), record(2, model.clone(), None)];
        let mut replay = Replay::new(records, Mode::Resume).unwrap();
        replay.find(&phase().intent).unwrap();
        let why = replay.find(&tool(Some(1), "fs.write", 0)).unwrap_err();
        assert!(matches!(why, Error::Diverged(_)) && why.to_string().contains("fs.write"), "{why}");
        assert!(matches!(replay.find(&model).unwrap(), Found::Begun(2, None)));
        assert!(matches!(replay.find(&tool(Some(1), "fs.write", 0)).unwrap(), Found::Nothing));
    }

    #[test]
    fn hooks_may_come_and_go_between_two_hosts_and_nothing_else_may() {
        let model = intent(Some(1), EffectKind::Llm, "default", json!({ "sha256": "a" }));
        let hook = |name: &str| intent(Some(1), EffectKind::Hook, name, json!({ "event": "before-llm-call" }));
        let records = vec![
            phase(),
            record(2, hook("gone"), Some(json!("continue"))),
            record(3, model.clone(), Some(json!("yes"))),
        ];
        let mut replay = Replay::new(records.clone(), Mode::Resume).unwrap();
        replay.find(&phase().intent).unwrap();
        assert!(matches!(replay.find(&hook("new")).unwrap(), Found::Nothing), "it is asked now");
        assert!(replay.is_aside(&hook("new")) && replay.is_aside(&tool(Some(4), "fs.read", 0)));
        assert!(!replay.is_aside(&tool(Some(1), "fs.read", 0)) && !replay.is_aside(&phase().intent));
        assert!(matches!(replay.find(&tool(Some(1), "fs.write", 0)), Err(Error::Diverged(_))));
        assert!(replay.ended(Some(1)).unwrap_err().to_string().contains("#3"), "a model was asked");
        assert_eq!(answered(&mut replay, &model), Some(3));
        replay.ended(Some(1)).unwrap();
        assert_eq!(replay.leave(1).iter().map(|record| record.seq).collect::<Vec<_>>(), [2]);
        // Nobody is asked anything where a focus is only looked at.
        let mut strict = Replay::new(records, Mode::Strict { until: None }).unwrap();
        strict.find(&phase().intent).unwrap();
        assert!(matches!(strict.find(&hook("new")), Err(Error::Diverged(_))));
        assert_eq!(answered(&mut strict, &model), Some(3));
        strict.ended(Some(1)).unwrap();
    }

    #[test]
    fn a_strict_replay_ends_where_the_journal_ends() {
        let (first, second) = (tool(Some(1), "fs.read", 1), tool(Some(1), "fs.read", 2));
        let records = vec![
            Record { outcome: Some(Outcome::Ok { response: json!("end") }), ..phase() },
            record(2, first.clone(), Some(json!("one"))),
            record(3, second.clone(), None),
        ];
        let strict = |until| {
            let mut replay = Replay::new(records.clone(), Mode::Strict { until }).unwrap();
            assert!(matches!(replay.find(&phase().intent).unwrap(), Found::Begun(1, Some(_))), "a phase runs again");
            replay
        };
        let mut replay = strict(None);
        assert_eq!(answered(&mut replay, &first), Some(2));
        assert!(replay.find(&second).unwrap_err().to_string().contains("the journal ends in #3"));
        assert!(strict(Some(1)).find(&first).unwrap_err().to_string().contains("before #2"));
        let why = strict(None).find(&tool(Some(1), "fs.write", 1)).unwrap_err().to_string();
        assert!(why.contains("the journal has #2") && why.contains("fs.write"), "{why}");
    }

    proptest! {
        /// Effects that happened at the same time are found in whatever order they are asked for, each once, and equal
        /// ones in the order of their numbers.
        #[test]
        fn parallel_effects_are_found_in_any_order(
            calls in proptest::collection::vec((0..3u64, any::<bool>()), 1..20),
            order in any::<u64>(),
        ) {
            let mut records = vec![phase()];
            for (n, (what, done)) in calls.iter().enumerate() {
                let seq = n as u64 + 2;
                records.push(record(seq, tool(Some(1), "fs.do", *what), done.then(|| json!(seq))));
            }
            let mut replay = Replay::new(records, Mode::Resume).unwrap();
            replay.find(&phase().intent).unwrap();
            let mut asked: Vec<_> = calls.iter().enumerate().map(|(n, (what, _))| (n, *what)).collect();
            asked.sort_by_key(|(n, _)| (*n as u64 + 1).wrapping_mul(order | 1).rotate_left(17));
            let mut found = BTreeMap::<u64, Vec<u64>>::new();
            for (_, what) in asked {
                let seq = match replay.find(&tool(Some(1), "fs.do", what)).unwrap() {
                    Found::Answer(answer) => answer.seq,
                    Found::Begun(seq, None) => seq,
                    other => panic!("{other:?}"),
                };
                found.entry(what).or_default().push(seq);
            }
            for (what, seqs) in found {
                let expected: Vec<_> = (2..).zip(&calls).filter(|(_, (w, _))| *w == what).map(|(seq, _)| seq).collect();
                prop_assert_eq!(seqs, expected);
            }
            prop_assert!(replay.is_over());
            replay.ended(Some(1)).unwrap();
        }
    }
}
