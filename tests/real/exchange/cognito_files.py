"""A user pool in moto, filled and listed by the AWS command line: what `aws cognito-idp list-users` prints."""

import json
import os
import pathlib
import subprocess
import sys

from moto.server import ThreadedMotoServer

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
host, port = server.get_host_and_port()
environment = os.environ | {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ENDPOINT_URL": f"http://{host}:{port}",
}


def aws(*arguments):
    command = ["aws", "cognito-idp", "--output", "json", *arguments]
    text = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return text, json.loads(text) if text.strip() else None


def user(name, *attributes):
    aws("admin-create-user", "--user-pool-id", pool, "--username", name, "--message-action", "SUPPRESS", "--user-attributes", *attributes)


pool = aws("create-user-pool", "--pool-name", "people", "--schema", "Name=plan,AttributeDataType=String,Mutable=true")[1]["UserPool"]["Id"]
user("ann", "Name=email,Value=Ann@example.com", "Name=email_verified,Value=true", "Name=given_name,Value=Ann", "Name=custom:plan,Value=gold")
user("bob", "Name=email,Value=bob@example.com", "Name=email_verified,Value=false", "Name=phone_number,Value=+4930123456", "Name=phone_number_verified,Value=true")
user("cleo", "Name=email,Value=cleo@example.com", "Name=email_verified,Value=true")
aws("admin-disable-user", "--user-pool-id", pool, "--username", "cleo")
(out / "list-users.json").write_text(aws("list-users", "--user-pool-id", pool)[0])
server.stop()
