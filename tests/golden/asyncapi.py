"""Writes src/pages/asyncapi.json: the messages of the wire protocols as AsyncAPI 3.

The schemas are those of the messages in the conversations beside this file, which the server is tested with; what each message is
for comes from the tables in docs/protocol.md and docs/socketio.md. The test `described` of `golden` compares the result with the
conversations. Run it after a change of either: python3 tests/golden/asyncapi.py
"""

import json
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = ROOT / "src/pages/asyncapi.json"

ANY = object()
# The application's own values, of which the protocol says nothing.
FREE = {"content", "data", "metadata", "attachment", "offer", "answer", "candidate", "details"}
DIALECTS = ("raw", "colon", "camel", "notify")


# The conversations.


def steps(path):
    """The lines of a conversation, those that go on joined."""
    lines = []
    for line in path.read_text().splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line.startswith(" ") and lines:
            lines[-1] += " " + line.strip()
        else:
            lines.append(line.rstrip())
    return lines


def value_of(text):
    """A JSON value whose placeholders are samples of what they stand for."""

    def fill(value):
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [fill(item) for item in value]
        if not isinstance(value, str):
            return value
        if value == "<any>":
            return ANY
        if re.fullmatch(r"<(time|later|number)(:\w+)?>", value):
            return 1736458200000
        value = re.sub(r"<id(:[\w-]+)?>", "0194f3d2-8c1a-7c3e-9f4b-2a6d1e0c5b7a", value)
        value = re.sub(r"<date(:[\w-]+)?>", "2025-01-09T21:30:00.000Z", value)
        return re.sub(r"<[a-z]+([:*][^>]*)?>", "text", value)

    return fill(json.loads(text))


def conversation(path):
    """(dialect, direction, name, payload) of each message; acknowledgements have the direction `ack`."""
    speech, asked, found = {}, {}, []
    lines = steps(path)
    for at, line in enumerate(lines):
        start = re.match(r"connect (\S+) as (.*)", line)
        if start:
            said = re.search(r" speaking (\w+)", start[2])
            speech[start[1]] = said[1] if said else "raw"
            continue
        part = re.match(r"(\S+) (>|<|may hear) (.*)", line)
        if not part or part[1] not in speech:
            continue
        who, verb, text = part.groups()
        dialect, direction = speech[who], "receive" if verb == ">" else "send"
        try:
            if dialect == "raw":
                payload = value_of(text)
                if isinstance(payload, dict) and isinstance(payload.get("type"), str):
                    refused = direction == "receive" and is_refused(lines[at + 1 :], who)
                    found.append((dialect, direction, payload["type"], payload, refused))
                continue
            number, array = re.fullmatch(r"(\d*)(\[.*\])", text).groups()
            array = value_of(array)
        except (ValueError, AttributeError):
            continue
        if verb != ">" and number:
            found.append((dialect, "ack", asked.get((who, number)), array[0] if array else ANY, False))
        elif array and isinstance(array[0], str):
            refused = False
            if verb == ">":
                asked[who, number] = array[0]
                refused = is_refused(lines[at + 1 :], who)
            payload = array[1] if len(array) > 1 else None
            if len(array) <= 2:
                found.append((dialect, direction, array[0], payload, refused))
    return found


def is_refused(lines, who):
    """Whether the next thing that a client hears is a refusal."""
    for line in lines:
        if line.startswith(f"{who} < "):
            return '"type": "error"' in line or '"success": false' in line or '["error"' in line or '"code"' in line
        if line.startswith(f"{who} > "):
            return False
    return False


# Schemas.


class Schema:
    """What samples of a value have in common."""

    def __init__(self):
        self.types, self.properties, self.samples = set(), {}, []
        self.objects, self.items, self.is_any = 0, None, False

    def add(self, value):
        if value is ANY:
            self.is_any = True
        elif isinstance(value, bool):
            self.types.add("boolean")
        elif isinstance(value, (int, float)):
            self.types.add("integer" if isinstance(value, int) else "number")
        elif isinstance(value, str):
            self.types.add("string")
            if value not in self.samples:
                self.samples.append(value)
        elif value is None:
            self.types.add("null")
        elif isinstance(value, list):
            self.types.add("array")
            self.items = self.items or Schema()
            for item in value:
                self.items.add(item)
        else:
            self.types.add("object")
            self.objects += 1
            for key, item in value.items():
                self.properties.setdefault(key, [0, Schema()])
                self.properties[key][0] += 1
                self.properties[key][1].add(item)

    def emit(self, optional=(), name=None):
        if name in FREE:
            return {"description": "Any JSON of the application."}
        if not self.types:
            return {}
        types = sorted(self.types)
        out = {"type": types[0] if len(types) == 1 else types}
        if "string" in types:
            out.update(of_texts(self.samples))
        if self.items:
            out["items"] = self.items.emit()
        if self.objects:
            properties = {}
            for key in sorted(self.properties):
                properties[key] = self.properties[key][1].emit(name=key)
            out["properties"] = properties
            always = [k for k, (count, _) in sorted(self.properties.items()) if count == self.objects]
            required = [key for key in always if key not in optional]
            if required:
                out["required"] = required
        return out


def of_texts(samples):
    if samples and all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) for text in samples):
        return {"format": "uuid"}
    if samples and all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", text) for text in samples):
        return {"format": "date-time"}
    return {}


# The documents.


def cells(path, heading):
    """Rows of the tables under a heading, whose first cells are names."""
    text = (ROOT / "docs" / path).read_text()
    section = re.split(rf"^## {re.escape(heading)}$", text, flags=re.M)[1]
    section = re.split(r"^## ", section, flags=re.M)[0]
    header, rows = None, []
    for line in section.splitlines():
        if not line.startswith("|"):
            header = None
            continue
        row = [cell.strip() for cell in line.strip("|").split("|")]
        if header is None:
            header = row
        elif not set(row[0]) <= set("-: "):
            rows.append((header, row))
    return rows


def plain(text):
    return re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text).replace("`", "").strip()


def names_in(cell):
    return re.findall(r"`([\w:-]+)`", cell)


class Documents:
    """What each message is for, and which fields may be absent."""

    def __init__(self):
        self.summaries, self.optional, self.answers = {}, {}, {}
        self.read("raw", "protocol.md", "Requests and events")
        for dialect in ("colon", "camel", "notify"):
            self.read(dialect, "socketio.md", f"`{dialect}`")
            self.read(dialect, "socketio.md", "Events that all dialects share")

    def tell(self, dialect, direction, name, text):
        self.summaries.setdefault((dialect, direction, name), text)

    def read(self, dialect, path, heading):
        derived = []
        for header, row in cells(path, heading):
            for name in names_in(row[0])[:1]:
                fields = row[1]
                self.optional[dialect, name] = set(re.findall(r"(\w+)\?", fields)) | set(
                    word for group in re.findall(r"(\w+(?:,? or \w+)+)", fields) for word in re.findall(r"\w+", group)
                )
                if header[0] == "request" or "ack" in header or "answer" in header:
                    told = [f"{title}: {plain(cell)}" for title, cell in zip(header[2:], row[2:]) if cell]
                    self.tell(dialect, "receive", name, ". ".join(told) or "A request without an answer")
                    self.answers[dialect, name] = [n for cell in row[2:] for n in names_in(cell)]
                    derived += [(answer, name) for cell in row[2:] for answer in names_in(cell)]
                else:
                    title = "Sent to " if header[-1] == "sent to" else ""
                    self.tell(dialect, "send", name, title + plain(row[-1]))
        for answer, name in derived:
            self.tell(dialect, "send", answer, f"Follows from {name}")


def build():
    documents, found, acks = Documents(), {}, {}
    for path in sorted(HERE.glob("*.txt")):
        for dialect, direction, name, payload, refused in conversation(path):
            if direction == "ack":
                if name and not (isinstance(payload, dict) and payload.get("success") is False):
                    acks.setdefault((dialect, name), Schema()).add(payload)
                continue
            key = (dialect, direction, name)
            is_ours = key in documents.summaries or (direction == "send" and name in SUMMARIES)
            if not is_ours:
                # Requests that are refused, and events of the application.
                continue
            if refused:
                continue
            found.setdefault(key, Schema()).add(payload)
    return documents, found, acks


SUMMARIES = {
    "error": "A request is refused. The codes are in protocol.md",
    "connect": "The first message of a connection with ?events=all",
    "offer": "An offer of another member",
    "answer": "An answer of another member, or of the media server",
    "ice-candidate": "A candidate of another member",
    "media-state-changed": "The media of another member",
    "message": "A message of a backend to users, or of a user to a user",
}
TITLES = {
    "raw": ("/ws", "raw: JSON objects by WebSocket"),
    "colon": ("/socket.io/", "colon: Socket.IO in the namespace /chat"),
    "camel": ("/socket.io/", "camel: Socket.IO in the namespace /chat"),
    "notify": ("/socket.io/", "notify: Socket.IO in the main namespace"),
}


def identifier(dialect, direction, name):
    words = re.split(r"[-:_]", name)
    role = "Request" if direction == "receive" else "Event"
    return dialect + "".join(word[:1].upper() + word[1:] for word in words) + role


def message(documents, acks, key, schema):
    dialect, direction, name = key
    optional = documents.optional.get((dialect, name), set())
    payload = schema.emit(optional)
    if dialect == "raw":
        payload["properties"]["type"] = {"const": name}
    summary = documents.summaries.get(key) or SUMMARIES.get(name, "")
    summary = summary[:1].upper() + summary[1:]
    out = {"name": name, "title": name, "summary": summary, "payload": payload}
    ack = acks.get((dialect, name)) if direction == "receive" else None
    if ack and ack.types:
        out["x-ack"] = ack.emit()
    return out


def document():
    documents, found, acks = build()
    channels, operations, messages = {}, {}, {}
    for dialect in DIALECTS:
        address, title = TITLES[dialect]
        own = {}
        events = []
        for key in sorted(found):
            if key[0] != dialect:
                continue
            name = identifier(*key)
            messages[name] = message(documents, acks, key, found[key])
            own[name] = {"$ref": f"#/components/messages/{name}"}
            if key[1] == "send":
                events.append({"$ref": f"#/channels/{dialect}/messages/{name}"})
        for key in sorted(found):
            if key[0] != dialect or key[1] != "receive":
                continue
            name = identifier(*key)
            operation = {
                "action": "receive",
                "channel": {"$ref": f"#/channels/{dialect}"},
                "summary": f"A client sends {key[2]}",
                "messages": [{"$ref": f"#/channels/{dialect}/messages/{name}"}],
            }
            answers = [identifier(dialect, "send", n) for n in documents.answers.get((dialect, key[2]), [])]
            answers = [{"$ref": f"#/channels/{dialect}/messages/{n}"} for n in dict.fromkeys(answers) if n in own]
            if answers:
                operation["reply"] = {"channel": {"$ref": f"#/channels/{dialect}"}, "messages": answers}
            operations[name] = operation
        operations[f"{dialect}Events"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{dialect}"},
            "summary": "The server sends events",
            "messages": events,
        }
        channels[dialect] = {"address": address, "title": title, "messages": own}
        if dialect == "raw":
            channels[dialect]["bindings"] = {"ws": {"method": "GET"}}
        else:
            channels[dialect]["description"] = (
                "An event has a name and one argument, which is the payload here. x-ack is the argument of the "
                "acknowledgement, if the client asks for one."
            )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Switchboard",
            "version": version(),
            "description": "Messages of the wire protocols. The calls by HTTP are in /openapi.json.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }


def version():
    return re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]


if __name__ == "__main__":
    TARGET.write_text(json.dumps(document(), indent=1, ensure_ascii=False) + "\n")
