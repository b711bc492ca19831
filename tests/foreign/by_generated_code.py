"""A client with the code that protoc and gRPC's plugin make of proto/agentd/v1/*.proto.

Usage: by_generated_code.py FOLDER unix:PATH
       by_generated_code.py FOLDER HOST:PORT CA CERT KEY

FOLDER holds that code. Prints what it saw, one JSON object.
"""

import importlib
import json
import sys

from visit import dial, visit


def main(generated, *way):
    sys.path.insert(0, generated)
    with dial(*way) as channel:
        print(json.dumps(visit(Agent(channel))))


class Agent:
    """Calls by the generated stubs."""

    FILES = {"HostService": "host", "PolicyService": "policy", "EventService": "event"}

    def __init__(self, channel):
        self.channel = channel

    def call(self, service, method, fields):
        return self.method(service, method)(self.request(service, method, fields), timeout=60)

    def stream(self, service, method, fields):
        return self.method(service, method)(self.request(service, method, fields), timeout=120)

    def method(self, service, method):
        stubs = importlib.import_module(f"agentd.v1.{self.FILES[service]}_pb2_grpc")
        return getattr(getattr(stubs, f"{service}Stub")(self.channel), method)

    def request(self, service, method, fields):
        messages = importlib.import_module(f"agentd.v1.{self.FILES[service]}_pb2")
        return getattr(messages, f"{method}Request")(**fields)


if __name__ == "__main__":
    main(*sys.argv[1:])
