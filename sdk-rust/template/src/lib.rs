//! Greets people.

use animus_sdk::prelude::*;

/// Greets somebody by name.
#[derive(Deserialize, JsonSchema)]
struct Greet {
    /// Who is greeted.
    name: String,
}

impl Tool for Greet {
    const NAME: &str = "greet";
    const ANNOTATIONS: Annotations = Annotations::READ_ONLY;
    type Output = String;

    fn call(self) -> Result<String> {
        if self.name.trim().is_empty() {
            return Err(Error::invalid("name is empty; say who is greeted"));
        }
        Ok(format!("Hello, {}!", self.name.trim()))
    }
}

export_tools!(Greet);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_greeted_by_name() {
        assert_eq!(Greet::call_json(r#"{"name":"Ada"}"#), Ok(animus_sdk::ToolOutput::text("Hello, Ada!")));
    }

    #[test]
    fn nobody_is_not_greeted() {
        assert!(matches!(Greet::call_json(r#"{"name":" "}"#), Err(Error::Invalid(_))));
        assert!(matches!(Greet::call_json("{}"), Err(Error::Invalid(_))));
    }
}
