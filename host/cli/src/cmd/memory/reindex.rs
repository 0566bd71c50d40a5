//! `animus memory reindex`: vectors for the memories that have none of the model in use.

use animus_agent::memory::part;
use animus_core::{
    Error,
    llm::{EMBED_ROLE, Embeddings, Models as _},
    memory::{Coverage, Embedding},
    store::Tenant,
};
use animus_llm::Router;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    fault::{Exit, Result},
    interrupt,
    watch::Spinner,
};

/// As many memories are embedded at once; each batch is kept when it is done.
const BATCH: u32 = 64;

#[derive(Serialize)]
struct Reindexed {
    /// The model that serves the role `embed`.
    model: String,
    dims: usize,
    /// Memories that have a vector from now on.
    embedded: u64,
    /// Memories that changed or went meanwhile, or that the model sees nothing in.
    skipped: u64,
    /// All memories.
    memories: u64,
}

pub(super) async fn run(cx: &Context, tenant: &dyn Tenant) -> Result<Exit> {
    let router = super::embedder(cx).await?;
    let cancel = interrupt::listen(&cx.out)?;
    // Which model answers, and in how many dimensions, only an answer tells.
    let Embeddings { model, dims, .. } = embed(&router, vec!["hello".to_owned()], &cancel).await?;
    let dims = usize::try_from(dims).unwrap_or(usize::MAX);
    let Coverage { memories, embedded } = tenant.memory_coverage(&model, dims).await?;
    let missing = memories.saturating_sub(embedded);
    let mut done = Reindexed { model, dims, embedded: 0, skipped: 0, memories };
    let mut after = 0;
    loop {
        let page = tenant.memory_unembedded(&done.model, dims, after, BATCH).await?;
        let Some(last) = page.last() else { break };
        after = last.cursor;
        let _spinner = Spinner::start(&cx.out, &format!("{} of {missing} memories embedded", done.embedded));
        let texts = page.iter().map(|one| part(&one.content).to_owned()).collect();
        let answer = embed(&router, texts, &cancel).await?;
        if answer.model != done.model {
            return Err(Error::Unavailable(format!(
                "{} took over from {} halfway; what was embedded is kept: try again when one of them answers for all",
                answer.model, done.model
            ))
            .into());
        }
        for (one, vector) in page.into_iter().zip(answer.vectors) {
            let kept = match Embedding::new(answer.model.as_str(), vector) {
                Ok(embedding) => tenant.memory_embed(one.id, one.version, embedding).await?,
                Err(_) => false,
            };
            if kept { done.embedded += 1 } else { done.skipped += 1 }
        }
    }
    cx.out.show(&done, |done| match (done.embedded, done.skipped) {
        (0, 0) => format!("all {} memories have a vector of {}", done.memories, done.model),
        (embedded, 0) => format!("embedded {embedded} memories with {}", done.model),
        (embedded, skipped) => format!("embedded {embedded} memories with {}, and skipped {skipped}", done.model),
    });
    Ok(Exit::Done)
}

async fn embed(router: &Router, mut texts: Vec<String>, cancel: &CancellationToken) -> Result<Embeddings> {
    // The beginning of a memory may be blank, which no model takes.
    for text in texts.iter_mut().filter(|text| text.trim().is_empty()) {
        "-".clone_into(text);
    }
    Ok(router.embed(EMBED_ROLE, &texts, cancel.clone()).await?)
}
