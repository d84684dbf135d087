"""moto's server as `moto_server` starts it, behind a counter of calls.

It takes the paths of the sandbox's control interface that the benchmark needs (`/_sandbox/roles`, `/_sandbox/calls`), so
that both servers are seeded, counted and looked into alike. Everything else goes to moto untouched. What must stay true: a
role that is planted is what moto's own calls would have made of it.
"""

import argparse
import io
import json
import re
import threading
from collections import Counter

from fleet import ACCOUNT
from moto.iam.models import InstanceProfile, Role, iam_backends
from moto.iam.utils import random_resource_id, random_role_id
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import run_simple

ACTION = re.compile(rb"(?:^|&)Action=(\w+)")


class Counted:
    def __init__(self, moto):
        self.moto = moto
        self.iam = iam_backends[ACCOUNT]["aws"]
        self.managed = {policy.arn: policy for policy in self.iam.managed_policies.values()}
        self.lock = threading.Lock()
        self.counts = Counter()
        # By name: moto itself looks for a role among all of them.
        self.planted = {}

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if environ["PATH_INFO"].startswith("/_sandbox/"):
            answer = json.dumps(self.control(environ, body)).encode()
            start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
            return [answer]
        environ["wsgi.input"] = io.BytesIO(body)
        action = ACTION.search(body)
        with self.lock:
            self.counts[action[1].decode() if action else "?"] += 1
        return self.moto(environ, start_response)

    def control(self, environ, body):
        match environ["REQUEST_METHOD"], environ["PATH_INFO"]:
            case "POST", "/_sandbox/roles":
                for seed in json.loads(body)["roles"]:
                    self.plant(seed)
                return {}
            case "GET", "/_sandbox/roles":
                return {"roles": [self.shown(role) for role in self.iam.roles.values()]}
            case "GET", "/_sandbox/calls":
                with self.lock:
                    return {"counts": {operation: {"calls": calls} for operation, calls in self.counts.items()}}
            case "DELETE", "/_sandbox/calls":
                with self.lock:
                    self.counts.clear()
                return {}
            case asked:
                raise ValueError(f"there is no {asked}")

    def plant(self, seed):
        role = self.planted.get(seed["name"])
        if role is None:
            tags = [{"Key": tag["key"], "Value": tag["value"]} for tag in seed["tags"]]
            role = Role(ACCOUNT, "aws", random_role_id(ACCOUNT), seed["name"], seed["trust"], "/", None, "", tags, "3600")
            self.iam.roles[role.id] = self.planted[role.name] = role
            for arn in seed["attached"]:
                self.managed[arn].attach_to(role)
            for name in seed["instance_profiles"]:
                self.iam.instance_profiles[name] = InstanceProfile(
                    account_id=ACCOUNT,
                    region_name="us-east-1",
                    instance_profile_id=random_resource_id(),
                    name=name,
                    path="/",
                    roles=[role],
                    tags=[],
                )
        role.policies = {policy["name"]: policy["document"] for policy in seed["policies"]}

    def shown(self, role):
        policies = [{"name": name, "document": document} for name, document in role.policies.items()]
        return {"name": role.name, "policies": policies}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    moto = DomainDispatcherApplication(create_backend_app)
    moto.debug = True
    run_simple("127.0.0.1", port, Counted(moto), threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
