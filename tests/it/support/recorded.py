"""Prints operation and role of each IAM request that moto has recorded, where a program in Rust has made it."""

import base64
import json
import sys
from urllib.parse import parse_qs

for line in open(sys.argv[1]):
    request = json.loads(line)
    agent = {name.lower(): value for name, value in request["headers"].items()}.get("user-agent", "")
    if "aws-sdk-rust" not in agent:
        continue
    body = request["body"]
    body = base64.b64decode(body).decode() if request["body_encoded"] else body
    asked = {name: values[0] for name, values in parse_qs(body).items()}
    print(asked.get("Action", ""), asked.get("RoleName", ""))
