//! `/metrics`, in the text format of Prometheus.

use std::fmt::Write as _;

use axum::{extract::State, http::header, response::IntoResponse};

use super::{Refused, Shared, shapes::now_ms};

/// Gauges of the queue and of this host, and what this process measured since it began.
#[utoipa::path(
    get, path = "/metrics", tag = "host",
    responses((status = 200, description = "Prometheus text format", content_type = "text/plain", body = String)),
)]
pub(super) async fn metrics(State(served): State<Shared>) -> Result<impl IntoResponse, Refused> {
    let counts = served.tenant.work_counts().await?;
    let mut text = String::new();
    head(&mut text, "animus_work_items", "Work items by state.");
    for (state, n) in &counts.by_state {
        let _ = writeln!(text, "animus_work_items{{state=\"{state}\"}} {n}");
    }
    head(&mut text, "animus_work_ready", "Queued items that could begin now, by what they name.");
    for (faculty, n) in &counts.ready {
        let _ = writeln!(text, "animus_work_ready{{faculty=\"{}\"}} {n}", label(faculty));
    }
    let age = counts.oldest_ready_ms.map_or(0, |since| now_ms().saturating_sub(since));
    head(&mut text, "animus_work_oldest_ready_seconds", "How long the oldest of them waits.");
    let _ = writeln!(text, "animus_work_oldest_ready_seconds {}.{:03}", age / 1_000, age % 1_000);
    if let Some(plane) = &served.plane {
        head(&mut text, "animus_foci_running", "Foci that run in this process.");
        let _ = writeln!(text, "animus_foci_running {}", plane.running());
        head(&mut text, "animus_work_unroutable", "Items that could begin now and that no faculty here runs.");
        for (faculty, waiting) in plane.unroutable() {
            let _ = writeln!(text, "animus_work_unroutable{{faculty=\"{}\"}} {}", label(&faculty), waiting.items);
        }
    }
    text.push_str(&served.cx.scrape.prometheus_text());
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}

fn head(text: &mut String, name: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}

/// A value of a label: submitters choose names of faculties.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_end_its_line() {
        assert_eq!(label("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
