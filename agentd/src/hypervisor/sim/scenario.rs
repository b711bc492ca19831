//! [`Scenario`]: a simulated host and its VMs, as written in a TOML file.
//!
//! Reads and checks the file; `world` makes it run. docs/SCENARIOS.md describes every key.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
    time::Duration,
};

use agentd_core::{
    bytes::ByteCount,
    policy::Policy,
    sample::{Pressure, Share},
    vm::VmId,
};

use super::{
    behaviour::Behaviour,
    curve::{Curve, Point},
    fields::{Field, FieldError, Fields, Source},
    numbers::Numbers,
    reservation::ReservationScenario,
};
use crate::config;

/// A simulated host and its VMs.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Time from one tick to the next.
    pub tick_interval: Duration,
    /// Everything random follows from this.
    pub seed: u64,
    /// How the hypervisor behaves.
    pub sim: SimScenario,
    /// Memory of the host.
    pub host: HostScenario,
    /// The VMs, in the order of the file.
    pub vms: Vec<VmScenario>,
    /// Memory that is reserved for a while; `agentd simulate` does that, and who serves a scenario has the
    /// reservations that it is asked for.
    pub reservations: Vec<ReservationScenario>,
    /// The policy that the scenario is meant for; `None` for the built-in one.
    pub policy: Option<Policy>,
}

/// How the simulated hypervisor behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimScenario {
    /// Balloons arrive at once, and figures are fresh and exact.
    pub ideal: bool,
    /// How long every call takes.
    pub call_latency: Duration,
    /// When there is no connection to it.
    pub connection_lost: Vec<Window>,
    /// When it does not answer.
    pub silent: Vec<Window>,
    /// VMs report when they are read, as libvirt's VMs do for agentd; not only once a period.
    pub prompts: bool,
    /// How far the world moves at a time.
    pub step: Duration,
}

impl Default for SimScenario {
    fn default() -> Self {
        Self {
            ideal: false,
            call_latency: Duration::ZERO,
            connection_lost: Vec::new(),
            silent: Vec::new(),
            prompts: false,
            step: Duration::from_millis(20),
        }
    }
}

/// Memory of the simulated host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostScenario {
    /// All of it.
    pub total: ByteCount,
    /// What the host itself uses.
    pub other: Curve,
    /// How much work on it waits for memory; none at any other time.
    pub pressure: Vec<PressureSpell>,
}

/// A time in which work on the host waits for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PressureSpell {
    /// When.
    pub during: Window,
    /// How much.
    pub pressure: Pressure,
}

/// One simulated VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmScenario {
    /// Its name.
    pub name: Arc<str>,
    /// Its UUID.
    pub id: VmId,
    /// Most memory that it may hold.
    pub max: ByteCount,
    /// Memory that it holds at its start.
    pub actual: ByteCount,
    /// Memory that its programs want.
    pub demand: Curve,
    /// When it exists.
    pub life: Window,
    /// What it does that a cooperative VM would not.
    pub behaviours: Vec<Behaviour>,
    /// How fast and how large things are in it.
    pub numbers: Numbers,
}

/// A stretch of time: from the first moment up to, not including, the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first moment.
    pub from: Duration,
    /// The moment after it; `None` when it does not end.
    pub until: Option<Duration>,
}

/// Why there is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the scenario {file}: {error}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system says.
        error: io::Error,
    },
    /// The file is too long to be a scenario.
    #[error("the scenario {file} is longer than {LONGEST} bytes")]
    TooLong {
        /// The file.
        file: String,
    },
    /// Something in it makes no sense.
    #[error(transparent)]
    Senseless(#[from] FieldError),
}

impl Scenario {
    /// Reads a scenario from a file; from standard input where the path is "-".
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be read, or makes no sense as a scenario.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let (file, from): (String, io::Result<Box<dyn Read>>) = if path == Path::new("-") {
            ("standard input".to_owned(), Ok(Box::new(io::stdin())))
        } else {
            let opened = File::open(path).map(|file| Box::new(file) as Box<dyn Read>);
            (path.display().to_string(), opened)
        };
        let mut text = String::new();
        let read = from.and_then(|from| from.take(LONGEST + 1).read_to_string(&mut text));
        match read {
            Err(error) => Err(LoadError::Unreadable { file, error }),
            Ok(_) if text.len() as u64 > LONGEST => Err(LoadError::TooLong { file }),
            Ok(_) => Ok(Self::parse(&file, &text)?),
        }
    }

    /// Reads a scenario from its text. `file` is only for errors.
    ///
    /// # Errors
    ///
    /// Fails when something in it makes no sense: with the line, the key, the value, and what
    /// would be right.
    pub fn parse(file: &str, text: &str) -> Result<Self, FieldError> {
        let source = Source { file, text };
        let parsed = source.parse()?;
        let root = Fields::root(source, parsed.get_ref());
        root.only(&["tick_interval", "seed", "sim", "host", "vm", "reservation", "policy"])?;
        let (sim, numbers) = read_sim(&root)?;
        let host =
            read_host(&root.need("host", "{ total = \"8GiB\", other = \"1GiB\" }")?, sim.ideal)?;
        let list = match root.get("vm") {
            Some(list) => list.items(MOST_VMS)?,
            None => Vec::new(),
        };
        let vms: Vec<_> = list
            .iter()
            .map(|field| read_vm(field, sim.ideal, numbers))
            .collect::<Result<_, _>>()?;
        refuse_doubles(&list, &vms)?;
        refuse_overfull(&root, &host, &vms)?;
        Ok(Self {
            tick_interval: read_interval(&root)?,
            seed: root.get("seed").map_or(Ok(1), |seed| seed.number(u64::MAX))?,
            sim,
            host,
            vms,
            reservations: ReservationScenario::read_all(&root)?,
            policy: root.get("policy").map(|field| config::policy::read(&field)).transpose()?,
        })
    }
}

impl Window {
    /// All of time.
    pub const ALWAYS: Self = Self { from: Duration::ZERO, until: None };

    /// True when this moment is in it.
    #[must_use]
    pub fn holds_at(&self, now: Duration) -> bool {
        self.from <= now && self.until.is_none_or(|until| now < until)
    }

    /// True when a moment is in both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let before = |one: &Self, two: &Self| one.until.is_some_and(|until| until <= two.from);
        !before(self, other) && !before(other, self)
    }

    /// Reads the keys `from` and `until`.
    pub(super) fn read(fields: &Fields<'_>, unset: Self) -> Result<Self, FieldError> {
        Self::read_as(fields, ("from", "until"), unset)
    }

    fn read_as(
        fields: &Fields<'_>,
        (first, last): (&str, &str),
        unset: Self,
    ) -> Result<Self, FieldError> {
        let from = fields.time_or(first, unset.from)?;
        let Some(field) = fields.get(last) else {
            return Ok(Self { from, ..unset });
        };
        let until = field.time()?;
        if until <= from {
            return Err(field.error(format!("must be after {first}, which is {from:?}")));
        }
        Ok(Self { from, until: Some(until) })
    }
}

/// The UUID of a VM whose scenario gives none: the 128-bit FNV-1a hash of its name, marked as
/// version 8 of RFC 9562.
#[must_use]
pub fn derived_id(name: &str) -> VmId {
    let step = |hash: u128, byte| (hash ^ u128::from(byte)).wrapping_mul(FNV_PRIME);
    let hash = name.bytes().fold(FNV_BASIS, step);
    let bare = hash & !(0xf << 76) & !(0x3 << 62);
    let marked = bare | (0x8 << 76) | (0x2 << 62);
    VmId::from_bytes(marked.to_be_bytes())
}

fn read_interval(root: &Fields<'_>) -> Result<Duration, FieldError> {
    let Some(field) = root.get("tick_interval") else {
        return Ok(Duration::from_secs(1));
    };
    let interval = field.time()?;
    if !(LEAST_INTERVAL..=MOST_INTERVAL).contains(&interval) {
        return Err(field.error("must be from 2ms to 1h"));
    }
    Ok(interval)
}

fn read_sim(root: &Fields<'_>) -> Result<(SimScenario, Numbers), FieldError> {
    let mut sim = SimScenario::default();
    let Some(field) = root.get("sim") else {
        return Ok((sim, Numbers::default()));
    };
    let fields = field.fields()?;
    let own = ["ideal", "call_latency", "connection_lost", "silent", "prompts", "step"];
    let keys: Vec<_> = own.into_iter().chain(Numbers::KEYS).collect();
    fields.only(&keys)?;
    if let Some(ideal) = fields.get("ideal") {
        sim.ideal = ideal.truth()?;
    }
    refuse_in_ideal(&fields, sim.ideal, keys.get(1..).unwrap_or_default())?;
    sim.call_latency = fields.time_or("call_latency", sim.call_latency)?;
    sim.connection_lost = read_windows(&fields, "connection_lost")?;
    sim.silent = read_windows(&fields, "silent")?;
    if let Some(prompts) = fields.get("prompts") {
        sim.prompts = prompts.truth()?;
    }
    if let Some(step) = fields.get("step") {
        sim.step = step.time()?;
        if !(LEAST_STEP..=MOST_STEP).contains(&sim.step) {
            return Err(step.error("must be from 1ms to 1s"));
        }
    }
    Ok((sim, Numbers::default().read(&fields)?))
}

fn read_host(field: &Field<'_>, ideal: bool) -> Result<HostScenario, FieldError> {
    let fields = field.fields()?;
    fields.only(&["total", "other", "pressure"])?;
    refuse_in_ideal(&fields, ideal, &["pressure"])?;
    let total = fields.need("total", "\"8GiB\"")?;
    let other = match fields.get("other") {
        Some(other) => read_curve(&other)?,
        None => Curve::constant(ByteCount::ZERO),
    };
    if total.size()?.is_zero() {
        return Err(total.error("must be more than nothing"));
    }
    let pressure = match fields.get("pressure") {
        Some(list) => {
            list.items(MOST_WINDOWS)?.iter().map(read_pressure).collect::<Result<_, _>>()?
        }
        None => Vec::new(),
    };
    Ok(HostScenario { total: total.size()?, other, pressure })
}

/// A table with `from` and `until`, and the percent of `some` and of `full`.
fn read_pressure(item: &Field<'_>) -> Result<PressureSpell, FieldError> {
    let fields = item.fields()?;
    fields.only(&["from", "until", "some", "full"])?;
    fields.need("from", "\"10s\"")?;
    let percent = |field: &Field<'_>| {
        let percent = field.number(100)?;
        Ok(Share::percent(u32::try_from(percent).unwrap_or(100)))
    };
    let some = percent(&fields.need("some", "40")?)?;
    let full = fields.get("full").map(|field| percent(&field)).transpose()?.unwrap_or_default();
    if full > some {
        let full = fields.need("full", "10")?;
        return Err(full.error(format!("must be at most some, which is {some}")));
    }
    let pressure = Pressure { some, full };
    Ok(PressureSpell { during: Window::read(&fields, Window::ALWAYS)?, pressure })
}

fn read_vm(field: &Field<'_>, ideal: bool, general: Numbers) -> Result<VmScenario, FieldError> {
    let fields = field.fields()?;
    let own = ["name", "uuid", "max", "actual", "demand", "start", "stop", "behaviour"];
    let keys: Vec<_> = own.into_iter().chain(Numbers::KEYS).collect();
    fields.only(&keys)?;
    refuse_in_ideal(&fields, ideal, keys.get(7..).unwrap_or_default())?;
    let name = read_name(&fields.need("name", "\"web1\"")?)?;
    let max = fields.need("max", "\"2GiB\"")?;
    let actual = fields.need("actual", "\"512MiB\"")?;
    let (most, holds) = (max.size()?, actual.size()?);
    if holds < LEAST_ACTUAL {
        return Err(actual.error(format!("must be at least {LEAST_ACTUAL}")));
    }
    if holds > most {
        return Err(actual.error(format!("must be at most max, which is {most}")));
    }
    Ok(VmScenario {
        id: fields.get("uuid").map_or_else(|| Ok(derived_id(name)), |field| read_id(&field))?,
        name: name.into(),
        max: most,
        actual: holds,
        demand: read_curve(&fields.need("demand", "[{ at = \"0s\", used = \"150MiB\" }]")?)?,
        life: Window::read_as(&fields, ("start", "stop"), Window::ALWAYS)?,
        behaviours: read_behaviours(&fields, most)?,
        numbers: general.read(&fields)?,
    })
}

fn read_name<'a>(field: &Field<'a>) -> Result<&'a str, FieldError> {
    let name = field.text()?;
    if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        let problem = format!("must have 1 to {LONGEST_NAME} bytes and no control characters");
        return Err(field.error(problem));
    }
    if name == "host" {
        return Err(field.error("means the host itself in transfers: choose another name"));
    }
    Ok(name)
}

fn read_id(field: &Field<'_>) -> Result<VmId, FieldError> {
    let parsed = field.text()?.parse::<VmId>();
    parsed.map_err(|error| field.error(error.to_string()))
}

/// An amount, or a list of points.
fn read_curve(field: &Field<'_>) -> Result<Curve, FieldError> {
    if field.value().as_str().is_some() {
        return field.size().map(Curve::constant);
    }
    let mut points: Vec<Point> = Vec::new();
    for item in field.items(MOST_POINTS)? {
        let fields = item.fields()?;
        fields.only(&["at", "used"])?;
        let time = fields.need("at", "\"10s\"")?;
        let point = Point { at: time.time()?, used: fields.need("used", "\"900MiB\"")?.size()? };
        if let Some(last) = points.last().filter(|last| last.at > point.at) {
            let before = last.at;
            return Err(time.error(format!("must not be before the last point, at {before:?}")));
        }
        points.push(point);
    }
    if points.is_empty() {
        return Err(field.error("must have at least one point, { at = \"0s\", used = \"150MiB\" }"));
    }
    Ok(Curve::new(points))
}

/// One behaviour, or a list of them.
fn read_behaviours(fields: &Fields<'_>, max: ByteCount) -> Result<Vec<Behaviour>, FieldError> {
    let Some(field) = fields.get("behaviour") else {
        return Ok(Vec::new());
    };
    if field.value().as_array().is_none() {
        return Ok(vec![Behaviour::read(&field, max)?]);
    }
    field.items(MOST_BEHAVIOURS)?.iter().map(|item| Behaviour::read(item, max)).collect()
}

/// A list of tables with `from` and `until`.
fn read_windows(fields: &Fields<'_>, key: &str) -> Result<Vec<Window>, FieldError> {
    let Some(field) = fields.get(key) else {
        return Ok(Vec::new());
    };
    let window = |item: &Field<'_>| {
        let fields = item.fields()?;
        fields.only(&["from", "until"])?;
        fields.need("from", "\"10s\"")?;
        Window::read(&fields, Window::ALWAYS)
    };
    field.items(MOST_WINDOWS)?.iter().map(window).collect()
}

/// An ideal world has no faults and nothing to tune: a number that would do nothing is refused.
fn refuse_in_ideal(fields: &Fields<'_>, ideal: bool, keys: &[&str]) -> Result<(), FieldError> {
    let odd = keys.iter().filter(|_| ideal).find_map(|key| fields.get(key));
    odd.map_or(Ok(()), |field| {
        Err(field.error("has no effect with sim.ideal = true: leave out one of the two"))
    })
}

fn refuse_doubles(list: &[Field<'_>], vms: &[VmScenario]) -> Result<(), FieldError> {
    let (mut names, mut ids) = (BTreeMap::<_, Vec<usize>>::new(), BTreeMap::new());
    for (index, (field, vm)) in list.iter().zip(vms).enumerate() {
        let fields = field.fields()?;
        let before: &mut Vec<usize> = names.entry(vm.name.clone()).or_default();
        let rival = |other: &&usize| vms.get(**other).is_some_and(|one| one.life.meets(&vm.life));
        if let Some(first) = before.iter().find(rival) {
            let problem =
                format!("vm[{first}] has this name at the same time: each VM needs its own");
            return Err(fields.need("name", "\"web2\"")?.error(problem));
        }
        before.push(index);
        if let Some(first) = ids.insert(vm.id, index) {
            let own = fields.get("uuid").or_else(|| fields.get("name"));
            let problem = format!("vm[{first}] has the UUID {}: each VM needs its own", vm.id);
            return Err(own.unwrap_or_else(|| field.clone()).error(problem));
        }
    }
    Ok(())
}

/// The host must be able to hold what it starts with.
fn refuse_overfull(
    root: &Fields<'_>,
    host: &HostScenario,
    vms: &[VmScenario],
) -> Result<(), FieldError> {
    let first = vms.iter().filter(|vm| vm.life.holds_at(Duration::ZERO));
    let held: ByteCount = first.map(|vm| vm.actual).sum();
    let other = host.other.at(Duration::ZERO);
    if held.saturating_add(other) <= host.total {
        return Ok(());
    }
    let total = root.need("host", "")?.fields()?.need("total", "\"8GiB\"")?;
    let problem = format!("must be at least other, {other}, and every actual, {held} in all");
    Err(total.error(problem))
}

const MOST_VMS: usize = 10_000;
/// A point for every second of a day.
const MOST_POINTS: usize = 86_400;
const MOST_BEHAVIOURS: usize = 16;
const MOST_WINDOWS: usize = 1_000;
/// Room for 10,000 VMs with some points each.
const LONGEST: u64 = 64 << 20;
/// Longest name that libvirt's own tools are known to handle.
const LONGEST_NAME: usize = 256;
/// Below this a Linux kernel panics instead of running.
const LEAST_ACTUAL: ByteCount = ByteCount::mib(16);
const LEAST_INTERVAL: Duration = Duration::from_millis(2);
const MOST_INTERVAL: Duration = Duration::from_secs(3_600);
const LEAST_STEP: Duration = Duration::from_millis(1);
const MOST_STEP: Duration = Duration::from_secs(1);
const FNV_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const FNV_PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
