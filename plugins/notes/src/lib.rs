//! What is worth knowing beyond one piece of work, as tools for a model.

use animus_sdk::{
    memory::{self, Item, RecallOptions},
    prelude::*,
};

/// Stores a memory that outlives this piece of work: a fact, a preference, a decision and why it was taken. Write it so
/// that it can be understood alone, later. Never store secrets.
#[derive(Deserialize, JsonSchema)]
struct Remember {
    /// What to remember, at most 64 KiB.
    content: String,
    /// A word to sort by, such as fact, preference or decision: lower-case letters, digits, - and _. Default: note.
    #[serde(default = "note")]
    kind: String,
    /// At most 32 words of the same form, to find it by.
    #[serde(default)]
    tags: Vec<String>,
}

fn note() -> String {
    "note".to_owned()
}

/// A stored memory.
#[derive(Serialize, JsonSchema)]
struct Stored {
    /// What `forget` takes.
    id: String,
}

impl Tool for Remember {
    const NAME: &str = "remember";
    const ANNOTATIONS: Annotations = Annotations::ADDS;
    type Output = Json<Stored>;

    fn call(self) -> Result<Json<Stored>> {
        if self.content.trim().is_empty() {
            return Err(Error::invalid("content is empty; say what to remember"));
        }
        Ok(Json(Stored { id: memory::store(&self.content, &self.kind, &self.tags)? }))
    }
}

/// Finds stored memories by what a query says, best first. An empty query gives the newest.
#[derive(Deserialize, JsonSchema)]
struct Recall {
    /// What to look for, in words; may be empty.
    query: String,
    /// Only memories of this kind.
    kind: Option<String>,
    /// Only memories with all of these tags.
    #[serde(default)]
    tags: Vec<String>,
    /// At most so many, 1 to 100. Default: 10.
    limit: Option<u32>,
}

/// What was found.
#[derive(Serialize, JsonSchema)]
struct Found {
    memories: Vec<Memory>,
}

#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Memory {
    id: String,
    content: String,
    kind: String,
    tags: Vec<String>,
    /// Who stored it: a plugin, or operator.
    source: String,
    /// Milliseconds since 1970-01-01T00:00Z.
    created_ms: u64,
}

impl From<Item> for Memory {
    fn from(item: Item) -> Self {
        let Item { id, content, kind, tags, source, created_ms, .. } = item;
        Self { id, content, kind, tags, source, created_ms }
    }
}

impl Tool for Recall {
    const NAME: &str = "recall";
    const ANNOTATIONS: Annotations = Annotations::READ_ONLY;
    type Output = Json<Found>;

    fn call(self) -> Result<Json<Found>> {
        if self.limit.is_some_and(|limit| !(1..=100).contains(&limit)) {
            return Err(Error::invalid("limit is 1 to 100"));
        }
        let options = RecallOptions { limit: self.limit, kind: self.kind, tags: self.tags, ..RecallOptions::default() };
        let hits = memory::recall(&self.query, &options)?;
        Ok(Json(Found { memories: hits.into_iter().map(|hit| hit.item.into()).collect() }))
    }
}

/// Removes a stored memory for good: one that is wrong or no longer holds.
#[derive(Deserialize, JsonSchema)]
struct Forget {
    /// The id that `remember` or `recall` gave.
    id: String,
}

impl Tool for Forget {
    const NAME: &str = "forget";
    const ANNOTATIONS: Annotations = Annotations::DESTROYS;
    type Output = String;

    fn call(self) -> Result<String> {
        memory::forget(&self.id)?;
        Ok(format!("forgot {}", self.id))
    }
}

export_tools!(Remember, Recall, Forget);

#[cfg(test)]
mod tests {
    use animus_sdk::testing::FakeHost;

    use super::*;

    fn structured(answer: Result<ToolOutput>) -> Value {
        answer.unwrap().structured.unwrap()
    }

    #[test]
    fn what_is_remembered_is_recalled_by_word_kind_and_tag_until_it_is_forgotten() {
        let host = FakeHost::new().start();
        let stored =
            structured(Remember::call_json(r#"{"content":"The deploy runs at noon","kind":"fact","tags":["ops"]}"#));
        Remember::call_json(r#"{"content":"Lunch is at noon"}"#).unwrap();
        assert_eq!(host.memories()[1].kind, "note");
        let recalled = structured(Recall::call_json(r#"{"query":"noon","kind":"fact","tags":["ops"],"limit":5}"#));
        assert_eq!(recalled["memories"].as_array().unwrap().len(), 1);
        assert_eq!(recalled["memories"][0]["id"], stored["id"]);
        let forget = json!({ "id": stored["id"] }).to_string();
        Forget::call_json(&forget).unwrap();
        assert!(matches!(Forget::call_json(&forget), Err(Error::NotFound(_))));
        assert_eq!(host.memories().len(), 1);
    }

    #[test]
    fn who_may_only_read_is_told_what_was_refused() {
        let _host = FakeHost::new().grant(["memory:read"]).start();
        assert!(Recall::call_json(r#"{"query":""}"#).is_ok());
        let Err(Error::Denied(denial)) = Remember::call_json(r#"{"content":"a"}"#) else { panic!("not denied") };
        assert_eq!(denial.capability, "memory:write");
    }

    #[test]
    fn an_empty_memory_is_refused_before_the_host_is_asked() {
        let refusal = Remember::call_json(r#"{"content":" \n"}"#);
        assert_eq!(refusal, Err(Error::invalid("content is empty; say what to remember")));
    }

    #[test]
    fn a_limit_outside_the_hosts_range_is_refused_with_the_range() {
        let refusal = Recall::call_json(r#"{"query":"","limit":101}"#);
        assert_eq!(refusal, Err(Error::invalid("limit is 1 to 100")));
    }

    #[test]
    fn a_forgotten_memory_cannot_be_forgotten_twice_so_the_tool_does_not_claim_it() {
        let annotations = Forget::definition().annotations;
        assert!(annotations.destructive && !annotations.idempotent);
    }

    #[test]
    fn only_recall_claims_to_read() {
        let read_only = |d: animus_sdk::tool::Definition| d.annotations.read_only.then_some(d.name);
        let claims = [Remember::definition(), Recall::definition(), Forget::definition()].map(read_only);
        assert_eq!(claims, [None, Some("recall".to_owned()), None]);
    }
}
