"""Loads a fixture into an empty Django, and says of each user what Django then thinks of him, and whether it lets him in."""

import json
import sys

import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    PASSWORD_HASHERS=[
        f"django.contrib.auth.hashers.{name}PasswordHasher"
        for name in ["Argon2", "PBKDF2", "PBKDF2SHA1", "BCryptSHA256", "BCrypt", "Scrypt", "MD5"]
    ],
    USE_TZ=True,
)
django.setup()

from django.contrib.auth.forms import PasswordResetForm  # noqa: E402
from django.contrib.auth.models import Group, User  # noqa: E402
from django.core.management import call_command  # noqa: E402

call_command("migrate", verbosity=0)
Group.objects.create(name="staff")
call_command("loaddata", sys.argv[1], verbosity=0)
print(json.dumps([
    {
        "pk": user.pk,
        "username": user.username,
        "email": user.email,
        "active": user.is_active,
        "superuser": user.is_superuser,
        "joined": int(user.date_joined.timestamp()),
        "lets_in": user.check_password(sys.argv[2]),
        "refuses": not user.check_password("wrong"),
        "can_reset": bool(user.email) and user in PasswordResetForm().get_users(user.email),
    }
    for user in User.objects.order_by("pk")
]))
