//! A small tool, for measuring what the host adds to a call.

use std::hint::black_box;

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

/// Asks a model, and answers with what it said: held open for as long as the model is.
#[derive(Deserialize, JsonSchema)]
struct Ask {
    /// The question.
    text: String,
}

impl Tool for Ask {
    const NAME: &'static str = "ask";
    const ANNOTATIONS: Annotations = Annotations::READ_ONLY;
    type Output = String;

    fn call(self) -> Result<String> {
        Ok(llm::complete(&llm::Request::ask("bench", self.text))?.message.text())
    }
}

/// Which version of the guest this is. Whoever makes versions writes over the digits in the built component.
static VERSION: [u8; 24] = *b"bench-guest-version:0000";

/// Answers with its version.
#[derive(Deserialize, JsonSchema)]
struct Version {}

impl Tool for Version {
    const NAME: &'static str = "version";
    const ANNOTATIONS: Annotations = Annotations::READ_ONLY;
    type Output = String;

    fn call(self) -> Result<String> {
        // Seen through the black box, the digits are data that the compiler may not know.
        Ok(String::from_utf8_lossy(black_box(&VERSION)).into_owned())
    }
}

export_tools!(Echo, Cross, Ask, Version);
