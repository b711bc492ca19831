//! The headings of tables that are not the name of a field, or of another one: what whoever reads a table may call its columns
//! by. Pure.

/// The end of the path of the field that stands under a heading of a kind's table; both in small letters,
/// a blank as "_".
pub(crate) fn field_under(kind: &str, heading: &str) -> Option<&'static str> {
    let row = HEADINGS.iter().find(|row| row.0 == kind && row.1 == heading);
    row.map(|row| row.2)
}

/// The headings under which the field at this path stands.
pub(crate) fn headings_of(kind: &str, path: &str) -> Vec<String> {
    let of_field = |row: &&(&str, &str, &str)| {
        row.0 == kind && (row.2 == path || path.ends_with(&format!(".{}", row.2)))
    };
    HEADINGS.iter().filter(of_field).map(|row| row.1.replace('_', " ").to_uppercase()).collect()
}

/// Kind, heading, field.
pub(crate) const HEADINGS: [(&str, &str, &str); 80] = [
    ("Status", "state", "health"),
    ("Status", "vms", "managed_vms"),
    ("Status", "held_by_vms", "pool.actual_bytes"),
    ("Status", "host_keeps", "pool.kept_bytes"),
    ("Status", "host_usable", "memory.usable_bytes"),
    ("Status", "host_total", "memory.total_bytes"),
    ("Status", "last_read", "last_read_age_seconds"),
    ("Status", "version", "agent_version"),
    ("Status", "mode_since", "mode_actor.time"),
    ("Status", "mode_by", "mode_actor.id"),
    ("Status", "trial_until", "policy_revert_time"),
    ("Status", "pool_limit", "pool.limit_bytes"),
    ("Status", "held_for_it", "pool.held_bytes"),
    ("Status", "host_level", "memory.level"),
    ("Status", "pressure", "memory.pressure_some_percent"),
    ("Status", "skew", "clock_skew_seconds"),
    ("Status", "position", "position.seq"),
    ("Vm", "vm", "vm.name"),
    ("Vm", "unused", "guest_unused_bytes"),
    ("Vm", "usable", "guest_usable_bytes"),
    ("Vm", "age", "figures_age_seconds"),
    ("Vm", "verdict", "verdict.kind"),
    ("Vm", "rss", "host_rss_bytes"),
    ("History", "vm", "points.vms.name"),
    ("History", "demand", "vms.demand_most_bytes"),
    ("History", "actual", "vms.actual_bytes"),
    ("History", "target", "vms.target_bytes"),
    ("History", "state", "points.vms.state"),
    ("History", "min", "vms.min_bytes"),
    ("History", "max", "vms.max_bytes"),
    ("History", "verdict", "vms.verdict"),
    ("History", "reason", "vms.reason"),
    ("History", "usable", "usable_least_bytes"),
    ("History", "unread", "ticks_unread"),
    ("History", "revision", "policy_revision"),
    ("History", "least", "vms.actual_least_bytes"),
    ("History", "most", "vms.actual_most_bytes"),
    ("History", "rss", "host_rss_bytes"),
    ("History", "got", "got_bytes"),
    ("History", "gave", "gave_bytes"),
    ("History", "orders", "vms.orders"),
    ("History", "uuid", "points.vms.uuid"),
    ("Reservation", "for", "reservation.vm"),
    ("Reservation", "expires", "expire_time"),
    ("Reservation", "why", "reservation.reason"),
    ("Reservation", "by", "reservation.actor.id"),
    ("Reservation", "made", "reservation.actor.time"),
    ("Reservation", "ended", "end_time"),
    ("Reservation", "handed_to", "handed_to.name"),
    ("PolicyChange", "old", "old_value"),
    ("PolicyChange", "new", "new_value"),
    ("PolicyRevision", "by", "actor.id"),
    ("PolicyRevision", "reverts", "revert_time"),
    ("Mode", "before", "previous_mode"),
    ("Mode", "since", "actor.time"),
    ("Mode", "by", "actor.id"),
    ("Mode", "why", "reason"),
    ("AuditEntry", "who", "identity"),
    ("AuditEntry", "from", "peer"),
    ("AuditEntry", "call", "method"),
    ("AuditEntry", "result", "outcome"),
    ("AuditEntry", "what", "detail"),
    ("AuditEntry", "request", "request_id"),
    ("AuditEntry", "took", "took_seconds"),
    ("WhoAmI", "by", "role_from"),
    ("WhoAmI", "expires", "certificate.expire_time"),
    ("WhoAmI", "version", "agent_version"),
    ("WhoAmI", "from", "peer"),
    ("WhoAmI", "host_name", "name"),
    ("HostTest", "answers", "ok"),
    ("HostTest", "took", "seconds"),
    ("HostTest", "agent", "agent_version"),
    ("HostTest", "you_are", "identity"),
    ("Check", "result", "finding"),
    ("Check", "found", "message"),
    ("Certificate", "expires", "not_after"),
    ("Certificate", "valid_from", "not_before"),
    ("ConfigFile", "file", "which"),
    ("ConfigFile", "there", "is_there"),
    ("Wait", "after", "waited_seconds"),
];
