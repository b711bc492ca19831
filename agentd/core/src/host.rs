//! [`HostWatch`]: how the host itself fares: whether it runs short of memory, and whether somebody
//! else than its VMs takes memory that nobody knows of.

use std::time::Duration;

use crate::{
    bytes::ByteCount,
    in_a_row::InARow,
    sample::{HostMemory, Sample, Share},
    verdict::Reason,
};

/// How much memory the host has left for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostLevel {
    /// Enough.
    #[default]
    Normal,
    /// Its reserve, or work on it waits for memory: it gives nothing.
    Low,
    /// Half its reserve, or all work on it waits for memory: nobody gets anything, and VMs give.
    Emergency,
}

/// What one tick made of the host's own memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostView {
    /// How much it has left.
    pub level: HostLevel,
    /// What it uses beside the processes of its VMs; `None` in an ideal world.
    pub other: Option<ByteCount>,
    /// What of `other` is more than was seen before, and has not lasted long enough to count as
    /// the host's own.
    pub unexplained: ByteCount,
    /// So much has been unexplained for so long that the host gives nothing.
    pub suspicious: bool,
}

/// What is remembered of the host from tick to tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostWatch {
    level: HostLevel,
    /// What of the host's own use is accepted as such, and when it last was so much.
    explained: Option<(ByteCount, Duration)>,
    /// The use that has stood still, and since when.
    still: Option<(ByteCount, Duration)>,
    /// Too much was unexplained.
    suspicious: InARow,
    /// The spell in which it is so again and again; `None` outside of one.
    spell: Option<Spell>,
    /// When VMs were last made to give in an emergency.
    acted_at: Option<Duration>,
}

/// A time in which too much is unexplained again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spell {
    from: Duration,
    /// When it last was so.
    last: Duration,
    /// The most that the host used in it.
    most: ByteCount,
}

impl Spell {
    /// The spell after a look that found too much, or not.
    fn follow(before: Option<Self>, used: Option<ByteCount>, now: Duration) -> Option<Self> {
        let before = before.filter(|spell| now.saturating_sub(spell.last) < LASTED_AFTER);
        let Some(used) = used else { return before };
        let (from, most) = before.map_or((now, used), |spell| (spell.from, spell.most.max(used)));
        Some(Self { from, last: now, most })
    }
}

impl HostView {
    /// Why the host gives nothing to anybody now; `None` where it may.
    #[must_use]
    pub const fn stop(&self) -> Option<Reason> {
        match self.level {
            HostLevel::Emergency => Some(Reason::HostEmergency),
            HostLevel::Low => Some(Reason::HostLow),
            HostLevel::Normal if self.suspicious => Some(Reason::HostUnexplained),
            HostLevel::Normal => None,
        }
    }
}

impl HostLevel {
    /// Its name in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Low => "low",
            Self::Emergency => "emergency",
        }
    }
}

impl HostWatch {
    /// Takes in a sample: what it shows, and what to remember.
    #[must_use]
    pub fn look(&self, reserve: ByteCount, sample: &Sample) -> (HostView, Self) {
        if sample.ideal {
            return Default::default();
        }
        let mut watch = self.clone();
        watch.level = level(self.level, reserve, &sample.host);
        let other = other(sample);
        let unexplained = watch.explain(other, sample.host.total, sample.now);
        let suspicious = watch.suspicious.is_long(sample.now);
        (HostView { level: watch.level, other: Some(other), unexplained, suspicious }, watch)
    }

    /// True while the effect of what VMs were made to give cannot be seen yet.
    #[must_use]
    pub fn waits(&self, now: Duration) -> bool {
        self.acted_at.is_some_and(|at| now.saturating_sub(at) < POST_ACTION_DELAY)
    }

    /// True while the host runs out of memory.
    #[must_use]
    pub fn is_emergency(&self) -> bool {
        self.level == HostLevel::Emergency
    }

    /// The same where VMs were made to give when this one says: who only thinks along makes nobody.
    #[must_use]
    pub fn acted_as(self, other: &Self) -> Self {
        Self { acted_at: other.acted_at, ..self }
    }

    /// Notes that VMs were made to give.
    pub const fn note_action(&mut self, now: Duration) {
        self.acted_at = Some(now);
    }

    /// Time has passed that nobody saw: whether anything stood still in it is not known. What was
    /// unexplained before it is so still.
    pub const fn interrupt(&mut self) {
        self.still = None;
    }

    /// Accepts whatever is used as the host's own: anything may have happened.
    pub fn begin_anew(&mut self) {
        (self.explained, self.still) = Default::default();
        (self.suspicious, self.spell) = Default::default();
    }

    /// What of the host's own use is unexplained.
    fn explain(&mut self, other: ByteCount, total: ByteCount, now: Duration) -> ByteCount {
        let noise = STILL.max(total.fraction(1, STILL_SHARE));
        let (stood, since) = self.still.unwrap_or((other, now));
        let moved = other.abs_diff(stood) > noise;
        self.still = Some(if moved { (other, now) } else { (stood, since) });
        let stands = !moved && now.saturating_sub(since) >= ACCEPTED_AFTER;

        let (explained, used_at) = self.explained.unwrap_or((other, now));
        let used_at = if other.saturating_add(noise) >= explained { now } else { used_at };
        let forgotten = now.saturating_sub(used_at) >= FORGOTTEN_AFTER;
        let unexplained = other.saturating_sub(explained);
        let is_much = unexplained > LEAST_UNEXPLAINED.max(total.fraction(UNEXPLAINED_PERCENT, 100));
        let spell = Spell::follow(self.spell, is_much.then_some(other), now);
        let lasts = spell.filter(|spell| now.saturating_sub(spell.from) >= LASTED_AFTER);
        if stands && other > explained || lasts.is_some() || forgotten {
            let most = lasts.map_or(other, |spell| spell.most.max(other));
            (self.explained, self.spell) = (Some((most, now)), None);
            self.suspicious = InARow::default();
            return ByteCount::ZERO;
        }
        if is_much {
            self.suspicious.add(now);
        } else {
            self.suspicious = InARow::default();
        }
        (self.explained, self.spell) = (Some((explained, used_at)), spell);
        unexplained
    }
}

/// What the host uses beside the processes of its VMs. One whose process does not show counts with
/// what it holds: it hides nobody else. Huge pages are part of it: a pool of them stands there whether VMs run or
/// not. One that grows with its VMs looks like somebody unknown for as long as that lasts.
fn other(sample: &Sample) -> ByteCount {
    let resident = sample.vms.values().map(|vm| vm.host_rss.unwrap_or(vm.actual)).sum();
    sample.host.total.saturating_sub(sample.host.usable).saturating_sub(resident)
}

/// Bad at once, better only when it is clearly better.
fn level(before: HostLevel, reserve: ByteCount, host: &HostMemory) -> HostLevel {
    let pressure = host.pressure.unwrap_or_default();
    let half = reserve.fraction(1, 2);
    let is_emergency = pressure.full >= EMERGENCY_FULL || host.usable < half;
    let was_emergency = before == HostLevel::Emergency;
    let stays_emergency = pressure.full >= CALM_FULL || host.usable < reserve.fraction(3, 4);
    if is_emergency || was_emergency && stays_emergency {
        return HostLevel::Emergency;
    }
    // At its reserve a host gives nothing anyway, and where it gave all it had it stays there.
    let is_low = pressure.some >= LOW_SOME || host.usable <= reserve;
    let stays_low = before >= HostLevel::Low && pressure.some >= CALM_SOME;
    if is_low || stays_low { HostLevel::Low } else { HostLevel::Normal }
}

// systemd-oomd kills at 60 % of full pressure for 30 s; taking from VMs what they do not use has to
// begin long before.
const EMERGENCY_FULL: Share = Share::percent(20);
const CALM_FULL: Share = Share::percent(5);
const LOW_SOME: Share = Share::percent(20);
const CALM_SOME: Share = Share::percent(10);
/// systemd-oomd's: pressure is an average over ten seconds and lags behind.
const POST_ACTION_DELAY: Duration = Duration::from_secs(15);
/// Less than this, or than its share of all memory, passes as noise.
const LEAST_UNEXPLAINED: ByteCount = ByteCount::mib(256);
const UNEXPLAINED_PERCENT: u64 = 2;
/// A use that moves less than this, or than half a percent of all memory, stands still, and is the
/// host's own after so long.
const STILL: ByteCount = ByteCount::mib(64);
const STILL_SHARE: u64 = 200;
const ACCEPTED_AFTER: Duration = Duration::from_secs(15);
/// What goes up and down for so long is the host's own work, too: its reserve is there for that.
const LASTED_AFTER: Duration = Duration::from_secs(60);
/// What it used once it may use again, for so long: work that comes and goes is no stranger each time.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Pressure;

    const RESERVE: ByteCount = ByteCount::mib(200);

    fn sample(second: u64, usable_mib: u32, full: u32) -> Sample {
        let (some, full) = (Share::percent(full), Share::percent(full));
        let pressure = Some(Pressure { some, full });
        let usable = ByteCount::mib(usable_mib);
        Sample {
            tick: second,
            now: Duration::from_secs(second),
            host: HostMemory { total: ByteCount::gib(8), usable, pressure },
            granule: ByteCount::kib(4),
            ideal: false,
            vms: crate::by_vm::ByVm::new(),
            reservations: Vec::new(),
        }
    }

    /// The levels of these (usable MiB, percent of pressure), one after the other.
    fn levels(looks: &[(u32, u32)]) -> Vec<HostLevel> {
        let mut watch = HostWatch::default();
        let mut levels = Vec::new();
        for (second, (usable, full)) in (0..).zip(looks) {
            let (view, next) = watch.look(RESERVE, &sample(second, *usable, *full));
            levels.push(view.level);
            watch = next;
        }
        levels
    }

    #[test]
    fn gets_bad_at_once_and_better_only_when_it_is_clearly_better() {
        use HostLevel::{Emergency, Low, Normal};
        let usable =
            [(500, 0), (200, 0), (220, 0), (260, 0), (99, 0), (150, 0), (201, 0), (260, 0)];
        assert_eq!(levels(&usable), [Normal, Low, Normal, Normal, Emergency, Low, Normal, Normal]);
        let pressure = [(900, 19), (900, 20), (900, 6), (900, 4), (900, 15), (900, 4)];
        assert_eq!(levels(&pressure), [Normal, Emergency, Emergency, Normal, Normal, Normal]);
    }

    #[test]
    fn memory_that_nobody_is_known_to_have_taken_is_told_until_it_has_lasted() {
        let mut watch = HostWatch::default();
        let mut told = Vec::new();
        for second in 0..30 {
            let usable = if second < 5 { 6000 } else { 5000 };
            let (view, next) = watch.look(RESERVE, &sample(second, usable, 0));
            told.push((view.unexplained.mib_floor(), view.suspicious));
            watch = next;
        }
        assert_eq!(told[4], (0, false));
        assert_eq!(told[5], (1000, false));
        assert_eq!(told[7], (1000, true));
        assert_eq!(told[19], (1000, true));
        assert_eq!(told[20], (0, false), "it counts as the host's own");
    }

    #[test]
    fn a_reading_that_failed_accepts_nothing_and_a_start_anew_all() {
        let mut watch = HostWatch::default();
        let mut look = |second, usable, what: fn(&mut HostWatch)| {
            what(&mut watch);
            let (view, next) = watch.look(RESERVE, &sample(second, usable, 0));
            watch = next;
            view.unexplained.mib_floor()
        };
        assert_eq!(look(0, 6000, |_| ()), 0);
        assert_eq!(look(1, 5000, |_| ()), 1000);
        assert_eq!(look(3, 5000, HostWatch::interrupt), 1000);
        assert_eq!(look(17, 5000, |_| ()), 1000, "it has not been seen to stand still for long");
        assert_eq!(look(18, 5000, |_| ()), 0);
        assert_eq!(look(19, 4000, HostWatch::begin_anew), 0);
    }

    #[test]
    fn a_vm_whose_process_does_not_show_hides_nobody() {
        let mut sample = sample(0, 6000, 0);
        let vm = crate::sample::VmSample { host_rss: None, ..crate::fixture::holding(1000) };
        sample.vms.insert(crate::fixture::VM, vm);
        let (view, _) = HostWatch::default().look(RESERVE, &sample);
        assert_eq!(view.other.map(ByteCount::mib_floor), Some(8192 - 6000 - 1000));
    }

    /// Builds, backups: they take a GiB more and less all the time.
    #[test]
    fn work_that_comes_and_goes_is_accepted_after_a_minute_and_forgotten_after_ten() {
        let mut watch = HostWatch::default();
        let mut told = Vec::new();
        for second in 0..900 {
            let busy = second < 200 && second % 7 >= 3;
            let usable = if busy { 4500 + u32::try_from(second % 7).unwrap() * 100 } else { 6000 };
            let usable = if second == 850 { 4000 } else { usable };
            let (view, next) = watch.look(RESERVE, &sample(second, usable, 0));
            told.push(view.suspicious);
            watch = next;
        }
        assert!(told[..200].iter().any(|told| *told));
        assert!(
            !told[100..850].iter().any(|told| *told),
            "{:?}",
            told.iter().rposition(|told| *told)
        );
    }

    #[test]
    fn waits_for_the_effect_of_what_was_done() {
        let mut watch = HostWatch::default();
        watch.note_action(Duration::from_secs(10));
        assert!(watch.waits(Duration::from_secs(24)) && !watch.waits(Duration::from_secs(25)));
    }
}
