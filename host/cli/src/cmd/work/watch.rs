//! `animus work watch`: what happens to an item, whoever runs it.

use animus_agent::events::{Hub, Next};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::{exit, find};
use crate::{
    context::Context,
    fault::{Exit, Fault, Result},
    interrupt,
    watch::Viewer,
};

#[derive(Args)]
pub(crate) struct Watch {
    /// Its identifier, a unique beginning of it, or `last`
    #[arg(default_value = "last")]
    work: String,
    /// Only what came after this number, which `--json` shows
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,
}

/// An event with its number.
#[derive(Serialize)]
struct Numbered {
    number: Option<u64>,
    #[serde(flatten)]
    event: Value,
}

impl Watch {
    pub(super) async fn run(self, cx: &Context) -> Result<Exit> {
        let stop = interrupt::listen_and_say(&cx.out, "no longer watching; the work goes on")?;
        let tenant = cx.tenant().await?;
        let id = find(&*tenant, &self.work).await?.id;
        let mut following = Hub::new(tenant).follow(id, self.after);
        let viewer = (!cx.out.is_json()).then(|| Viewer::start(&cx.out, "waiting"));
        let settled = loop {
            let Some(next) = stop.run_until_cancelled(following.next()).await else { break None };
            match next? {
                Next::Event(number, event) => match &viewer {
                    Some(viewer) => viewer.watcher().event(event),
                    None => cx.out.object(&Numbered {
                        number: Some(number),
                        event: serde_json::to_value(event).map_err(|e| Fault::failed(e.to_string()))?,
                    }),
                },
                Next::Settled(work) => break Some(work),
                Next::Over => break None,
            }
        };
        if let Some(viewer) = viewer {
            viewer.finish(&cx.out);
        }
        let Some(work) = settled else { return Ok(Exit::Done) };
        if cx.out.is_json() {
            cx.out.object(&serde_json::json!({ "type": "settled", "work": *work }));
        } else {
            cx.out.note(format_args!("{id} is {}", work.state));
        }
        Ok(exit(&work))
    }
}
