//! The engage loop: one model call, then all of its tool calls, until the model has finished or something ends it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use animus_core::{
    Denial, Error, Gate, Result,
    event::Event,
    grant::{Capability, Pattern},
    ledger::Entry,
    llm::{Message, Request, Response, Role, Stop, ToolDefinition, ToolUse},
    services::{Ending, EngageOptions, Engagement, Principal},
    tool::Tool,
};

use tracing::Instrument as _;

use self::start::Start;

use crate::{conversation::Conversation, focus::Focus, measure, spans};

mod bounds;
mod children;
mod context;
mod engine_tools;
mod execute_code;
mod hygiene;
pub(crate) mod pages;
pub mod pairing;
mod prompt;
mod quoted;
mod repeat;
mod skills;
mod start;
mod tools;

/// Model calls of one loop, where the faculty does not say.
pub const TURNS: u32 = 50;
/// The most that a faculty may say.
const MOST_TURNS: u32 = 200;

/// Runs the loop as `by`.
pub(crate) async fn run(focus: &Focus, by: &Principal, options: EngageOptions) -> Result<Engagement> {
    let mut engage = Engage::new(focus, by, options).await?;
    let ending = engage.turns().await?;
    let Engage { text, turns, tool_calls, block, .. } = engage;
    if by.depth == 0 {
        focus.set_block(block);
    }
    measure::engaged(&by.tenant, by.authority.plugin().as_str(), turns);
    Ok(Engagement { ending, text, turns, tool_calls })
}

/// One run of the loop.
struct Engage<'a> {
    focus: &'a Focus,
    by: &'a Principal,
    /// What the faculty offers of the tools.
    patterns: Vec<Pattern>,
    /// The system prompt without skills.
    system: String,
    /// How often the focus had gained something when the next two were put together.
    gains: u64,
    /// The tools on offer, the host's own included.
    offered: BTreeMap<String, Arc<Tool>>,
    /// The next request: the conversation so far with all that goes along.
    conversation: Conversation,
    /// The largest request, in tokens: what the window leaves beside the longest answer.
    room: u64,
    /// From this size on the conversation is made shorter, in tokens.
    threshold: u64,
    /// What the model can take and answer together, in tokens.
    window: u64,
    /// The vendor refused the last request as too long.
    overflowed: bool,
    /// What stands for the messages that went.
    context: context::Context,
    /// How many ledger entries of the focus were looked at.
    seen: u64,
    /// The newest entries that were appended since the loop began; more than stand in a message are not kept.
    appended: Vec<Entry>,
    /// Turns without a ledger entry.
    idle: u32,
    /// Turns in a row with arguments that could not be read.
    malformed: u32,
    max_turns: u32,
    /// Identifiers of tool requests so far.
    ids: HashSet<String>,
    repeats: repeat::Repeats,
    text: String,
    turns: u32,
    tool_calls: u32,
    /// Which hook stopped it.
    block: Option<Denial>,
}

impl<'a> Engage<'a> {
    async fn new(focus: &'a Focus, by: &'a Principal, options: EngageOptions) -> Result<Self> {
        let options = bounds::within(&focus.cx().faculty.engage, options);
        let EngageOptions { system, prompt, model: role, tools, max_turns, max_tokens, temperature } = options;
        let model = focus.cx().models.resolve(&role)?;
        let granted = by.authority.effective().llm.as_ref().map_or(0, |llm| llm.max_tokens);
        let max_tokens = max_tokens.unwrap_or_else(|| model.max_output.min(granted));
        if let Err(denial) = by.authority.check(&Capability::Llm { role: role.clone(), max_tokens }) {
            return Err(focus.refuse(denial).await);
        }
        if model.price.is_none() && focus.cx().budget.standing().allowance.microusd.is_some() {
            focus.notice(format!(
                "the model of '{role}' has no price: it counts as free, and the budget in money does not limit it"
            ));
        }
        let patterns: Vec<Pattern> = tools.iter().map(|pattern| pattern.parse()).collect::<Result<_>>()?;
        let start = Start::of(focus, by, &prompt, system).await?;
        let system = start.system;
        let offered = offered(focus, by, &patterns, Some(start.tools));
        let request = Request {
            model: role,
            system: Some(system.clone() + &focus.skill_prompts()),
            messages: vec![Message::user(prompt).into()],
            tools: offered.values().map(|tool| definition(tool)).collect(),
            max_tokens: Some(max_tokens),
            temperature,
        };
        Ok(Self {
            focus,
            by,
            patterns,
            system,
            gains: focus.gains(),
            offered,
            conversation: Conversation::new(request),
            room: model.context_window.saturating_sub(max_tokens.into()),
            threshold: hygiene::threshold(model.context_window, focus.cx().faculty.engage.compact_threshold),
            window: model.context_window,
            overflowed: false,
            context: context::Context::default(),
            seen: focus.appended(u64::MAX).0,
            appended: Vec::new(),
            idle: 0,
            malformed: 0,
            max_turns: max_turns.unwrap_or(TURNS),
            ids: HashSet::new(),
            repeats: repeat::Repeats::default(),
            text: String::new(),
            turns: 0,
            tool_calls: 0,
            block: None,
        })
    }

    async fn turns(&mut self) -> Result<Ending> {
        let mut was_empty = false;
        while self.turns < self.max_turns {
            if self.focus.is_cancelled() {
                return Ok(Ending::Cancelled);
            }
            let iteration = spans::iteration(self.turns + 1);
            match self.make_room().instrument(iteration.clone()).await {
                Err(Error::Cancelled) => return Ok(Ending::Cancelled),
                room => match room? {
                    Some(()) => {}
                    None => {
                        self.focus.notice("the conversation no longer fits the model's window");
                        return Ok(Ending::ContextFull);
                    }
                },
            }
            let prepared = match self.focus.prepare_next(self.by, &self.conversation).await {
                Err(Error::BudgetExhausted(why)) => {
                    self.focus.notice(why);
                    return Ok(Ending::Budget);
                }
                Err(Error::Cancelled) => return Ok(Ending::Cancelled),
                Err(Error::Denied(denial)) if denial.gate == Gate::Hook => return Ok(self.blocked(*denial)),
                prepared => prepared?,
            };
            self.turns += 1;
            let Response { message, stop, model, .. } =
                match self.focus.listen(self.by, prepared).instrument(iteration.clone()).await {
                    Err(Error::Cancelled) => return Ok(Ending::Cancelled),
                    // The journal was to answer it, and did not.
                    Err(Error::BudgetExhausted(why)) => {
                        self.focus.notice(why);
                        return Ok(Ending::Budget);
                    }
                    Err(Error::Denied(denial)) if denial.gate == Gate::Hook => return Ok(self.blocked(*denial)),
                    Err(error) if error.is_context_overflow() => {
                        // Estimates err; the vendor's word counts. Every time this leaves less room, so it comes to an end.
                        self.room = self.conversation.weight().tokens.saturating_mul(3) / 4;
                        self.overflowed = true;
                        continue;
                    }
                    response => response?,
                };
            self.overflowed = false;
            let message = pairing::adopt(message, &mut self.ids);
            let text = message.text();
            self.focus.tell(Event::Message { turn: self.turns, text: text.clone(), stop: stop.clone(), model });
            let requests: Vec<ToolUse> = message.tool_uses().cloned().collect();
            if text.trim().is_empty() {
                // Some models now and then answer nothing at all; asked again, they go on.
                if requests.is_empty() && !was_empty {
                    was_empty = true;
                    self.focus.notice("the model answered nothing and is asked again");
                    continue;
                }
            } else {
                self.text.clone_from(&text);
            }
            was_empty = false;
            if requests.is_empty() {
                if let Some(ending) = self.turn_over(&text, 0).await? {
                    return Ok(ending);
                }
                if stop == Stop::MaxTokens {
                    self.focus.notice("the model's answer was cut off at its longest");
                }
                return Ok(Ending::Done);
            }
            measure::turn(&self.by.tenant, self.by.authority.plugin().as_str(), requests.len());
            let answers = self.answer(&requests, &stop).instrument(iteration).await;
            self.tool_calls = self.tool_calls.saturating_add(u32::try_from(requests.len()).unwrap_or(u32::MAX));
            let mut content = answers.results;
            content.extend(self.nudge());
            self.conversation.extend([message, Message { role: Role::User, content }]);
            self.end_turn();
            self.lengthen_answers(&requests, &stop)?;
            self.renew();
            if let Some(ending) = self.turn_over(&text, requests.len()).await? {
                return Ok(ending);
            }
            if answers.repetition {
                return Ok(Ending::Repetition);
            }
        }
        Ok(Ending::MaxTurns)
    }

    /// Shows the end of a turn to the hooks.
    async fn turn_over(&mut self, text: &str, calls: usize) -> Result<Option<Ending>> {
        match self.focus.after_turn(self.by, self.turns, text, calls).await {
            Ok(block) => Ok(block.map(|denial| self.blocked(denial))),
            Err(Error::Cancelled) => Ok(Some(Ending::Cancelled)),
            Err(error) => Err(error),
        }
    }

    /// Ends by a hook's word.
    fn blocked(&mut self, denial: Denial) -> Ending {
        self.block = Some(denial);
        Ending::Blocked
    }

    /// Takes in what the turn has made: tools of a new skill, prompts of those that became active.
    fn renew(&mut self) {
        let gains = self.focus.gains();
        if std::mem::replace(&mut self.gains, gains) == gains {
            return;
        }
        let system = self.system.clone() + &self.focus.skill_prompts();
        let offered = offered(self.focus, self.by, &self.patterns, None);
        self.conversation.reframe(system, offered.values().map(|tool| definition(tool)).collect());
        self.offered = offered;
    }
}

/// The host's own tools, and what `patterns`, the run and the plugin's grant all allow.
fn offered(focus: &Focus, by: &Principal, patterns: &[Pattern], own: Option<Vec<Tool>>) -> BTreeMap<String, Arc<Tool>> {
    let granted = by.authority.effective();
    let plugins = focus.tools_in_reach().into_iter().filter(|tool| {
        patterns.iter().any(|p| p.matches(&tool.name))
            && bounds::offers(&focus.cx().faculty.engage, &tool.name)
            && granted.allows(&Capability::Tool(tool.name.clone()))
    });
    let host = own.unwrap_or_else(|| engine_tools::definitions(focus, by)).into_iter().map(Arc::new);
    plugins.chain(host).map(|tool| (tool.name.clone(), tool)).collect()
}

fn definition(tool: &Tool) -> ToolDefinition {
    ToolDefinition {
        name: tool.name.clone(),
        description: tool.description.clone(),
        input_schema: tool.input_schema.clone(),
    }
}
