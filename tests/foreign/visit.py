"""What a foreign client does with an agentd, however it came to know the interface.

Asks for the status, watches from a snapshot on, changes the policy and sees the change in the
stream, is refused what makes no sense and what is out of date, and puts the policy back. Gives what
it saw as a dictionary. Judges nothing: that is the business of whoever runs it.
"""

import grpc

MIB = 1 << 20


def dial(address, *files):
    """A channel over the host's own socket, or over TLS with the files of CA, certificate and key."""
    if not files:
        return grpc.insecure_channel(address)
    ca, cert, key = [read(file) for file in files]
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(ca, key, cert))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def visit(agent):
    """`agent` has `call(service, method, request)` and `stream(...)`, with requests as fields."""
    status = agent.call("HostService", "GetStatus", {})
    before = agent.call("PolicyService", "GetPolicy", {}).current
    seen = {
        "host": status.host,
        "mode": status.mode,
        "algorithm": status.algorithm,
        "step_before": before.policy.two_pointer.step_bytes,
    }
    watch(agent, before, seen)
    seen["step_after"] = policy(agent).policy.two_pointer.step_bytes
    seen["revised"] = policy(agent).revision - before.revision

    seen["refused"] = refusal(agent, step(1), {})
    seen["unknown"] = refusal(agent, step(MIB), {"update_mask": {"paths": ["two_pointer.stepp"]}})
    seen["conflict"] = refusal(agent, step(33 * MIB), {"etag": before.etag})
    seen["step_unharmed"] = policy(agent).policy.two_pointer.step_bytes

    reverted = agent.call("PolicyService", "RevertPolicy", {"revision": before.revision})
    seen["reverted"] = [c.path for c in reverted.changes]
    seen["as_before"] = policy(agent).policy == before.policy
    return seen


def watch(agent, before, seen):
    """Three ticks at least, with a change of the policy after the first."""
    stream = agent.stream("EventService", "Watch", {"follow": True, "snapshot": True})
    bodies, seqs, ticks, changed = [], [], [], None
    for entry in stream:
        body = entry.WhichOneof("body")
        bodies.append(body)
        if body in ("tick", "policy_changed", "vm_changed", "mode_changed"):
            seqs.append(entry.position.seq)
        if body == "snapshot":
            seen["snapshot_vms"] = [vm.vm.name for vm in entry.snapshot.vms]
        if body == "policy_changed":
            seen["announced"] = changes(entry.policy_changed)
            seen["announced_reason"] = entry.policy_changed.reason
            seen["announced_at"] = entry.position.seq
        if body == "tick":
            ticks.append(entry.tick.tick)
            seen["vms"] = [figures(vm) for vm in entry.tick.vms]
            if changed is None:
                request = step(32 * MIB)
                request.update(etag=before.etag, reason="a foreign client")
                changed = agent.call("PolicyService", "UpdatePolicy", request)
        if len(ticks) >= 3 and "announced" in seen:
            break
    stream.cancel()
    seen.update(bodies=bodies, seqs=seqs, ticks=ticks)
    seen["changes"], seen["changed_at"] = changes(changed), changed.position.seq


def figures(vm):
    return [vm.vm.name, vm.vm.uuid, vm.memory.actual_bytes, vm.memory.guest_unused_bytes,
            vm.verdict.reason]


def changes(message):
    return [[c.path, c.old_value, c.new_value] for c in message.changes]


def policy(agent):
    return agent.call("PolicyService", "GetPolicy", {}).current


def step(count):
    """A request that changes one field and names it in the mask."""
    return {
        "policy": {"two_pointer": {"step_bytes": count}},
        "update_mask": {"paths": ["two_pointer.step_bytes"]},
    }


def refusal(agent, request, more):
    request.update(more)
    try:
        agent.call("PolicyService", "UpdatePolicy", request)
    except grpc.RpcError as error:
        return [error.code().name, error.details()]
    return None
