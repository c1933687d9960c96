"""Files in the shape of each product's documentation: Auth0, Keycloak, Kratos, FusionAuth, Clerk, SuperTokens, Cognito's import file. The
people are made up; the hashes are of one known password."""

import json
import pathlib
import sys

from hashes import (
    MEM_COST, PASSWORD, ROUNDS, SALT, SALT_SEPARATOR, SIGNER_KEY,
    argon2_hash, argon2_text, b64, bare, bcrypt_text, digest, firebase, mac, pbkdf2, scrypt,
)

out = pathlib.Path(sys.argv[1])


def write(name, value, lines=False):
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(value, str):
        text = value
    elif lines:
        text = "".join(json.dumps(item, ensure_ascii=False, separators=(",", ":")) + "\n" for item in value)
    else:
        text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    path.write_text(text, encoding="utf-8")


# Auth0: "User Data JSON Schema for Bulk User Imports".
def custom(algorithm, value, encoding=None, **more):
    hashed = {"value": value} | ({"encoding": encoding} if encoding else {})
    hashed |= {key: more.pop(key) for key in ("digest", "key") if key in more}
    return {"algorithm": algorithm, "hash": hashed} | more


AUTH0 = {
    "argon2": custom("argon2", argon2_text()),
    "bcrypt": custom("bcrypt", bcrypt_text(), "utf8"),
    "pbkdf2": custom("pbkdf2", f"$pbkdf2-sha512$i=1000,l=64${bare(SALT)}${bare(pbkdf2('sha512', 1000, 64))}", "utf8"),
    "pbkdf2-defaults": custom("pbkdf2", f"$pbkdf2-RSA-SHA256${bare(SALT)}${bare(pbkdf2('sha256', 100000, 64))}"),
    "scrypt": custom("scrypt", scrypt(4096, salt=b"abc123").hex(), "hex", salt={"value": "abc123", "encoding": "utf8"}, keylen=32, cost=4096),
    "md5": custom("md5", digest("md5").hex().upper(), "hex"),
    "sha1-prefix": custom("sha1", b64(digest("sha1", before=b"abc123")), "base64", salt={"value": "abc123"}),
    "sha256-suffix": custom("sha256", digest("sha256", after=b"abc123").hex(), "hex", salt={"value": b64(b"abc123"), "encoding": "base64", "position": "suffix"}),
    "sha512": custom("sha512", digest("sha512", before=b"abc123").hex(), "hex", salt={"value": "616263313233", "encoding": "hex", "position": "prefix"}),
    "hmac": custom("hmac", b64(mac("sha1", b"shh")), "base64", digest="sha1", key={"value": "736868", "encoding": "hex"}),
    "ldap": custom("ldap", "{SSHA}" + b64(digest("sha1", after=SALT) + SALT), "utf8"),
}
users = [
    {
        "user_id": "5f7c8ec7c33c6c004bbafe82",
        "email": "Ann@example.com",
        "email_verified": True,
        "username": "ann",
        "given_name": "Ann",
        "family_name": "O'Hara",
        "name": "Ann O'Hara",
        "nickname": "annie",
        "picture": "https://example.com/ann.png",
        "password_hash": bcrypt_text(b"2a", 10),
        "app_metadata": {"roles": ["admin"], "plan": "premium"},
        "user_metadata": {"theme": "light"},
    },
    {"user_id": "2000", "email": "bob@example.com", "email_verified": False, "blocked": True, "phone_number": "+12125550001", "phone_verified": True},
    {"email": "mfa@example.com", "custom_password_hash": AUTH0["bcrypt"], "mfa_factors": [{"totp": {"secret": "JBTWY3DPEHPK3PNP"}}, {"phone": {"value": "+15551112233"}}]},
]
users += [{"user_id": name, "email": f"{name}@example.com", "email_verified": False, "custom_password_hash": value} for name, value in AUTH0.items()]
write("auth0/import.json", users)
write("auth0/export.ndjson", [
    {
        "user_id": "auth0|5f7c8ec7c33c6c004bbafe82",
        "email": "Ann@example.com",
        "email_verified": True,
        "username": "ann",
        "name": "Ann O'Hara",
        "created_at": "2019-03-11T08:10:15.123Z",
        "updated_at": "2024-05-01T12:00:00.987Z",
        "last_login": "2024-05-01T12:00:00.987Z",
        "last_ip": "203.0.113.7",
        "logins_count": 42,
        "identities": [{"user_id": "5f7c8ec7c33c6c004bbafe82", "provider": "auth0", "connection": "Username-Password-Authentication", "isSocial": False}],
        "user_metadata": {"theme": "light"},
        "multifactor": ["guardian"],
    },
    {
        "user_id": "google-oauth2|108091299999329986433",
        "email": "bob@example.com",
        "email_verified": True,
        "blocked": True,
        "created_at": "2020-01-01T00:00:00.000Z",
        "identities": [{"user_id": "108091299999329986433", "provider": "google-oauth2", "connection": "google-oauth2", "isSocial": True}],
    },
], lines=True)
write("auth0/hashes.ndjson", [
    {
        "_id": {"$oid": "5f7c8ec7c33c6c004bbafe82"},
        "email": "ann@example.com",
        "email_verified": True,
        "passwordHash": bcrypt_text(cost=10),
        "password_set_date": {"$date": "2019-03-11T08:10:15.123Z"},
        "tenant": "example",
        "connection": "Username-Password-Authentication",
        "_tmp_is_unique": True,
    },
], lines=True)


# Keycloak: `kc.sh export --users realm_file`.
def credential(algorithm, iterations, value, salt=SALT, additional=None):
    return {
        "id": "0b6a7a3e-4d55-4c38-a9b6-2a77a1b7a1c1",
        "type": "password",
        "userLabel": "My password",
        "createdDate": 1714564800987,
        "secretData": json.dumps({"value": value, "salt": b64(salt), "additionalParameters": {}}, separators=(",", ":")),
        "credentialData": json.dumps({"hashIterations": iterations, "algorithm": algorithm, "additionalParameters": additional or {}}, separators=(",", ":")),
    }


def keycloak(number, username, credentials, **more):
    return {
        "id": f"7a9b9fd4-8454-4f20-af6e-4c8c78d9be{number:02x}",
        "username": username,
        "email": f"{username}@example.com",
        "emailVerified": True,
        "createdTimestamp": 1552291815123,
        "enabled": True,
        "totp": False,
        "credentials": credentials,
        "disableableCredentialTypes": [],
        "requiredActions": [],
        "realmRoles": ["default-roles-people"],
        "notBefore": 0,
        "groups": [],
    } | more


ARGON2 = {"hashLength": ["32"], "memory": ["64"], "type": ["id"], "version": ["1.3"], "parallelism": ["1"]}
OTP = {
    "id": "5d1c", "type": "otp", "userLabel": "phone", "createdDate": 1714564800987,
    "secretData": '{"value":"Z0FhZ0FhZ0FhZ0Fh"}',
    "credentialData": '{"subType":"totp","digits":6,"counter":0,"period":30,"algorithm":"HmacSHA1"}',
}
write("keycloak/realm.json", {
    "id": "people",
    "realm": "people",
    "enabled": True,
    "roles": {"realm": [{"name": "default-roles-people"}]},
    "users": [
        keycloak(1, "ann", [credential("argon2", 2, b64(argon2_hash()), additional=ARGON2)],
                 firstName="Ann", lastName="O'Hara", attributes={"locale": ["de"], "phoneNumber": ["+4930123456"]}, groups=["/staff"]),
        keycloak(2, "sha1", [credential("pbkdf2", 1000, b64(pbkdf2("sha1", 1000, 64)))], enabled=False),
        keycloak(3, "sha256", [credential("pbkdf2-sha256", 1000, b64(pbkdf2("sha256", 1000, 64)))], emailVerified=False),
        keycloak(4, "sha512", [credential("pbkdf2-sha512", 1000, b64(pbkdf2("sha512", 1000, 64)))]),
        keycloak(5, "bcrypt", [credential("bcrypt", 5, bcrypt_text(), salt=b"")]),
        keycloak(6, "otp", [credential("argon2", 2, b64(argon2_hash()), additional=ARGON2), OTP], totp=True),
        keycloak(7, "action", [credential("argon2", 2, b64(argon2_hash()), additional=ARGON2)], requiredActions=["UPDATE_PASSWORD"]),
        keycloak(8, "version7", [{"type": "password", "hashedSaltedValue": b64(pbkdf2("sha256", 1000, 64)), "salt": b64(SALT), "hashIterations": 1000, "counter": 0, "algorithm": "pbkdf2-sha256", "digits": 0, "period": 0, "createdDate": 1552291815123, "config": {}}]),
        keycloak(9, "federated", []),
    ],
    "clients": [{"clientId": "account"}],
})


# Kratos: `GET /admin/identities?include_credential=password`, and the body of `PATCH /admin/identities`.
def identity(number, email, hashed, **more):
    return {
        "id": f"880052ae-d32c-4b56-b82d-0dc7110809{number:02x}",
        "credentials": {"password": {"type": "password", "identifiers": [email.lower()], "config": {"hashed_password": hashed}, "version": 0, "created_at": "2019-03-11T08:10:15.845589Z", "updated_at": "2019-03-11T08:10:15.845589Z"}},
        "schema_id": "default",
        "schema_url": "http://127.0.0.1:4433/schemas/ZGVmYXVsdA",
        "state": "active",
        "state_changed_at": "2019-03-11T08:10:15.845589803Z",
        "traits": {"email": email},
        "verifiable_addresses": [{"id": f"c3f67b59-ab58-410b-971a-06b80f3846{number:02x}", "value": email.lower(), "verified": True, "via": "email", "status": "completed", "created_at": "2019-03-11T08:10:15.848941Z", "updated_at": "2019-03-11T08:10:15.848941Z"}],
        "recovery_addresses": [{"id": f"819b53bf-79e3-452e-8a9b-0323ec9d19{number:02x}", "value": email.lower(), "via": "email", "created_at": "2019-03-11T08:10:15.849758Z", "updated_at": "2019-03-11T08:10:15.849758Z"}],
        "metadata_public": None,
        "metadata_admin": None,
        "created_at": "2019-03-11T08:10:15.848475Z",
        "updated_at": "2019-03-11T08:10:15.848475Z",
        "organization_id": None,
    } | more


TEMPLATE = b64(b"{SALT}{PASSWORD}")
KRATOS = {
    "argon2id": argon2_text(),
    "bcrypt": bcrypt_text(b"2a"),
    "pbkdf2": f"$pbkdf2-sha256$i=1000,l=32${bare(SALT)}${bare(pbkdf2('sha256', 1000, 32))}",
    "scrypt": f"$scrypt$ln=4096,r=8,p=1${b64(SALT)}${b64(scrypt(4096))}",
    "firescrypt": f"$firescrypt$ln={MEM_COST},r={ROUNDS},p=1${b64(SALT)}${b64(firebase(SALT))}${b64(SALT_SEPARATOR)}${b64(SIGNER_KEY)}",
    "md5": f"$md5${b64(digest('md5'))}",
    "md5-salted": f"$md5$pf={TEMPLATE}${b64(SALT)}${b64(digest('md5', before=SALT))}",
    "sha512": f"$sha512$pf={TEMPLATE}${b64(SALT)}${b64(digest('sha512', before=SALT))}",
    "ssha": "{SSHA256}" + b64(digest("sha256", after=SALT) + SALT),
    "hmac": f"$hmac-sha256${b64(mac('sha256', b'key').hex().encode())}${b64(b'key')}",
}
identities = [
    identity(1, "Ann@example.com", argon2_text(), traits={"email": "Ann@example.com", "username": "ann", "name": {"first": "Ann", "last": "O'Hara"}}, metadata_public={"plan": "gold"}),
    identity(2, "bob@example.com", bcrypt_text(b"2a"), state="inactive", verifiable_addresses=[{"value": "bob@example.com", "verified": False, "via": "email", "status": "sent"}, {"value": "+4930123456", "verified": True, "via": "sms", "status": "completed"}]),
]
with_totp = identity(3, "totp@example.com", argon2_text(), available_aal="aal2")
with_totp["credentials"]["totp"] = {"type": "totp", "identifiers": [with_totp["id"]], "version": 0}
identities.append(with_totp)
identities += [identity(0x10 + number, f"{name}@example.com", hashed) for number, (name, hashed) in enumerate(KRATOS.items())]
write("kratos/identities.json", identities)
write("kratos/batch.json", {"identities": [
    {"patch_id": "3fa85f64-5717-4562-b3fc-2c963f66afa6", "create": {"schema_id": "default", "traits": {"email": "ann@example.com"}, "credentials": {"password": {"config": {"hashed_password": argon2_text()}}}}},
    {"create": {"schema_id": "default", "traits": {"username": "bob"}}},
]})


# FusionAuth: "Import Users" and "Search for Users".
def fusionauth(name, scheme, factor, password, salt):
    return {"active": True, "email": f"{name}@example.com", "encryptionScheme": scheme, "factor": factor, "password": password, "salt": salt, "verified": True, "insertInstant": 1552291815123}


whole = bcrypt_text(b"2a")
PHPASS = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def phpass(salt, rounds):
    import hashlib
    hashed = hashlib.md5(salt + PASSWORD.encode()).digest()
    for _ in range(rounds):
        hashed = hashlib.md5(hashed + PASSWORD.encode()).digest()
    return hashed


write("fusionauth/import.json", {"users": [
    {
        "id": "00000000-0000-0001-0000-000000000000",
        "active": True,
        "birthDate": "1976-05-30",
        "data": {"displayName": "Johnny Boy", "favoriteColors": ["Red", "Blue"]},
        "email": "example@example.com",
        "username": "johnny123",
        "phoneNumber": "+13035551212",
        "mobilePhone": "303-555-1234",
        "firstName": "John",
        "lastName": "Doe",
        "fullName": "John Doe",
        "imageUrl": "https://example.com/john.png",
        "insertInstant": 1331449200000,
        "lastLoginInstant": 1471786483322,
        "encryptionScheme": "salted-sha256",
        "factor": 24000,
        "password": digest("sha256", after=SALT, times=24000).hex(),
        "salt": b64(SALT),
        "registrations": [{"applicationId": "00000000-0000-0000-0000-000000000002", "roles": ["moderator"], "verified": True}],
        "timezone": "America/Denver",
        "verified": True,
    },
    fusionauth("bcrypt", "bcrypt", "5", whole[29:], whole[7:29]),
    fusionauth("salted-md5", "salted-md5", 20000, b64(digest("md5", after=SALT, times=20000)), b64(SALT)),
    fusionauth("unsalted-md5", "salted-md5", 1, b64(digest("md5")), ""),
    fusionauth("hmac", "salted-hmac-sha256", 1, b64(mac("sha256", SALT)), b64(SALT)),
    fusionauth("pbkdf2-256", "salted-pbkdf2-hmac-sha256", 1000, b64(pbkdf2("sha256", 1000, 32)), b64(SALT)),
    fusionauth("pbkdf2-256-512", "salted-pbkdf2-hmac-sha256-512", 1000, b64(pbkdf2("sha256", 1000, 64)), b64(SALT)),
    fusionauth("pbkdf2-512", "salted-pbkdf2-hmac-sha512-512", 1000, b64(pbkdf2("sha512", 1000, 64)), b64(SALT)),
    fusionauth("phpass", "phpass-md5", 2048, b64(phpass(b"IQRaTwmf", 2048)), b64(b"IQRaTwmf")),
    fusionauth("inactive", "bcrypt", 5, whole[29:], whole[7:29]) | {"active": False, "verified": False},
    fusionauth("factor", "bcrypt", 5, whole[29:], whole[7:29]) | {"twoFactor": {"methods": [{"method": "email", "email": "factor@example.com"}]}},
    fusionauth("change", "bcrypt", 5, whole[29:], whole[7:29]) | {"passwordChangeRequired": True},
]})
write("fusionauth/search.json", {"total": 1, "users": [{
    "active": True, "email": "example@example.com", "id": "00000000-0000-0001-0000-000000000000", "insertInstant": 1331449200000,
    "lastLoginInstant": 1471786483322, "lastUpdateInstant": 1471786483322, "passwordChangeRequired": False, "passwordLastUpdateInstant": 1471786483322,
    "registrations": [], "tenantId": "f24aca2b-ce4a-4dad-951a-c9d690e71415", "twoFactor": {"methods": []}, "usernameStatus": "ACTIVE", "verified": True,
    "identities": [
        {"type": "email", "value": "example@example.com", "primary": True, "verified": True},
        {"type": "username", "value": "johnny123", "primary": True, "verified": False},
    ],
}]})

# Clerk: the dashboard's CSV, and the users of its backend API.
DJANGO = f"pbkdf2_sha256$1000$salt${b64(pbkdf2('sha256', 1000, 32, salt=b'salt'))}"
CLERK = {
    "bcrypt": bcrypt_text(),
    "argon2id": argon2_text(),
    "md5": digest("md5").hex(),
    "sha256": digest("sha256").hex(),
    "pbkdf2_sha1": f"pbkdf2_sha1$1000${SALT.hex()}${pbkdf2('sha1', 1000, 32).hex()}$32",
    "pbkdf2_sha256": f"pbkdf2_sha256$1000${b64(SALT)}${b64(pbkdf2('sha256', 1000, 32))}",
    "pbkdf2_sha256_django": DJANGO,
    "pbkdf2_sha512": f"pbkdf2_sha512$1000${b64(SALT)}${b64(pbkdf2('sha512', 1000, 64))}",
    "scrypt_firebase": f"{b64(firebase(SALT))}${b64(SALT)}${b64(SIGNER_KEY)}${b64(SALT_SEPARATOR)}${ROUNDS}${MEM_COST}",
    "scrypt_werkzeug": f"scrypt:4096:8:1$sixteen${scrypt(4096, length=64, salt=b'sixteen').hex()}",
    "ldap_ssha": "{SSHA}" + b64(digest("sha1", after=SALT) + SALT),
}
header = "id,first_name,last_name,username,primary_email_address,primary_phone_number,verified_email_addresses,unverified_email_addresses,verified_phone_numbers,unverified_phone_numbers,totp_secret,password_digest,password_hasher"
rows = [header, f'user_2fT3OpCuU3elx0CXE3cNyStBC9u,Ann,"O\'Hara, née Ünal",ann,ann@example.com,+4930123456,ann@example.com|ann@example.org,ann@example.net,+4930123456,,,{bcrypt_text()},bcrypt',
        f"user_2fTPmPJJGj6SZV1e8xN7yapuoim,,,,totp@example.com,,totp@example.com,,,,JBTWY3DPEHPK3PNP,{bcrypt_text()},bcrypt",
        "user_2cukOsyNsh0J3MCEvrgM6PkoB0I,Bob,,,bob@example.com,,bob@example.com,,,,,,"]
rows += [f'user_{hasher},,,,{hasher}@example.com,,{hasher}@example.com,,,,,"{value}",{hasher}' for hasher, value in CLERK.items()]
write("clerk/export.csv", "\n".join(rows) + "\n")
write("clerk/api.json", [{
    "id": "user_2fT3OpCuU3elx0CXE3cNyStBC9u", "object": "user", "username": "ann", "first_name": "Ann", "last_name": "O'Hara",
    "primary_email_address_id": "idn_2", "primary_phone_number_id": None, "password_enabled": True, "two_factor_enabled": False, "totp_enabled": False,
    "email_addresses": [
        {"id": "idn_1", "object": "email_address", "email_address": "second@example.com", "verification": {"status": "unverified", "strategy": "email_code"}},
        {"id": "idn_2", "object": "email_address", "email_address": "first@example.com", "verification": {"status": "verified", "strategy": "email_code"}},
    ],
    "phone_numbers": [], "external_id": "4711", "banned": True, "locked": False, "public_metadata": {"plan": "gold"}, "private_metadata": {}, "unsafe_metadata": {},
    "last_sign_in_at": 1714564800987, "created_at": 1552291815123, "updated_at": 1714564800987,
}])

# SuperTokens: the body of `POST /bulk-import/users`, `GET /users`, and the table `emailpassword_users`.
FIREBASE = f"$f_scrypt${b64(firebase(SALT))}${b64(SALT)}$m={MEM_COST}$r={ROUNDS}$s={b64(SALT_SEPARATOR)}"


def supertokens(number, email, algorithm, hashed, **more):
    method = {"isPrimary": True, "isVerified": True, "tenantIds": ["public"], "recipeId": "emailpassword", "timeJoinedInMSSinceEpoch": 1552291815123, "email": email, "hashingAlgorithm": algorithm, "passwordHash": hashed}
    return {"externalUserId": f"id-{number}", "userMetadata": {"first_name": "Ann"}, "userRoles": [{"role": "admin", "tenantIds": ["public"]}], "loginMethods": [method]} | more


third = {"isVerified": True, "tenantIds": ["public"], "recipeId": "thirdparty", "timeJoinedInMSSinceEpoch": 1500000000000, "email": "ann@gmail.com", "thirdPartyId": "google", "thirdPartyUserId": "1029384756"}
phone = {"isVerified": True, "tenantIds": ["public"], "recipeId": "passwordless", "timeJoinedInMSSinceEpoch": 1600000000000, "phoneNumber": "+4930123456"}
ann = supertokens(1, "ann@example.com", "bcrypt", bcrypt_text(b"2a"))
ann["loginMethods"] += [third, phone]
write("supertokens/bulk.json", {"users": [
    ann,
    supertokens(2, "bob@example.com", "argon2", argon2_text()),
    supertokens(3, "firebase@example.com", "firebase_scrypt", FIREBASE),
    supertokens(4, "totp@example.com", "bcrypt", bcrypt_text(b"2a"), totpDevices=[{"secretKey": "JBTWY3DPEHPK3PNP", "period": 30, "skew": 1}]),
]})
write("supertokens/users.json", {"status": "OK", "users": [{
    "id": "9a1b6c3e-1d1f-4c59-8a0e-1c7d8e7d5a01", "isPrimaryUser": False, "tenantIds": ["public"], "timeJoined": 1552291815123,
    "emails": ["ann@example.com"], "phoneNumbers": [], "thirdParty": [],
    "loginMethods": [{"tenantIds": ["public"], "recipeUserId": "9a1b6c3e-1d1f-4c59-8a0e-1c7d8e7d5a01", "verified": False, "timeJoined": 1552291815123, "recipeId": "emailpassword", "email": "ann@example.com"}],
}]})
write("supertokens/emailpassword_users.csv", "app_id,user_id,email,password_hash,time_joined\n"
      f'public,9a1b6c3e-1d1f-4c59-8a0e-1c7d8e7d5a01,ann@example.com,{bcrypt_text(b"2a")},1552291815123\n'
      f'public,9a1b6c3e-1d1f-4c59-8a0e-1c7d8e7d5a02,bob@example.com,"{argon2_text()}",1552291815124\n')

# Cognito: "Importing users into user pools from a CSV file".
write("cognito/import.csv", """cognito:username,name,given_name,family_name,middle_name,nickname,preferred_username,profile,picture,website,email,email_verified,gender,birthdate,zoneinfo,locale,phone_number,phone_number_verified,address,updated_at,cognito:mfa_enabled
John,,John,Doe,,,,,,,johndoe@example.com,TRUE,,02/01/1985,,,+12345550100,TRUE,123 Any Street\\, Anytown,,FALSE
Jane,,Jane,Roe,,,,,,,janeroe@example.com,FALSE,,01/01/1985,,,+12345550199,TRUE,100 Main Street,,FALSE
""")
