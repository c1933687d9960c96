"""See `check_token`, which starts this in the right environment."""

import json
import sys

import django
import jwt

django.setup()

from rest_framework.exceptions import APIException  # noqa: E402
from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication  # noqa: E402
from rest_framework_simplejwt.exceptions import TokenError  # noqa: E402
from rest_framework_simplejwt.tokens import RefreshToken  # noqa: E402


def accepted(kind: str, raw: str) -> dict:
    if kind == "refresh":
        token = RefreshToken(raw)
        _ = token.access_token  # what the refresh view would hand out
    else:
        # The app's own door: validates the token, then builds request.user from its claims alone.
        door = JWTStatelessUserAuthentication()
        token = door.get_validated_token(raw.encode())
        door.get_user(token)
    return {"header": jwt.get_unverified_header(raw), "claims": token.payload}


try:
    print(json.dumps(accepted((sys.argv[1:] or ["access"])[0], sys.stdin.read().strip())))
except (TokenError, APIException) as reason:
    print(json.dumps(getattr(reason, "detail", str(reason))), file=sys.stderr)
    sys.exit(1)
