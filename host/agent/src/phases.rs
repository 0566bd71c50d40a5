//! What a focus consists of: phases of its faculty, each an effect of its own.

use animus_core::{
    Error, Result,
    journal::{EffectKind, Intent, Record},
    plugins::{FacultyOutcome, Task},
    services::Ending,
    work::Work,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::focus::Focus;

/// What the faculty is to do, and which one. A focus keeps to what it was asked first, whatever has become of the work item
/// or the configuration since.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Asked {
    pub(crate) faculty: String,
    pub(crate) task: Task,
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
        };
        Self { faculty, task }
    }

    /// Of a focus that has a journal.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the journal of a focus that runs no faculty.
    pub(crate) fn of(records: &[Record]) -> Result<Self> {
        let phase = records.iter().find(|record| record.intent.kind == EffectKind::Phase);
        let phase = phase.ok_or_else(|| {
            Error::Invalid("this focus had no faculty do work, so there is nothing to replay in it".to_owned())
        })?;
        Self::deserialize(&phase.intent.request)
            .map_err(|error| Error::internal("the journal does not say what the faculty was to do", &error))
    }
}

/// What came of the work, as the journal keeps it: with how the faculty's last engage loop ended.
#[derive(Serialize, Deserialize)]
struct Engaged {
    #[serde(flatten)]
    outcome: FacultyOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ending: Option<Ending>,
}

/// Has the faculty do its work, phase after phase. Also gives how its last engage loop ended, where it ran one.
pub(crate) async fn phases(focus: &Focus, asked: Asked) -> (Result<FacultyOutcome>, Option<Ending>) {
    let Asked { faculty, task } = asked;
    let intent = Intent {
        kind: EffectKind::Phase,
        caller: "host".into(),
        subject: "engage".into(),
        request: json!({ "faculty": faculty, "task": task }),
        parent: None,
    };
    let host = focus.clone();
    let engaged = focus
        .effect(intent, move |acting| async move {
            let cx = host.call_context(0, acting.seq, acting.cancel);
            let outcome = host.cx().plugins.engage(&cx, &faculty, task).await?;
            Ok(Engaged { outcome, ending: host.ending() })
        })
        .await;
    match engaged {
        Ok(Engaged { outcome, ending }) => match focus.ended() {
            Ok(()) => (Ok(outcome), ending),
            Err(error) => (Err(error), ending),
        },
        Err(error) => (Err(error), focus.ending()),
    }
}
