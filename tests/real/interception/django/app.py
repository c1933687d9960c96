"""A login on Django. `plain` is the view as its documentation writes it; `lenient` matches any case and suffix, overrides methods, and
reads credentials wherever they stand."""

import base64
import json
import os

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.urls import path, re_path

LENIENT = os.environ["FLAVOUR"] == "lenient"
RECORD = os.open(os.path.join(os.environ["DATA_DIR"], "logins"), os.O_WRONLY | os.O_APPEND)


def signed(get_response):
    """Marks every answer as the backend's; overrides methods where it may."""

    def middleware(request):
        if LENIENT:
            override = (
                request.META.get("HTTP_X_HTTP_METHOD_OVERRIDE")
                or request.META.get("HTTP_X_HTTP_METHOD")
                or request.META.get("HTTP_X_METHOD_OVERRIDE")
                or request.GET.get("_method")
            )
            if override:
                request.method = override.upper()
            rewritten = request.META.get("HTTP_X_ORIGINAL_URL") or request.META.get("HTTP_X_REWRITE_URL")
            if rewritten:
                request.path_info = rewritten.split("?")[0]
        response = get_response(request)
        response["x-backend"] = "django"
        return response

    return middleware


def answer(name, password):
    """Says, in the answer and in the record, whom a login was taken for."""
    response = JsonResponse({"error": "wrong"}, status=401)
    if name and password:
        taken = json.dumps([name, password])
        os.write(RECORD, f"LOGIN {taken}\n".encode())
        response["x-login"] = base64.b64encode(taken.encode()).decode()
    return response


def document(request):
    try:
        read = json.loads(request.body)
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def login(request):
    if LENIENT:
        given = {name.lower(): value for name, value in request.GET.items()}
        form = request.POST
        given.update({name.lower(): value for name, value in form.items()})
        if not form:
            given.update({name.lower(): value for name, value in document(request).items()})
        return answer(given.get("email"), given.get("password"))
    if request.method != "POST":
        return HttpResponse("<form>")
    if request.content_type == "application/json":
        given = document(request)
        return answer(given.get("email"), given.get("password"))
    return answer(request.POST.get("email"), request.POST.get("password"))


urlpatterns = (
    [re_path(r"(?i)^api/+login(?:\.\w+)?(?:;.*)?/*$", login)] if LENIENT else [path("api/login", login)]
)

settings.configure(
    ALLOWED_HOSTS=["*"],
    APPEND_SLASH=True,
    DEBUG=False,
    LOGGING_CONFIG=None,
    MIDDLEWARE=["app.signed", "django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF="app",
    SECRET_KEY="only-for-the-tests",
)
django.setup()
application = get_wsgi_application()
