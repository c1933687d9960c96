"""Makes the database in $DATA_DIR and loads users.json, a `dumpdata` file with Django's own PBKDF2 hashes.

`seed.py --dump` writes users.json anew from credentials.json: only after a change there, since it hashes."""

import json
import sys
from pathlib import Path

import django
from django.core.management import call_command

HERE = Path(__file__).parent
DETAILS = {
    "ada": {"email": "ada@example.com", "first_name": "Ada"},
    "miles": {"email": "o'brien@example.com", "last_name": "O'Brien & Söhne"},
    "Zoë.Mixed": {"email": "Zoe.Mixed@Example.com"},
    "grace@example.com": {"email": "", "is_staff": True},
    "sleeping": {"email": "ada@example.com"},
}


def dump() -> None:
    from django.contrib.auth.models import User

    for entry in json.loads((HERE / "credentials.json").read_text()):
        user = User(pk=entry["id"], username=entry["login"], is_active=entry.get("active", True), **DETAILS[entry["login"]])
        user.set_password(entry["password"])
        user.save()
    call_command("dumpdata", "auth.user", indent=2, output=str(HERE / "users.json"))


django.setup()
call_command("migrate", verbosity=0, interactive=False)
if sys.argv[1:] == ["--dump"]:
    dump()
else:
    call_command("loaddata", str(HERE / "users.json"), verbosity=0)
