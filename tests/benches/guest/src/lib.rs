//! A small tool, for measuring what the host adds to a call.

use animus_sdk::{llm, prelude::*};

/// Answers with what it was given.
#[derive(Deserialize, JsonSchema)]
struct Echo {
    /// The answer.
    text: String,
}

impl Tool for Echo {
    const NAME: &'static str = "echo";
    const ANNOTATIONS: Annotations = Annotations::READ_ONLY;
    type Output = String;

    fn call(self) -> Result<String> {
        Ok(self.text)
    }
}

/// Crosses into the host and back, again and again.
#[derive(Deserialize, JsonSchema)]
struct Cross {
    /// How often.
    times: u32,
}

impl Tool for Cross {
    const NAME: &'static str = "cross";
    const ANNOTATIONS: Annotations = Annotations::READ_ONLY;
    type Output = String;

    fn call(self) -> Result<String> {
        let seen: usize = (0..self.times).map(|_| llm::models().len()).sum();
        Ok(seen.to_string())
    }
}

export_tools!(Echo, Cross);
