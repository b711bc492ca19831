//! [`Behaviour`]: what a simulated VM does that a cooperative one would not.
//!
//! Only says what is done and when; `vm` does it.

use std::time::Duration;

use agentd_core::{
    bytes::ByteCount,
    sample::{Obstacle, RunState},
};

use super::{
    fields::{Field, FieldError, Fields, nearest},
    scenario::Window,
};

/// What a simulated VM does that a cooperative one would not, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// What it does.
    pub kind: Kind,
    /// When it does so.
    pub during: Window,
    /// For kinds that come again: how often. For `intermittent`: how long it moves and rests.
    pub every: Option<Duration>,
    /// For kinds with an amount: how much.
    pub amount: Option<ByteCount>,
    /// For kinds with a rate: how much a second.
    pub rate: Option<ByteCount>,
    /// For `partial`: how much of each shrink it does.
    pub percent: u64,
    /// For `lying`: what it claims.
    pub claims: Claims,
}

/// What a simulated VM does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Its balloon does not move.
    Stuck,
    /// Its balloon moves slowly.
    Slow,
    /// It does only a part of each shrink.
    Partial,
    /// Its balloon moves at times only.
    Intermittent,
    /// It has no balloon driver: the balloon does not move, and there are no figures.
    NoDriver,
    /// Its figures are not what is so.
    Lying,
    /// Its figures stay as they were last.
    FrozenStats,
    /// It reboots.
    Reboots,
    /// It does not execute.
    Pauses,
    /// The hypervisor does not answer for it; an order is taken when it does again.
    Hangs,
    /// The hypervisor refuses orders to it.
    Refuses,
    /// It is gone.
    Vanishes,
    /// It does not go below an amount that nobody knows.
    HiddenFloor,
    /// A device of the host holds all of its memory in place, as its configuration says.
    Vfio,
    /// The same, and its configuration does not say so.
    HiddenVfio,
    /// Its memory is made of huge pages, as its configuration says.
    HugePages,
    /// Its memory is locked, as its configuration says.
    Locked,
    /// Its memory is encrypted, as its configuration says.
    Confidential,
    /// It has no balloon device, as its configuration says.
    NoBalloon,
    /// Its balloon gives memory back by itself before its kernel kills a program.
    TakesBack,
    /// It wants more and more memory.
    Leaks,
    /// It fills all its memory with files that it has read.
    CacheHolder,
    /// Somebody else orders it to hold an amount.
    ForeignOrder,
    /// It executes, but a long job keeps the hypervisor from taking orders to it.
    Busy,
    /// It is being saved to a disk.
    Saves,
    /// It is being brought back from a save.
    Restores,
    /// It is being migrated away, and goes on here afterwards.
    MigratesOut,
    /// It is being migrated here.
    MigratesIn,
    /// Its kernel has crashed; it starts anew afterwards.
    Crashes,
    /// It shuts down, and is gone afterwards.
    ShutsDown,
    /// Its maximum is another one.
    MaxChanges,
    /// Its stamps are an hour in the past.
    ClockBack,
}

/// What a lying VM claims of its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claims {
    /// That it uses all of it.
    #[default]
    NothingUnused,
    /// That it uses none of it.
    AllUnused,
    /// Now the one, now the other, every second report.
    Sawtooth,
    /// More unused than there is memory anywhere, and usable less than unused.
    Absurd,
    /// Anything at all, in every report anew.
    Garbage,
    /// Nothing: its reports are empty.
    Absent,
}

impl Behaviour {
    /// Reads one: a name, or a table with `kind` and the keys of that kind.
    pub(super) fn read(field: &Field<'_>, max: ByteCount) -> Result<Self, FieldError> {
        if field.value().as_str().is_some() {
            let kind = Kind::read(field)?;
            if kind.needs_amount() {
                let name = kind.name();
                let problem = "needs an amount: write for example";
                return Err(
                    field.error(format!("{problem} {{ kind = \"{name}\", amount = \"1GiB\" }}"))
                );
            }
            let during = kind.unset_window();
            return Ok(Self { during, ..Self::of(kind) });
        }
        let fields = field.fields()?;
        let kind = Kind::read(&fields.need("kind", "\"stuck\"")?)?;
        let keys: Vec<_> = ["kind", "from", "until"].into_iter().chain(kind.keys()).collect();
        fields.only(&keys)?;
        let most = if kind == Kind::MaxChanges { ByteCount::MAX } else { max };
        let behaviour = Self {
            during: Window::read(&fields, kind.unset_window())?,
            every: read_every(&fields)?,
            amount: fields.get("amount").map(|field| read_amount(&field, most)).transpose()?,
            rate: fields.get("rate").map(|field| field.size()).transpose()?,
            percent: fields.get("percent").map_or(Ok(HALF), |field| field.number(100))?,
            claims: fields
                .get("claims")
                .map_or_else(|| Ok(Claims::default()), |field| Claims::read(&field))?,
            ..Self::of(kind)
        };
        if kind.needs_amount() {
            fields.need("amount", "\"1GiB\"")?;
        }
        Ok(behaviour)
    }

    /// The kind with the defaults of its keys, from the beginning on and for ever.
    #[must_use]
    pub const fn of(kind: Kind) -> Self {
        Self {
            kind,
            during: Window::ALWAYS,
            every: None,
            amount: None,
            rate: None,
            percent: HALF,
            claims: Claims::NothingUnused,
        }
    }

    /// True when it comes up after `from` and not after `to`.
    #[must_use]
    pub fn occurs_in(&self, from: Duration, to: Duration) -> bool {
        let first = self.during.from;
        let Some(every) = self.every.filter(|_| to > first) else {
            return from < first && first <= to;
        };
        let turns = to.saturating_sub(first).as_nanos() / every.as_nanos().max(1);
        let back = to.saturating_sub(first).as_nanos() - turns * every.as_nanos();
        let last = to.saturating_sub(Duration::from_nanos(u64::try_from(back).unwrap_or(u64::MAX)));
        last > from && self.during.holds_at(last)
    }

    /// For `intermittent`: true while it rests.
    #[must_use]
    pub fn rests_at(&self, now: Duration) -> bool {
        let spell = self.every.unwrap_or(SPELL).as_nanos().max(1);
        let spells = now.saturating_sub(self.during.from).as_nanos() / spell;
        spells % 2 == 1
    }
}

impl Kind {
    /// Every kind with its name in a scenario.
    const NAMES: [(&'static str, Self); 32] = [
        ("stuck", Self::Stuck),
        ("slow", Self::Slow),
        ("partial", Self::Partial),
        ("intermittent", Self::Intermittent),
        ("no-driver", Self::NoDriver),
        ("lying", Self::Lying),
        ("frozen-stats", Self::FrozenStats),
        ("reboots", Self::Reboots),
        ("pauses", Self::Pauses),
        ("hangs", Self::Hangs),
        ("refuses", Self::Refuses),
        ("vanishes", Self::Vanishes),
        ("hidden-floor", Self::HiddenFloor),
        ("vfio", Self::Vfio),
        ("hidden-vfio", Self::HiddenVfio),
        ("huge-pages", Self::HugePages),
        ("locked", Self::Locked),
        ("confidential", Self::Confidential),
        ("no-balloon", Self::NoBalloon),
        ("takes-back", Self::TakesBack),
        ("leaks", Self::Leaks),
        ("cache-holder", Self::CacheHolder),
        ("foreign-order", Self::ForeignOrder),
        ("busy", Self::Busy),
        ("saves", Self::Saves),
        ("restores", Self::Restores),
        ("migrates-out", Self::MigratesOut),
        ("migrates-in", Self::MigratesIn),
        ("crashes", Self::Crashes),
        ("shuts-down", Self::ShutsDown),
        ("max-changes", Self::MaxChanges),
        ("clock-back", Self::ClockBack),
    ];

    /// Its name in a scenario.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    fn read(field: &Field<'_>) -> Result<Self, FieldError> {
        choose(field, &Self::NAMES)
    }

    /// True where nothing can be taken for its amount.
    const fn needs_amount(self) -> bool {
        matches!(self, Self::ForeignOrder | Self::MaxChanges)
    }

    /// The keys that only this kind has.
    fn keys(self) -> Vec<&'static str> {
        match self {
            Self::Slow | Self::Leaks => vec!["rate"],
            Self::Partial => vec!["percent"],
            Self::Intermittent | Self::Reboots => vec!["every"],
            Self::Lying => vec!["claims"],
            Self::HiddenFloor | Self::ForeignOrder | Self::MaxChanges => vec!["amount"],
            Self::Stuck
            | Self::NoDriver
            | Self::FrozenStats
            | Self::Pauses
            | Self::Hangs
            | Self::Refuses
            | Self::Vanishes
            | Self::Vfio
            | Self::HiddenVfio
            | Self::HugePages
            | Self::Locked
            | Self::Confidential
            | Self::NoBalloon
            | Self::TakesBack
            | Self::CacheHolder
            | Self::Busy
            | Self::Saves
            | Self::Restores
            | Self::MigratesOut
            | Self::MigratesIn
            | Self::Crashes
            | Self::ShutsDown
            | Self::ClockBack => vec![],
        }
    }

    /// When it is done where the scenario does not say: what happens at once, happens at 10 s, so
    /// that there is a before.
    const fn unset_window(self) -> Window {
        let from = match self {
            Self::Reboots
            | Self::Pauses
            | Self::Hangs
            | Self::Vanishes
            | Self::ForeignOrder
            | Self::Busy
            | Self::Saves
            | Self::MigratesOut
            | Self::Crashes
            | Self::ShutsDown
            | Self::MaxChanges
            | Self::ClockBack => Duration::from_secs(10),
            Self::Stuck
            | Self::Slow
            | Self::Partial
            | Self::Intermittent
            | Self::NoDriver
            | Self::Lying
            | Self::FrozenStats
            | Self::Refuses
            | Self::HiddenFloor
            | Self::Vfio
            | Self::HiddenVfio
            | Self::HugePages
            | Self::Locked
            | Self::Confidential
            | Self::NoBalloon
            | Self::TakesBack
            | Self::Leaks
            | Self::CacheHolder
            | Self::Restores
            | Self::MigratesIn => Duration::ZERO,
        };
        Window { from, until: None }
    }
}

/// Some kinds: those that a VM does at one moment, for example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kinds(u64);

impl Kinds {
    /// These.
    pub(super) const fn of(kinds: &[Kind]) -> Self {
        let (mut bits, mut left) = (0, kinds);
        while let Some((first, rest)) = left.split_first() {
            bits |= 1 << *first as u64;
            left = rest;
        }
        Self(bits)
    }

    /// These and that one.
    pub(super) const fn with(self, kind: Kind) -> Self {
        Self(self.0 | Self::of(&[kind]).0)
    }

    /// True when that one is among them.
    pub(super) const fn has(self, kind: Kind) -> bool {
        self.any(Self::of(&[kind]))
    }

    /// True when one of those is among them.
    pub(super) const fn any(self, kinds: Self) -> bool {
        self.0 & kinds.0 != 0
    }

    /// The state that the hypervisor tells of a VM that does these.
    pub(super) fn run(self) -> RunState {
        let told = RUNS.iter().find(|(kind, _)| self.has(*kind));
        told.map_or(RunState::Running, |(_, run)| *run)
    }

    /// What a configuration that says these says against the balloon.
    pub(super) fn obstacle(self) -> Option<Obstacle> {
        OBSTACLES.iter().find(|(kind, _)| self.has(*kind)).map(|(_, obstacle)| *obstacle)
    }
}

/// What the hypervisor tells of a VM that does so; of several the first.
const RUNS: [(Kind, RunState); 9] = [
    (Kind::Hangs, RunState::Unresponsive),
    (Kind::Crashes, RunState::Crashed),
    (Kind::ShutsDown, RunState::ShuttingDown),
    (Kind::Saves, RunState::Saving),
    (Kind::Restores, RunState::Restoring),
    (Kind::MigratesIn, RunState::MigratingIn),
    (Kind::MigratesOut, RunState::MigratingOut),
    (Kind::Pauses, RunState::Paused),
    (Kind::Busy, RunState::Busy),
];

/// What a VM's configuration says; of several the first.
const OBSTACLES: [(Kind, Obstacle); 5] = [
    (Kind::NoBalloon, Obstacle::NoBalloon),
    (Kind::Vfio, Obstacle::Device),
    (Kind::HugePages, Obstacle::HugePages),
    (Kind::Locked, Obstacle::Locked),
    (Kind::Confidential, Obstacle::Confidential),
];

impl Claims {
    const NAMES: [(&'static str, Self); 6] = [
        ("nothing-unused", Self::NothingUnused),
        ("all-unused", Self::AllUnused),
        ("sawtooth", Self::Sawtooth),
        ("absurd", Self::Absurd),
        ("garbage", Self::Garbage),
        ("absent", Self::Absent),
    ];

    fn read(field: &Field<'_>) -> Result<Self, FieldError> {
        choose(field, &Self::NAMES)
    }
}

fn read_amount(field: &Field<'_>, max: ByteCount) -> Result<ByteCount, FieldError> {
    let amount = field.size()?;
    if amount.is_zero() || amount > max {
        return Err(field.error(format!("must be more than nothing and at most max, {max}")));
    }
    Ok(amount)
}

fn read_every(fields: &Fields<'_>) -> Result<Option<Duration>, FieldError> {
    let Some(field) = fields.get("every") else {
        return Ok(None);
    };
    let every = field.time()?;
    if every < LEAST_EVERY {
        return Err(field.error("must be at least 100ms"));
    }
    Ok(Some(every))
}

fn choose<T: Copy>(field: &Field<'_>, names: &[(&str, T)]) -> Result<T, FieldError> {
    let word = field.text()?;
    if let Some((_, found)) = names.iter().find(|(name, _)| *name == word) {
        return Ok(*found);
    }
    let known: Vec<_> = names.iter().map(|(name, _)| *name).collect();
    Err(field.error(match nearest(word, &known) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("must be one of {}", known.join(", ")),
    }))
}

const HALF: u64 = 50;
const SPELL: Duration = Duration::from_secs(5);
/// As long as five steps of the world, so that nothing comes up twice in one.
const LEAST_EVERY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_up_once_in_each_turn() {
        let secs = Duration::from_secs;
        let during = Window { from: secs(10), until: Some(secs(25)) };
        let reboots = Behaviour { during, every: Some(secs(5)), ..Behaviour::of(Kind::Reboots) };
        let times: Vec<_> = (0..40).filter(|s| reboots.occurs_in(secs(*s), secs(s + 1))).collect();
        // Those that end at 10, 15 and 20 s; at 25 s it is over.
        assert_eq!(times, [9, 14, 19]);
        let once = Behaviour { every: None, ..reboots };
        let times: Vec<_> = (0..40).filter(|s| once.occurs_in(secs(*s), secs(s + 1))).collect();
        assert_eq!(times, [9]);
    }

    #[test]
    fn moves_and_rests_in_turn() {
        let spells = Behaviour::of(Kind::Intermittent);
        let rests: Vec<_> = (0..20).filter(|s| spells.rests_at(Duration::from_secs(*s))).collect();
        assert_eq!(rests, [5, 6, 7, 8, 9, 15, 16, 17, 18, 19]);
    }
}
