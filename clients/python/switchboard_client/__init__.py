"""A client of the raw protocol of Switchboard, for asyncio.

It comes back by itself after a lost connection, resumes, and sends again what has no answer; a room gives each message of
other members once and in the order of the room.
"""

from .client import Client
from .room import Message, Room
from .shared import SwitchboardError

__all__ = ["Client", "Message", "Room", "SwitchboardError"]
