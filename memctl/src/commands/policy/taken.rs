//! Whether an agent took all that it was asked for. An older one leaves out what it does not know and says
//! nothing of it, which must not look as if it was done.

use agentd_proto::v1;

use crate::dto::Policy;
use crate::failure::{Code, Failure};
use crate::policy_keys::{Key, Value, values};
use crate::quantity::Units;

/// Refuses an answer that lacks something of the request.
pub(super) fn check(
    request: &v1::UpdatePolicyRequest,
    answer: &v1::UpdatePolicyResponse,
) -> Result<(), Failure> {
    let current = answer.current.clone().unwrap_or_default();
    let mut lacking =
        lacking(&request.policy.clone().unwrap_or_default(), &current.policy.unwrap_or_default());
    let is_trial = request.revert_after.is_some() && !answer.changes.is_empty();
    if is_trial && current.revert_time.is_none() {
        lacking.push("--revert-after".to_owned());
    }
    if lacking.is_empty() {
        return Ok(());
    }
    let lacking = lacking.join(", ");
    let (what, hint) = match request.validate_only {
        true => (
            format!("the agent would leave out {lacking}: it does not know it"),
            "nothing is changed; memctl version tells how old it is: update it".to_owned(),
        ),
        false => (
            format!("the agent made the change without {lacking}: it does not know it"),
            format!("memctl policy revert takes revision {} back", current.revision),
        ),
    };
    Err(Failure::new(Code::Unimplemented, "LEFT_OUT", what).hint(hint))
}

/// What was given a value and does not have it, as one would type it.
fn lacking(asked: &v1::Policy, got: &v1::Policy) -> Vec<String> {
    let got: Vec<_> = settled(got);
    let asked = settled(asked).into_iter().filter(|(_, value)| is_given(value));
    asked
        .filter(|own| !got.contains(own))
        .map(|(key, value)| format!("{key}={}", value.text(Units::Iec).replace(' ', "")))
        .collect()
}

/// Every value by its key; a UUID is one however it is written.
fn settled(policy: &v1::Policy) -> Vec<(Key, Value)> {
    let all = values(&Policy::from(policy.clone())).into_iter();
    all.map(|(key, value)| match key {
        Key::Vm(name, field) => (Key::Vm(name.to_lowercase().replace('-', ""), field), value),
        Key::General(_) | Key::WholeVm(_) => (key, value),
    })
    .collect()
}

fn is_given(value: &Value) -> bool {
    *value != Value::Unset && *value != Value::Word(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(floor: Option<u64>, pool: Option<u64>, vm: &str) -> v1::Policy {
        let own = v1::VmPolicy { weight: Some(200), ..Default::default() };
        v1::Policy {
            floor_bytes: floor,
            pool_limit_bytes: pool,
            vms: [(vm.to_owned(), own)].into(),
            ..Default::default()
        }
    }

    fn told(asked: &v1::UpdatePolicyRequest, got: v1::PolicyRevision) -> Option<String> {
        let changes = vec![v1::PolicyChange::default()];
        let answer = v1::UpdatePolicyResponse { current: Some(got), changes, ..Default::default() };
        check(asked, &answer).err().map(|failure| failure.message)
    }

    #[test]
    fn what_an_agent_left_out_is_refused_and_what_was_not_asked_is_its_own() {
        let asked = |policy| v1::UpdatePolicyRequest {
            policy: Some(policy),
            validate_only: true,
            ..Default::default()
        };
        let got = |policy| v1::PolicyRevision { policy: Some(policy), ..Default::default() };
        let uuid = ("0000000A-0000-0000-0000-000000000001", "0000000a-0000-0000-0000-000000000001");
        let (wanted, all) =
            (policy(Some(1 << 28), None, uuid.0), policy(Some(1 << 28), Some(1), uuid.1));
        assert_eq!(told(&asked(wanted.clone()), got(all)), None);
        let less = told(&asked(wanted), got(policy(None, None, "db1"))).unwrap();
        assert!(less.contains("floor=256MiB, vm.") && less.contains(".weight=200"), "{less}");
    }

    #[test]
    fn a_trial_that_has_no_end_is_none() {
        let asked = v1::UpdatePolicyRequest {
            revert_after: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            ..Default::default()
        };
        let lasting = v1::PolicyRevision { revision: 7, ..Default::default() };
        let why = told(&asked, lasting.clone()).unwrap();
        assert!(why.contains("made the change without --revert-after"), "{why}");
        let revert_time = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
        assert_eq!(told(&asked, v1::PolicyRevision { revert_time, ..lasting }), None);
    }
}
