"""Users in a Django of their own, in a database in memory: `dumpdata` as JSON and as JSON lines, and the table as psql and sqlite print it."""

import csv
import io
import pathlib
import sys
from datetime import datetime, timezone

import django
from django.conf import settings

HASHERS = {
    "pbkdf2_sha256": "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    "pbkdf2_sha1": "django.contrib.auth.hashers.PBKDF2SHA1PasswordHasher",
    "argon2": "django.contrib.auth.hashers.Argon2PasswordHasher",
    "bcrypt_sha256": "django.contrib.auth.hashers.BCryptSHA256PasswordHasher",
    "bcrypt": "django.contrib.auth.hashers.BCryptPasswordHasher",
    "scrypt": "django.contrib.auth.hashers.ScryptPasswordHasher",
    "md5": "django.contrib.auth.hashers.MD5PasswordHasher",
}
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    PASSWORD_HASHERS=list(HASHERS.values()),
    USE_TZ=True,
)
django.setup()

from django.contrib.auth.hashers import get_hasher, make_password  # noqa: E402
from django.contrib.auth.models import Group, User  # noqa: E402
from django.core.management import call_command  # noqa: E402

from hashes import PASSWORD  # noqa: E402

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
call_command("migrate", verbosity=0)

staff = Group.objects.create(name="staff")
for number, name in enumerate(HASHERS, start=1):
    hasher = get_hasher(name)
    if name.startswith("pbkdf2"):
        hasher.iterations = 1000
    if name.startswith("bcrypt"):
        hasher.rounds = 5
    if name == "scrypt":
        hasher.work_factor = 2**8
    if name == "argon2":
        hasher.memory_cost, hasher.time_cost, hasher.parallelism = 64, 2, 1
    password = hasher.encode(PASSWORD, hasher.salt() if name.startswith("bcrypt") else f"salt{number}of{name}".replace("_", ""))
    user = User.objects.create(
        username=f"user.{name}",
        email=f"{name}@example.com" if number != 6 else "",
        first_name="Ann" if number == 1 else "",
        last_name="O'Hara, née Ünal" if number == 1 else "",
        password=password,
        is_active=number != 2,
        is_staff=number == 1,
        is_superuser=number == 1,
        date_joined=datetime(2019, 3, number, 8, 30, 15, 123456, tzinfo=timezone.utc),
        last_login=datetime(2024, 5, number, 12, 0, tzinfo=timezone.utc) if number % 2 else None,
    )
    if number == 1:
        user.groups.add(staff)
User.objects.create(
    username="without.password",
    email="without@example.com",
    password=make_password(None),
    date_joined=datetime(2020, 1, 1, tzinfo=timezone.utc),
)

for name, kind in [("dumpdata.json", "json"), ("dumpdata.jsonl", "jsonl")]:
    with open(out / name, "w", encoding="utf-8") as file:
        call_command("dumpdata", "auth.user", format=kind, indent=2 if kind == "json" else None, stdout=file)

COLUMNS = "id,password,last_login,is_superuser,username,first_name,last_name,email,is_staff,is_active,date_joined".split(",")


def table(flags, moment):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for user in User.objects.order_by("id"):
        row = [getattr(user, column) for column in COLUMNS]
        row = [flags[value] if isinstance(value, bool) else moment(value) if isinstance(value, datetime) else value for value in row]
        writer.writerow(["" if value is None else value for value in row])
    return text.getvalue()


# `\copy auth_user to 'auth_user.csv' csv header` and `sqlite3 -header -csv db.sqlite3 'select * from auth_user'`.
(out / "auth_user.postgres.csv").write_text(table({True: "t", False: "f"}, lambda at: at.strftime("%Y-%m-%d %H:%M:%S.%f+00")))
(out / "auth_user.sqlite.csv").write_text(table({True: "1", False: "0"}, lambda at: at.strftime("%Y-%m-%d %H:%M:%S.%f")))
