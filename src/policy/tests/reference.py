"""Python's own reading of what the rule book reads: one case a line on stdin, one answer a line on stdout, both JSON.

Standard library only. Bytes travel as hexadecimal digits. An answer of null means that Python refuses the case.
"""

import email.message
import email.parser
import json
import re
import sys
from urllib.parse import parse_qsl, unquote

# Frappe's url_rules (api/v1.py, api/v2.py), mounted at /api, /api/v1 and /api/v2, with strict_slashes and merge_slashes off. werkzeug's
# <x> is one segment, <path:x> any that does not begin with a slash; the first rule that matches is the one werkzeug weighs most.
V1 = r"/api(?:/v1)?"
RULES = [
    (V1 + r"/method/(?P<method>[^/].*?)/?", "rpc"),
    (V1 + r"/resource/(?P<doctype>[^/]+)/?", "doctype"),
    (V1 + r"/resource/(?P<doctype>[^/]+)/(?P<name>[^/].*?)/?", "document"),
    (r"/api/v2/method/(?P<method>[^/]+)/?", "rpc"),
    (r"/api/v2/method/(?P<doctype>[^/]+)/(?P<method>[^/]+)/?", "controller"),
    (r"/api/v2/document/(?P<doctype>[^/]+)/?", "doctype"),
    (r"/api/v2/document/(?P<doctype>[^/]+)/(?P<name>[^/].*?)/method/(?P<method>[^/]+)/?", "document method"),
    (r"/api/v2/document/(?P<doctype>[^/]+)/(?P<name>[^/].*?)/?", "document"),
    (r"/api/v2/doctype/(?P<doctype>[^/]+)/meta/?", "meta"),
    (r"/api/v2/doctype/(?P<doctype>[^/]+)/count/?", "count"),
]


def path(text):
    decoded = unquote(text)
    for rule, endpoint in RULES:
        if match := re.fullmatch(rule, decoded, re.DOTALL):
            found = match.groupdict()
            if endpoint == "rpc":
                found["method"] = found["method"].split("/")[0]
            return [endpoint, found.get("doctype"), found.get("name") or found.get("method")]
    return ["other", None, decoded]


def form(raw):
    return parse_qsl(raw.decode(), keep_blank_values=True)


def tree(raw):
    def tell(value):
        match value:
            case Pairs():
                return {"object": [[key, tell(member)] for key, member in value.pairs]}
            case list():
                return {"array": [tell(item) for item in value]}
            case bool() | None | str():
                return value
            case int():
                return {"integer": str(value)}
            case float():
                return {"number": True}

    class Pairs:
        def __init__(self, pairs):
            self.pairs = pairs

    return tell(json.loads(raw, object_pairs_hook=Pairs))


def multipart(raw):
    whole = email.parser.BytesParser().parsebytes(b"Content-Type: multipart/form-data; boundary=b0\r\n\r\n" + raw)
    fields = []
    for part in whole.get_payload() if whole.is_multipart() else []:
        head = email.message.Message()
        for name, value in part.raw_items():
            head[name] = value.encode("ascii", "surrogateescape").decode()
        parameters = dict(head.get_params(header="content-disposition", unquote=True))
        is_file = "filename" in parameters
        fields.append([parameters["name"], None if is_file else part.get_payload(decode=True).hex()])
    return fields


READERS = {
    "path": lambda raw: path(raw.decode()),
    "form": form,
    "json": tree,
    "multipart": multipart,
}

sys.stdout.reconfigure(encoding="utf-8")
for line in sys.stdin:
    kind, raw = json.loads(line)
    try:
        answer = json.dumps({"read": READERS[kind](bytes.fromhex(raw))}, ensure_ascii=False)
        answer.encode()
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        answer = "null"
    print(answer)
