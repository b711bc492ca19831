//! The names that a person types for the fields of the policy ("host-reserve", "vm.web1.max"), and
//! their way into a field mask and back. Pure. What a value must be beyond its form, the agent
//! says.

use std::fmt;
use std::time::Duration;

use agentd_proto::v1;

use crate::dto::Policy;
use crate::quantity::{Units, format_set, format_time, parse_duration, parse_size};
use crate::suggest::did_you_mean;

/// One field of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A field of the general rule.
    General(General),
    /// A field of an exception.
    Vm(String, VmField),
    /// A whole exception.
    WholeVm(String),
}

/// Fields of the general rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum General {
    Algorithm,
    HostReserve,
    PoolLimit,
    Floor,
    ShrinkStep,
    NeedBelow,
    SpareAbove,
    Step,
    Headroom,
    HeadroomPercent,
    Lead,
    KeepFor,
    DeadBand,
    ShrinkPercent,
}

/// Fields of an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VmField {
    Min,
    Max,
    Weight,
    Pinned,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Size(u64),
    Time(Duration),
    Number(u32),
    Word(String),
    Flag(bool),
    Unset,
}

impl Value {
    /// In words.
    pub(crate) fn text(&self, units: Units) -> String {
        match self {
            Self::Size(bytes) => format_set(*bytes, units),
            Self::Time(time) => format_time(*time),
            Self::Number(number) => number.to_string(),
            Self::Word(word) => word.clone(),
            Self::Flag(flag) => flag.to_string(),
            Self::Unset => "unset".to_owned(),
        }
    }
}

impl Key {
    /// Reads a key as typed.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(general) = GENERAL.iter().find(|(_, key, _)| *key == text) {
            return Ok(Self::General(general.0));
        }
        if let Some(rest) = text.strip_prefix("vm.").filter(|rest| !rest.is_empty()) {
            return Self::parse_vm(rest);
        }
        Err(format!("\"{text}\" is not a key of the policy; {}", meant(text)))
    }

    /// Every key of the general rule, as typed.
    pub(crate) fn general() -> impl Iterator<Item = &'static str> {
        GENERAL.iter().map(|(_, key, _)| *key)
    }

    /// The path in a field mask.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::General(general) => general.row().2.to_owned(),
            Self::Vm(name, field) => format!("vms.{}.{}", quoted(name), field.path()),
            Self::WholeVm(name) => format!("vms.{}", quoted(name)),
        }
    }

    /// The key of a path of a field mask.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        if let Some(general) = GENERAL.iter().find(|(_, _, known)| *known == path) {
            return Some(Self::General(general.0));
        }
        let rest = path.strip_prefix("vms.")?;
        let (name, field) = match rest.strip_prefix('`') {
            Some(quoted) => quoted.split_once('`')?,
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        if field.is_empty() {
            return Some(Self::WholeVm(name.to_owned()));
        }
        let field = field.strip_prefix('.')?;
        let known = VM_FIELDS.into_iter().find(|f| f.path() == field)?;
        Some(Self::Vm(name.to_owned(), known))
    }

    /// Writes a value as typed into `policy`.
    pub(crate) fn assign(&self, policy: &mut v1::Policy, text: &str) -> Result<(), String> {
        let text = text.trim();
        let unset = matches!(text, "unset" | "default");
        match self {
            Self::General(general) => general.assign(policy, text, unset),
            Self::WholeVm(_) if unset => Ok(()),
            Self::WholeVm(name) => Err(no_field(name)),
            Self::Vm(name, _) if name.contains('`') => {
                Err(format!("the VM name \"{name}\" has a backtick: use the UUID"))
            }
            Self::Vm(name, field) => {
                let vm = policy.vms.entry(name.clone()).or_default();
                let size = || {
                    if unset { Ok(None) } else { parse_size(text).map(Some) }
                };
                match field {
                    VmField::Min => vm.min_bytes = size()?,
                    VmField::Max => vm.max_bytes = size()?,
                    VmField::Weight if unset => vm.weight = None,
                    VmField::Weight => vm.weight = Some(parse_number(text)?),
                    VmField::Pinned if unset => vm.pinned = None,
                    VmField::Pinned => vm.pinned = Some(parse_flag(text)?),
                }
                Ok(())
            }
        }
    }

    /// The last dot divides: names of VMs may have dots themselves.
    fn parse_vm(rest: &str) -> Result<Self, String> {
        let field = rest.rsplit_once('.').and_then(|(name, field)| {
            let known = VM_FIELDS.into_iter().find(|f| f.word() == field)?;
            Some((name, known))
        });
        match field {
            Some(("", field)) => {
                let (typed, word) = (format!("vm.{rest}"), field.word());
                Err(format!("\"{typed}\" names no VM: vm.NAME.{word}, by its name or UUID"))
            }
            Some((name, field)) => Ok(Self::Vm(name.to_owned(), field)),
            None => Ok(Self::WholeVm(rest.to_owned())),
        }
    }
}

/// What may be meant by what is no key: a key, also without its group; a group; or any that there are.
fn meant(text: &str) -> String {
    let known: Vec<&str> = Key::general().collect();
    let last = |key: &'static str| key.rsplit('.').next().unwrap_or(key);
    let close = did_you_mean(text, &known).or_else(|| {
        let lasts: Vec<&str> = Key::general().map(last).collect();
        let close = did_you_mean(text, &lasts)?;
        Key::general().find(|key| last(key) == close)
    });
    if let Some(key) = close {
        return format!("did you mean {key}?");
    }
    match did_you_mean(text, &GROUPS) {
        Some(group) => format!("the keys of {group} are {}", of_group(group).join(", ")),
        None => format!("keys are {}, vm.NAME.min|max|weight|pinned, vm.NAME", known.join(", ")),
    }
}

/// The keys of a group; none where there is no such group.
pub(crate) fn of_group(group: &str) -> Vec<&'static str> {
    Key::general().filter(|key| key.split_once('.').is_some_and(|(own, _)| own == group)).collect()
}

/// What to set of a VM, where nothing of it was named that there is.
fn no_field(name: &str) -> String {
    let fields = VM_FIELDS.map(VmField::word);
    let meant = name.rsplit_once('.').filter(|(vm, _)| !vm.is_empty());
    if let Some((vm, field)) = meant.and_then(|(vm, word)| Some((vm, did_you_mean(word, &fields)?)))
    {
        return format!("there is no such key; did you mean vm.{vm}.{field}?");
    }
    let keys_of = |vm: &str| fields.map(|field| format!("vm.{vm}.{field}")).join(", ");
    match meant {
        Some((vm, word)) => format!(
            "\"{word}\" is nothing that a VM has; the keys of {vm} are {} (and of a VM that is called \
             {name}, {})",
            keys_of(vm),
            keys_of(name)
        ),
        None => format!("vm.{name} takes only unset; the keys of {name} are {}", keys_of(name)),
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::General(general) => f.write_str(general.row().1),
            Self::Vm(name, field) => write!(f, "vm.{name}.{}", field.word()),
            Self::WholeVm(name) => write!(f, "vm.{name}"),
        }
    }
}

/// Every field of a policy with its value, exceptions last.
pub(crate) fn values(policy: &Policy) -> Vec<(Key, Value)> {
    let mut values: Vec<(Key, Value)> =
        GENERAL.iter().map(|row| (Key::General(row.0), row.0.value(policy))).collect();
    for (name, vm) in &policy.vms {
        for (field, value) in [
            (VmField::Min, vm.min_bytes.map(Value::Size)),
            (VmField::Max, vm.max_bytes.map(Value::Size)),
            (VmField::Weight, vm.weight.map(Value::Number)),
            (VmField::Pinned, vm.pinned.map(Value::Flag)),
        ] {
            values.extend(value.map(|value| (Key::Vm(name.clone(), field), value)));
        }
    }
    values
}

impl General {
    fn row(self) -> (Self, &'static str, &'static str) {
        let row = GENERAL.iter().find(|row| row.0 == self);
        row.copied().unwrap_or((self, "", ""))
    }

    fn value(self, policy: &Policy) -> Value {
        let (two_pointer, working_set) = (&policy.two_pointer, &policy.working_set);
        let size = |bytes: Option<u64>| bytes.map_or(Value::Unset, Value::Size);
        let number = |number: Option<u32>| number.map_or(Value::Unset, Value::Number);
        let time = |seconds: Option<f64>| {
            let time = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
            time.map_or(Value::Unset, Value::Time)
        };
        match self {
            Self::Algorithm => Value::Word(policy.algorithm.clone()),
            Self::HostReserve => size(policy.host_reserve_bytes),
            Self::PoolLimit => size(policy.pool_limit_bytes),
            Self::Floor => size(policy.floor_bytes),
            Self::ShrinkStep => size(policy.shrink_step_bytes),
            Self::NeedBelow => size(two_pointer.need_below_bytes),
            Self::SpareAbove => size(two_pointer.spare_above_bytes),
            Self::Step => size(two_pointer.step_bytes),
            Self::Headroom => size(working_set.headroom_bytes),
            Self::HeadroomPercent => number(working_set.headroom_percent),
            Self::Lead => time(working_set.lead_seconds),
            Self::KeepFor => time(working_set.keep_for_seconds),
            Self::DeadBand => size(working_set.dead_band_bytes),
            Self::ShrinkPercent => number(working_set.shrink_percent),
        }
    }

    fn assign(self, policy: &mut v1::Policy, text: &str, unset: bool) -> Result<(), String> {
        let size = || if unset { Ok(None) } else { parse_size(text).map(Some) };
        let mut two_pointer = policy.two_pointer.unwrap_or_default();
        let mut working_set = policy.working_set.unwrap_or_default();
        match self {
            Self::Algorithm if unset => policy.algorithm.clear(),
            Self::Algorithm if text.is_empty() => return Err("no algorithm is given".to_owned()),
            Self::Algorithm => text.clone_into(&mut policy.algorithm),
            Self::PoolLimit => policy.pool_limit_bytes = size()?,
            Self::HostReserve => policy.host_reserve_bytes = size()?,
            Self::Floor => policy.floor_bytes = size()?,
            Self::ShrinkStep => policy.shrink_step_bytes = size()?,
            Self::NeedBelow => two_pointer.need_below_bytes = size()?,
            Self::SpareAbove => two_pointer.spare_above_bytes = size()?,
            Self::Step => two_pointer.step_bytes = size()?,
            Self::Headroom => working_set.headroom_bytes = size()?,
            Self::HeadroomPercent => working_set.headroom_percent = parse_percent(text, unset)?,
            Self::Lead => working_set.lead = parse_time(text, unset)?,
            Self::KeepFor => working_set.keep_for = parse_time(text, unset)?,
            Self::DeadBand => working_set.dead_band_bytes = size()?,
            Self::ShrinkPercent => working_set.shrink_percent = parse_percent(text, unset)?,
        }
        let key = self.row().1;
        if key.starts_with("two-pointer.") {
            policy.two_pointer = Some(two_pointer);
        } else if key.starts_with("working-set.") {
            policy.working_set = Some(working_set);
        }
        Ok(())
    }
}

impl VmField {
    /// As typed.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Max => "max",
            Self::Weight => "weight",
            Self::Pinned => "pinned",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Min => "min_bytes",
            Self::Max => "max_bytes",
            Self::Weight => "weight",
            Self::Pinned => "pinned",
        }
    }
}

fn parse_flag(text: &str) -> Result<bool, String> {
    match text {
        "true" | "yes" => Ok(true),
        "false" | "no" => Ok(false),
        _ => Err(format!("\"{text}\" is neither true nor false")),
    }
}

fn parse_number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not a whole number"))
}

/// "10" or "10%".
fn parse_percent(text: &str, unset: bool) -> Result<Option<u32>, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    if unset { Ok(None) } else { parse_number(number).map(Some) }
}

fn parse_time(text: &str, unset: bool) -> Result<Option<prost_types::Duration>, String> {
    if unset {
        return Ok(None);
    }
    let time = parse_duration(text)?;
    prost_types::Duration::try_from(time).map(Some).map_err(|error| error.to_string())
}

fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.chars().all(plain) { name.to_owned() } else { format!("`{name}`") }
}

/// Key as typed, and path in a field mask.
const GENERAL: [(General, &str, &str); 14] = [
    (General::Algorithm, "algorithm", "algorithm"),
    (General::HostReserve, "host-reserve", "host_reserve_bytes"),
    (General::PoolLimit, "pool-limit", "pool_limit_bytes"),
    (General::Floor, "floor", "floor_bytes"),
    (General::ShrinkStep, "shrink-step", "shrink_step_bytes"),
    (General::NeedBelow, "two-pointer.need-below", "two_pointer.need_below_bytes"),
    (General::SpareAbove, "two-pointer.spare-above", "two_pointer.spare_above_bytes"),
    (General::Step, "two-pointer.step", "two_pointer.step_bytes"),
    (General::Headroom, "working-set.headroom", "working_set.headroom_bytes"),
    (General::HeadroomPercent, "working-set.headroom-percent", "working_set.headroom_percent"),
    (General::Lead, "working-set.lead", "working_set.lead"),
    (General::KeepFor, "working-set.keep-for", "working_set.keep_for"),
    (General::DeadBand, "working-set.dead-band", "working_set.dead_band_bytes"),
    (General::ShrinkPercent, "working-set.shrink-percent", "working_set.shrink_percent"),
];
/// What keys have before their dot.
const GROUPS: [&str; 2] = ["two-pointer", "working-set"];
const VM_FIELDS: [VmField; 4] = [VmField::Min, VmField::Max, VmField::Weight, VmField::Pinned];

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(pairs: &[(&str, &str)]) -> v1::Policy {
        let mut policy = v1::Policy::default();
        for (key, value) in pairs {
            Key::parse(key).unwrap().assign(&mut policy, value).unwrap();
        }
        policy
    }

    #[test]
    fn keys_go_to_paths_and_back() {
        for (key, path) in [
            ("host-reserve", "host_reserve_bytes"),
            ("two-pointer.step", "two_pointer.step_bytes"),
            ("working-set.headroom", "working_set.headroom_bytes"),
            ("working-set.headroom-percent", "working_set.headroom_percent"),
            ("working-set.lead", "working_set.lead"),
            ("working-set.keep-for", "working_set.keep_for"),
            ("working-set.dead-band", "working_set.dead_band_bytes"),
            ("working-set.shrink-percent", "working_set.shrink_percent"),
            ("vm.web1.max", "vms.web1.max_bytes"),
            ("vm.web1.weight", "vms.web1.weight"),
            ("vm.db.example.org.min", "vms.`db.example.org`.min_bytes"),
            ("vm.a b.pinned", "vms.`a b`.pinned"),
            ("vm.web1", "vms.web1"),
            ("vm.x.y", "vms.`x.y`"),
        ] {
            let parsed = Key::parse(key).unwrap();
            assert_eq!(parsed.path(), path);
            assert_eq!(Key::of_path(path), Some(parsed.clone()));
            assert_eq!(parsed.to_string(), key);
        }
        assert_eq!(Key::of_path("vms.web1.colour"), None);
        assert_eq!(Key::of_path("*"), None);
    }

    #[test]
    fn an_unknown_key_gets_a_suggestion_or_the_list() {
        let error = Key::parse("host-reserv").unwrap_err();
        assert_eq!(error, "\"host-reserv\" is not a key of the policy; did you mean host-reserve?");
        let error = Key::parse("colour").unwrap_err();
        assert!(error.contains("keys are algorithm, host-reserve"), "{error}");
        assert!(error.ends_with("vm.NAME.min|max|weight|pinned, vm.NAME"), "{error}");
    }

    #[test]
    fn a_key_without_its_group_and_a_group_without_a_key_get_what_may_be_meant() {
        for (typed, meant) in [
            ("lead", "did you mean working-set.lead?"),
            ("headroom", "did you mean working-set.headroom?"),
            ("steps", "did you mean two-pointer.step?"),
            (
                "workingset",
                "the keys of working-set are working-set.headroom, working-set.headroom",
            ),
            (
                "two-pointer",
                "the keys of two-pointer are two-pointer.need-below, two-pointer.spare",
            ),
        ] {
            let error = Key::parse(typed).unwrap_err();
            let begins = format!("\"{typed}\" is not a key of the policy; {meant}");
            assert!(error.starts_with(&begins), "{error}");
        }
        for group in GROUPS {
            assert!(of_group(group).len() > 2, "{group}");
        }
    }

    #[test]
    fn a_key_of_a_vm_without_a_name_is_refused() {
        let error = Key::parse("vm..min").unwrap_err();
        assert_eq!(error, "\"vm..min\" names no VM: vm.NAME.min, by its name or UUID");
        assert_eq!(Key::parse("vm..min.max"), Ok(Key::Vm(".min".to_owned(), VmField::Max)));
    }

    #[test]
    fn what_no_vm_has_is_refused_with_what_it_has() {
        let refused = |key: &str| {
            let key = Key::parse(key).unwrap();
            key.assign(&mut v1::Policy::default(), "1").unwrap_err()
        };
        let keys = "vm.web1.min, vm.web1.max, vm.web1.weight, vm.web1.pinned";
        let foo = refused("vm.web1.foo");
        assert!(foo.starts_with("\"foo\" is nothing that a VM has") && foo.contains(keys), "{foo}");
        assert!(foo.contains("called web1.foo, vm.web1.foo.min"), "{foo}");
        assert!(refused("vm.web1").ends_with(keys), "{}", refused("vm.web1"));
        assert!(refused("vm.web1.wieght").contains("did you mean vm.web1.weight?"));
    }

    #[test]
    fn values_are_written_where_they_belong() {
        let mut policy = assigned(&[
            ("host-reserve", "1GiB"),
            ("two-pointer.step", "50MiB"),
            ("two-pointer.need-below", "unset"),
            ("pool-limit", "unset"),
            ("vm.web1.max", "2GiB"),
            ("vm.web1.pinned", "true"),
            ("vm.web1.weight", "300"),
            ("vm.db1.min", "unset"),
            ("vm.db1.weight", "unset"),
            ("working-set.headroom-percent", "15 %"),
            ("working-set.lead", "500ms"),
            ("working-set.keep-for", "unset"),
            ("working-set.dead-band", "8MiB"),
            ("working-set.shrink-percent", "0"),
        ]);
        assert_eq!(policy.host_reserve_bytes, Some(1 << 30));
        assert_eq!(policy.two_pointer.unwrap().step_bytes, Some(50 << 20));
        assert_eq!(policy.two_pointer.unwrap().need_below_bytes, None);
        assert_eq!(policy.pool_limit_bytes, None);
        Key::parse("host-reserve").unwrap().assign(&mut policy, "0B").unwrap();
        assert_eq!(policy.host_reserve_bytes, Some(0), "0 is a value, not the default");
        let own = policy.working_set.unwrap();
        assert_eq!((own.headroom_percent, own.dead_band_bytes), (Some(15), Some(8 << 20)));
        assert_eq!(own.lead, Some(prost_types::Duration { seconds: 0, nanos: 500_000_000 }));
        assert_eq!((own.keep_for, own.headroom_bytes), (None, None));
        assert_eq!(own.shrink_percent, Some(0), "0 is a value here as well");
        let web1 = v1::VmPolicy {
            min_bytes: None,
            max_bytes: Some(2 << 30),
            weight: Some(300),
            pinned: Some(true),
        };
        assert_eq!(policy.vms["web1"], web1);
        assert_eq!(policy.vms["db1"], v1::VmPolicy::default());
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for (key, value) in [
            ("host-reserve", "1"),
            ("algorithm", ""),
            ("vm.web1", "2GiB"),
            ("vm.web1.pinned", "maybe"),
            ("vm.web1.weight", "1.5"),
            ("vm.web1.weight", "-1"),
            ("working-set.lead", "3"),
            ("working-set.headroom-percent", "1GiB"),
            ("vm.a`b.max", "1GiB"),
        ] {
            let key = Key::parse(key).unwrap();
            assert!(key.assign(&mut v1::Policy::default(), value).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn every_field_has_a_value() {
        let policy = assigned(&[
            ("floor", "64MiB"),
            ("working-set.lead", "1500ms"),
            ("vm.a.weight", "7"),
            ("vm.a.pinned", "no"),
        ]);
        let values = values(&policy.into());
        assert_eq!(values.len(), GENERAL.len() + 2);
        let floor = values.iter().find(|(key, _)| *key == Key::General(General::Floor)).unwrap();
        assert_eq!(floor.1.text(Units::Iec), "64 MiB");
        let lead = values.iter().find(|(key, _)| *key == Key::General(General::Lead)).unwrap();
        assert_eq!(lead.1.text(Units::Iec), "1.5s");
        assert_eq!(Value::Time(Duration::ZERO).text(Units::Iec), "0s");
        let vm = |field| Key::Vm("a".to_owned(), field);
        assert_eq!(values[14], (vm(VmField::Weight), Value::Number(7)));
        assert_eq!(values[15], (Key::Vm("a".to_owned(), VmField::Pinned), Value::Flag(false)));
    }
}
