//! `animus:ledger/ledger`.

use animus_core::{
    Error,
    grant::{Capability, LedgerAccess},
    ledger::{Entry, formatted},
};
use wasmtime::component::{HasData, Linker};

use crate::{
    bindings::{ledger, types},
    state::{HostView, State, Who},
};

pub(crate) struct LedgerView<'a>(HostView<'a>);

pub(crate) struct HasLedger;

impl HasData for HasLedger {
    type Data<'a> = LedgerView<'a>;
}

impl ledger::Host for LedgerView<'_> {
    async fn append(
        &mut self,
        entry_type: ledger::EntryType,
        content: String,
    ) -> wasmtime::Result<Result<u64, types::Error>> {
        let who = self.0.enter()?;
        let appended = async {
            who.check(&Capability::Ledger(LedgerAccess::Append))?;
            who.services.ledger_append(&who.principal, entry_type.into(), content).await
        };
        let appended = appended.await;
        Ok(self.0.answer(appended))
    }

    async fn read(&mut self, filter: ledger::Filter) -> wasmtime::Result<Result<Vec<ledger::Entry>, types::Error>> {
        let entries = entries(self.0.enter()?, filter)
            .await
            .map(|entries| entries.into_iter().map(Into::into).collect::<Vec<_>>());
        Ok(self.0.answer(entries))
    }

    async fn formatted(&mut self) -> wasmtime::Result<Result<String, types::Error>> {
        let all = ledger::Filter { entry_type: None, last_n: None };
        let text = entries(self.0.enter()?, all).await.map(|e| formatted(&e));
        Ok(self.0.answer(text))
    }
}

async fn entries(who: &Who, filter: ledger::Filter) -> Result<Vec<Entry>, Error> {
    who.check(&Capability::Ledger(LedgerAccess::Read))?;
    who.services.ledger_read(&who.principal, filter.into()).await
}

pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    ledger::add_to_linker::<_, HasLedger>(linker, |state| LedgerView(state.host()))
}
