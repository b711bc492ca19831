//! What is read off a film, the same of a real VM and of a simulated one.

use std::time::Duration;

use super::trace::{FILES, Film, OVERFULL, ROOM, SQUEEZE, Sample, Trace};

/// A figure that is read off the film of one trace.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// What it is.
    pub name: &'static str,
    /// Of which trace.
    pub trace: Trace,
    /// The figure; `None` where the film does not show it.
    pub of: fn(&Film) -> Option<f64>,
}

/// All of them, in the order of the table.
pub const MEASURES: [Measure; 17] = [
    Measure { name: "boot until the driver works, s", trace: ROOM, of: boot },
    Measure { name: "programs take free memory, MiB/s", trace: ROOM, of: fill },
    Measure { name: "programs leave 400 MiB, s", trace: ROOM, of: leave },
    Measure { name: "balloon takes unused memory, MiB/s", trace: ROOM, of: shrink },
    Measure { name: "balloon gives memory, MiB/s", trace: ROOM, of: grow },
    Measure { name: "balloon that makes it swap, MiB/s", trace: SQUEEZE, of: squeeze },
    Measure { name: "swapped out for 416 MiB taken, MiB", trace: SQUEEZE, of: squeezed_out },
    Measure { name: "read back before the memory is there, MiB", trace: SQUEEZE, of: churned },
    Measure { name: "read back when it is, unasked, MiB", trace: SQUEEZE, of: read_unasked },
    Measure { name: "read back once programs work with it, MiB", trace: SQUEEZE, of: read_asked },
    Measure { name: "reads files, MiB/s", trace: FILES, of: read_files },
    Measure { name: "balloon takes files, MiB/s", trace: FILES, of: drop_files },
    Measure { name: "files left then, MiB", trace: FILES, of: files_left },
    Measure { name: "files read again unasked, MiB", trace: FILES, of: files_again },
    Measure { name: "too little: swapped out while it fills, MiB", trace: OVERFULL, of: overfull },
    Measure { name: "too little: swapped while it rests, MiB/s", trace: OVERFULL, of: resting },
    Measure { name: "too little: swapped while it works, MiB", trace: OVERFULL, of: working },
];

fn boot(film: &Film) -> Option<f64> {
    Some(film.boot.as_secs_f64())
}

/// From a tenth to nine tenths, so that neither the begin nor the end counts.
fn fill(film: &Film) -> Option<f64> {
    let free = film.at(1.9)?.free;
    Some(320.0 / film.between(2.0, |one| free - one.free >= 40.0, |one| free - one.free >= 360.0)?)
}

fn leave(film: &Film) -> Option<f64> {
    let free = film.at(15.9)?.free;
    film.until(16.0, |one| one.free - free >= 360.0)
}

fn shrink(film: &Film) -> Option<f64> {
    Some(300.0 / film.between(18.0, |one| one.actual <= 710.0, |one| one.actual <= 410.0)?)
}

fn grow(film: &Film) -> Option<f64> {
    Some(300.0 / film.between(24.0, |one| one.actual >= 410.0, |one| one.actual >= 710.0)?)
}

/// What is taken in the time in which the programs' own memory has to go, at most eight seconds.
fn squeeze(film: &Film) -> Option<f64> {
    let before = film.at(13.9)?.swap_out;
    let begun = film.until(14.0, |one| one.swap_out > before)?;
    let ended = film.until(14.0, |one| one.actual <= 354.0).unwrap_or(8.0);
    let (from, to) = (film.at(14.0 + begun)?, film.at(14.0 + ended)?);
    Some((from.actual - to.actual) / (ended - begun))
}

fn squeezed_out(film: &Film) -> Option<f64> {
    Some(film.at(25.9)?.swap_out - film.at(13.9)?.swap_out)
}

fn churned(film: &Film) -> Option<f64> {
    Some(film.at(25.9)?.swap_back - film.at(13.9)?.swap_back)
}

fn read_unasked(film: &Film) -> Option<f64> {
    Some(film.at(33.9)?.swap_back - film.at(25.9)?.swap_back)
}

fn read_asked(film: &Film) -> Option<f64> {
    Some(film.at(43.9)?.swap_back - film.at(33.9)?.swap_back)
}

fn read_files(film: &Film) -> Option<f64> {
    Some(200.0 / film.between(0.0, |one| one.files >= 60.0, |one| one.files >= 260.0)?)
}

/// Once what was unused is gone.
fn drop_files(film: &Film) -> Option<f64> {
    let taken = film.between(8.0, |one| one.actual <= 340.0, |one| one.actual <= 260.0)?;
    Some(80.0 / taken)
}

fn files_left(film: &Film) -> Option<f64> {
    Some(film.at(13.9)?.files)
}

fn files_again(film: &Film) -> Option<f64> {
    Some((film.at(21.9)?.files - film.at(13.9)?.files).max(0.0))
}

fn overfull(film: &Film) -> Option<f64> {
    Some(film.at(17.9)?.swap_out - film.at(3.9)?.swap_out)
}

fn resting(film: &Film) -> Option<f64> {
    let (from, to) = (film.at(18.0)?, film.at(23.9)?);
    Some((to.swap_out + to.swap_back - from.swap_out - from.swap_back) / 5.9)
}

fn working(film: &Film) -> Option<f64> {
    let (from, to) = (film.at(23.9)?, film.at(35.9)?);
    Some(to.swap_out + to.swap_back - from.swap_out - from.swap_back)
}

impl Film {
    /// The last that was seen up to then.
    fn at(&self, seconds: f64) -> Option<&Sample> {
        let time = Duration::from_secs_f64(seconds);
        self.samples.iter().rev().find(|one| one.at <= time)
    }

    /// Seconds from a moment until something is so.
    fn until(&self, from: f64, is: impl Fn(&Sample) -> bool) -> Option<f64> {
        let time = Duration::from_secs_f64(from);
        let first = self.samples.iter().find(|one| one.at >= time && is(one))?;
        Some(first.at.saturating_sub(time).as_secs_f64())
    }

    /// Seconds from when the one is so until the other is. What both is so in one sample took as
    /// long as since the one before, at the most.
    fn between(
        &self,
        from: f64,
        begins: impl Fn(&Sample) -> bool,
        ends: impl Fn(&Sample) -> bool,
    ) -> Option<f64> {
        let (begun, ended) = (self.until(from, begins)?, self.until(from, ends)?);
        if ended > begun {
            return Some(ended - begun);
        }
        let before = self.at(from + ended - 0.001)?;
        Some(from + ended - before.at.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::super::trace::MAX_MIB;
    use super::*;

    #[test]
    fn a_rate_is_read_between_the_begin_and_the_end() {
        let sample = |millis: u64| Sample {
            at: Duration::from_millis(millis),
            actual: MAX_MIB as f64 - (millis as f64 - 18_000.0).max(0.0) / 5.0,
            ..Sample::default()
        };
        let film =
            Film { samples: (0..2_800).map(|n| sample(n * 10)).collect(), ..Film::default() };
        let rate = shrink(&film).unwrap();
        assert!((195.0..=205.0).contains(&rate), "{rate}");
        assert_eq!(grow(&film), None, "it never grew");
    }
}
