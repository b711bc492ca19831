//! [`Behaviour`]: what a simulated VM does that a cooperative one would not.
//!
//! Only says what is done and when; `vm` does it.

use std::time::Duration;

use agentd_core::bytes::ByteCount;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The host gets back nothing of what it gives.
    Vfio,
    /// It wants more and more memory.
    Leaks,
    /// It fills all its memory with files that it has read.
    CacheHolder,
    /// Somebody else orders it to hold an amount.
    ForeignOrder,
}

/// What a lying VM claims of its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
}

impl Behaviour {
    /// Reads one: a name, or a table with `kind` and the keys of that kind.
    pub(super) fn read(field: &Field<'_>, max: ByteCount) -> Result<Self, FieldError> {
        if field.value().as_str().is_some() {
            let kind = Kind::read(field)?;
            let during = kind.unset_window();
            return Ok(Self { during, ..Self::of(kind) });
        }
        let fields = field.fields()?;
        let kind = Kind::read(&fields.need("kind", "\"stuck\"")?)?;
        let keys: Vec<_> = ["kind", "from", "until"].into_iter().chain(kind.keys()).collect();
        fields.only(&keys)?;
        let behaviour = Self {
            during: Window::read(&fields, kind.unset_window())?,
            every: read_every(&fields)?,
            amount: fields.get("amount").map(|field| read_amount(&field, max)).transpose()?,
            rate: fields.get("rate").map(|field| field.size()).transpose()?,
            percent: fields.get("percent").map_or(Ok(HALF), |field| field.number(100))?,
            claims: fields
                .get("claims")
                .map_or_else(|| Ok(Claims::default()), |field| Claims::read(&field))?,
            ..Self::of(kind)
        };
        if kind == Kind::ForeignOrder {
            fields.need("amount", "\"1GiB\"")?;
        }
        Ok(behaviour)
    }

    const fn of(kind: Kind) -> Self {
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
    const NAMES: [(&'static str, Self); 17] = [
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
        ("leaks", Self::Leaks),
        ("cache-holder", Self::CacheHolder),
        ("foreign-order", Self::ForeignOrder),
    ];

    fn read(field: &Field<'_>) -> Result<Self, FieldError> {
        choose(field, &Self::NAMES)
    }

    /// The keys that only this kind has.
    fn keys(self) -> Vec<&'static str> {
        match self {
            Self::Slow | Self::Leaks => vec!["rate"],
            Self::Partial => vec!["percent"],
            Self::Intermittent | Self::Reboots => vec!["every"],
            Self::Lying => vec!["claims"],
            Self::HiddenFloor | Self::ForeignOrder => vec!["amount"],
            Self::Stuck
            | Self::NoDriver
            | Self::FrozenStats
            | Self::Pauses
            | Self::Hangs
            | Self::Refuses
            | Self::Vanishes
            | Self::Vfio
            | Self::CacheHolder => vec![],
        }
    }

    /// When it is done where the scenario does not say: what happens at once, happens at 10 s, so
    /// that there is a before.
    const fn unset_window(self) -> Window {
        let from = match self {
            Self::Reboots | Self::Pauses | Self::Hangs | Self::Vanishes | Self::ForeignOrder => {
                Duration::from_secs(10)
            }
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
            | Self::Leaks
            | Self::CacheHolder => Duration::ZERO,
        };
        Window { from, until: None }
    }
}

impl Claims {
    const NAMES: [(&'static str, Self); 4] = [
        ("nothing-unused", Self::NothingUnused),
        ("all-unused", Self::AllUnused),
        ("sawtooth", Self::Sawtooth),
        ("absurd", Self::Absurd),
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
