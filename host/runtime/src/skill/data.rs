//! The static memory of a thin component: the program, the tools, and the areas in which values are handed over.

use animus_core::{Error, tool::Tool};
use serde_json::Value;
use wit_parser::Type;

use super::{
    MAX_DEFINITIONS, Thin, at_most,
    contract::{Contract, Place},
};

/// Where the data begins: not at 0, so that no address of it looks like none.
pub(super) const BASE: u32 = 16;
/// What an entry of the table of tools takes: a name's address and length, and what becomes of the value.
pub(super) const ENTRY: u32 = 12;

/// A text in memory.
#[derive(Clone, Copy)]
pub(super) struct Text {
    pub(super) at: u32,
    pub(super) len: u32,
}

/// What becomes of the value that a function returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Structured {
    /// The tool promises no data.
    Never = 0,
    /// An object stays, anything else is wrapped.
    Object = 1,
    /// Wrapped, object or not.
    Wrapped = 2,
}

/// Where everything is.
pub(super) struct Data {
    /// From [`BASE`].
    pub(super) bytes: Vec<u8>,
    pub(super) interpreter: Text,
    pub(super) name: Text,
    pub(super) source: Text,
    /// Address and number.
    pub(super) modules: Text,
    /// Address and number of the entries by which a tool is found.
    pub(super) tools: Text,
    /// What `list-tools` returns.
    pub(super) listed: u32,
    /// What `code.run` answers into.
    pub(super) ran: Place,
    /// What `call-tool` returns.
    pub(super) answer: Place,
    pub(super) words: Words,
    /// Where free memory begins.
    pub(super) heap: u32,
}

/// Texts of the code's own.
pub(super) struct Words {
    /// Stands around the name of a tool that there is not.
    pub(super) unknown: (Text, Text),
    /// Stands for a name that is too long to be one.
    pub(super) ellipsis: Text,
    /// Stands around a value.
    pub(super) wrap: (Text, Text),
    /// Stands between an exception and its message.
    pub(super) colon: Text,
}

impl Data {
    /// Lays out a skill; `ran` and `answer` are the types of the two areas.
    pub(super) fn of(skill: &Thin<'_>, contract: &Contract, types: &Types) -> Result<Self, Error> {
        let mut memory = Memory { bytes: Vec::new() };
        let tools = memory.dispatch(skill.tools)?;
        let listed = memory.definitions(skill.tools, contract, types.definitions)?;
        let modules = memory.modules(skill.modules, contract, types.modules)?;
        let words = Words {
            unknown: (memory.text("this plugin has no tool '")?, memory.text("'")?),
            ellipsis: memory.text("…")?,
            wrap: (memory.text("{\"result\":")?, memory.text("}")?),
            colon: memory.text(": ")?,
        };
        let interpreter = memory.text(skill.interpreter)?;
        let name = memory.text(skill.name)?;
        let source = memory.text(skill.source)?;
        // The areas lie behind the data: memory begins as zeros, and need not be spelt out.
        let mut free = Free { end: memory.end()? };
        let ran = free.area(contract, types.ran)?;
        let answer = free.area(contract, types.answer)?;
        Ok(Self {
            bytes: memory.bytes,
            interpreter,
            name,
            source,
            modules,
            tools,
            listed,
            ran,
            answer,
            words,
            heap: free.end,
        })
    }
}

/// The types of what the data holds.
pub(super) struct Types {
    /// `list<definition>`.
    pub(super) definitions: Type,
    /// `list<module>`.
    pub(super) modules: Type,
    /// `result<outcome, error>`.
    pub(super) ran: Type,
    /// `result<tool-result, error>`.
    pub(super) answer: Type,
}

/// What the output schema says of the value. Schemas describe objects; by custom the schema of a function that returns
/// no object has the one property `result`.
pub(super) fn structured(output: Option<&Value>) -> Structured {
    let Some(schema) = output else { return Structured::Never };
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Structured::Object };
    match properties.get("result") {
        Some(result) if properties.len() == 1 && may_be_object(result) => Structured::Wrapped,
        // A value that is an object although its schema has none is wrapped already.
        _ => Structured::Object,
    }
}

fn may_be_object(schema: &Value) -> bool {
    match schema.get("type") {
        Some(Value::String(one)) => one == "object",
        Some(Value::Array(some)) => some.iter().any(|one| one == "object"),
        _ => true,
    }
}

fn too_long() -> Error {
    Error::Invalid("the skill does not fit the memory of a component; split it".to_owned())
}

fn aligned(at: u32, align: u32) -> Result<u32, Error> {
    at.checked_next_multiple_of(align).ok_or_else(too_long)
}

/// Memory behind the data.
struct Free {
    end: u32,
}

impl Free {
    fn area(&mut self, contract: &Contract, ty: Type) -> Result<Place, Error> {
        let at = aligned(self.end, contract.align(&ty)?)?;
        self.end = at.checked_add(contract.size(&ty)?).ok_or_else(too_long)?;
        Ok(Place { at, ty })
    }
}

/// Data that grows.
struct Memory {
    bytes: Vec<u8>,
}

impl Memory {
    fn end(&self) -> Result<u32, Error> {
        u32::try_from(self.bytes.len()).ok().and_then(|len| BASE.checked_add(len)).ok_or_else(too_long)
    }

    fn text(&mut self, text: &str) -> Result<Text, Error> {
        let at = self.end()?;
        self.bytes.extend_from_slice(text.as_bytes());
        Ok(Text { at, len: u32::try_from(text.len()).map_err(|_| too_long())? })
    }

    /// Room for `count` values of `size` bytes each, zeros.
    fn room(&mut self, count: usize, size: u32, align: u32) -> Result<Text, Error> {
        let at = aligned(self.end()?, align)?;
        let len = u32::try_from(count).map_err(|_| too_long())?;
        let end = len.checked_mul(size).and_then(|bytes| at.checked_add(bytes)).ok_or_else(too_long)?;
        let end = usize::try_from(end.saturating_sub(BASE)).map_err(|_| too_long())?;
        self.bytes.resize(end, 0);
        Ok(Text { at, len })
    }

    fn set(&mut self, at: u32, value: &[u8]) -> Result<(), Error> {
        let start = usize::try_from(at.saturating_sub(BASE)).map_err(|_| too_long())?;
        let room = self.bytes.get_mut(start..).and_then(|rest| rest.get_mut(..value.len())).ok_or_else(too_long)?;
        room.copy_from_slice(value);
        Ok(())
    }

    /// Address and length, as strings and lists have them.
    fn set_pair(&mut self, at: u32, text: Text) -> Result<(), Error> {
        self.set(at, &text.at.to_le_bytes())?;
        self.set(at.saturating_add(4), &text.len.to_le_bytes())
    }

    fn dispatch(&mut self, tools: &[Tool]) -> Result<Text, Error> {
        let table = self.room(tools.len(), ENTRY, 4)?;
        for (tool, at) in tools.iter().zip(steps(table.at, ENTRY)) {
            let name = self.text(&tool.name)?;
            self.set_pair(at, name)?;
            self.set(at.saturating_add(8), &(structured(tool.output_schema.as_ref()) as u32).to_le_bytes())?;
        }
        Ok(table)
    }

    /// The list as `list-tools` returns it: the address of its address and length.
    fn definitions(&mut self, tools: &[Tool], contract: &Contract, list: Type) -> Result<u32, Error> {
        let ty = contract.element(list)?;
        let size = contract.size(&ty)?;
        let elements = self.room(tools.len(), size, contract.align(&ty)?)?;
        let mut written = 0_usize;
        for (tool, at) in tools.iter().zip(steps(elements.at, size)) {
            let definition = Place { at, ty };
            let input = tool.input_schema.to_string();
            let output = tool.output_schema.as_ref().map(Value::to_string);
            written = [tool.description.len(), input.len(), output.as_ref().map_or(0, String::len)]
                .into_iter()
                .fold(written, usize::saturating_add);
            at_most(written, MAX_DEFINITIONS, "bytes of descriptions and schemas")?;
            for (field, text) in [("name", &tool.name), ("description", &tool.description), ("input-schema", &input)] {
                let text = self.text(text)?;
                self.set_pair(contract.field(definition, field)?.at, text)?;
            }
            if let Some(output) = output {
                let field = contract.field(definition, "output-schema")?;
                let text = self.text(&output)?;
                self.set(field.at, &[1])?;
                self.set_pair(contract.inner(field)?.at, text)?;
            }
            let annotations = contract.field(definition, "annotations")?;
            for (field, set) in [
                ("read-only", tool.annotations.read_only),
                ("idempotent", tool.annotations.idempotent),
                ("destructive", tool.annotations.destructive),
                ("open-world", tool.annotations.open_world),
            ] {
                self.set(contract.field(annotations, field)?.at, &[u8::from(set)])?;
            }
        }
        let listed = self.room(1, contract.size(&list)?, contract.align(&list)?)?;
        self.set_pair(listed.at, elements)?;
        Ok(listed.at)
    }

    fn modules(&mut self, modules: &[(String, String)], contract: &Contract, list: Type) -> Result<Text, Error> {
        let ty = contract.element(list)?;
        let size = contract.size(&ty)?;
        let elements = self.room(modules.len(), size, contract.align(&ty)?)?;
        for ((name, source), at) in modules.iter().zip(steps(elements.at, size)) {
            let module = Place { at, ty };
            for (field, text) in [("name", name), ("source", source)] {
                let text = self.text(text)?;
                self.set_pair(contract.field(module, field)?.at, text)?;
            }
        }
        Ok(elements)
    }
}

fn steps(from: u32, by: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(from), move |at| at.checked_add(by))
}
