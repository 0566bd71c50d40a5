//! Where keys come from, and how they are kept out of every text.

use animus_core::{Result, store::SecretValue};
use async_trait::async_trait;

/// Where the keys of vendors come from. Asked anew for every request, so that a changed key works at once.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// The value of an environment variable.
    fn env(&self, name: &str) -> Option<SecretValue> {
        std::env::var(name).ok().map(SecretValue::new)
    }

    /// The value of a stored secret; none when there is none.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn secret(&self, name: &str) -> Result<Option<SecretValue>>;
}

/// Keys from the environment alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct EnvKeys;

#[async_trait]
impl KeySource for EnvKeys {
    async fn secret(&self, _: &str) -> Result<Option<SecretValue>> {
        Ok(None)
    }
}

/// The secret values that went out with a request, to be removed from what comes back: vendors and proxies do echo
/// keys in their error texts.
#[derive(Default)]
pub(crate) struct Scrubber(Vec<String>);

/// Shorter values are no keys, and would blot out ordinary words.
const SHORTEST: usize = 8;

impl Scrubber {
    pub(crate) fn add(&mut self, secret: &str) {
        let secret = secret.trim();
        if secret.len() >= SHORTEST && !self.0.iter().any(|known| known == secret) {
            self.0.push(secret.to_owned());
            // The longest first: one secret may contain another.
            self.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
    }

    pub(crate) fn scrub(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "[secret]"))
    }
}
