"""An account of moto's, asked and changed through boto3: a client that this project had no hand in.

moto keeps accounts apart by the credentials that AssumeRole gave. One line of JSON in, `[operation, parameters]`, one
line out.
"""

import json
import sys

import boto3
import jsonschema

endpoint, account = sys.argv[1:]


def client(service, **keys):
    return boto3.client(service, endpoint_url=endpoint, region_name="us-east-1", **keys)


def say(answer):
    print(json.dumps(answer, default=str), flush=True)


given = client("sts", aws_access_key_id="any", aws_secret_access_key="any").assume_role(
    RoleArn=f"arn:aws:iam::{account}:role/end-to-end", RoleSessionName="tests"
)["Credentials"]
keys = {
    "aws_access_key_id": given["AccessKeyId"],
    "aws_secret_access_key": given["SecretAccessKey"],
    "aws_session_token": given["SessionToken"],
}
iam = client("iam", **keys)
say({key.upper(): value for key, value in keys.items()})

for line in sys.stdin:
    operation, parameters = json.loads(line)
    if operation == "check":  # a document against a JSON Schema, by what check-jsonschema uses: starting that is slow
        errors = jsonschema.Draft202012Validator(parameters["schema"]).iter_errors(parameters["instance"])
        say({"ok": [f"{error.json_path}: {error.message}" for error in errors]})
        continue
    try:
        answer = getattr(iam, operation)(**parameters)
        answer.pop("ResponseMetadata", None)
        say({"ok": answer})
    except iam.exceptions.ClientError as error:
        say({"error": error.response["Error"]["Code"]})
