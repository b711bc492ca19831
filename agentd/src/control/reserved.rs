//! [`Reserved`]: a reservation with who made it and when it ends, and the [`Reservations`] of a host.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use agentd_core::{
    admit::Room,
    bytes::{ByteCount, told_apart},
    explain,
    policy::VmKey,
    reserve::{Reservation, ReservationId},
    vm::VmId,
};

use super::Actor;
use crate::publish::Position;

/// A reservation, whether it is over or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// What is to be kept, and for whom.
    pub reservation: Reservation,
    /// Who made it, and when.
    pub actor: Actor,
    /// Why, as they said.
    pub reason: String,
    /// Names the request that made it; empty where it named nothing.
    pub request_id: String,
    /// When it expires, by the wall clock.
    pub expires_at: SystemTime,
    /// The same by the monotonic clock of this run.
    pub expires: Duration,
    /// It held its minimum when it was last looked at. Not kept over a restart.
    pub filled: bool,
    /// How it ended, and when by the wall clock; `None` while it is open.
    pub end: Option<(Ending, SystemTime)>,
}

/// How a reservation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// This VM has come and is counted in its place.
    HandedOver {
        /// Which VM.
        vm: VmId,
        /// Its name.
        name: Arc<str>,
    },
    /// Its time was up.
    Expired,
    /// Somebody released it.
    Released,
}

/// All reservations that are kept, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reservations {
    /// Those that are not over, in the order in which they were made; at most [`Reservations::MOST`].
    pub open: Vec<Arc<Reserved>>,
    /// Those that are, in the order in which they ended; at most [`Reservations::ENDED`].
    pub ended: Vec<Arc<Reserved>>,
}

/// A reservation that somebody asks for.
#[derive(Clone, Debug)]
pub struct ReserveAsk {
    /// What it is to be guaranteed.
    pub min: ByteCount,
    /// Most that it is to take; at least `min`.
    pub max: ByteCount,
    /// For how long.
    pub lasting: Duration,
    /// The VM that it is for; `None` for the first that comes once it is filled.
    pub vm: Option<VmKey>,
    /// Who asks.
    pub actor: Actor,
    /// Why, as they say.
    pub reason: String,
    /// Names the request; empty names nothing.
    pub request_id: String,
    /// Check everything, make nothing.
    pub validate_only: bool,
    /// What its VM holds, where that is on the host already.
    pub runs: Option<ByteCount>,
    /// What there is on the host.
    pub room: Room,
}

/// What became of a reservation that somebody made or released.
#[derive(Clone, Debug)]
pub struct ReserveSet {
    /// The reservation.
    pub reserved: Arc<Reserved>,
    /// Its place in the log; `None` where nothing changed or the log was too slow to say.
    pub position: Option<Position>,
}

/// Why there is no such reservation. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// It could never be filled: why, with the figures.
    #[error("{0}; ask for less, lower minimums of VMs, or release another reservation")]
    DoesNotFit(String),
    /// There are as many as there may be.
    #[error("there are {0} reservations, which is all that may be: release one first")]
    TooMany(usize),
    /// Its VM is on the host already.
    #[error(
        "{vm} is on this host already and holds {holds}: a reservation is for a VM that is to come"
    )]
    VmRuns {
        /// The VM.
        vm: VmKey,
        /// What it holds.
        holds: ByteCount,
    },
    /// There is one for the same VM.
    #[error("reservation {id} is for {vm} already: release it first")]
    Twice {
        /// Which one.
        id: ReservationId,
        /// The VM.
        vm: VmKey,
    },
    /// The request's name was used for another one.
    #[error(
        "reservation {id} was made with this request_id and asks for something else: {differs}; give this \
         request another request_id, or none"
    )]
    OtherRequest {
        /// Which one.
        id: ReservationId,
        /// In what, with both values.
        differs: String,
    },
    /// It is not kept, or never was.
    #[error("there is no reservation {0}, or it is no longer kept")]
    Unknown(u64),
}

impl Reservations {
    /// Most that are open at a time.
    pub const MOST: usize = 16;
    /// Most that are kept of those that are over.
    pub const ENDED: usize = 64;

    /// The one with this number, open or over.
    #[must_use]
    pub fn find(&self, id: u64) -> Option<&Arc<Reserved>> {
        self.all().find(|own| own.reservation.id.0 == id)
    }

    /// All that are kept.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Reserved>> {
        self.open.iter().chain(&self.ended)
    }

    /// What is in force at this moment, monotonic: one whose time is up is not, whoever notes that.
    pub fn in_force(&self, now: Duration) -> impl Iterator<Item = &Reservation> {
        self.open.iter().filter(move |own| own.expires > now).map(|own| &own.reservation)
    }

    /// What open ones are guaranteed together.
    #[must_use]
    pub fn guaranteed(&self) -> ByteCount {
        self.open.iter().map(|own| own.reservation.min).sum()
    }

    pub(super) fn next_id(&self) -> ReservationId {
        let last = self.all().map(|own| own.reservation.id.0).max();
        ReservationId(last.unwrap_or(0).saturating_add(1))
    }

    /// With this one instead of the one of its number, or beside the others.
    pub(super) fn with(&self, changed: Arc<Reserved>) -> Self {
        let mut all = self.clone();
        let id = changed.reservation.id;
        all.open.retain(|own| own.reservation.id != id);
        all.ended.retain(|own| own.reservation.id != id);
        if changed.end.is_some() {
            all.ended.push(changed);
            let excess = all.ended.len().saturating_sub(Self::ENDED);
            all.ended.drain(..excess);
        } else {
            all.open.push(changed);
            all.open.sort_by_key(|own| own.reservation.id);
        }
        all
    }
}

impl Reserved {
    /// Whether a tick may have handed it over: it was in force when that began, though its time may have been up
    /// when that ended.
    pub(super) const fn may_be_handed_over(&self) -> bool {
        matches!(self.end, None | Some((Ending::Expired, _)))
    }

    /// In what it is not what is asked for, with both values; `None` where it is.
    pub(super) fn differs(&self, ask: &ReserveAsk) -> Option<String> {
        let Reservation { min, max, vm, .. } = &self.reservation;
        let whole = self.expires_at.duration_since(self.actor.time).unwrap_or_default();
        let whose =
            |vm: &Option<VmKey>| vm.as_ref().map_or_else(|| "none".to_owned(), VmKey::to_string);
        let times = (explain::time(whole), explain::time(ask.lasting));
        let values = [
            ("min_bytes", *min == ask.min, told_apart(*min, ask.min)),
            ("max_bytes", *max == ask.max, told_apart(*max, ask.max)),
            ("duration", whole.abs_diff(ask.lasting) < MOMENT, times),
            ("vm", *vm == ask.vm, (whose(vm), whose(&ask.vm))),
        ];
        let other = values.into_iter().filter(|(_, is_same, _)| !is_same);
        let words: Vec<String> =
            other.map(|(what, _, (own, asked))| format!("{what} {own}, not {asked}")).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

/// An agentd of before took the two times of a reservation at two moments, which a slow disk keeps apart for as
/// long as a change has patience; and who says it again may reckon its time from then.
const MOMENT: Duration = Duration::from_secs(6);

impl Ending {
    /// Its name, on disk too.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::HandedOver { .. } => "handed_over",
            Self::Expired => "expired",
            Self::Released => "released",
        }
    }
}

impl fmt::Display for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reservation { id, min, max, vm, .. } = &self.reservation;
        write!(f, "reservation {id} of {min}")?;
        if max > min {
            write!(f, " to {max}")?;
        }
        vm.as_ref().map_or(Ok(()), |vm| write!(f, " for {vm}"))
    }
}
