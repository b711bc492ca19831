"""A client in another language that knows nothing of agentd but what reflection tells it.

Usage: client.py unix:PATH|HOST:PORT FOLDER_WITH_GENERATED_REFLECTION_CODE v1|v1alpha

Asks for the status, watches three ticks from a snapshot on, changes the policy, sees the change in
the stream, is refused nonsense, and puts the policy back. Prints one JSON object with what it saw.
"""

import json
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def main(address, generated, version):
    sys.path.insert(0, generated)
    import reflection_pb2

    channel = grpc.insecure_channel(address)
    files, services = reflect(channel, reflection_pb2, version)
    agent = Agent(channel, files)

    status = agent.call("HostService", "GetStatus", {})
    before = agent.call("PolicyService", "GetPolicy", {}).current
    watch = agent.stream("EventService", "Watch", {"follow": True, "snapshot": True})
    seen = {"services": services, "host": status.host, "mode": status.mode, "bodies": []}

    ticks, changed = 0, None
    for entry in watch:
        body = entry.WhichOneof("body")
        seen["bodies"].append(body)
        if body == "tick":
            ticks += 1
            seen["vms"] = [vm.vm.name for vm in entry.tick.vms]
            if ticks == 1:
                changed = agent.call("PolicyService", "UpdatePolicy", {
                    "policy": {"two_pointer": {"step_bytes": 32 << 20}},
                    "update_mask": {"paths": ["two_pointer.step_bytes"]},
                    "etag": before.etag,
                    "reason": "a foreign client",
                })
        if ticks >= 3 and "policy_changed" in seen["bodies"]:
            break
    watch.cancel()
    seen["changes"] = [[c.path, c.old_value, c.new_value] for c in changed.changes]

    seen["refused"] = refused(agent, {
        "policy": {"two_pointer": {"step_bytes": 1}},
        "update_mask": {"paths": ["two_pointer.step_bytes"]},
    })
    seen["conflict"] = refused(agent, {
        "policy": {"two_pointer": {"step_bytes": 33 << 20}},
        "update_mask": {"paths": ["two_pointer.step_bytes"]},
        "etag": before.etag,
    })
    agent.call("PolicyService", "RevertPolicy", {"revision": before.revision})
    after = agent.call("PolicyService", "GetPolicy", {}).current
    seen["reverted"] = after.policy == before.policy
    print(json.dumps(seen))


def refused(agent, request):
    try:
        agent.call("PolicyService", "UpdatePolicy", request)
    except grpc.RpcError as error:
        return [error.code().name, error.details()]
    return None


def reflect(channel, reflection_pb2, version):
    """Every file that the server's own services need, and the services' names."""
    ask = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    request = reflection_pb2.ServerReflectionRequest
    listed = next(ask(iter([request(list_services="*")])))
    services = sorted(s.name for s in listed.list_services_response.service)
    files = {}
    for service in services:
        if not service.startswith("agentd."):
            continue
        answer = next(ask(iter([request(file_containing_symbol=service)])))
        add(files, ask, request, answer.file_descriptor_response.file_descriptor_proto)
    return files, services


def add(files, ask, request, encoded):
    for raw in encoded:
        file = descriptor_pb2.FileDescriptorProto.FromString(raw)
        files.setdefault(file.name, file)
    pool = descriptor_pool.Default()
    for file in list(files.values()):
        for name in file.dependency:
            if name in files:
                continue
            try:
                known = pool.FindFileByName(name)
                copy = descriptor_pb2.FileDescriptorProto()
                known.CopyToProto(copy)
                add(files, ask, request, [copy.SerializeToString()])
            except KeyError:
                symbol = "agentd.v1." + {"common": "Position", "host": "HostService", "vm": "VmService",
                                         "policy": "PolicyService"}[name.split("/")[-1].split(".")[0]]
                answer = next(ask(iter([request(file_containing_symbol=symbol)])))
                add(files, ask, request, answer.file_descriptor_response.file_descriptor_proto)


class Agent:
    def __init__(self, channel, files):
        self.channel = channel
        self.pool = descriptor_pool.DescriptorPool()
        added = set()

        def put(name):
            if name in added:
                return
            added.add(name)
            for dependency in files[name].dependency:
                put(dependency)
            self.pool.Add(files[name])

        for name in files:
            put(name)
        if not hasattr(message_factory, "GetMessageClass"):
            self.factory = message_factory.MessageFactory(self.pool)

    def method(self, service, method):
        found = self.pool.FindServiceByName(f"agentd.v1.{service}").methods_by_name[method]
        return f"/agentd.v1.{service}/{method}", self.type(found.input_type), self.type(found.output_type)

    def type(self, descriptor):
        if hasattr(message_factory, "GetMessageClass"):
            return message_factory.GetMessageClass(descriptor)
        return self.factory.GetPrototype(descriptor)

    def call(self, service, method, fields):
        path, request, response = self.method(service, method)
        unary = self.channel.unary_unary(path, request.SerializeToString, response.FromString)
        return unary(request(**fields), timeout=10)

    def stream(self, service, method, fields):
        path, request, response = self.method(service, method)
        stream = self.channel.unary_stream(path, request.SerializeToString, response.FromString)
        return stream(request(**fields), timeout=60)


if __name__ == "__main__":
    main(*sys.argv[1:])
