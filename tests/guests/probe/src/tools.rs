use fixture::{
    Answer, ToolResult, Value,
    animus::{
        faculty::engage,
        interpreter::{code, types::Program},
        ledger::ledger::{self, EntryType, Filter},
        llm::llm::{self, Content, Message, Request, Role},
        memory::memory::{self, RecallOptions},
        spawn_child::spawn_child::{self, NewChild},
        tool::tool,
    },
    text,
};

fn done<T>(_: T) -> String {
    "done".to_owned()
}

fn request(args: &Value) -> Request {
    Request {
        model: text(args, "model").to_owned(),
        system: None,
        messages: vec![Message { role: Role::User, content: vec![Content::Text("hello".to_owned())] }],
        tools: Vec::new(),
        max_tokens: args["max_tokens"].as_u64().map(|n| n as u32),
        temperature: None,
    }
}

pub fn llm_complete(args: &Value) -> Answer {
    llm::complete(&request(args)).map(done)
}

/// Reads the answer to its end.
pub fn llm_open_stream(args: &Value) -> Answer {
    let stream = llm::open_stream(&request(args))?;
    while stream.next()?.is_some() {}
    Ok("done".to_owned())
}

/// Gives the model, and how many vectors of how many dimensions there are.
pub fn llm_embed(args: &Value) -> Answer {
    let answer = llm::embed(&[text(args, "text").to_owned()])?;
    Ok(format!("{} {} {}", answer.model, answer.vectors.len(), answer.vectors[0].len()))
}

pub fn llm_list_models(_: &Value) -> Answer {
    Ok(llm::list_models().join(","))
}

pub fn ledger_append(args: &Value) -> Answer {
    ledger::append(EntryType::Note, text(args, "text")).map(|seq| seq.to_string())
}

pub fn ledger_read(_: &Value) -> Answer {
    let entries = ledger::read(Filter { entry_type: None, last_n: None })?;
    Ok(entries.into_iter().map(|entry| entry.content).collect::<Vec<_>>().join(","))
}

pub fn ledger_formatted(_: &Value) -> Answer {
    ledger::formatted()
}

pub fn memory_store(args: &Value) -> Answer {
    memory::store(text(args, "text"), "fact", &[])
}

pub fn memory_recall(args: &Value) -> Answer {
    let options = RecallOptions {
        limit: None,
        kind: None,
        tags: Vec::new(),
        source: None,
        since_ms: None,
        until_ms: None,
        half_life_days: None,
    };
    let hits = memory::recall(text(args, "text"), &options)?;
    Ok(hits.into_iter().map(|hit| hit.item.content).collect::<Vec<_>>().join(","))
}

pub fn memory_get(args: &Value) -> Answer {
    memory::get(text(args, "id")).map(|item| item.content)
}

pub fn memory_update(args: &Value) -> Answer {
    memory::update(text(args, "id"), text(args, "text"), None).map(|version| version.to_string())
}

pub fn memory_versions(args: &Value) -> Answer {
    let versions = memory::versions(text(args, "id"))?;
    Ok(versions.into_iter().map(|version| version.content).collect::<Vec<_>>().join(","))
}

pub fn memory_forget(args: &Value) -> Answer {
    memory::forget(text(args, "id")).map(done)
}

pub fn memory_tag(args: &Value) -> Answer {
    memory::tag(text(args, "id"), "tagged").map(done)
}

pub fn tool_list(_: &Value) -> Answer {
    Ok(tool::list().into_iter().map(|tool| tool.name).collect::<Vec<_>>().join(","))
}

pub fn tool_describe(args: &Value) -> Answer {
    tool::describe(text(args, "name")).map(|tool| tool.name)
}

/// Passes the result on as it came. With its own name as `name` it calls itself.
pub fn tool_call(args: &Value) -> Result<ToolResult, fixture::Error> {
    let inner = if args["args"].is_null() { args } else { &args["args"] };
    tool::call(text(args, "name"), &inner.to_string())
}

pub fn engage_run(args: &Value) -> Answer {
    let options = engage::Options {
        system: String::new(),
        prompt: "hello".to_owned(),
        model: text(args, "model").to_owned(),
        tools: Vec::new(),
        max_turns: None,
        max_tokens: None,
        temperature: None,
    };
    engage::run(&options).map(|engagement| engagement.text)
}

/// Gives what the program gave, or why it gave nothing.
pub fn code_run(args: &Value) -> Answer {
    let program = Program {
        name: "test".to_owned(),
        source: text(args, "source").to_owned(),
        modules: Vec::new(),
        entry: None,
        args: "{}".to_owned(),
        state: args["state"].as_str().map(|state| state.as_bytes().to_vec()),
    };
    let outcome = code::run(text(args, "interpreter"), &program)?;
    match outcome.failure {
        None => Ok(outcome.text),
        Some(failure) => Err(failure.cause.unwrap_or_else(|| fixture::failed(failure.message))),
    }
}

pub fn child_spawn(args: &Value) -> Answer {
    spawn_child::spawn(&NewChild {
        faculty: text(args, "faculty").to_owned(),
        description: "look".to_owned(),
        params: "{}".to_owned(),
        priority: None,
        max_tokens: args["max_tokens"].as_u64(),
        max_cost: None,
        dedup_key: None,
    })
}

pub fn child_await(args: &Value) -> Answer {
    let children = spawn_child::await_(&[text(args, "id").to_owned()], 1_000)?;
    Ok(children.into_iter().map(|child| child.summary).collect::<Vec<_>>().join(","))
}

pub fn child_check(args: &Value) -> Answer {
    let children = spawn_child::check(&[text(args, "id").to_owned()])?;
    Ok(children.into_iter().map(|child| child.summary).collect::<Vec<_>>().join(","))
}

pub fn child_cancel(args: &Value) -> Answer {
    spawn_child::cancel(text(args, "id")).map(done)
}

/// Calls the host for ever.
pub fn flood(_: &Value) -> Answer {
    loop {
        tool::list();
    }
}

/// Is refused over and over, and does not let on.
pub fn swallow_a_denial(_: &Value) -> Answer {
    for _ in 0..3 {
        let _ = ledger::append(EntryType::Note, "not for me");
    }
    Ok("all is well".to_owned())
}
