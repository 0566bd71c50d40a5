//! Code that an agent or an operator has an interpreter run, and the sessions that join runs of one focus.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use animus_core::{
    Error, Result,
    authority::Authority,
    code::{Program, Ran},
    grant::Capability,
    journal::{EffectKind, Intent},
    limits::Limits,
    services::Principal,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{Focus, lock};
use crate::measure;

/// The most sessions of one focus; each may keep [`MAX_STATE`](animus_core::code::MAX_STATE) bytes.
const MAX_SESSIONS: usize = 8;
/// How the journal calls it.
const SUBJECT: &str = "execute_code";

/// One run to be made.
pub(crate) struct Execution {
    /// The interpreter plugin.
    pub(crate) interpreter: String,
    /// The program, without its session's state.
    pub(crate) program: Program,
    /// The session that it belongs to, if any.
    pub(crate) session: Option<String>,
    /// The longest that it may take by the clock, in milliseconds; the limits of the grants where none.
    pub(crate) wall_ms: Option<u64>,
}

/// What came of a run, as the journal keeps it: with what the next run of its session needs.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    ran: Ran,
    /// Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
}

/// Who ran it, the interpreter, and the session's name.
type Key = (String, String, String);

/// What earlier runs left. One run of a session goes on at a time, or the last to end would undo the others.
#[derive(Default)]
pub(super) struct Sessions(BTreeMap<Key, Arc<Mutex<Vec<u8>>>>);

impl Sessions {
    fn of(&mut self, key: Key) -> Result<Arc<Mutex<Vec<u8>>>> {
        if self.0.len() >= MAX_SESSIONS && !self.0.contains_key(&key) {
            return Err(Error::BudgetExhausted(format!(
                "a task has at most {MAX_SESSIONS} sessions of code; go on in one of them"
            )));
        }
        Ok(self.0.entry(key).or_default().clone())
    }
}

impl Focus {
    /// Has an interpreter run a program as `by`, who must be granted that interpreter. Journaled as one effect; what the
    /// program does is journaled inside it.
    pub(crate) async fn execute(&self, by: &Principal, execution: Execution) -> Result<Ran> {
        let Execution { interpreter, mut program, session, wall_ms } = execution;
        if let Err(denial) = by.authority.check(&Capability::Interpreter(interpreter.clone())) {
            return Err(self.refuse(denial).await);
        }
        program.modules.extend(self.skill_modules());
        program.check()?;
        let authority = bounded(&by.authority, wall_ms);
        let request = json!({ "interpreter": interpreter, "code": program.source, "args": program.args,
            "session": session, "wall_ms": wall_ms });
        let caller = by.authority.plugin().to_string();
        let key = session.map(|session| (caller.clone(), interpreter.clone(), session));
        let session = key.map(|key| lock(&self.0.sessions).of(key)).transpose()?;
        let mut held = match session {
            Some(session) => Some(session.lock_owned().await),
            None => None,
        };
        program.state = held.as_ref().map(|state: &OwnedMutexGuard<_>| Vec::clone(state));
        let intent = Intent {
            kind: EffectKind::Code,
            caller,
            subject: SUBJECT.to_owned(),
            request: super::bounded(&request, super::REQUEST),
            parent: by.parent,
        };
        let (focus, depth) = (self.clone(), by.depth.saturating_add(1));
        let Kept { ran, state } = self
            .effect(intent, move |acting| async move {
                let cx = focus.call_context(depth, acting.seq, acting.cancel);
                let begun = Instant::now();
                let ran = focus.plugins().run_code(&cx, &interpreter, &authority, program).await;
                measure::executed(focus.cx().tenant.id(), &interpreter, begun.elapsed(), ran.as_ref());
                let mut ran = ran?;
                let state = ran.state.take().map(|state| BASE64_STANDARD.encode(state));
                Ok(Kept { ran, state })
            })
            .await?;
        if let (Some(held), Some(state)) = (&mut held, state) {
            let state = BASE64_STANDARD.decode(state);
            **held = state.map_err(|error| Error::internal("the journal holds a broken session", &error))?;
        }
        Ok(ran)
    }
}

fn bounded(authority: &Authority, wall_ms: Option<u64>) -> Authority {
    match wall_ms {
        Some(wall_ms) => authority.bounded(&Limits { wall_ms, ..Limits::unlimited() }),
        None => authority.clone(),
    }
}
