//! The smallest faculty: reverses a text, without a model.

use animus_sdk::prelude::*;

struct Transform;

/// What a submitter sets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    /// The text.
    content: String,
}

impl Faculty for Transform {
    fn engage(task: Task) -> Result<Outcome> {
        let Params { content } = task.params()?;
        let reversed: String = content.chars().rev().collect();
        let data = json!({ "content": reversed, "verdict": "pass" });
        Ok(Outcome::done(reversed).with_data(data))
    }
}

export_faculty!(Transform);

#[cfg(test)]
mod tests {
    use super::*;

    fn task(params: Value) -> Task {
        Task { params, ..Task::of("") }
    }

    #[test]
    fn the_content_comes_back_reversed() {
        let outcome = Transform::engage(task(json!({ "content": "hello world" }))).unwrap();
        assert_eq!((outcome.success, outcome.summary.as_str()), (true, "dlrow olleh"));
        assert_eq!(outcome.data, Some(json!({ "content": "dlrow olleh", "verdict": "pass" })));
    }

    #[test]
    fn work_without_content_is_refused_by_name() {
        let refusal = Transform::engage(task(json!({}))).unwrap_err();
        assert!(refusal.to_string().contains("content"), "{refusal}");
    }
}
