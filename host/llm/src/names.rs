//! Tool names on the wire. Vendors allow `[a-zA-Z0-9_-]{1,64}`; ours are `<plugin>.<tool>`.

use std::collections::HashMap;

use animus_core::llm::Request;

/// The longest name that all vendors take.
const LONGEST: usize = 64;

/// The names of one request, both ways. A name keeps its wire form from request to request, because the conversation
/// shows the model its earlier calls.
#[derive(Debug, Default)]
pub(crate) struct Names {
    wire: HashMap<String, String>,
    full: HashMap<String, String>,
}

impl Names {
    /// The names of the tools on offer and of those that the conversation mentions.
    pub(crate) fn of(request: &Request) -> Self {
        let mut names = Self::default();
        let mentioned = request.messages.iter().flat_map(|message| message.tool_uses()).map(|tool_use| &tool_use.name);
        for name in request.tools.iter().map(|tool| &tool.name).chain(mentioned) {
            names.add(name);
        }
        names
    }

    fn add(&mut self, name: &str) {
        if self.wire.contains_key(name) {
            return;
        }
        let plain = name.replace('.', "__");
        let fits = (1..=LONGEST).contains(&plain.len()) && plain.chars().all(allowed);
        let wire = if fits && !self.full.contains_key(&plain) {
            plain
        } else {
            let stem: String = plain.chars().filter(|c| allowed(*c)).take(LONGEST - 9).collect();
            let mut hash = fnv1a(name);
            loop {
                let tagged = format!("{stem}_{hash:08x}");
                if !self.full.contains_key(&tagged) {
                    break tagged;
                }
                hash = hash.wrapping_add(1);
            }
        };
        self.full.insert(wire.clone(), name.to_owned());
        self.wire.insert(name.to_owned(), wire);
    }

    /// The wire form of a name that [`Names::of`] saw.
    pub(crate) fn wire<'a>(&'a self, name: &'a str) -> &'a str {
        self.wire.get(name).map_or(name, String::as_str)
    }

    /// The full name of what the model wrote. A tool that is not on offer keeps a readable name, for the answer that
    /// tells the model so; and a model that writes the full name, having read it in a prompt, is understood.
    pub(crate) fn full(&self, wire: &str) -> String {
        match self.full.get(wire) {
            Some(full) => full.clone(),
            None => wire.replacen("__", ".", 1),
        }
    }
}

fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use animus_core::llm::ToolDefinition;
    use proptest::prelude::*;

    use super::*;

    fn names(tools: &[String]) -> Names {
        let tools = tools
            .iter()
            .map(|name| ToolDefinition {
                name: name.clone(),
                description: String::new(),
                input_schema: serde_json::json!({"type": "object"}),
            })
            .collect();
        Names::of(&Request {
            model: String::new(),
            system: None,
            messages: vec![],
            tools,
            max_tokens: None,
            temperature: None,
        })
    }

    #[test]
    fn the_dot_becomes_two_underscores_and_engine_tools_stay() {
        let names = names(&["fs.read_file".into(), "ledger_append".into()]);
        assert_eq!(names.wire("fs.read_file"), "fs__read_file");
        assert_eq!(names.wire("ledger_append"), "ledger_append");
        assert_eq!(names.full("fs__read_file"), "fs.read_file");
    }

    #[test]
    fn a_name_that_is_not_on_offer_stays_readable() {
        let names = names(&[]);
        assert_eq!(names.full("fs__delete"), "fs.delete");
        assert_eq!(names.full("fs.delete"), "fs.delete");
    }

    proptest! {
        #[test]
        fn every_set_of_names_comes_back_whole_and_fits_the_vendors(
            tools in proptest::collection::vec("[a-z.A-Z_é-]{0,90}", 0..12),
        ) {
            let names = names(&tools);
            for tool in &tools {
                let wire = names.wire(tool);
                prop_assert!((1..=LONGEST).contains(&wire.len()) && wire.chars().all(allowed), "{wire}");
                prop_assert_eq!(&names.full(wire), tool);
            }
        }
    }
}
