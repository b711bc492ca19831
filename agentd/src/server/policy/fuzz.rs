//! What has to hold of any request for another policy.

use std::time::SystemTime;

use agentd_core::policy::Policy;
use agentd_proto::v1 as wire;
use prost::Message as _;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{Sought, edit};
use crate::{control::Actor, server::to_proto};

/// One that is refused names the field. A policy that is taken is the same when it is asked for as it is
/// told.
pub(in crate::server) fn update(data: &[u8]) {
    let Ok(request) = wire::UpdatePolicyRequest::decode(data) else { return };
    let Some(sought) = sought(request) else { return };
    let base = Policy::default();
    let Ok(wanted) = sought(&base) else { return };
    if !wanted.validate().is_empty() {
        return;
    }
    let paths = vec!["*".to_owned()];
    let again = self::sought(wire::UpdatePolicyRequest {
        policy: Some(to_proto::policy(&wanted)),
        update_mask: Some(prost_types::FieldMask { paths }),
        ..wire::UpdatePolicyRequest::default()
    });
    assert_eq!(again.and_then(|sought| sought(&base).ok()), Some(wanted));
}

fn sought(request: wire::UpdatePolicyRequest) -> Option<Sought> {
    let time = SystemTime::UNIX_EPOCH;
    let actor = Actor { id: "uid:0".to_owned(), peer: String::new(), time };
    match edit(request, actor, false) {
        Ok((_, sought)) => Some(sought),
        Err(refused) => {
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
            let details = refused.get_error_details();
            let named = details.bad_request().is_some_and(|bad| !bad.field_violations.is_empty());
            assert!(named, "{refused}");
            None
        }
    }
}
