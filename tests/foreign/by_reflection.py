"""A client that knows nothing of agentd but what server reflection tells it.

Usage: by_reflection.py FOLDER v1|v1alpha unix:PATH
       by_reflection.py FOLDER v1|v1alpha HOST:PORT CA CERT KEY

FOLDER holds what protoc made of reflection.proto. Prints what it saw, one JSON object.
"""

import json
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from visit import dial, visit


def main(generated, version, *way):
    sys.path.insert(0, generated)
    import reflection_pb2

    with dial(*way) as channel:
        reflection = Reflection(channel, reflection_pb2, version)
        services = reflection.services()
        ours = [service for service in services if service.startswith("agentd.")]
        seen = visit(Agent(channel, reflection.pool(ours)))
    print(json.dumps(dict(seen, services=services)))


class Reflection:
    """Asks the server what it is."""

    def __init__(self, channel, messages, version):
        self.request = messages.ServerReflectionRequest
        # The messages of v1 and v1alpha are the same; only the path tells them apart.
        self.stream = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            self.request.SerializeToString,
            messages.ServerReflectionResponse.FromString,
        )

    def services(self):
        listed = self.ask(list_services="*").list_services_response
        return sorted(service.name for service in listed.service)

    def pool(self, services):
        """Every file that the services need, those that they import before themselves."""
        pool, known = descriptor_pool.DescriptorPool(), set()
        for service in services:
            self.add(self.ask(file_containing_symbol=service), pool, known)
        return pool

    def add(self, answer, pool, known):
        for encoded in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(encoded)
            if file.name in known:
                continue
            known.add(file.name)
            for name in file.dependency:
                if name not in known:
                    self.add(self.ask(file_by_filename=name), pool, known)
            pool.Add(file)

    def ask(self, **what):
        call = self.stream(iter([self.request(**what)]), timeout=60)
        answer = next(call)
        call.cancel()
        if answer.WhichOneof("message_response") == "error_response":
            raise SystemExit(f"reflection of {what}: {answer.error_response.error_message}")
        return answer


class Agent:
    """Calls built from descriptors."""

    def __init__(self, channel, pool):
        self.channel = channel
        self.pool = pool

    def call(self, service, method, fields):
        path, request, response = self.method(service, method)
        unary = self.channel.unary_unary(path, request.SerializeToString, response.FromString)
        return unary(request(**fields), timeout=60)

    def stream(self, service, method, fields):
        path, request, response = self.method(service, method)
        stream = self.channel.unary_stream(path, request.SerializeToString, response.FromString)
        return stream(request(**fields), timeout=120)

    def method(self, service, method):
        found = self.pool.FindServiceByName(f"agentd.v1.{service}").methods_by_name[method]
        path = f"/agentd.v1.{service}/{method}"
        return path, self.message(found.input_type), self.message(found.output_type)

    def message(self, descriptor):
        # Newer protobuf has the function, older the class.
        if hasattr(message_factory, "GetMessageClass"):
            return message_factory.GetMessageClass(descriptor)
        return message_factory.MessageFactory(self.pool).GetPrototype(descriptor)


if __name__ == "__main__":
    main(*sys.argv[1:])
