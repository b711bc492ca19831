//! [`Tracks`]: what is remembered of each VM to tell how far its figures can be trusted.
//!
//! Turns a [`Reading`] into a [`Sample`]. Judges age by the monotonic clock alone: a stamp is asked
//! whether it changed, and what two of them are apart, because it is wall-clock time, in whole seconds.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    bytes::ByteCount,
    distress::{Counters, REPORTS_APART},
    overhead::Overhead,
    report::ReportTime,
    sample::{Boot, Freshness, Reading, Reported, RunState, Sample, VmReading, VmSample},
    vm::VmId,
};

/// The memory of past readings, a track for every VM of the last one.
#[derive(Clone, Debug, Default)]
pub struct Tracks {
    vms: BTreeMap<VmId, Track>,
    /// What VMs suffered from before all was forgotten; until the next reading.
    suffered: BTreeMap<VmId, Counters>,
    /// There was a reading before.
    looked: bool,
}

/// When a reading was taken, and what counts as stale then.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Number of the tick.
    pub tick: u64,
    /// Monotonic time since the start of the agent.
    pub now: Duration,
    /// Figures not seen to change for longer than this are stale.
    pub stale_after: Duration,
}

impl Tracks {
    /// Turns a reading into a sample and remembers what the next one needs. VMs that are gone are
    /// forgotten.
    pub fn observe(&mut self, reading: Reading, moment: Moment) -> Sample {
        let mut tracks = BTreeMap::new();
        let mut vms = Vec::with_capacity(reading.vms.len());
        // Who is there at the first look has run for nobody knows how long; who comes later boots.
        let boot = self.looked.then_some(Boot::Start);
        let live: BTreeSet<VmId> = self.to_be_proven().collect();
        for vm in reading.vms {
            let known = self.vms.remove(&vm.id);
            let mut track = known.unwrap_or_else(|| {
                let counters = self.suffered.remove(&vm.id).unwrap_or_default();
                Track::new(&vm, boot, counters, moment.now)
            });
            track.follow(&vm, live.contains(&vm.id), moment.now);
            vms.push((vm.id, track.judge(&vm, moment)));
            tracks.insert(vm.id, track);
        }
        self.vms = tracks;
        self.suffered.clear();
        self.looked = true;
        let (tick, now, host) = (moment.tick, moment.now, reading.host);
        let (granule, ideal, reservations) = (reading.granule, reading.ideal, Vec::new());
        Sample { tick, now, host, granule, ideal, vms: vms.into(), reservations }
    }

    /// Notes a VM's live actual, read between two samples, with the stamp of its figures then.
    pub fn note_actual(&mut self, vm: VmId, actual: ByteCount, reported: Reported) {
        if let Some(track) = self.vms.get_mut(&vm) {
            track.follow_actual(actual, reported);
        }
    }

    /// VMs that have to be read live, because figures that come by themselves are late: those whose
    /// memory was last seen to move; those that are to be proven, whose memory somebody may have moved
    /// just before; and those that may be in want of memory, of whom a second decides.
    ///
    /// Of those to be proven [`PROVEN_AT_ONCE`], those first whose figures changed last: one whose
    /// figures stand still keeps nobody from being proven. Of those in want [`IN_WANT_AT_ONCE`], those
    /// first who grew most.
    pub fn live(&self) -> impl Iterator<Item = VmId> {
        let moving = self.vms.iter().filter(|(_, track)| track.moved_under.is_some());
        moving.map(|(id, _)| *id).chain(self.to_be_proven()).chain(self.in_want())
    }

    /// Whose report in the last reading showed that it suffers, or used more than the one before. One that
    /// reports no more wants nothing that is known.
    fn in_want(&self) -> impl Iterator<Item = VmId> {
        let wants = |track: &Track| track.growth >= NOTABLE_GROWTH || track.counters.is_suffering();
        let reports = |track: &Track| track.has_reported && track.run == RunState::Running;
        let wanting = self.vms.iter().filter(|(_, track)| reports(track) && wants(track));
        let mut wanting: Vec<_> = wanting.map(|(id, track)| (Reverse(track.growth), *id)).collect();
        wanting.sort_unstable();
        wanting.into_iter().map(|(_, id)| id).take(IN_WANT_AT_ONCE)
    }

    /// Only these can be proven by the next reading: it shows them live.
    fn to_be_proven(&self) -> impl Iterator<Item = VmId> {
        let waits = |track: &Track| {
            let reports = track.run == RunState::Running && track.reported != Reported::Never;
            track.proof.is_some() && reports
        };
        let waiting = self.vms.iter().filter(|(_, track)| waits(track));
        let mut waiting: Vec<_> = waiting.map(|(id, track)| (track.changed_at, *id)).collect();
        waiting.sort_by_key(|(changed_at, id)| (Reverse(*changed_at), *id));
        waiting.into_iter().map(|(_, id)| id).take(PROVEN_AT_ONCE)
    }

    /// Forgets what was proven: after a gap in time or a new connection nothing counts as fresh
    /// until it is seen to change again. Who suffered a moment ago may suffer still.
    pub fn distrust(&mut self) {
        let known = std::mem::take(&mut self.vms).into_iter();
        self.suffered.extend(known.map(|(id, track)| (id, track.counters.interrupted())));
        self.looked = false;
    }
}

#[derive(Clone, Debug)]
struct Track {
    generation: u64,
    run: RunState,
    /// How its kernel began, if that was seen, until its figures are proven.
    boot: Option<Boot>,
    first_seen: Duration,
    actual: ByteCount,
    reported: Reported,
    /// When `reported` was last seen to change.
    changed_at: Option<Duration>,
    /// When its last report was taken.
    report: ReportTime,
    /// When it was last read.
    read_at: Duration,
    /// New reports since nothing of it counted; `None` once its figures are proven.
    proof: Option<u32>,
    /// When the last of them came.
    proof_at: Option<Duration>,
    /// The stamp that was current when `actual` was last seen to move: figures with it are of
    /// before the move's end.
    moved_under: Option<Reported>,
    /// What its process takes beside what it holds.
    overhead: Overhead,
    counters: Counters,
    /// Whether the last reading brought a new report.
    has_reported: bool,
    /// What it used at its last report; `None` when it did not say.
    used: Option<ByteCount>,
    /// How much more that was than at the one before.
    growth: ByteCount,
}

impl Track {
    fn new(vm: &VmReading, boot: Option<Boot>, mut counters: Counters, now: Duration) -> Self {
        let report = ReportTime::seen(vm.reported, None, now);
        counters.follow(vm.guest, report);
        Self {
            generation: vm.generation,
            run: vm.run,
            boot,
            first_seen: now,
            actual: vm.actual,
            reported: vm.reported,
            changed_at: None,
            report,
            read_at: now,
            proof: Some(0),
            proof_at: None,
            moved_under: None,
            overhead: Overhead::of_one_that_holds(vm.actual),
            counters,
            has_reported: false,
            used: used(vm),
            growth: ByteCount::ZERO,
        }
    }

    fn follow(&mut self, vm: &VmReading, is_live: bool, now: Duration) {
        if vm.generation != self.generation {
            // Its process may be another one, too.
            *self = Self::new(vm, Some(Boot::Reboot), Counters::default(), now);
        } else if self.counters.went_back(&vm.guest) {
            let overhead = self.overhead;
            let anew = Self::new(vm, Some(Boot::Reboot), Counters::default(), now);
            *self = Self { overhead, ..anew };
        } else if vm.run != self.run && vm.run == RunState::Running {
            // What it said before it was stopped says nothing about now.
            self.proof = Some(0);
        }
        self.run = vm.run;
        let is_new = vm.reported != self.reported || vm.reported == Reported::Now;
        let is_paired = is_new && vm.paired;
        let rested = vm.actual == self.actual && (self.moved_under.is_none() || is_paired);
        self.follow_actual(vm.actual, vm.reported);
        if is_paired {
            self.moved_under = None;
        }
        self.has_reported = is_new;
        if is_new {
            self.reported = vm.reported;
            self.changed_at = Some(now);
            self.report = ReportTime::seen(vm.reported, Some(self.read_at), now);
            self.counters.follow(vm.guest, self.report);
            self.learn_growth(vm);
            self.prove(rested && is_live, vm.run, now);
        }
        // Of one that does not answer old figures are told again.
        if vm.run != RunState::Unresponsive {
            self.read_at = now;
        }
        let rests = self.boot.is_none() && self.moved_under.is_none();
        self.overhead.see(vm, is_new && rests);
    }

    /// Figures count once enough reports came while its memory rested: only then is nobody's
    /// earlier order under way, and its kernel done with starting: reports that were asked for in quick
    /// succession show no more of that than one.
    fn prove(&mut self, rested: bool, run: RunState, now: Duration) {
        let Some(proof) = self.proof.filter(|_| run == RunState::Running) else { return };
        let apart = |at| now.saturating_sub(at) >= REPORTS_APART;
        if self.boot.is_some() && !self.proof_at.is_none_or(apart) {
            return;
        }
        self.proof_at = Some(now);
        let proof = proof.saturating_add(1);
        let wanted = if self.boot.is_some() { REPORTS_AFTER_BOOT } else { 1 };
        if proof >= wanted && rested {
            (self.proof, self.boot) = (None, None);
        } else {
            self.proof = Some(proof);
        }
    }

    fn learn_growth(&mut self, vm: &VmReading) {
        let used = used(vm);
        let growth = used.zip(self.used).map(|(now, before)| now.saturating_sub(before));
        (self.used, self.growth) = (used, growth.unwrap_or_default());
    }

    fn follow_actual(&mut self, actual: ByteCount, reported: Reported) {
        if actual != self.actual {
            self.actual = actual;
            self.moved_under = Some(reported);
        } else if self.moved_under.is_some_and(|stamp| stamp != reported) {
            self.moved_under = None;
        }
    }

    fn judge(&self, vm: &VmReading, moment: Moment) -> VmSample {
        let age = match vm.reported {
            Reported::Now => Some(Duration::ZERO),
            Reported::At(_) | Reported::Never => {
                self.changed_at.map(|at| moment.now.saturating_sub(at))
            }
        };
        VmSample {
            name: vm.name.clone(),
            run: vm.run,
            generation: vm.generation,
            traits: vm.traits,
            boot: self.boot,
            silent_for: moment.now.saturating_sub(self.changed_at.unwrap_or(self.first_seen)),
            actual: vm.actual,
            max: vm.max,
            guest: vm.guest,
            freshness: self.freshness(vm, age, moment.stale_after),
            figures_age: age,
            distress: self.counters.distress(moment.now),
            host_rss: vm.host_rss,
            overhead: self.overhead.least(),
            overhead_at_most: self.overhead.at_most(vm.max),
            reported: self.changed_at.map(|_| self.report),
        }
    }

    fn freshness(&self, vm: &VmReading, age: Option<Duration>, stale_after: Duration) -> Freshness {
        match (vm.reported, age) {
            (Reported::Never, _) => Freshness::Absent,
            _ if vm.guest.unused.is_none() => Freshness::Absent,
            (Reported::Now, _) => Freshness::Fresh,
            (Reported::At(_), Some(age)) if age > stale_after => Freshness::Stale,
            (Reported::At(_), None) => Freshness::Unproven,
            (Reported::At(_), Some(_)) if self.proof.is_some() || vm.traits.is_none() => {
                Freshness::Unproven
            }
            (Reported::At(_), Some(_)) if self.moved_under.is_some() => Freshness::Unsettled,
            (Reported::At(_), Some(_)) => Freshness::Fresh,
        }
    }
}

fn used(vm: &VmReading) -> Option<ByteCount> {
    Some(vm.actual.saturating_sub(vm.guest.idle()?))
}

/// A live reading takes libvirt about 1.5 ms, on one of four threads.
const PROVEN_AT_ONCE: usize = 256;
/// Beside that, a report at once takes some milliseconds more.
const IN_WANT_AT_ONCE: usize = 64;
/// A kernel at rest comes and goes by less.
const NOTABLE_GROWTH: ByteCount = ByteCount::mib(8);
/// A kernel that has just begun says little that lasts: its driver must have worked for so many
/// reports.
const REPORTS_AFTER_BOOT: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        distress::Sign,
        sample::{GuestFigures, HostMemory, RunState, Traits},
    };

    const VM: VmId = VmId::from_bytes([1; 16]);

    fn reading(actual: u32, reported: Reported) -> Reading {
        let guest = GuestFigures { unused: Some(ByteCount::mib(100)), ..GuestFigures::default() };
        let vm = VmReading {
            id: VM,
            name: "web1".into(),
            run: RunState::Running,
            generation: 0,
            traits: Some(Traits::default()),
            actual: ByteCount::mib(actual),
            max: ByteCount::gib(2),
            guest,
            reported,
            host_rss: None,
            paired: false,
        };
        Reading {
            host: HostMemory::default(),
            granule: ByteCount::kib(4),
            ideal: false,
            vms: vec![vm],
        }
    }

    fn freshness(tracks: &mut Tracks, second: u64, reading: Reading) -> Freshness {
        let now = Duration::from_secs(second);
        let stale_after = Duration::from_secs(5);
        let sample = tracks.observe(reading, Moment { tick: second, now, stale_after });
        sample.vms.get(&VM).unwrap().freshness
    }

    #[test]
    fn figures_are_proven_by_a_change_and_go_stale_without_one() {
        let mut tracks = Tracks::default();
        assert_eq!(freshness(&mut tracks, 0, reading(512, Reported::Never)), Freshness::Absent);
        let mut tracks = Tracks::default();
        assert_eq!(freshness(&mut tracks, 0, reading(512, Reported::at(7))), Freshness::Unproven);
        assert_eq!(freshness(&mut tracks, 1, reading(512, Reported::at(8))), Freshness::Fresh);
        assert_eq!(freshness(&mut tracks, 6, reading(512, Reported::at(8))), Freshness::Fresh);
        assert_eq!(freshness(&mut tracks, 7, reading(512, Reported::at(8))), Freshness::Stale);
        assert_eq!(freshness(&mut tracks, 8, reading(512, Reported::at(3))), Freshness::Fresh);
        tracks.distrust();
        assert_eq!(freshness(&mut tracks, 9, reading(512, Reported::at(4))), Freshness::Unproven);
    }

    #[test]
    fn who_suffered_before_a_gap_may_suffer_still() {
        let mut tracks = Tracks::default();
        let distress = |tracks: &mut Tracks, second: u64, swapped: u32| {
            let mut reading = reading(512, Reported::at(second));
            reading.vms[0].guest.swap_out = Some(ByteCount::mib(swapped));
            let now = Duration::from_secs(second);
            let moment = Moment { tick: second, now, stale_after: Duration::from_secs(5) };
            tracks.observe(reading, moment).vms.get(&VM).unwrap().distress.is_some()
        };
        assert!(!distress(&mut tracks, 0, 10));
        assert!(distress(&mut tracks, 1, 20));
        tracks.distrust();
        assert!(distress(&mut tracks, 30, 90), "what was seen before");
        assert!(
            !distress(&mut tracks, 62, 90),
            "what happened in the gap is compared with nothing"
        );
    }

    #[test]
    fn figures_of_a_moving_vm_are_unsettled_until_a_report_from_after_the_move() {
        let mut tracks = Tracks::default();
        freshness(&mut tracks, 0, reading(512, Reported::at(0)));
        assert_eq!(freshness(&mut tracks, 1, reading(512, Reported::at(1))), Freshness::Fresh);
        // The report may be of before the move's end even though it is new.
        assert_eq!(freshness(&mut tracks, 2, reading(462, Reported::at(2))), Freshness::Unsettled);
        assert_eq!(freshness(&mut tracks, 3, reading(462, Reported::at(2))), Freshness::Unsettled);
        assert_eq!(freshness(&mut tracks, 4, reading(462, Reported::at(4))), Freshness::Fresh);
        // Seen live between two samples, the move costs no tick.
        tracks.note_actual(VM, ByteCount::mib(412), Reported::at(5));
        assert_eq!(freshness(&mut tracks, 6, reading(412, Reported::at(6))), Freshness::Fresh);
    }

    #[test]
    fn figures_of_a_vm_that_moved_count_at_once_where_they_were_taken_while_it_held_what_it_holds()
    {
        let mut tracks = Tracks::default();
        let mut freshness_of = |second, actual, stamp, paired| {
            let mut reading = reading(actual, Reported::at(stamp));
            reading.vms[0].paired = paired;
            freshness(&mut tracks, second, reading)
        };
        freshness_of(0, 512, 0, false);
        assert_eq!(freshness_of(1, 512, 1, false), Freshness::Fresh);
        assert_eq!(freshness_of(2, 462, 2, true), Freshness::Fresh);
        assert_eq!(freshness_of(3, 412, 3, false), Freshness::Unsettled);
        assert_eq!(freshness_of(4, 362, 3, true), Freshness::Unsettled, "it is no new report");
        assert_eq!(freshness_of(5, 362, 4, true), Freshness::Fresh);
    }

    #[test]
    fn a_vm_is_proven_a_tick_sooner_by_a_report_that_is_paired_with_what_it_held_before() {
        let proven_at = |paired| {
            let mut tracks = Tracks::default();
            let mut freshness_at = |second: u64| {
                let actual = if second == 0 { 512 } else { 300 };
                let mut reading = reading(actual, Reported::at(second));
                reading.vms[0].paired = paired;
                freshness(&mut tracks, second, reading)
            };
            (0..9).find(|second| freshness_at(*second) == Freshness::Fresh)
        };
        assert_eq!((proven_at(false), proven_at(true)), (Some(3), Some(2)));
    }

    #[test]
    fn a_vm_is_read_live_until_it_is_proven_and_a_late_figure_proves_nothing() {
        let mut tracks = Tracks::default();
        let live = |tracks: &Tracks| tracks.live().collect::<Vec<_>>();
        // The bulk figure is of before a move that an earlier agent had ordered.
        freshness(&mut tracks, 0, reading(512, Reported::at(0)));
        assert_eq!(live(&tracks), [VM]);
        assert_eq!(freshness(&mut tracks, 1, reading(300, Reported::at(1))), Freshness::Unproven);
        assert!(live(&tracks).contains(&VM));
        assert_eq!(freshness(&mut tracks, 2, reading(300, Reported::at(2))), Freshness::Unproven);
        assert_eq!(freshness(&mut tracks, 3, reading(300, Reported::at(3))), Freshness::Fresh);
        assert_eq!(live(&tracks), []);
    }

    #[test]
    fn what_a_vm_did_is_told_by_the_time_between_its_reports() {
        let mut tracks = Tracks::default();
        let mut sign = |at: u64, stamp: u64, swapped: u32| {
            let mut reading = reading(512, Reported::at(stamp));
            reading.vms[0].guest.swap_out = Some(ByteCount::mib(swapped));
            let now = Duration::from_secs(at);
            let moment = Moment { tick: at, now, stale_after: Duration::from_secs(60) };
            let vm = tracks.observe(reading, moment).vms.get(&VM).unwrap().clone();
            vm.distress.filter(|distress| distress.age.is_zero()).map(|distress| distress.sign)
        };
        let a_second = |kib| Some(Sign::SwapsOut(ByteCount::kib(kib)));
        assert_eq!(sign(10, 1000, 0), None);
        // Figures of its boot, and the first report since.
        assert_eq!(sign(12, 1300, 599), a_second(2048));
        assert_eq!(sign(14, 1302, 601), a_second(1024));
        // One that was old already, and one of this instant.
        assert_eq!(sign(20, 1305, 604), a_second(512));
        assert_eq!(sign(22, 1310, 613), a_second(2048));
        // Somebody sets the clock.
        assert_eq!(sign(24, 4910, 615), a_second(512));
        assert_eq!(sign(26, 4912, 617), a_second(1024));
    }

    #[test]
    fn a_vm_in_want_is_read_live() {
        let mut tracks = Tracks::default();
        let mut live_after = |second: u64, unused: u32, swapped: u32| {
            let mut reading = reading(512, Reported::at(second));
            let guest = &mut reading.vms[0].guest;
            guest.unused = Some(ByteCount::mib(unused));
            guest.swap_out = Some(ByteCount::mib(swapped));
            freshness(&mut tracks, second, reading);
            tracks.live().count()
        };
        assert_eq!(live_after(0, 300, 0), 1, "it is to be proven");
        assert_eq!(live_after(1, 300, 0), 0);
        assert_eq!(live_after(2, 295, 0), 0, "what comes and goes");
        assert_eq!(live_after(3, 280, 0), 1, "it grows");
        assert_eq!(live_after(4, 290, 0), 0);
        assert_eq!(live_after(5, 290, 1), 1, "it swaps");
        assert_eq!(live_after(6, 290, 1), 0);
        assert_eq!(live_after(7, 200, 1), 1);
        let mut reading = reading(512, Reported::at(7));
        reading.vms[0].guest.unused = Some(ByteCount::mib(200));
        freshness(&mut tracks, 8, reading);
        assert_eq!(tracks.live().count(), 0, "it reports no more");
    }

    #[test]
    fn of_vms_in_want_those_that_grew_most_come_first() {
        let vms = |unused: fn(u8) -> u32, second| {
            let mut reading = reading(1024, Reported::at(second));
            let vm = reading.vms.remove(0);
            reading.vms = (0..100)
                .map(|number| {
                    let mut vm = vm.clone();
                    vm.id = VmId::from_bytes([number; 16]);
                    vm.guest.unused = Some(ByteCount::mib(unused(number)));
                    vm
                })
                .collect();
            reading
        };
        let mut tracks = Tracks::default();
        for second in 0..2 {
            let now = Duration::from_secs(second);
            let moment = Moment { tick: second, now, stale_after: Duration::from_secs(5) };
            tracks.observe(vms(|_| 500, second), moment);
        }
        let now = Duration::from_secs(2);
        let moment = Moment { tick: 2, now, stale_after: Duration::from_secs(5) };
        tracks.observe(vms(|number| 480 - u32::from(number), 2), moment);
        let live: Vec<VmId> = tracks.live().collect();
        assert_eq!(live.len(), IN_WANT_AT_ONCE);
        assert_eq!(live[0], VmId::from_bytes([99; 16]));
    }

    #[test]
    fn three_reports_within_a_second_do_not_prove_a_kernel_that_has_just_begun() {
        let mut tracks = Tracks::default();
        let mut freshness_at = |millis: u64, vm: bool| {
            let mut reading = reading(512, Reported::at(millis));
            reading.vms.retain(|_| vm);
            let now = Duration::from_millis(millis);
            let moment = Moment { tick: millis, now, stale_after: Duration::from_secs(5) };
            tracks.observe(reading, moment).vms.get(&VM).map(|vm| vm.freshness)
        };
        assert_eq!(freshness_at(0, false), None, "it was not there at the first look");
        let mut states = (1..=30).map(|tick| freshness_at(tick * 100, true));
        assert!(states.by_ref().take(17).all(|state| state == Some(Freshness::Unproven)));
        assert!(states.any(|state| state == Some(Freshness::Fresh)));
    }

    #[test]
    fn overhead_is_learned_only_while_the_vm_holds_most_and_reports() {
        let mut tracks = Tracks::default();
        let mut overhead = |second: u64, actual: u32, rss: u32| {
            let mut reading = reading(actual, Reported::at(second));
            reading.vms[0].host_rss = Some(ByteCount::mib(rss));
            let now = Duration::from_secs(second);
            let moment = Moment { tick: second, now, stale_after: Duration::from_secs(5) };
            let vm = tracks.observe(reading, moment).vms.get(&VM).unwrap().clone();
            [vm.overhead, vm.overhead_at_most].map(|own| own.map(ByteCount::mib_floor))
        };
        assert_eq!(overhead(0, 512, 560), [None, None], "no report was seen yet");
        let both = |mib| [Some(mib), Some(mib)];
        assert_eq!(overhead(1, 512, 540), both(28));
        assert_eq!(overhead(2, 512, 552), both(40));
        assert_eq!(overhead(3, 512, 300), both(40), "what it does not touch is no overhead");
        assert_eq!(overhead(4, 400, 552), both(40), "its balloon freed nothing");
        assert_eq!(overhead(5, 400, 500), [Some(40), Some(100)], "or that is its process's");
        let at_most = |mib| [Some(0), Some(mib)];
        assert_eq!(
            overhead(6, 600, 500),
            at_most(100),
            "it may not have touched what it was given"
        );
        assert_eq!(overhead(7, 600, 560), at_most(60));
        assert_eq!(overhead(8, 600, 520), at_most(20), "it uses 500 of that");
        assert_eq!(overhead(9, 600, 640), both(40));
        assert_eq!(overhead(10, 600, 999), both(399));
        assert_eq!(overhead(11, 900, 999), [Some(99), Some(132)], "so much is no process's");
    }

    #[test]
    fn figures_of_the_moment_need_no_proof() {
        let mut tracks = Tracks::default();
        assert_eq!(freshness(&mut tracks, 0, reading(512, Reported::Now)), Freshness::Fresh);
        assert_eq!(freshness(&mut tracks, 1, reading(99, Reported::Now)), Freshness::Fresh);
    }
}
