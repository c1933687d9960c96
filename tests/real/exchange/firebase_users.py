"""Users as the Identity Toolkit API has them, for the exporter of firebase-tools: hashes in web-safe base64, times in milliseconds as text."""

import base64
import json

from hashes import firebase

WEB_SAFE = lambda data: base64.urlsafe_b64encode(data).decode()  # noqa: E731
users = [
    {
        "localId": "0A1b2C3d4E5f6G7h8I9j0K1l2M3n",
        "email": "ann@example.com",
        "emailVerified": True,
        "displayName": "Ann O'Hara",
        "photoUrl": "https://example.com/ann.png",
        "passwordHash": WEB_SAFE(firebase(b"ann's salt")),
        "salt": WEB_SAFE(b"ann's salt"),
        "version": 0,
        "validSince": "1552291815",
        "createdAt": "1552291815123",
        "lastLoginAt": "1714564800987",
        "customAttributes": '{"admin":true,"plan":"gold"}',
        "providerUserInfo": [
            {"providerId": "google.com", "rawId": "1029384756", "email": "ann@gmail.com", "displayName": "Ann, O'Hara", "photoUrl": "https://example.com/g.png"},
            {"providerId": "password", "rawId": "ann@example.com", "email": "ann@example.com", "federatedId": "ann@example.com"},
        ],
    },
    {
        "localId": "bob",
        "email": "bob@example.com",
        "displayName": "Müller, Bob",
        "passwordHash": WEB_SAFE(firebase(b"\xfb\xff salt of bob")),
        "salt": WEB_SAFE(b"\xfb\xff salt of bob"),
        "version": 0,
        "phoneNumber": "+4930123456",
        "disabled": True,
        "createdAt": "1552291815000",
    },
    {"localId": "cleo", "phoneNumber": "+4930999999", "createdAt": "1600000000000", "lastLoginAt": "1600000001000"},
]
print(json.dumps(users))
