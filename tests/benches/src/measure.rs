//! Taking samples of two things in turn, so that whatever else the machine does hits both alike.

use std::{future::Future, time::Duration, time::Instant};

use anyhow::{Context as _, Result};

/// Sorted durations.
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn new(mut durations: Vec<Duration>) -> Self {
        durations.sort();
        Self(durations)
    }

    /// The duration that `percent` of the samples do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let at = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(at).copied().unwrap_or_default()
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn p50(&self) -> Duration {
        self.percentile(50)
    }

    pub(crate) fn p99(&self) -> Duration {
        self.percentile(99)
    }
}

/// Runs `ours` and `baseline` in turn, `rounds` times after a tenth of that as a warm-up.
pub(crate) async fn interleaved<A, B>(
    rounds: usize,
    mut ours: impl FnMut() -> A,
    mut baseline: impl FnMut() -> B,
) -> Result<(Samples, Samples)>
where
    A: Future<Output = Result<()>>,
    B: Future<Output = Result<()>>,
{
    let (mut a, mut b) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    let warm_up = rounds / 10;
    for round in 0..rounds + warm_up {
        let begun = Instant::now();
        ours().await?;
        let first = begun.elapsed();
        let begun = Instant::now();
        baseline().await?;
        let second = begun.elapsed();
        if round >= warm_up {
            a.push(first);
            b.push(second);
        }
    }
    Ok((Samples::new(a), Samples::new(b)))
}

/// This process's resident memory, in MB, each page counted once. `VmRSS` counts a page of a file as often as it is mapped:
/// once for each instance of a plugin that shares its memory image with others, and until the engine has used that
/// instance's room for something else.
pub(crate) fn resident() -> Result<f64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").context("resident memory is read from /proc")?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    let kb: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kb / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_samples() {
        let samples = Samples::new((1..=100).rev().map(Duration::from_micros).collect());
        assert_eq!(samples.p50(), Duration::from_micros(50));
        assert_eq!(samples.p99(), Duration::from_micros(99));
        assert_eq!(Samples::new(Vec::new()).p50(), Duration::ZERO);
    }
}
