"""The passwords of the made-up users, and their hashes: by bcrypt, argon2-cffi and hashlib. Costs are low: they are only verified."""

import base64
import hashlib
import hmac

import argon2.low_level
import bcrypt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

# Of every user of every file, so that a test can try it.
PASSWORD = "correct horse battery staple"
SALT = b"sixteen byte slt"

# Firebase's own example of project parameters has the same form; these are made up.
SIGNER_KEY = hashlib.sha512(b"a signer key that signs nothing").digest()
SALT_SEPARATOR = b"\x07"
ROUNDS, MEM_COST = 8, 8


def b64(data):
    return base64.b64encode(data).decode()


def bare(data):
    return b64(data).rstrip("=")


def bcrypt_text(prefix=b"2b", cost=5):
    return bcrypt.hashpw(PASSWORD.encode(), b"$" + prefix + b"$%02d$" % cost + b"abcdefghijklmnopqrstuu").decode()


def argon2_hash(variant=argon2.low_level.Type.ID, memory=64, passes=2, lanes=1):
    return argon2.low_level.hash_secret_raw(PASSWORD.encode(), SALT, passes, memory, lanes, 32, variant)


def argon2_text(memory=64, passes=2, lanes=1):
    return f"$argon2id$v=19$m={memory},t={passes},p={lanes}${bare(SALT)}${bare(argon2_hash(memory=memory, passes=passes, lanes=lanes))}"


def pbkdf2(digest, iterations, length, salt=SALT):
    return hashlib.pbkdf2_hmac(digest, PASSWORD.encode(), salt, iterations, length)


def scrypt(cost, block=8, lanes=1, length=32, salt=SALT):
    return hashlib.scrypt(PASSWORD.encode(), salt=salt, n=cost, r=block, p=lanes, dklen=length)


def digest(name, before=b"", after=b"", times=1):
    data = before + PASSWORD.encode() + after
    for _ in range(times):
        data = hashlib.new(name, data).digest()
    return data


def mac(name, key):
    return hmac.new(key, PASSWORD.encode(), name).digest()


def firebase(salt):
    """https://firebaseopensource.com/projects/firebase/scrypt/"""
    derived = hashlib.scrypt(PASSWORD.encode(), salt=salt + SALT_SEPARATOR, n=1 << MEM_COST, r=ROUNDS, p=1, dklen=64)
    encryptor = Cipher(algorithms.AES(derived[:32]), modes.CTR(bytes(16))).encryptor()
    return encryptor.update(SIGNER_KEY) + encryptor.finalize()
