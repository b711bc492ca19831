//! What the VMs of each family want. Amounts are in MiB, times in milliseconds.

use agentd::hypervisor::sim::{Behaviour, Kind};

use super::draft::{Draft, Pool, Start};
use super::line::Line;
use super::{Family, Workload};
use crate::dice::Dice;

/// The workload of a family and a seed.
pub(super) fn draw(family: Family, seed: u64) -> Workload {
    let draft = Draft::new(family, seed);
    match family {
        Family::OneGrows => one_grows(draft),
        Family::AllGrow => all_grow(draft),
        Family::TwoGrowOneStops => two_grow_one_stops(draft),
        Family::Burst => burst(draft),
        Family::Diurnal => diurnal(draft),
        Family::JvmSteps => jvm_steps(draft),
        Family::CacheScan => cache_scan(draft),
        Family::BootStorm => boot_storm(draft),
        Family::Leak => leak(draft),
        Family::NightlyBackup => nightly_backup(draft),
        Family::IdleCaches => idle_caches(draft),
        Family::Many => many(draft),
        Family::Tight => shifting(draft, Pool::OfPeak(10_000 / 95)),
        Family::Over => shifting(draft, Pool::OfPeak(10_000 / 120)),
        Family::Loose => shifting(draft, Pool::OfPeak(200)),
        Family::Turns => turns(draft),
        Family::Steady => steady(draft),
        Family::Stuck => stuck(draft),
    }
}

fn one_grows(mut draft: Draft) -> Workload {
    idlers(&mut draft, 2, 4, 600);
    let dice = &mut draft.dice;
    let (low, high) = (dice.between(150, 400), dice.between(1_500, 3_000));
    let line = Line::from(low).hold(dice.between(10_000, 30_000));
    let line = line.ramp(dice.between(15_000, 60_000), high).hold(40_000).ramp(3_000, low);
    draft.vm(line);
    let pool = Pool::OfPeak(draft.dice.between(105, 120));
    draft.finish(pool, 180_000)
}

fn all_grow(mut draft: Draft) -> Workload {
    let count = draft.dice.between(3, 5);
    let (low, high) = (draft.dice.between(150, 300), draft.dice.between(600, 1_500));
    let time = draft.dice.between(30_000, 80_000);
    for _ in 0..count {
        let top = stray(&mut draft.dice, high, 10);
        draft.vm(Line::from(low).hold(10_000).ramp(time, top).hold(40_000).ramp(20_000, low));
    }
    let pool = Pool::OfPeak(draft.dice.between(100, 110));
    draft.finish(pool, 180_000)
}

fn two_grow_one_stops(mut draft: Draft) -> Workload {
    idlers(&mut draft, 1, 2, 500);
    let dice = &mut draft.dice;
    let (low, half) = (dice.between(150, 300), dice.between(600, 1_200));
    let (time, top) = (dice.between(20_000, 50_000), half + dice.between(400, 1_000));
    let rise = Line::from(low).hold(10_000).ramp(time, half);
    let stop = rise.clone().ramp(dice.between(1_000, 10_000), low);
    let on = rise.ramp(dice.between(20_000, 40_000), top).hold(30_000);
    draft.vm(stop);
    draft.vm(on);
    let pool = Pool::OfPeak(draft.dice.between(102, 115));
    draft.finish(pool, 160_000)
}

fn burst(mut draft: Draft) -> Workload {
    idlers(&mut draft, 2, 4, 800);
    let mut begin = draft.dice.between(15_000, 25_000);
    for _ in 0..draft.dice.between(1, 2) {
        let dice = &mut draft.dice;
        let low = dice.between(300, 600);
        let line = Line::from(low).until(begin).ramp(25_000, low + 3 * 1_024);
        let line = line.hold(dice.between(15_000, 30_000)).ramp(dice.between(500, 5_000), low);
        begin = line.end() + dice.between(5_000, 20_000);
        draft.vm(line);
    }
    let pool = Pool::OfPeak(draft.dice.between(105, 115));
    draft.finish(pool, 200_000)
}

fn diurnal(mut draft: Draft) -> Workload {
    let day = draft.dice.between(100_000, 140_000);
    for _ in 0..draft.dice.between(5, 8) {
        let line = day_and_night(&mut draft.dice, day);
        draft.vm(line);
    }
    let pool = Pool::OfPeak(draft.dice.between(103, 115));
    draft.finish(pool, 2 * day)
}

fn day_and_night(dice: &mut Dice, day: u64) -> Line {
    let (low, high) = (dice.between(150, 400), dice.between(700, 1_800));
    let phase = dice.between(0, 11);
    let hour = |hour: u64| {
        let index = usize::try_from((hour + phase) % 12).unwrap_or(0);
        low + (high - low) * SUN.get(index).unwrap_or(&0) / 1_000
    };
    (1..=25).fold(Line::from(hour(0)), |line, next| line.ramp(day / 12, hour(next)))
}

fn jvm_steps(mut draft: Draft) -> Workload {
    for _ in 0..draft.dice.between(4, 6) {
        let line = heap(&mut draft.dice, 240_000);
        draft.vm(line);
    }
    let pool = Pool::OfPeak(draft.dice.between(100, 115));
    draft.finish(pool, 240_000)
}

/// A heap that grows by steps until it is collected.
fn heap(dice: &mut Dice, length: u64) -> Line {
    let low = dice.between(200, 500);
    let most = low + dice.between(800, 2_000);
    let mut line = Line::from(low);
    while line.end() < length {
        line = line.hold(dice.between(12_000, 40_000));
        let next = line.last() + dice.between(128, 768);
        let freed = low + (line.last() - low) * dice.between(10, 50) / 100;
        line = line.step(if next > most { freed } else { next });
    }
    line
}

fn cache_scan(mut draft: Draft) -> Workload {
    for _ in 0..2 {
        let dice = &mut draft.dice;
        let (demand, cache, rate) =
            (dice.between(200, 500), dice.between(1_000, 3_000), dice.between(100, 300));
        draft.vm(Line::from(demand)).files(cache, rate).max(demand + cache + 128);
    }
    for _ in 0..draft.dice.between(2, 3) {
        let times = [(20_000, 60_000), (500, 20_000), (30_000, 60_000)];
        let line = hill(&mut draft.dice, times, 2_000);
        draft.vm(line);
    }
    let pool = Pool::OfPeak(draft.dice.between(108, 130));
    draft.finish(pool, 180_000)
}

fn boot_storm(mut draft: Draft) -> Workload {
    draft.start = Start::Even;
    idlers(&mut draft, 2, 3, 900);
    let begin = draft.dice.between(15_000, 30_000);
    for _ in 0..draft.dice.between(3, 6) {
        let dice = &mut draft.dice;
        let start = begin + dice.between(0, 15_000);
        let (boot, low) = (dice.between(400, 1_000), dice.between(150, 400));
        // Much while its services start, then what they keep.
        let line = Line::from(boot).until(start + 14_000 + dice.between(10_000, 25_000));
        draft.vm(line.ramp(5_000, low)).starts(start);
    }
    let pool = Pool::OfPeak(draft.dice.between(103, 115));
    draft.finish(pool, 160_000)
}

fn leak(mut draft: Draft) -> Workload {
    idlers(&mut draft, 3, 4, 700);
    let dice = &mut draft.dice;
    let (low, high, rate) =
        (dice.between(150, 400), dice.between(1_200, 2_500), dice.between(10, 40));
    let time = (high - low) * 1_000 / rate;
    let mut line = Line::from(low).hold(10_000);
    while line.end() < 240_000 {
        line = line.ramp(time, high).step(low).hold(5_000);
    }
    draft.vm(line);
    let line = heap(&mut draft.dice, 240_000);
    draft.vm(line);
    let pool = Pool::OfPeak(draft.dice.between(102, 115));
    draft.finish(pool, 240_000)
}

fn nightly_backup(mut draft: Draft) -> Workload {
    let mut at = 15_000;
    for _ in 0..draft.dice.between(4, 6) {
        let dice = &mut draft.dice;
        let (base, more) = (dice.between(300, 900), dice.between(128, 384));
        let (time, files) = (dice.between(15_000, 25_000), dice.between(600, 2_000));
        let line = Line::from(base).until(at).ramp(2_000, base + more);
        let line = line.hold(time).ramp(2_000, base);
        let rate = dice.between(150, 400);
        let vm = draft.vm(line).files(64, rate).max(base + more + files);
        vm.reads_all(at, Some(at + time));
        at += time + draft.dice.between(0, 8_000);
    }
    let pool = Pool::OfPeak(draft.dice.between(103, 115));
    draft.finish(pool, at + 30_000)
}

fn idle_caches(mut draft: Draft) -> Workload {
    draft.start = Start::Even;
    for _ in 0..draft.dice.between(3, 4) {
        let dice = &mut draft.dice;
        let (demand, rate) = (dice.between(100, 300), dice.between(100, 300));
        let files = dice.between(1_000, 2_500);
        draft.vm(Line::from(demand)).files(64, rate).max(demand + files).reads_all(0, None);
    }
    let dice = &mut draft.dice;
    let (low, high) = (dice.between(200, 400), dice.between(1_500, 3_000));
    let line = Line::from(low).hold(dice.between(10_000, 20_000));
    let line = line.ramp(dice.between(1_000, 20_000), high);
    draft.vm(line);
    let pool = Pool::OfPeak(draft.dice.between(105, 125));
    draft.finish(pool, 150_000)
}

fn many(mut draft: Draft) -> Workload {
    draft.weighted = true;
    for _ in 0..draft.dice.between(4, 60) {
        let dice = &mut draft.dice;
        let low = dice.between(100, 400);
        let high = low + dice.between(150, 900);
        let line = match dice.between(0, 4) {
            0 => Line::from(high),
            1 => heap(dice, 180_000),
            2 => day_and_night(dice, 90_000),
            3 => Line::from(low).hold(dice.between(5_000, 100_000)).ramp(30_000, high),
            _ => spikes(dice, low, high),
        };
        draft.vm(line);
    }
    let pool = Pool::OfPeak(draft.dice.between(97, 112));
    draft.finish(pool, 180_000)
}

fn spikes(dice: &mut Dice, low: u64, high: u64) -> Line {
    (0..5).fold(Line::from(low), |line, _| {
        let line = line.hold(dice.between(5_000, 35_000)).ramp(dice.between(200, 3_000), high);
        line.hold(dice.between(5_000, 15_000)).ramp(dice.between(200, 2_000), low)
    })
}

/// The same demand in all at all times, of which each VM has now more, now less.
fn shifting(mut draft: Draft, pool: Pool) -> Workload {
    draft.weighted = true;
    let count = draft.dice.between(4, 8);
    let sum = count * draft.dice.between(500, 1_200);
    let mut lines: Vec<Line> = Vec::new();
    for _ in 0..10 {
        let dice = &mut draft.dice;
        let shares: Vec<u64> = (0..count).map(|_| dice.between(15, 100)).collect();
        let whole: u64 = shares.iter().sum();
        let (move_time, rest) = (dice.between(2_000, 10_000), dice.between(10_000, 20_000));
        let wants = shares.iter().map(|share| sum * share / whole);
        lines = if lines.is_empty() {
            wants.map(|used| Line::from(used).hold(rest)).collect()
        } else {
            let pairs = lines.into_iter().zip(wants);
            pairs.map(|(line, used)| line.ramp(move_time, used).hold(rest)).collect()
        };
    }
    for line in lines {
        draft.vm(line);
    }
    draft.finish(pool, 200_000)
}

fn turns(mut draft: Draft) -> Workload {
    let (count, scale) = (4, draft.dice.between(100, 300));
    let (spell, gap) = (draft.dice.between(12_000, 16_000), draft.dice.between(0, 3_000));
    let round = count * (spell + gap);
    for turn in 0..count {
        let dice = &mut draft.dice;
        let low = dice.between(70, 100) * scale / 100;
        let high = low + stray(dice, 450, 10) * scale / 100;
        let rise = dice.between(200, 1_500);
        let burst = |line: Line, number: u64| {
            let at = 10_000 + number * round + turn * (spell + gap);
            line.until(at).ramp(rise, high).until(at + spell).ramp(200, low)
        };
        draft.vm((0..3).fold(Line::from(low), burst));
    }
    draft.finish(Pool::OfSum(60), 15_000 + 3 * round)
}

fn steady(mut draft: Draft) -> Workload {
    draft.weighted = true;
    draft.start = Start::Even;
    for _ in 0..draft.dice.between(4, 8) {
        // They could all hold as much: who has too little beside whom has to be found out.
        let demand = draft.dice.between(150, 1_600);
        draft.vm(Line::from(demand)).max(2_048);
    }
    let pool = Pool::OfPeak(draft.dice.between(95, 130));
    draft.finish(pool, 180_000)
}

fn stuck(mut draft: Draft) -> Workload {
    draft.start = Start::Even;
    for _ in 0..draft.dice.between(1, 2) {
        // It wants less than it holds, and gives nothing of that, or little.
        let demand = draft.dice.between(150, 400);
        let behaviour = odd(&mut draft.dice);
        draft.vm(Line::from(demand)).max(2_048).behaves(behaviour);
    }
    let dice = &mut draft.dice;
    let (low, high) = (dice.between(200, 400), dice.between(800, 1_600));
    let line = Line::from(low).hold(dice.between(10_000, 40_000)).ramp(10_000, high);
    let is_hungry = dice.chance(50);
    let hungry = draft.vm(line);
    if is_hungry {
        // It wants more than it holds, and cannot take it.
        hungry.behaves(Behaviour::of(Kind::Stuck));
    }
    for _ in 0..draft.dice.between(2, 4) {
        let times = [(5_000, 40_000), (2_000, 20_000), (20_000, 60_000)];
        let line = hill(&mut draft.dice, times, 3_000);
        draft.vm(line);
    }
    let pool = Pool::OfPeak(draft.dice.between(105, 130));
    draft.finish(pool, 180_000)
}

/// Rises once and falls again, after, within and for times between these.
fn hill(dice: &mut Dice, [after, rise, stay]: [(u64, u64); 3], fall: u64) -> Line {
    let low = dice.between(200, 500);
    let high = low + dice.between(500, 1_500);
    let line = Line::from(low).hold(dice.between(after.0, after.1));
    let line = line.ramp(dice.between(rise.0, rise.1), high).hold(dice.between(stay.0, stay.1));
    line.ramp(fall, low)
}

/// A balloon that does not move, or gives a part of what it is told to.
fn odd(dice: &mut Dice) -> Behaviour {
    let part = Behaviour { percent: dice.between(10, 60), ..Behaviour::of(Kind::Partial) };
    dice.pick(&[Behaviour::of(Kind::Stuck), part], part)
}

/// Some VMs that always want the same.
fn idlers(draft: &mut Draft, least: u64, most: u64, wants: u64) {
    for _ in 0..draft.dice.between(least, most) {
        let demand = draft.dice.between(150, wants);
        draft.vm(Line::from(demand));
    }
}

/// The amount, so many percent more or less at most.
fn stray(dice: &mut Dice, amount: u64, percent: u64) -> u64 {
    amount * dice.between(100 - percent, 100 + percent) / 100
}

/// How high the sun is, in thousandths, in each twelfth of a day.
const SUN: [u64; 12] = [0, 67, 250, 500, 750, 933, 1_000, 933, 750, 500, 250, 67];
