"""What the parts of the client share."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Any

Frame = dict[str, Any]
Handler = Callable[..., None]
Done = Callable[[Frame | None, "SwitchboardError | None"], None]

LOG = logging.getLogger("switchboard_client")
TEMPORARY = {"OVERLOADED", "STORAGE_UNAVAILABLE", "RATE_LIMITED"}


class SwitchboardError(Exception):
    """A refusal by the server, or ENDED, LINK_DOWN, QUEUE_FULL, UNKNOWN_OUTCOME."""

    def __init__(self, code: str, text: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(text or code)
        self.code = code
        self.retry_after_s = retry_after_s


def new_id() -> str:
    return secrets.token_urlsafe(12)


class Handlers:
    """Handlers by name. One that raises keeps neither the others nor the next frames from being handled."""

    def __init__(self) -> None:
        self._lists: dict[str, list[Handler]] = {}

    def add(self, name: str, handler: Handler) -> Callable[[], None]:
        handlers = self._lists.setdefault(name, [])
        handlers.append(handler)
        return lambda: handlers.remove(handler) if handler in handlers else None

    def emit(self, name: str, *values: object) -> None:
        for handler in list(self._lists.get(name, ())):
            try:
                handler(*values)
            except Exception:
                LOG.exception("a handler of %s failed", name)
