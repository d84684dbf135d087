"""Asks for all roles in bulk: `boto3_bulk.py WANTED [repair]`."""

import json
import sys

import boto3

POLICY = "SessionManagerPermissions"

with open(sys.argv[1], encoding="utf-8") as file:
    wanted = json.load(file)
iam = boto3.client("iam")
pages = iam.get_paginator("get_account_authorization_details").paginate(
    Filter=["Role"], PaginationConfig={"PageSize": 1000}
)
for page in pages:
    for role in page["RoleDetailList"]:
        document = wanted.get(role["RoleName"])
        if document is None:
            continue
        policies = {policy["PolicyName"]: policy["PolicyDocument"] for policy in role["RolePolicyList"]}
        if policies.get(POLICY) == document:
            continue
        print(role["RoleName"])
        if sys.argv[2:] == ["repair"]:
            iam.put_role_policy(RoleName=role["RoleName"], PolicyName=POLICY, PolicyDocument=json.dumps(document))
