//! Greets people.

use animus_sdk::{config, prelude::*};

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
        // `[extism] config` of the manifest may say another word.
        let greeting = config::get("greeting")?.unwrap_or_else(|| "Hello".to_owned());
        Ok(format!("{greeting}, {}!", self.name.trim()))
    }
}

export_tools!(Greet);

#[cfg(test)]
mod tests {
    use animus_sdk::testing::FakeHost;

    use super::*;

    fn greeted(args: &str) -> Result<String> {
        Greet::call_json(args).map(|output| output.text)
    }

    #[test]
    fn somebody_is_greeted_by_name() {
        let _host = FakeHost::new().start();
        assert_eq!(greeted(r#"{"name":"Ada"}"#), Ok("Hello, Ada!".to_owned()));
    }

    #[test]
    fn the_manifest_may_choose_the_word() {
        let _host = FakeHost::new().config("greeting", "Moin").start();
        assert_eq!(greeted(r#"{"name":"Ada"}"#), Ok("Moin, Ada!".to_owned()));
    }

    #[test]
    fn nobody_is_not_greeted() {
        assert!(matches!(greeted(r#"{"name":" "}"#), Err(Error::Invalid(_))));
        assert!(matches!(greeted("{}"), Err(Error::Invalid(_))));
    }
}
