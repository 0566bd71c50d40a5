//! What a loop starts from beside what its faculty says: looked up once, and kept in the journal, so that a focus which is
//! resumed has the same conversation, whatever has changed meanwhile.

use animus_core::{
    Result,
    journal::{EffectKind, Intent},
    ledger::Filter,
    services::Principal,
    tool::Tool,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{engine_tools, prompt, quoted::quoted};
use crate::focus::{Focus, Oriented};

/// What was found when the loop began.
#[derive(Serialize, Deserialize)]
pub(super) struct Start {
    /// The system prompt without skills.
    pub(super) system: String,
    /// The host's own tools.
    pub(super) tools: Vec<Tool>,
    /// The skills that became active by themselves.
    skills: Oriented,
}

impl Start {
    /// Looks up what the loop starts from. Skills that are found are active from then on.
    pub(super) async fn of(focus: &Focus, by: &Principal, prompt: &str, system: String) -> Result<Self> {
        let faculty = by.authority.plugin().to_string();
        let intent = Intent {
            kind: EffectKind::Host,
            caller: faculty.clone(),
            subject: "start".to_owned(),
            request: json!({ "prompt": prompt, "system": system }),
            parent: by.parent,
        };
        let _one_at_a_time = focus.activating().await;
        let (host, by, prompt) = (focus.clone(), by.clone(), prompt.to_owned());
        let mut start = focus
            .observe(intent, async move {
                let skills = host.orient(&faculty, &prompt).await?;
                let written = host.cx().tenant.ledger_read(host.work_id(), Filter::default()).await?;
                let around = host.awareness(&by).await?;
                // Who calls the loop inside a tool has work of their own.
                let found = if by.depth == 0 { quoted(host.context()) } else { String::new() };
                let system = prompt::system(&system, &written, &[&around, &found]);
                Ok(Self { system, tools: engine_tools::definitions(&host, &by), skills })
            })
            .await?;
        focus.settle_in(std::mem::take(&mut start.skills));
        Ok(start)
    }
}
