//! Ctrl-C: once cancels cleanly, twice ends the process at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    fault::{During as _, Exit, Result},
    out::Out,
};

/// From now on, SIGINT and SIGTERM cancel the token; a second one exits without waiting for anything.
pub(crate) fn listen(out: &Out) -> Result<CancellationToken> {
    listen_and_say(out, "cancelling; Ctrl-C again to stop at once")
}

/// The same with another word at the first signal.
pub(crate) fn listen_and_say(out: &Out, word: &'static str) -> Result<CancellationToken> {
    let mut interrupts = signal(SignalKind::interrupt()).during(|| "listen for Ctrl-C".into())?;
    let mut terminations = signal(SignalKind::terminate()).during(|| "listen for SIGTERM".into())?;
    let (token, out) = (CancellationToken::new(), out.clone());
    let cancel = token.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! { _ = interrupts.recv() => {} _ = terminations.recv() => {} }
            if cancel.is_cancelled() {
                std::process::exit(Exit::Cancelled as i32);
            }
            cancel.cancel();
            out.note(format_args!("\n{word}"));
        }
    });
    Ok(token)
}
