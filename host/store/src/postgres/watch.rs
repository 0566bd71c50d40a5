//! Hints that work has changed: `NOTIFY` in the transaction that changes it, one connection per host that listens.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use animus_core::{Result, id::TenantId, store::Watch};
use async_trait::async_trait;
use sqlx::{
    PgConnection,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::{
    sync::{OnceCell, watch},
    task::AbortHandle,
};

use super::{Handle, error::During as _, pool::Pool};

/// What the server calls such a hint. The tenant is what it carries.
const CHANNEL: &str = "animus_work";
/// A watch that has missed something says so after this at the latest.
const AT_LEAST: Duration = Duration::from_secs(5);
/// How long a listener that lost its connection waits before it tries again.
const AGAIN: Duration = Duration::from_secs(1);

/// Who waits for which tenant.
type Waiting = Arc<Mutex<HashMap<String, watch::Sender<u64>>>>;

/// The listening connection of a host, made when the first watch is.
#[derive(Debug, Default)]
pub(super) struct Listening {
    waiting: Waiting,
    task: OnceCell<AbortHandle>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl Listening {
    /// Begins to listen, if nobody has; returns when the server knows.
    async fn begin(&self, options: &PgConnectOptions) -> Result<()> {
        let begin = async {
            let what = "listen for work";
            let own = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
            let pool = own.connect_with(options.clone()).await.during(what)?;
            let mut listener = PgListener::connect_with(&pool).await.during(what)?;
            listener.listen(CHANNEL).await.during(what)?;
            let waiting = self.waiting.clone();
            Ok(tokio::spawn(listen(listener, waiting)).abort_handle())
        };
        self.task.get_or_try_init(|| begin).await.map(drop)
    }

    fn subscribe(&self, tenant: &TenantId) -> watch::Receiver<u64> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, sender| sender.receiver_count() > 0);
        waiting.entry(tenant.as_str().to_owned()).or_default().subscribe()
    }
}

async fn listen(mut listener: PgListener, waiting: Waiting) {
    loop {
        // None after the connection was lost and made again: what was told in between is lost.
        let told = listener.try_recv().await;
        let lost = told.is_err();
        {
            let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            match told {
                Ok(Some(told)) => {
                    if let Some(sender) = waiting.get(told.payload()) {
                        sender.send_modify(|n| *n += 1);
                    }
                }
                Ok(None) | Err(_) => waiting.values().for_each(|sender| sender.send_modify(|n| *n += 1)),
            }
        }
        if lost {
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// The watch of one tenant.
pub(super) struct Watching {
    changes: watch::Receiver<u64>,
}

#[async_trait]
impl Watch for Watching {
    async fn changed(&mut self) {
        // A listener that is gone tells nothing more, but the time passes.
        if let Ok(Err(_)) = tokio::time::timeout(AT_LEAST, self.changes.changed()).await {
            tokio::time::sleep(AT_LEAST).await;
        }
    }
}

impl Pool {
    /// A watch on the work of a tenant.
    pub(super) async fn watch(&self, tenant: &TenantId) -> Result<Watching> {
        self.listening().begin(self.options()).await?;
        Ok(Watching { changes: self.listening().subscribe(tenant) })
    }
}

impl Handle {
    /// Tells all hosts, once this transaction is committed, that work of this tenant has changed.
    pub(super) async fn changed(&self, tx: &mut PgConnection) -> Result<()> {
        sqlx::query("SELECT pg_notify($1, $2)")
            .bind(CHANNEL)
            .bind(self.t())
            .execute(tx)
            .await
            .during("tell others of changed work")?;
        Ok(())
    }
}
