//! `/metrics`, in the text format of Prometheus.

use std::fmt::Write as _;

use animus_core::work::by_name;
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
    by_faculty(&mut text, "animus_work_ready", counts.ready);
    let age = counts.oldest_ready_ms.map_or(0, |since| now_ms().saturating_sub(since));
    head(&mut text, "animus_work_oldest_ready_seconds", "How long the oldest of them waits.");
    let _ = writeln!(text, "animus_work_oldest_ready_seconds {}.{:03}", age / 1_000, age % 1_000);
    if let Some(plane) = &served.plane {
        head(&mut text, "animus_foci_running", "Foci that run in this process.");
        let _ = writeln!(text, "animus_foci_running {}", plane.running());
        head(&mut text, "animus_work_unroutable", "Items that could begin now and that no faculty here runs.");
        let waiting = plane.unroutable().into_iter().map(|(faculty, waiting)| (faculty, waiting.items));
        by_faculty(&mut text, "animus_work_unroutable", waiting);
    }
    text.push_str(&served.cx.scrape.prometheus_text());
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}

fn head(text: &mut String, name: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}

fn by_faculty(text: &mut String, metric: &str, counts: impl IntoIterator<Item = (String, u64)>) {
    for (faculty, n) in by_name(counts) {
        let _ = writeln!(text, "{metric}{{faculty=\"{}\"}} {n}", label(&faculty));
    }
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

    #[test]
    fn made_up_names_do_not_make_the_text_long() {
        let mut text = String::new();
        by_faculty(&mut text, "m", (0..10_000).map(|n| (format!("f{n}"), 1)));
        assert_eq!(text.lines().count(), 101);
        assert!(text.starts_with("m{faculty=\"(other)\"} 9900\n"), "{text}");
    }
}
