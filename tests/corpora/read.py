"""Turns the two corpora into one list of cases, as JSON: the raw bytes, and what their authors say of them.

gunicorn's cases are pairs of files: the bytes, with `\\r\\n` and the like spelled out, and a Python file with the requests that
they hold or the error that they are. The Python is read as a syntax tree, and never run.
http_desync_guardian's are YAML: a request line, headers, and a verdict from Compliant to Severe. They have no bodies.
"""

import ast
import json
import re
import sys
from pathlib import Path

import yaml


def evaluate(node, names):
    """The value of what the files are written in: literals, `uri(...)`, names of earlier values, and text replaced in text."""
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, (ast.List, ast.Tuple)):
        return [evaluate(item, names) for item in node.elts]
    if isinstance(node, ast.Dict):
        return {evaluate(key, names): evaluate(value, names) for key, value in zip(node.keys, node.values)}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "uri":
        return evaluate(node.args[0], names)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("replace", "encode", "decode"):
        return getattr(evaluate(node.func.value, names), node.func.attr)(*(evaluate(arg, names) for arg in node.args))
    return ast.literal_eval(node)


def expectations(path):
    """What a gunicorn case's Python file says: the settings that it needs, and its requests or its error."""
    settings, names = [], {}
    for line in ast.parse(path.read_text()).body:
        if isinstance(line, (ast.Import, ast.ImportFrom)):
            names.update((alias.asname or alias.name, alias.name) for alias in line.names)
        elif isinstance(line, ast.Assign) and line.targets[0].id != "cfg":
            names[line.targets[0].id] = evaluate(line.value, names)
        elif isinstance(line, ast.Expr) and isinstance(line.value, ast.Call):
            settings.append([evaluate(arg, names) for arg in line.value.args])
    return settings, names["request"]


def spelled_out(text):
    """The bytes of a gunicorn case, read as gunicorn's own tests read them."""
    text = text.replace(b"\n", b"").replace(b"\\r\\n", b"\r\n").replace(b"\\0", b"\0").replace(b"\\n", b"\n").replace(b"\\t", b"\t")
    text = re.sub(rb"\\x([0-9A-Fa-f]{2})", lambda found: bytes.fromhex(found[1].decode()), text)
    assert b"\\" not in text
    return text


def gunicorn(folder):
    for verdict in ("valid", "invalid"):
        for path in sorted((folder / "tests" / "requests" / verdict).glob("*.http")):
            settings, expected = expectations(path.with_suffix(".py"))
            case = {"corpus": "gunicorn", "name": f"{verdict}/{path.stem}", "verdict": verdict, "settings": settings}
            case["bytes"] = spelled_out(path.read_bytes()).hex()
            case["says"] = expected if verdict == "invalid" else "valid"
            expected = [] if verdict == "invalid" else expected if isinstance(expected, list) else [expected]
            case["requests"] = [
                {
                    "method": request["method"],
                    "target": request["uri"],
                    "version": ".".join(map(str, request["version"])),
                    "body": octets(request["body"]).hex(),
                }
                for request in expected
            ]
            yield case


def octets(text):
    """A text as bytes: `"\\xff"` means that byte."""
    if isinstance(text, bytes):
        return text
    text = str(text)
    return text.encode("latin-1") if all(ord(char) < 256 for char in text) else text.encode()


def desync(metadata):
    packages = json.loads(metadata.read_text())["packages"]
    [manifest] = [package["manifest_path"] for package in packages if package["name"] == "http_desync_guardian"]
    for path in sorted((Path(manifest).parent / "tests").glob("*.yaml")):
        for number, case in enumerate(yaml.safe_load(path.read_text()), 1):
            lines = [b" ".join(octets(case[part]) for part in ("method", "uri", "version"))]
            lines += [octets(header["name"]) + b": " + octets(header["value"]) for header in case["headers"] or []]
            tier = case["expected"]["tier"]
            yield {
                "corpus": "http_desync_guardian",
                "name": f"{path.stem}/{number}",
                "title": case["name"],
                "verdict": "valid" if tier == "Compliant" else "invalid",
                "settings": [],
                "bytes": (b"\r\n".join(lines) + b"\r\n\r\n").hex(),
                "says": f"{tier}: {case['expected']['reason']}",
                "requests": [],
            }


if __name__ == "__main__":
    cases = [*gunicorn(Path(sys.argv[1])), *desync(Path(sys.argv[2]))]
    Path(sys.argv[3]).write_text(json.dumps(cases, indent=1))
    print(len(cases), "cases")
