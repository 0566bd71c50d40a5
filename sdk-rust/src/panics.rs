//! A panic ends the call; what it leaves on standard error should tell the author where and why.

use std::{any::Any, panic};

/// Reports panics in one line that says what was running.
pub(crate) fn report_in(what: &'static str, name: &str) {
    if !cfg!(target_family = "wasm") {
        // In unit tests the hook belongs to the test harness.
        return;
    }
    let name = name.to_owned();
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
        eprintln!("{what} '{name}' panicked{place}: {}", message(info.payload()));
    }));
}

fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}
