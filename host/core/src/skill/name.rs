//! The name of a skill.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Error, text::escape};

/// The name of a skill, which is its folder's too: 1 to 64 of `[a-z0-9-]`, no dash at either end and no two in a row
/// (agentskills.io).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SkillName(Arc<str>);

impl SkillName {
    /// Checks the form.
    ///
    /// # Errors
    /// [`Error::Invalid`] for any other text.
    pub fn new(name: impl AsRef<str>) -> Result<Self, Error> {
        let name = name.as_ref();
        let fits = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-')
            && !name.contains("--");
        if fits {
            Ok(Self(name.into()))
        } else {
            // Whoever sent a novel instead of a name knows what was in it.
            let shown: String = name.chars().take(80).collect();
            Err(Error::Invalid(format!(
                "'{}' is not the name of a skill: 1 to 64 of a-z, 0-9 and '-', which neither begins, ends nor doubles",
                escape(&shown)
            )))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as an identifier of Python: dashes become underscores, and one more goes before a digit.
    #[must_use]
    pub fn snake(&self) -> String {
        let snake = self.0.replace('-', "_");
        if snake.starts_with(|c: char| c.is_ascii_digit()) { format!("_{snake}") } else { snake }
    }
}

impl fmt::Display for SkillName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for SkillName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl FromStr for SkillName {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self, Error> {
        Self::new(s)
    }
}

impl TryFrom<String> for SkillName {
    type Error = Error;
    fn try_from(s: String) -> Result<Self, Error> {
        Self::new(s)
    }
}

impl From<SkillName> for String {
    fn from(name: SkillName) -> String {
        name.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_form_of_the_standard() {
        let longest = "a".repeat(64);
        for good in ["a", "7", "check-in", "3d-print", &longest] {
            assert_eq!(SkillName::new(good).unwrap().as_str(), good);
        }
        let too_long = "a".repeat(65);
        for bad in ["", "-a", "a-", "a--b", "A", "a_b", "a b", "../a", "é", "a.b", "a\n", &too_long] {
            assert!(SkillName::new(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn a_name_becomes_an_identifier() {
        assert_eq!(SkillName::new("check-in").unwrap().snake(), "check_in");
        assert_eq!(SkillName::new("3d-print").unwrap().snake(), "_3d_print");
    }
}
