//! The functions of the host's interfaces, answered by the fake host. Their signatures are those of the imports.

pub(crate) mod tool {
    use crate::{
        Error,
        bindings::imports::animus::{tool::types, types::types as wit},
        testing::serving,
        tool::Definition,
    };

    pub(crate) fn list() -> Vec<Definition> {
        let host = serving("tools::list");
        let granted = |definition: &&Definition| host.allows(&format!("tool:{}", definition.name));
        host.tools.values().map(|(definition, _)| definition).filter(granted).cloned().collect()
    }

    pub(crate) fn describe(name: &str) -> Result<Definition, wit::Error> {
        serving("tools::describe").tool(name).map(|(definition, _)| definition).map_err(Error::into_host)
    }

    pub(crate) fn call(name: &str, args: &str) -> Result<types::ToolResult, wit::Error> {
        serving("tools::call").call(name, args).map(crate::ToolOutput::into_host).map_err(Error::into_host)
    }
}

pub(crate) mod ledger {
    use crate::{
        Error,
        bindings::imports::animus::types::types as wit,
        ledger::{Entry, EntryType, Filter},
        testing::serving,
    };

    /// The sections, in the host's order; of plans only the newest counts.
    const SECTIONS: [(&str, EntryType, usize); 6] = [
        ("PLAN", EntryType::Plan, 1),
        ("FINDINGS", EntryType::Finding, usize::MAX),
        ("STEPS COMPLETED", EntryType::Step, usize::MAX),
        ("DECISIONS", EntryType::Decision, usize::MAX),
        ("ERRORS", EntryType::Error, usize::MAX),
        ("NOTES", EntryType::Note, usize::MAX),
    ];

    pub(crate) fn append(entry_type: EntryType, content: &str) -> Result<u64, wit::Error> {
        serving("ledger::append").append(entry_type, content).map_err(Error::into_host)
    }

    pub(crate) fn read(filter: Filter) -> Result<Vec<Entry>, wit::Error> {
        serving("ledger::read").read(filter).map_err(Error::into_host)
    }

    pub(crate) fn formatted() -> Result<String, wit::Error> {
        let entries = serving("ledger::formatted").read(Filter::ALL).map_err(Error::into_host)?;
        let mut text = String::new();
        for (title, entry_type, most) in SECTIONS {
            let found: Vec<_> = entries.iter().filter(|entry| entry.entry_type == entry_type).collect();
            if !found.is_empty() {
                text.push_str(&format!("\n{title}\n"));
            }
            for entry in found.iter().skip(found.len().saturating_sub(most)) {
                text.push_str(&format!("- [{}] {}\n", entry.seq, entry.content));
            }
        }
        Ok(if text.is_empty() { text } else { format!("=== WORK LEDGER ({} entries) ===\n{text}", entries.len()) })
    }
}

pub(crate) mod memory {
    use crate::{
        Error, Result as Answer,
        bindings::imports::animus::types::types as wit,
        memory::{Hit, Item, RecallOptions, Version},
        testing::{Memories, serving},
    };

    fn with<T>(function: &str, access: &str, f: impl FnOnce(&mut Memories) -> Answer<T>) -> Result<T, wit::Error> {
        let host = serving(function);
        host.check(access).and_then(|()| f(&mut host.memories.borrow_mut())).map_err(Error::into_host)
    }

    pub(crate) fn store(content: &str, kind: &str, tags: &[String]) -> Result<String, wit::Error> {
        with("memory::store", "memory:write", |memories| memories.store(content, kind, tags))
    }

    pub(crate) fn recall(query: &str, options: &RecallOptions) -> Result<Vec<Hit>, wit::Error> {
        with("memory::recall", "memory:read", |memories| memories.recall(query, options))
    }

    pub(crate) fn get(id: &str) -> Result<Item, wit::Error> {
        with("memory::get", "memory:read", |memories| memories.item(id).cloned())
    }

    pub(crate) fn update(id: &str, content: &str, from: Option<u64>) -> Result<u64, wit::Error> {
        with("memory::update", "memory:write", |memories| memories.update(id, content, from))
    }

    pub(crate) fn versions(id: &str) -> Result<Vec<Version>, wit::Error> {
        with("memory::versions", "memory:read", |memories| memories.versions(id))
    }

    pub(crate) fn forget(id: &str) -> Result<(), wit::Error> {
        with("memory::forget", "memory:write", |memories| memories.forget(id))
    }

    pub(crate) fn tag(id: &str, tag: &str) -> Result<(), wit::Error> {
        with("memory::tag", "memory:write", |memories| memories.tag(id, tag))
    }
}

pub(crate) mod llm {
    use std::cell::RefCell;

    use crate::{
        Error,
        bindings::imports::animus::types::types as wit,
        llm::{Embeddings, Event, Request, Response},
        testing::serving,
    };

    /// An answer on its way: its text, then the end.
    pub(crate) struct Completion(RefCell<std::vec::IntoIter<Event>>);

    impl Completion {
        pub(crate) fn next(&self) -> Result<Option<Event>, wit::Error> {
            Ok(self.0.borrow_mut().next())
        }
    }

    pub(crate) fn complete(request: &Request) -> Result<Response, wit::Error> {
        serving("llm::complete").complete(request).map_err(Error::into_host)
    }

    pub(crate) fn open_stream(request: &Request) -> Result<Completion, wit::Error> {
        let response = serving("llm::stream").complete(request).map_err(Error::into_host)?;
        let pieces = vec![Event::Text(response.message.text()), Event::Done(response)];
        Ok(Completion(RefCell::new(pieces.into_iter())))
    }

    pub(crate) fn embed(texts: &[String]) -> Result<Embeddings, wit::Error> {
        serving("llm::embed").embed(texts).map_err(Error::into_host)
    }

    pub(crate) fn list_models() -> Vec<String> {
        serving("llm::models").models()
    }
}

pub(crate) mod engage {
    use crate::{
        Error,
        bindings::imports::animus::types::types as wit,
        engage::{Engagement, Options},
        testing::serving,
    };

    pub(crate) fn run(options: &Options) -> Result<Engagement, wit::Error> {
        serving("engage::run").run_loop(options).map_err(Error::into_host)
    }
}

pub(crate) mod code {
    use crate::{
        Error,
        bindings::imports::animus::types::types as wit,
        code::{Outcome, Program},
        testing::serving,
    };

    pub(crate) fn run(interpreter: &str, program: &Program) -> Result<Outcome, wit::Error> {
        serving("code::run").run_program(interpreter, program).map_err(Error::into_host)
    }
}

pub(crate) mod spawn_child {
    use crate::{
        Error,
        bindings::imports::animus::types::types as wit,
        children::{Child, NewChild},
        testing::serving,
    };

    pub(crate) fn spawn(new: &NewChild) -> Result<String, wit::Error> {
        serving("children::spawn").spawn(new).map_err(Error::into_host)
    }

    pub(crate) fn await_(ids: &[String], _: u64) -> Result<Vec<Child>, wit::Error> {
        serving("children::await_all").children(ids).map_err(Error::into_host)
    }

    pub(crate) fn check(ids: &[String]) -> Result<Vec<Child>, wit::Error> {
        serving("children::check").children(ids).map_err(Error::into_host)
    }

    /// They have ended already.
    pub(crate) fn cancel(id: &str) -> Result<(), wit::Error> {
        serving("children::cancel").children(&[id.to_owned()]).map(|_| ()).map_err(Error::into_host)
    }
}

/// The answer of the fake host, always.
pub(crate) fn http(request: &crate::http::Request) -> Option<crate::Result<crate::http::Response>> {
    Some(super::serving("http::Request::send").send(request))
}

pub(crate) mod config {
    use crate::{bindings::config::wasi::config::store as wit, testing::serving};

    pub(crate) fn get(key: &str) -> Result<Option<String>, wit::Error> {
        Ok(serving("config::get").config.get(key).cloned())
    }
}
