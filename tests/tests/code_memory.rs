//! What runs cost in memory over time. A test of its own, because it measures the whole process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{fs, sync::Arc};

use animus_core::limits::Limits;
use animus_tests::TestHost;

/// The resident set of this process, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn run(host: &TestHost, n: usize) {
    let report =
        host.exec_within(&format!("data = list(range(50_000))\nreturn len(data) + {n}"), Limits::unlimited()).await;
    assert_eq!(report.ran.unwrap().text, (50_000 + n).to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_flat_over_many_runs_one_after_another_and_many_at_once() {
    let host = Arc::new(TestHost::with_python().await);
    let many = async |from: usize| {
        let runs = (from..from + 64).map(|n| {
            let host = host.clone();
            tokio::spawn(async move { run(&host, n).await })
        });
        for run in runs.collect::<Vec<_>>() {
            run.await.unwrap();
        }
    };
    many(0).await;
    for n in 0..50 {
        run(&host, n).await;
    }
    let before = resident();
    for n in 0..1_000 {
        run(&host, n).await;
    }
    let after = resident();
    assert!(after <= before + before / 20, "{before} KiB before 1,000 runs, {after} KiB after");
    many(1_000).await;
    for n in 0..20 {
        run(&host, n).await;
    }
    let after = resident();
    assert!(after <= before + before / 20, "{before} KiB before 64 runs at once, {after} KiB after");
}
