"""Asks for the policy of one role after the other: `boto3_loop.py WANTED [repair]`."""

import json
import sys

import boto3

POLICY = "SessionManagerPermissions"

with open(sys.argv[1], encoding="utf-8") as file:
    wanted = json.load(file)
iam = boto3.client("iam")
for role, document in wanted.items():
    try:
        live = iam.get_role_policy(RoleName=role, PolicyName=POLICY)["PolicyDocument"]
    except iam.exceptions.NoSuchEntityException:
        live = None
    if live == document:
        continue
    print(role)
    if sys.argv[2:] == ["repair"]:
        iam.put_role_policy(RoleName=role, PolicyName=POLICY, PolicyDocument=json.dumps(document))
