//! `animus model`: the models behind the roles.

use std::time::Instant;

use animus_core::{
    Error,
    llm::{Message, ModelInfo, Models as _, Request, Usage},
};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    context::{Context, expect_model},
    fault::{Exit, Fault, Result},
    interrupt,
    out::{self, BOLD, DIM, GOOD, Table, paint, plain},
    watch::Spinner,
};

#[derive(Args)]
pub(crate) struct Model {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the roles and the models that serve them
    List,
    /// Ask a model for one word: checks key, network and model, and costs a few tokens
    Test {
        /// A role of the configuration, or a model of the form provider:model
        #[arg(default_value = "default")]
        role: String,
    },
}

#[derive(Serialize)]
struct List {
    models: Vec<ModelInfo>,
}

#[derive(Serialize)]
struct Tested {
    role: String,
    model: String,
    text: String,
    usage: Usage,
    cost_microusd: Option<u64>,
    elapsed_ms: u64,
}

impl Model {
    pub(crate) async fn run(self, cx: &Context) -> Result<Exit> {
        let config = cx.config(&cx.workspace(None)?)?;
        match self.command {
            Command::List => {
                let (router, _) = cx.router(&config, None).await?;
                let models = router.roles().iter().map(|role| router.resolve(role)).collect::<Result<_, Error>>()?;
                cx.out.show(&List { models }, table);
                Ok(Exit::Done)
            }
            Command::Test { role } => test(cx, &config, &role).await,
        }
    }
}

async fn test(cx: &Context, config: &crate::config::Config, role: &str) -> Result<Exit> {
    let cancel = interrupt::listen(&cx.out)?;
    let (router, role) = cx.router(config, Some(role)).await?;
    expect_model(&router, role.as_deref())?;
    let role = role.unwrap_or_default();
    let request = Request {
        model: role.clone(),
        system: None,
        messages: vec![Message::user("Answer with the single word: ready").into()],
        tools: [].into(),
        // Models that think before they answer need some room for it.
        max_tokens: Some(1_024),
        temperature: None,
    };
    let begun = Instant::now();
    let spinner = Spinner::start(&cx.out, &format!("asking '{role}'"));
    let answer = router.complete(request, cancel).await;
    drop(spinner);
    let answer = answer.map_err(|e| Fault::from(e).advise("see what is wrong: animus doctor"))?;
    let tested = Tested {
        role,
        model: answer.model,
        text: answer.message.text(),
        usage: answer.usage,
        cost_microusd: answer.cost_microusd,
        elapsed_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    cx.out.show(&tested, |t| {
        let cost = t.cost_microusd.map_or_else(|| "price unknown".to_owned(), out::usd);
        let (answer, tokens) = (out::short(&t.text, 60), t.usage.total());
        format!("{} {} said '{answer}' in {} ms, {tokens} tokens, {cost}", paint(GOOD, "✓"), t.model, t.elapsed_ms)
    });
    Ok(Exit::Done)
}

fn table(list: &List) -> String {
    let mut table = Table::new(["ROLE", "MODELS", "WINDOW", "PRICE PER MILLION TOKENS"]);
    for model in &list.models {
        let price = model.price.map_or_else(
            || "unknown".to_owned(),
            |price| format!("{} in, {} out", out::usd(price.input), out::usd(price.output)),
        );
        table.row([
            (BOLD, model.role.clone()),
            plain(model.models.join(", then ")),
            plain(model.context_window),
            (DIM, price),
        ]);
    }
    let lexical = list.models.iter().flat_map(|model| &model.models).find(|model| model.starts_with("lexical:"));
    match lexical {
        Some(lexical) => format!(
            "{table}\n{lexical} is computed on this machine and matches words and parts of words, not meanings; for those, \
             name a model of OpenAI or Ollama for the role 'embed' in [llm.roles], then: animus memory reindex"
        ),
        None => table.to_string(),
    }
}
