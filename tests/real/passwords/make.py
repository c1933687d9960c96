"""Writes password hashes of many makers as JSON to standard output. Called by `make` beside it, with the folder where it put the makers,
and its own. Costs are low where they can be chosen, since the tests compute them all."""

import base64
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile

DIR, HERE = sys.argv[1:3]

PASSWORDS = {
    "plain": "correct horse battery staple",
    "one": "x",
    "71": "x" * 71,
    "72": "x" * 72,
    "73": "x" * 73,
    "unicode": "p\u00e4ssw\u00f6rd \u2603 \U0001d11e",
    "spaces": "  two at each end  ",
    "empty": "",
    "nul": "before\0after",
}
rows = []


def row(format, made_by, password, hash, **more):
    rows.append({"format": format, "made_by": made_by, "password": password, "hash": hash, **more})


def every(format, made_by, make, without=()):
    """A row for each password but those that the maker refuses."""
    for name, password in PASSWORDS.items():
        if name not in without:
            row(format, made_by, password, make(password))


def version(package):
    return f"{package} {importlib.metadata.version(package)}"


def run(arguments, stdin=b"", env=None):
    done = subprocess.run(arguments, input=stdin, capture_output=True, env=env)
    if done.returncode != 0:
        sys.exit(f"{arguments}: {done.stderr.decode()}")
    return done.stdout.decode().removesuffix("\n")


def django():
    import django
    from django.conf import settings

    settings.configure()
    django.setup()
    from django.contrib.auth import hashers
    from django.utils.crypto import get_random_string

    by = version("Django")

    class Quick(hashers.PBKDF2PasswordHasher):
        iterations = 1000

    class QuickSHA1(hashers.PBKDF2SHA1PasswordHasher):
        iterations = 1000

    class QuickArgon2(hashers.Argon2PasswordHasher):
        memory_cost = 256
        parallelism = 2

    class QuickBcrypt(hashers.BCryptPasswordHasher):
        rounds = 4

    class QuickBcryptSHA256(hashers.BCryptSHA256PasswordHasher):
        rounds = 4

    class QuickScrypt(hashers.ScryptPasswordHasher):
        work_factor = 2**6

    def maker(hasher):
        return lambda password: hasher.encode(password, hasher.salt())

    every("django-pbkdf2", by, maker(Quick()))
    every("django-pbkdf2", by, maker(QuickSHA1()))
    every("prefixed-argon2", by, maker(QuickArgon2()))
    every("django-bcrypt", by, maker(QuickBcrypt()), without=("nul",))
    every("django-bcrypt-sha256", by, maker(QuickBcryptSHA256()))
    every("django-scrypt", by, maker(QuickScrypt()))
    every("django-digest", by, maker(hashers.MD5PasswordHasher()))
    # As Django shipped it, in its own parameters.
    row("django-pbkdf2", by + ", as shipped", "as shipped", hashers.make_password("as shipped"))
    # Django before 5.1 had a SHA-1 hasher; its formula, with Django's own salt.
    salt = get_random_string(12)
    digest = hashlib.sha1((salt + "as it was").encode()).hexdigest()
    row("django-digest", "Django before 5.1, by its formula", "as it was", f"sha1${salt}${digest}")


def passlib():
    from passlib import hash

    by = version("passlib")
    for format, handler, options, without in [
        ("bcrypt", hash.bcrypt, dict(rounds=4), ("nul",)),
        ("passlib-bcrypt-sha256", hash.bcrypt_sha256, dict(rounds=4), ()),
        ("passlib-bcrypt-sha256", hash.bcrypt_sha256, dict(rounds=4, version=1), ()),
        ("scrypt", hash.scrypt, dict(rounds=6), ()),
        ("pbkdf2", hash.pbkdf2_sha1, dict(rounds=1000), ()),
        ("pbkdf2", hash.pbkdf2_sha256, dict(rounds=1000), ()),
        ("pbkdf2", hash.pbkdf2_sha512, dict(rounds=1000), ()),
        ("ldap-pbkdf2", hash.ldap_pbkdf2_sha1, dict(rounds=1000), ()),
        ("ldap-pbkdf2", hash.ldap_pbkdf2_sha256, dict(rounds=1000), ()),
        ("ldap-pbkdf2", hash.ldap_pbkdf2_sha512, dict(rounds=1000), ()),
        ("phpass", hash.phpass, dict(rounds=7), ()),
        ("phpass", hash.phpass, dict(rounds=7, ident="H"), ()),
        ("md5-crypt", hash.md5_crypt, {}, ("nul",)),
        ("md5-crypt", hash.apr_md5_crypt, {}, ("nul",)),
        ("sha-crypt", hash.sha256_crypt, dict(rounds=1000), ("nul",)),
        ("sha-crypt", hash.sha512_crypt, dict(rounds=1000), ("nul",)),
        ("ldap", hash.ldap_md5, {}, ()),
        ("ldap", hash.ldap_sha1, {}, ()),
        ("ldap", hash.ldap_salted_md5, {}, ()),
        ("ldap", hash.ldap_salted_sha1, {}, ()),
        ("ldap", hash.ldap_salted_sha256, {}, ()),
        ("ldap", hash.ldap_salted_sha512, {}, ()),
        ("django-digest", hash.django_salted_sha1, {}, ()),
    ]:
        if options:
            handler = handler.using(**options)
        every(format, by, handler.hash, without)
    # The costs that passlib comes with.
    row("sha-crypt", by + ", as shipped", "as shipped", hash.sha512_crypt.hash("as shipped"))


def werkzeug():
    from werkzeug.security import generate_password_hash as make

    by = version("Werkzeug")
    every("werkzeug-scrypt", by, lambda password: make(password, "scrypt:256:4:1"))
    for prf in ("sha1", "sha256", "sha512"):
        every("werkzeug-pbkdf2", by, lambda password: make(password, f"pbkdf2:{prf}:1000"))
    row("werkzeug-scrypt", by + ", as shipped", "as shipped", make("as shipped"), slow=True)


def python():
    import argon2
    import bcrypt

    by = version("argon2-cffi")
    for type in argon2.Type:
        make = argon2.PasswordHasher(time_cost=2, memory_cost=64, parallelism=2, type=type).hash
        every("argon2", by, make)
    by = version("bcrypt")
    for prefix in (b"2a", b"2b"):
        make = lambda password: bcrypt.hashpw(password.encode(), bcrypt.gensalt(4, prefix)).decode()
        every("bcrypt", by, make, without=("nul",))


def flask():
    """Flask-Security's own `hash_password`, in an app, with the key that it calls a salt."""
    script = """
import importlib.metadata, json, sys
from flask import Flask
from flask_security import Security, hash_password
from flask_security.datastore import UserDatastore
class User:
    fs_uniquifier = None
rows = []
for scheme in ("argon2", "bcrypt", "pbkdf2_sha512"):
    app = Flask("vectors")
    app.config.update(SECRET_KEY="k", SECURITY_PASSWORD_SALT="146585145368132386173505678016728509634",
        SECURITY_PASSWORD_HASH=scheme, SECURITY_DEPRECATED_PASSWORD_SCHEMES=[],
        SECURITY_PASSWORD_HASH_PASSLIB_OPTIONS={"argon2__rounds": 1, "argon2__memory_cost": 64,
        "argon2__parallelism": 1, "bcrypt__rounds": 4, "pbkdf2_sha512__rounds": 1000})
    app.security = Security(app, UserDatastore(User, object))
    with app.app_context():
        for password in json.load(open(sys.argv[1])):
            rows.append([password, hash_password(password)])
print(json.dumps([importlib.metadata.version("Flask-Security-Too"), rows]))
"""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([password for name, password in PASSWORDS.items() if name != "empty"], file)
        file.flush()
        number, made = json.loads(run([f"{DIR}/flask/bin/python", "-c", script, file.name]))
    for password, hash in made:
        row("prehash", f"Flask-Security-Too {number}", password, "$prehash$flask" + hash)


def php():
    script = """<?php
    $in = json_decode(file_get_contents('php://stdin'), true);
    $root = $in['root'];
    require "$root/usr/share/wordpress/wp-includes/class-phpass.php";
    include "$root/usr/share/wordpress/wp-includes/version.php";
    $mediawiki = "$root/usr/share/mediawiki/includes/password";
    class PasswordFactory {}
    foreach (['Password', 'ParameterizedPassword', 'Pbkdf2Password', 'MWOldPassword', 'MWSaltedPassword'] as $class) {
        require "$mediawiki/$class.php";
    }
    require "$mediawiki/../utils/MWCryptRand.php";
    $rows = [];
    $by = 'PHP ' . PHP_VERSION;
    $phpass = new PasswordHash(8, true);
    foreach ($in['passwords'] as $name => $password) {
        $none = strpos($password, "\\0") !== false;
        if (!$none) {
            $rows[] = ['bcrypt', "$by password_hash", $password, password_hash($password, PASSWORD_BCRYPT, ['cost' => 4])];
            $before = base64_encode(hash_hmac('sha384', $password, 'wp-sha384', true));
            $rows[] = ['wordpress-bcrypt', "$by password_hash, by WordPress 6.8's formula", $password, '$wp' . password_hash($before, PASSWORD_BCRYPT, ['cost' => 4])];
        }
        if (defined('PASSWORD_ARGON2ID')) {
            $costs = ['memory_cost' => 64, 'time_cost' => 2, 'threads' => 1];
            $rows[] = ['argon2', "$by password_hash", $password, password_hash($password, PASSWORD_ARGON2ID, $costs)];
            $rows[] = ['argon2', "$by password_hash", $password, password_hash($password, PASSWORD_ARGON2I, $costs)];
        }
        $rows[] = ['phpass', "WordPress $wp_version's PasswordHash", $password, $phpass->HashPassword($password)];
        $types = ['MWOldPassword' => ['A', []], 'MWSaltedPassword' => ['B', []], 'Pbkdf2Password' => ['pbkdf2', ['algo' => 'sha512', 'cost' => '1000', 'length' => '64']]];
        foreach ($types as $class => [$type, $config]) {
            $made = new $class(new PasswordFactory(), $config + ['type' => $type]);
            $made->crypt($password);
            $rows[] = [$type == 'pbkdf2' ? 'mediawiki-pbkdf2' : 'mediawiki-md5', "MediaWiki's $class", $password, $made->toString()];
        }
    }
    echo json_encode($rows);
    """
    given = json.dumps({"root": f"{DIR}/deb/root", "passwords": PASSWORDS})
    with tempfile.NamedTemporaryFile("w", suffix=".php") as file:
        file.write(script)
        file.flush()
        made = json.loads(run(["php", file.name], given.encode()))
    mediawiki = run(["dpkg-deb", "-f", next_deb("mediawiki"), "Version"])
    for format, by, password, hash in made:
        row(format, by.replace("MediaWiki's", f"MediaWiki {mediawiki}'s"), password, hash)


def next_deb(name):
    folder = f"{DIR}/deb"
    return next(f"{folder}/{file}" for file in sorted(os.listdir(folder)) if file.startswith(name + "_"))


def crypt():
    """The C library's own crypt(3), which on Debian is libxcrypt."""
    by = "libxcrypt " + run(["dpkg-query", "-W", "-f", "${Version}", "libcrypt1"]) + "'s crypt(3)"
    script = 'print crypt($ARGV[0], $ARGV[1])'
    bcrypt = "04$abcdefghijklmnopqrstuu"
    for format, salt in [
        ("md5-crypt", "$1$saltsalt$"),
        ("md5-crypt", "$1$$"),
        ("sha-crypt", "$5$saltstring$"),
        ("sha-crypt", "$5$rounds=1400$sixteen.letters.$"),
        ("sha-crypt", "$6$saltstring$"),
        ("sha-crypt", "$6$rounds=1000$s$"),
        ("bcrypt", f"$2a${bcrypt}"),
        ("bcrypt", f"$2b${bcrypt}"),
        ("bcrypt", f"$2x${bcrypt}"),
        ("bcrypt", f"$2y${bcrypt}"),
    ]:
        every(format, by, lambda password: run(["perl", "-e", script, password, salt]), without=("nul",))


def openssl():
    by = run(["openssl", "version"]).rsplit(" (", 1)[0] + " passwd"
    for kind, format in (("-1", "md5-crypt"), ("-apr1", "md5-crypt"), ("-5", "sha-crypt"), ("-6", "sha-crypt")):
        make = lambda password: run(["openssl", "passwd", kind, "-stdin"], password.encode() + b"\n")
        every(format, by, make, without=("nul", "empty"))


def apache():
    tool = f"{DIR}/deb/root/usr/bin/htpasswd"
    env = {"LD_LIBRARY_PATH": libraries()}
    by = "htpasswd of Apache " + run(["dpkg-deb", "-f", next_deb("apache2-utils"), "Version"])
    for flags, format in ((["-m"], "md5-crypt"), (["-s"], "ldap"), (["-B", "-C", "4"], "bcrypt"), (["-5"], "sha-crypt"), (["-2"], "sha-crypt")):
        make = lambda password: run([tool, "-ni", *flags, "user"], password.encode(), env).strip().removeprefix("user:")
        every(format, by, make, without=("nul", "empty"))


def libraries():
    return f"{DIR}/deb/root/usr/lib/x86_64-linux-gnu:{DIR}/deb/root/lib/x86_64-linux-gnu"


def openldap():
    tool = [f"{DIR}/deb/root/usr/sbin/slapd", "-T", "passwd", "-o", f"module-path={DIR}/deb/root/usr/lib/ldap"]
    env = {"LD_LIBRARY_PATH": libraries()}
    by = "slappasswd of OpenLDAP " + run(["dpkg-deb", "-f", next_deb("slapd"), "Version"])

    def maker(scheme, module):
        def make(password):
            with tempfile.NamedTemporaryFile() as file:
                file.write(password.encode())
                file.flush()
                load = ["-o", f"module-load={module}"] if module else []
                return run([*tool, *load, "-h", scheme, "-n", "-T", file.name], env=env)

        return make

    for scheme, module, format in [
        ("{MD5}", None, "ldap"),
        ("{SMD5}", None, "ldap"),
        ("{SHA}", None, "ldap"),
        ("{SSHA}", None, "ldap"),
        ("{SHA256}", "pw-sha2", "ldap"),
        ("{SSHA256}", "pw-sha2", "ldap"),
        ("{SHA384}", "pw-sha2", "ldap"),
        ("{SSHA384}", "pw-sha2", "ldap"),
        ("{SHA512}", "pw-sha2", "ldap"),
        ("{SSHA512}", "pw-sha2", "ldap"),
        ("{PBKDF2}", "pw-pbkdf2", "ldap-pbkdf2"),
        ("{PBKDF2-SHA256}", "pw-pbkdf2", "ldap-pbkdf2"),
        ("{PBKDF2-SHA512}", "pw-pbkdf2", "ldap-pbkdf2"),
        ("{ARGON2}", "argon2", "ldap-crypt"),
    ]:
        every(format, by, maker(scheme, module), without=("nul", "empty"))
    make = lambda password: run([*tool, "-h", "{CRYPT}", "-c", "$6$rounds=1000$%.8s", "-s", password], env=env)
    every("ldap-crypt", by, make, without=("nul", "empty"))


def firebase():
    script = """
const { FirebaseScrypt } = require('firebase-scrypt');
const config = { memCost: 6, rounds: 8, saltSeparator: 'Bw==', signerKey: 'jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==' };
const passwords = JSON.parse(require('fs').readFileSync(0, 'utf8'));
(async () => {
  const rows = [];
  for (const password of passwords) {
    const hash = await new FirebaseScrypt(config).hash(password, '42xEC+ixf3L2lw==');
    rows.push([password, `$firescrypt$ln=6,r=8,p=1$42xEC+ixf3L2lw==$${hash}$${config.saltSeparator}$${config.signerKey}`]);
  }
  console.log(JSON.stringify(rows));
})();
"""
    env = {**os.environ, "NODE_PATH": f"{DIR}/node/node_modules"}
    number = json.load(open(f"{DIR}/node/node_modules/firebase-scrypt/package.json"))["version"]
    passwords = json.dumps([p for n, p in PASSWORDS.items() if n != "empty"])
    for password, hash in json.loads(run(["node", "-e", script], passwords.encode(), env)):
        row("firebase-scrypt", f"firebase-scrypt {number} (npm)", password, hash)


def phc():
    """PBKDF2 in a PHC string as a package of npm writes it: without the length."""
    script = """
const pbkdf2 = require('@phc/pbkdf2');
const passwords = JSON.parse(require('fs').readFileSync(0, 'utf8'));
(async () => {
  const rows = [];
  for (const password of passwords) {
    for (const digest of ['sha1', 'sha256', 'sha512']) {
      rows.push([password, await pbkdf2.hash(password, { digest, iterations: 1000 })]);
    }
  }
  console.log(JSON.stringify(rows));
})();
"""
    env = {**os.environ, "NODE_PATH": f"{DIR}/node/node_modules"}
    number = json.load(open(f"{DIR}/node/node_modules/@phc/pbkdf2/package.json"))["version"]
    for password, hash in json.loads(run(["node", "-e", script], json.dumps(list(PASSWORDS.values())).encode(), env)):
        row("pbkdf2", f"@phc/pbkdf2 {number} (npm)", password, hash)


def symfony():
    """Its digests as it made them by default until version 5.3, and as older applications asked for them."""
    script = """<?php
    $in = json_decode(file_get_contents('php://stdin'), true);
    $hasher = $in['root'] . '/usr/share/php/Symfony/Component/PasswordHasher';
    foreach (['PasswordHasherInterface', 'LegacyPasswordHasherInterface', 'Hasher/CheckPasswordLengthTrait', 'Hasher/MessageDigestPasswordHasher'] as $file) {
        require "$hasher/$file.php";
    }
    use Symfony\\Component\\PasswordHasher\\Hasher\\MessageDigestPasswordHasher;
    $rows = [];
    foreach ($in['passwords'] as $name => $password) {
        $salt = "salt of $name";
        $made = (new MessageDigestPasswordHasher())->hash($password, $salt);
        $rows[] = [$password, "$made:$salt", 'symfony'];
        foreach (['md5', 'sha1', 'sha256', 'sha512'] as $algorithm) {
            $made = (new MessageDigestPasswordHasher($algorithm, false, 1))->hash($password, $salt);
            $rows[] = [$password, "$made:$salt", "$algorithm:{PASSWORD}{{SALT}}"];
        }
        $made = (new MessageDigestPasswordHasher('sha256', true, 10))->hash($password, $salt);
        $first = base64_encode('{PASSWORD}{{SALT}}');
        $again = base64_encode('{DIGEST}{PASSWORD}{{SALT}}');
        $rows[] = [$password, "\$sha256\$pf=$first,it=10,rt=$again\$" . base64_encode($salt) . "\$$made", null];
    }
    echo json_encode($rows);
    """
    given = json.dumps({"root": f"{DIR}/deb/root", "passwords": PASSWORDS})
    with tempfile.NamedTemporaryFile("w", suffix=".php") as file:
        file.write(script)
        file.flush()
        made = json.loads(run(["php", file.name], given.encode()))
    by = "Symfony " + run(["dpkg-deb", "-f", next_deb("php-symfony-password-hasher"), "Version"])
    for password, hash, template in made:
        more = {"template": template} if template else {}
        row("digest", f"{by}'s MessageDigestPasswordHasher", password, hash, **more)


def werkzeug_before():
    """Before 2.3 werkzeug made a plain HMAC, if it was asked for a digest."""
    script = """
import importlib.metadata, json, sys
from werkzeug.security import generate_password_hash
rows = []
for password in json.load(open(sys.argv[1])):
    for method in ("sha224", "sha256", "sha384", "sha512"):
        rows.append([password, generate_password_hash(password, method)])
print(json.dumps([importlib.metadata.version("Werkzeug"), rows]))
"""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(list(PASSWORDS.values()), file)
        file.flush()
        number, made = json.loads(run([f"{DIR}/werkzeug/bin/python", "-W", "ignore", "-c", script, file.name]))
    for password, hash in made:
        row("werkzeug-hmac", f"Werkzeug {number}", password, hash)


def published():
    """Vectors that the makers, or hashcat, published; each says where."""
    rows.extend(json.load(open(f"{HERE}/published.json")))


for maker in (
    django, passlib, werkzeug, werkzeug_before, python, flask, php, symfony, crypt, openssl, apache, openldap, firebase, phc, published
):
    maker()
lines = ",\n".join(json.dumps(row) for row in rows)
print(f"[\n{lines}\n]")
