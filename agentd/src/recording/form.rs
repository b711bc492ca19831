//! How every value of a recording reads in bytes. A structure lists its fields in the order in which
//! they were ever added: a new one goes to the end, and no word changes its number.

use std::time::{Duration, SystemTime};

use agentd_core::{
    bytes::ByteCount,
    decision::{Decision, Pool},
    distress::{Distress, Sign},
    host::{HostLevel, HostView},
    plan::{Party, Plan, Resize, Transfer},
    policy::{Algorithm, Policy, VmKey},
    report::ReportTime,
    reserve::{Booked, Booking, Reservation, ReservationId},
    sample::{
        Boot, Freshness, GuestFigures, HostMemory, Obstacle, Pressure, RunState, Sample, Share,
        Traits, VmSample,
    },
    state::{Applied, Outcome, Resized},
    verdict::{Reason, Verdict, VerdictKind},
    vm::VmId,
};

use super::{
    Head, Recorded,
    code::{Coded, Input, Odd, put_body},
};
use crate::{control::Mode, store};

/// A structure with these fields.
macro_rules! structure {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        impl Coded for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),+ } = self;
                put_body(out, |out| { $($field.put(out);)+ });
            }

            fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
                let mut body = input.body()?;
                Ok(Self { $($field: body.field(stringify!($field))?),+ })
            }
        }
    };
}

/// One of these words, each with its number.
macro_rules! words {
    ($name:ident { $($word:ident = $number:literal),+ $(,)? }) => {
        impl Coded for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let number: u64 = match self { $(Self::$word => $number),+ };
                number.put(out);
            }

            fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
                match u64::take(input)? {
                    $($number => Ok(Self::$word),)+
                    other => Err(unknown(other)),
                }
            }
        }
    };
}

fn unknown(number: u64) -> Odd {
    Odd::new(format!("{number} stands for nothing that is known here"))
}

structure!(Head { agent_version, host, hypervisor, began });
structure!(Recorded {
    tick,
    began,
    mode,
    policy,
    anew,
    sample,
    decision,
    applied,
    settled,
    pinned
});
structure!(Sample { tick, now, host, granule, ideal, vms, reservations });
structure!(Reservation { id, min, max, vm });
structure!(HostMemory { total, usable, pressure });
structure!(Pressure { some, full });
structure!(VmSample {
    name,
    run,
    generation,
    traits,
    boot,
    silent_for,
    actual,
    max,
    guest,
    freshness,
    figures_age,
    distress,
    host_rss,
    overhead,
    reported,
    overhead_at_most,
});
structure!(ReportTime { after, until, second });
structure!(Traits { obstacle, takes_back_on_oom, set_aside });
structure!(GuestFigures { unused, usable, swap_in, swap_out, major_faults });
structure!(Distress { sign, age });
structure!(Decision { tick, algorithm, offset, verdicts, transfers, plan, pool, host, bookings });
structure!(Booking { id, min, max, held, filled, handed_to });
structure!(Verdict {
    kind,
    reason,
    previous_used,
    need,
    spare,
    demand,
    entitled,
    amount,
    distress
});
structure!(Transfer { from, to, amount });
structure!(Plan { neutral, shrinks, grows, funding, room, debt, limit_room });
structure!(Resize { vm, from, to });
structure!(Pool {
    limit,
    actual,
    exposed,
    promised,
    kept,
    usable,
    room,
    debt,
    reserve,
    stop,
    booked,
    starting,
});
structure!(Booked { reserved, beyond, held, lacks, wants, coming });
structure!(HostView { level, other, unexplained, suspicious });
structure!(Applied { resized, granted });
structure!(Resized { vm, planned, ordered, outcome, rest_refused });

words!(Mode { Active = 0, Observe = 1, Paused = 2 });
words!(RunState {
    Running = 0,
    Busy = 1,
    Paused = 2,
    Saving = 3,
    Restoring = 4,
    MigratingOut = 5,
    MigratingIn = 6,
    ShuttingDown = 7,
    Crashed = 8,
    Unresponsive = 9,
});
words!(Obstacle { NoBalloon = 0, Device = 1, HugePages = 2, Locked = 3, Confidential = 4 });
words!(Boot { Start = 0, Reboot = 1 });
words!(Freshness { Fresh = 0, Unsettled = 1, Unproven = 2, Stale = 3, Absent = 4 });
words!(VerdictKind { Hold = 0, Grow = 1, Shrink = 2 });
words!(HostLevel { Normal = 0, Low = 1, Emergency = 2 });

impl Coded for ByteCount {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_u64().put(out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        u64::take(input).map(Self::bytes)
    }

    fn absent() -> Option<Self> {
        Some(Self::ZERO)
    }
}

impl Coded for Share {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        u32::take(input).map(Self)
    }
}

impl Coded for ReservationId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        u64::take(input).map(Self)
    }
}

impl Coded for VmKey {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Id(id) => {
                0_u64.put(out);
                id.put(out);
            }
            Self::Name(name) => {
                1_u64.put(out);
                name.put(out);
            }
        }
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        match u64::take(input)? {
            0 => Ok(Self::Id(Coded::take(input)?)),
            1 => Ok(Self::Name(Coded::take(input)?)),
            other => Err(unknown(other)),
        }
    }
}

impl Coded for VmId {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        let bytes = input.bytes(16)?;
        bytes.try_into().map(Self::from_bytes).map_err(|_| Odd::new("is no UUID"))
    }
}

/// Since 1970, which is when a clock that was set before says it is.
impl Coded for SystemTime {
    fn put(&self, out: &mut Vec<u8>) {
        self.duration_since(Self::UNIX_EPOCH).unwrap_or_default().put(out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        let since = Duration::take(input)?;
        let time = Self::UNIX_EPOCH.checked_add(since);
        time.ok_or_else(|| Odd::new(format!("{since:?} after 1970 is no time")))
    }
}

/// By its name: algorithms come and go.
impl Coded for Algorithm {
    fn put(&self, out: &mut Vec<u8>) {
        self.name().to_owned().put(out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        String::take(input)?.parse().map_err(|error| Odd::new(format!("{error}")))
    }
}

/// By its name: there is a new one with many versions.
impl Coded for Reason {
    fn put(&self, out: &mut Vec<u8>) {
        self.name().to_owned().put(out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        let name = String::take(input)?;
        let found = Self::ALL.into_iter().find(|reason| reason.name() == name);
        found.ok_or_else(|| Odd::new(format!("{name:?} is no reason that is known here")))
    }
}

/// As the state keeps it.
impl Coded for Policy {
    fn put(&self, out: &mut Vec<u8>) {
        store::policy_to_json(self).unwrap_or_default().put(out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        store::policy_from_json(&String::take(input)?).map_err(Odd::new)
    }
}

impl Coded for Party {
    fn put(&self, out: &mut Vec<u8>) {
        let vm = match self {
            Self::Host => None,
            Self::Vm(id) => Some(*id),
        };
        vm.put(out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        let vm = <Option<VmId> as Coded>::take(input)?;
        Ok(vm.map_or(Self::Host, Self::Vm))
    }
}

impl Coded for Sign {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::SwapsOut(rate) => {
                0_u64.put(out);
                rate.put(out);
            }
            Self::Faults(count) => {
                1_u64.put(out);
                count.put(out);
            }
            Self::TookBack => 2_u64.put(out),
        }
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        match u64::take(input)? {
            0 => Ok(Self::SwapsOut(Coded::take(input)?)),
            1 => Ok(Self::Faults(Coded::take(input)?)),
            2 => Ok(Self::TookBack),
            other => Err(unknown(other)),
        }
    }
}

impl Coded for Outcome {
    fn put(&self, out: &mut Vec<u8>) {
        let number: u64 = match self {
            Self::Accepted => 0,
            Self::Refused(_) => 1,
            Self::VmGone => 2,
            Self::InDoubt => 3,
            Self::Held => 4,
            Self::Skipped => 5,
        };
        number.put(out);
        if let Self::Refused(why) = self {
            why.put(out);
        }
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        match u64::take(input)? {
            0 => Ok(Self::Accepted),
            1 => Ok(Self::Refused(Coded::take(input)?)),
            2 => Ok(Self::VmGone),
            3 => Ok(Self::InDoubt),
            4 => Ok(Self::Held),
            5 => Ok(Self::Skipped),
            other => Err(unknown(other)),
        }
    }
}
