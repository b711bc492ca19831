//! A policy as JSON, for the database. The names are those of the wire's fields; a name in `vms`
//! says whether it is a UUID. What an earlier version did not know is as built in.

use std::{collections::BTreeMap, time::Duration};

use agentd_core::{
    bytes::ByteCount,
    policy::{Policy, TwoPointer, VmKey, VmPolicy, WorkingSet},
};
use serde::{Deserialize, Serialize};

pub(crate) fn to_json(policy: &Policy) -> Result<String, String> {
    serde_json::to_string(&Body::from(policy)).map_err(|error| error.to_string())
}

pub(crate) fn from_json(text: &str) -> Result<Policy, String> {
    let body: Body = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let vms = body.vms.into_iter().map(|(key, vm)| Ok((vm_key(&key)?, vm.into())));
    Ok(Policy {
        algorithm: body.algorithm.parse().map_err(|error| format!("{error}"))?,
        host_reserve: ByteCount::bytes(body.host_reserve_bytes),
        pool_limit: body.pool_limit_bytes.map(ByteCount::bytes),
        floor: ByteCount::bytes(body.floor_bytes),
        shrink_step: ByteCount::bytes(body.shrink_step_bytes),
        two_pointer: TwoPointer {
            need_below: ByteCount::bytes(body.two_pointer.need_below_bytes),
            spare_above: ByteCount::bytes(body.two_pointer.spare_above_bytes),
            step: ByteCount::bytes(body.two_pointer.step_bytes),
        },
        working_set: body.working_set.into(),
        vms: vms.collect::<Result<_, String>>()?,
    })
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Body {
    algorithm: String,
    host_reserve_bytes: u64,
    pool_limit_bytes: Option<u64>,
    floor_bytes: u64,
    shrink_step_bytes: u64,
    two_pointer: TwoPointerBody,
    #[serde(default)]
    working_set: WorkingSetBody,
    vms: BTreeMap<String, VmBody>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct TwoPointerBody {
    need_below_bytes: u64,
    spare_above_bytes: u64,
    step_bytes: u64,
}

#[derive(Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct WorkingSetBody {
    headroom_bytes: u64,
    headroom_percent: u32,
    lead_ns: u64,
    keep_for_ns: u64,
    dead_band_bytes: u64,
    shrink_percent: u32,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct VmBody {
    min_bytes: Option<u64>,
    max_bytes: Option<u64>,
    #[serde(default)]
    weight: Option<u32>,
    pinned: Option<bool>,
}

impl From<&Policy> for Body {
    fn from(policy: &Policy) -> Self {
        let vm = |(key, vm): (&VmKey, &VmPolicy)| {
            let VmPolicy { min, max, weight, pinned } = *vm;
            let (min_bytes, max_bytes) = (min.map(ByteCount::as_u64), max.map(ByteCount::as_u64));
            (key_text(key), VmBody { min_bytes, max_bytes, weight, pinned })
        };
        Self {
            algorithm: policy.algorithm.name().to_owned(),
            host_reserve_bytes: policy.host_reserve.as_u64(),
            pool_limit_bytes: policy.pool_limit.map(ByteCount::as_u64),
            floor_bytes: policy.floor.as_u64(),
            shrink_step_bytes: policy.shrink_step.as_u64(),
            two_pointer: TwoPointerBody {
                need_below_bytes: policy.two_pointer.need_below.as_u64(),
                spare_above_bytes: policy.two_pointer.spare_above.as_u64(),
                step_bytes: policy.two_pointer.step.as_u64(),
            },
            working_set: WorkingSetBody::from(&policy.working_set),
            vms: policy.vms.iter().map(vm).collect(),
        }
    }
}

impl Default for WorkingSetBody {
    fn default() -> Self {
        Self::from(&Policy::default().working_set)
    }
}

impl From<&WorkingSet> for WorkingSetBody {
    fn from(constants: &WorkingSet) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            headroom_bytes: constants.headroom.as_u64(),
            headroom_percent: constants.headroom_percent,
            lead_ns: nanos(constants.lead),
            keep_for_ns: nanos(constants.keep_for),
            dead_band_bytes: constants.dead_band.as_u64(),
            shrink_percent: constants.shrink_percent,
        }
    }
}

impl From<WorkingSetBody> for WorkingSet {
    fn from(body: WorkingSetBody) -> Self {
        Self {
            headroom: ByteCount::bytes(body.headroom_bytes),
            headroom_percent: body.headroom_percent,
            lead: Duration::from_nanos(body.lead_ns),
            keep_for: Duration::from_nanos(body.keep_for_ns),
            dead_band: ByteCount::bytes(body.dead_band_bytes),
            shrink_percent: body.shrink_percent,
        }
    }
}

impl From<VmBody> for VmPolicy {
    fn from(vm: VmBody) -> Self {
        let (min, max) = (vm.min_bytes.map(ByteCount::bytes), vm.max_bytes.map(ByteCount::bytes));
        Self { min, max, weight: vm.weight, pinned: vm.pinned }
    }
}

fn key_text(key: &VmKey) -> String {
    match key {
        VmKey::Id(id) => format!("{ID}{id}"),
        VmKey::Name(name) => format!("{NAME}{name}"),
    }
}

fn vm_key(text: &str) -> Result<VmKey, String> {
    if let Some(name) = text.strip_prefix(NAME) {
        return Ok(VmKey::Name(name.to_owned()));
    }
    let id = text.strip_prefix(ID).ok_or_else(|| format!("\"{text}\" names no VM"))?;
    id.parse().map(VmKey::Id).map_err(|error| format!("{error}"))
}

const ID: &str = "uuid:";
const NAME: &str = "name:";

#[cfg(test)]
mod tests {
    use agentd_core::{policy::Algorithm, vm::VmId};

    use super::*;

    /// As the version before there were weights and "working-set" wrote it.
    const EARLIER: &str = include_str!("../../../tests/fuzz/seeds/state/policy.json");

    #[test]
    fn reads_what_an_earlier_version_wrote() {
        let policy = from_json(EARLIER).unwrap();
        assert!(!EARLIER.contains("working_set") && !EARLIER.contains("weight"));
        assert_eq!(policy.working_set, Policy::default().working_set);
        assert_eq!(policy.pool_limit, Some(ByteCount::gib(3)));
        assert_eq!(policy.vms.values().map(|vm| vm.weight).collect::<Vec<_>>(), [None, None]);
        let own = Policy { algorithm: Algorithm::WorkingSet, ..Policy::default() };
        let before_shares = to_json(&own).unwrap().replace(",\"shrink_percent\":50", "");
        assert!(!before_shares.contains("shrink_percent"));
        assert_eq!(from_json(&before_shares), Ok(own));
    }

    #[test]
    fn reads_what_it_writes() {
        let id = VmId::from_bytes([7; 16]);
        let all = VmPolicy {
            weight: Some(u32::MAX),
            min: Some(ByteCount::MAX),
            max: Some(ByteCount::bytes(1)),
            pinned: Some(false),
        };
        let mut policy = Policy { pool_limit: Some(ByteCount::gib(3)), ..Policy::default() };
        policy.algorithm = Algorithm::WorkingSet;
        policy.working_set = WorkingSet {
            headroom: ByteCount::bytes(1),
            headroom_percent: 2,
            lead: Duration::from_nanos(3),
            keep_for: Duration::from_nanos(u64::MAX),
            dead_band: ByteCount::MAX,
            shrink_percent: 4,
        };
        policy.vms = BTreeMap::from([
            (VmKey::Id(id), all),
            // A name may look like anything.
            (VmKey::Name(id.to_string()), VmPolicy::default()),
            (VmKey::Name("uuid:\" \u{1F600}".to_owned()), VmPolicy::default()),
        ]);
        assert_eq!(from_json(&to_json(&policy).unwrap()), Ok(policy));
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        let text = to_json(&Policy::default()).unwrap();
        let unknown = text.replace("\"floor_bytes\"", "\"flaw_bytes\"");
        assert!(from_json(&unknown).unwrap_err().contains("flaw_bytes"));
        let other = text.replace("two-pointer", "three-pointer");
        assert!(from_json(&other).unwrap_err().contains("\"three-pointer\" is no algorithm"));
        assert!(from_json(&text[..text.len() / 2]).is_err());
    }
}
