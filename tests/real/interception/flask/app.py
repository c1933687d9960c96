"""A login on Flask. `plain` is the route as its tutorial writes it; `lenient` has the middlewares of its own documentation and
snippets (method override, a prefix from a header), and reads credentials wherever they stand."""

import base64
import json
import os

from flask import Flask, make_response, request

LENIENT = os.environ["FLAVOUR"] == "lenient"
RECORD = os.open(os.path.join(os.environ["DATA_DIR"], "logins"), os.O_WRONLY | os.O_APPEND)
application = Flask(__name__)


@application.after_request
def signed(response):
    response.headers["x-backend"] = "flask"
    return response


def answer(name, password):
    """Says, in the answer and in the record, whom a login was taken for."""
    response = make_response({"error": "wrong"}, 401)
    if name and password:
        taken = json.dumps([name, password])
        os.write(RECORD, f"LOGIN {taken}\n".encode())
        response.headers["x-login"] = base64.b64encode(taken.encode()).decode()
    return response


class Overrides:
    """Method override, and a path prefix that a proxy in front says was cut off."""

    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        for name in ("HTTP_X_HTTP_METHOD_OVERRIDE", "HTTP_X_HTTP_METHOD", "HTTP_X_METHOD_OVERRIDE"):
            if environ.get(name):
                environ["REQUEST_METHOD"] = environ[name].upper()
        for name in ("HTTP_X_SCRIPT_NAME", "HTTP_X_FORWARDED_PREFIX"):
            prefix = environ.get(name, "")
            if prefix and environ["PATH_INFO"].startswith(prefix):
                environ["SCRIPT_NAME"] = prefix
                environ["PATH_INFO"] = environ["PATH_INFO"][len(prefix):]
        path = environ.get("HTTP_X_ORIGINAL_URL") or environ.get("HTTP_X_REWRITE_URL")
        if path:
            environ["PATH_INFO"] = path.split("?")[0]
        environ["PATH_INFO"] = environ["PATH_INFO"].lower()
        return self.app(environ, start_response)


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

if LENIENT:
    application.wsgi_app = Overrides(application.wsgi_app)
    application.url_map.strict_slashes = False

    @application.route("/api/login", methods=METHODS)
    @application.route("/api/login.<suffix>", methods=METHODS)
    def login(suffix=None):
        given = {name.lower(): value for name, value in request.values.items()}
        document = request.get_json(force=True, silent=True)
        if isinstance(document, dict):
            given.update({name.lower(): value for name, value in document.items()})
        basic = request.cookies
        return answer(given.get("email") or basic.get("email"), given.get("password") or basic.get("password"))
else:

    @application.route("/api/login", methods=["GET", "POST"])
    def login():
        if request.method != "POST":
            return "<form>"
        if request.is_json:
            document = request.get_json()
            return answer(document.get("email"), document.get("password"))
        return answer(request.form.get("email"), request.form.get("password"))
