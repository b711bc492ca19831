//! What agents say, in the words that a person types: an agent calls fields and methods as the wire does,
//! "two_pointer.step_bytes = 1 TiB", where memctl has keys, options and commands, "two-pointer.step = 1 TiB".
//! Pure.

use crate::policy_keys::Key;

/// `text` of an agent in those words.
pub(crate) fn in_words(text: &str) -> String {
    // Of all VMs it speaks as of one.
    let text = text.replace("vms.*.", "vm.NAME.");
    let mut words = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        let (before, from) = rest.split_at(start);
        let (path, after) = from.split_at(path_end(from));
        // A sentence may end with it.
        let (path, stop) = path.split_at(path.trim_end_matches(['.', '-']).len());
        words.push_str(before);
        let is_subject = after.starts_with(':') && (words.is_empty() || words.ends_with("; "));
        match typed(path, is_subject) {
            Some(typed) => words.push_str(&typed),
            None => words.push_str(path),
        }
        words.push_str(stop);
        rest = after;
    }
    words.push_str(rest);
    words
}

/// What is typed for a path of the wire, with or without its unit. A field that is called by a word of
/// everybody's is meant only where it is what the sentence is about.
fn typed(path: &str, is_subject: bool) -> Option<String> {
    let row = |rows: &[(&str, &str)]| {
        let found = rows.iter().find(|(own, _)| *own == path);
        found.map(|(_, typed)| (*typed).to_owned())
    };
    let plain = is_subject.then(|| row(&SUBJECTS)).flatten();
    if let Some(typed) = plain.or_else(|| row(&FIELDS)).or_else(|| row(&METHODS)) {
        return Some(typed);
    }
    if !path.contains(['_', '.']) {
        return None;
    }
    let key = Key::of_path(path).or_else(|| Key::of_path(&format!("{path}_bytes")))?;
    Some(key.to_string())
}

/// Where a path that stands at the beginning ends; what is between backticks is part of it.
fn path_end(text: &str) -> usize {
    let mut is_quoted = false;
    let ends = |c: char| {
        is_quoted ^= c == '`';
        !is_quoted && !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.' | '-' | '`' | '/')
    };
    text.find(ends).unwrap_or(text.len())
}

/// Fields of requests beside those of a policy, and of groups that are not named, and what sets them.
const FIELDS: [(&str, &str); 11] = [
    ("revert_after", "--revert-after"),
    ("validate_only", "--dry-run"),
    ("request_id", "--request-id"),
    ("min_bytes", "the size"),
    ("max_bytes", "the largest size"),
    ("headroom_bytes", "working-set.headroom"),
    ("start_time", "--since"),
    ("end_time", "--until"),
    ("update_mask", "what is to be changed"),
    ("at.seq", "--at"),
    ("at.epoch", "--at"),
];
/// The same, of those whose name is a word of everybody's.
const SUBJECTS: [(&str, &str); 6] = [
    ("duration", "--for"),
    ("reason", "--reason"),
    ("etag", "--if-match"),
    ("vm", "the VM"),
    ("step", "--step"),
    ("at", "--at"),
];
/// Methods that somebody may be kept from calling, and the command that does.
const METHODS: [(&str, &str); 13] = [
    ("agentd.v1.HostService/GetStatus", "memctl status"),
    ("agentd.v1.HostService/SetMode", "memctl mode"),
    ("agentd.v1.VmService/ListVms", "memctl vms"),
    ("agentd.v1.VmService/ExplainVm", "memctl explain"),
    ("agentd.v1.PolicyService/GetPolicy", "memctl policy get"),
    ("agentd.v1.PolicyService/UpdatePolicy", "memctl policy set"),
    ("agentd.v1.PolicyService/ConfirmPolicy", "memctl policy confirm"),
    ("agentd.v1.PolicyService/RevertPolicy", "memctl policy revert"),
    ("agentd.v1.ReservationService/CreateReservation", "memctl reserve"),
    ("agentd.v1.ReservationService/DeleteReservation", "memctl release"),
    ("agentd.v1.EventService/Watch", "memctl watch"),
    ("agentd.v1.HistoryService/ListHistory", "memctl history"),
    ("agentd.v1.AuditService/ListAudit", "memctl audit"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_says_of_fields_is_told_in_the_words_that_are_typed() {
        for (said, told) in [
            ("two_pointer.step_bytes = 1 TiB: too much", "two-pointer.step = 1 TiB: too much"),
            ("vms.`web 1`.max_bytes: 1 B; floor_bytes: 2", "vm.web 1.max: 1 B; floor: 2"),
            ("vms.`mail.1`: no VM has this name", "vm.mail.1: no VM has this name"),
            ("must be at most two_pointer.need_below.", "must be at most two-pointer.need-below."),
            ("vms.db1.pinned = true: it holds", "vm.db1.pinned = true: it holds"),
            ("revert_after: 0s", "--revert-after: 0s"),
            ("the algorithm is e.g. vms.`open", "the algorithm is e.g. vms.`open"),
            ("größe_bytes, 3 VMs.", "größe_bytes, 3 VMs."),
            ("min_bytes: 32 GiB: the whole host", "the size: 32 GiB: the whole host"),
            ("1 GiB is below min_bytes = 2 GiB", "1 GiB is below the size = 2 GiB"),
            ("duration: 1 s: short; reason: long", "--for: 1 s: short; --reason: long"),
            ("what vms.*.min guarantee: db1", "what vm.NAME.min guarantee: db1"),
            ("is not less than headroom_bytes, so", "is not less than working-set.headroom, so"),
            ("vm: has 300 bytes; of a vm: none", "the VM: has 300 bytes; of a vm: none"),
            ("for a duration: no reason, the step", "for a duration: no reason, the step"),
            (
                "agentd.v1.PolicyService/UpdatePolicy without revert_after or validate_only needs it",
                "memctl policy set without --revert-after or --dry-run needs it",
            ),
        ] {
            assert_eq!(in_words(said), told);
        }
    }

    #[test]
    fn every_field_and_method_is_one_of_the_wire() {
        let protos = [
            include_str!("../../proto/agentd/v1/common.proto"),
            include_str!("../../proto/agentd/v1/host.proto"),
            include_str!("../../proto/agentd/v1/vm.proto"),
            include_str!("../../proto/agentd/v1/policy.proto"),
            include_str!("../../proto/agentd/v1/reservation.proto"),
            include_str!("../../proto/agentd/v1/event.proto"),
            include_str!("../../proto/agentd/v1/history.proto"),
            include_str!("../../proto/agentd/v1/audit.proto"),
        ]
        .concat();
        for (path, _) in FIELDS.iter().chain(&SUBJECTS) {
            let name = path.rsplit('.').next().unwrap();
            assert!(protos.contains(&format!(" {name} = ")), "{path} is no field");
        }
        for (path, _) in METHODS {
            let name = path.rsplit('/').next().unwrap();
            assert!(protos.contains(&format!("rpc {name}(")), "{path} is no method");
        }
    }
}
