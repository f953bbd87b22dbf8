"""Requests that Schemathesis makes up and the description cannot exclude."""

import schemathesis

LIMITS = (64, 128, 1024)


def is_plain(value):
    """Limits of texts count bytes in UTF-8, those of JSON Schema characters: no text lies within one and beyond the other."""
    if isinstance(value, dict):
        return all(is_plain(part) for pair in value.items() for part in pair)
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    if not isinstance(value, str):
        return True
    size = len(value.encode(errors="replace"))
    return not any(len(value) <= limit < size for limit in LIMITS)


@schemathesis.hook
def filter_body(context, body):
    return is_plain(body)


@schemathesis.hook
def filter_query(context, query):
    return is_plain(query)


@schemathesis.hook
def filter_path_parameters(context, path_parameters):
    return is_plain(path_parameters)


@schemathesis.hook("filter_body").apply_to(operation_id=["joinRoom", "leaveRoom"])
def filter_connections(context, body):
    """No client is connected: a connection that a body names is not found, which says nothing about the room."""
    return not isinstance(body, dict) or body.get("connectionId") is None
