//! Where the models' keys come from: the environment, then `animus secret`.

use std::sync::Arc;

use animus_core::{
    Error, Result,
    store::{SecretValue, Tenant},
};
use animus_llm::KeySource;
use async_trait::async_trait;

/// The environment of this process and the secrets of a tenant.
pub(crate) struct StoredKeys(pub(crate) Arc<dyn Tenant>);

#[async_trait]
impl KeySource for StoredKeys {
    async fn secret(&self, name: &str) -> Result<Option<SecretValue>> {
        match self.0.secret(name).await {
            Ok(value) => Ok(Some(value)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
