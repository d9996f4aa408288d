"""What calls raise. Every class is a `CdpsError`; where Python has a class for the same, it is that as well."""

from __future__ import annotations


class CdpsError(Exception):
    """Base of everything that this package raises on purpose."""


class ConfigError(CdpsError, ValueError):
    """A value given is not valid; the text says which, and what is."""


class StateError(CdpsError, RuntimeError):
    """The call is not possible in the state that the object is in. Nothing has changed."""


class SystemCallError(CdpsError, OSError):
    """The operating system refused a socket or a thread; `errno` is its number for that."""

    def __init__(self, text: str, errno: int | None = None) -> None:
        super().__init__(text, errno)
        self.errno = errno

    def __str__(self) -> str:
        return str(self.args[0])


class ClosedError(CdpsError):
    """The node, client, port or session is closed."""


class ForkedError(ClosedError):
    """The object was made in a parent process. Open nodes after the fork, or start processes by spawn."""


class DeadlineExceeded(CdpsError, TimeoutError):
    """The timeout given to the call has passed."""


class WouldBlock(CdpsError, BlockingIOError):
    """The send buffer is full, and the timeout was 0."""


class MessageTooLarge(CdpsError, ValueError):
    """A message of `size` bytes is longer than both ends allow, which is `limit`."""

    def __init__(self, text: str, size: int, limit: int) -> None:
        super().__init__(text, size, limit)
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return str(self.args[0])


class LinkError(CdpsError, ConnectionError):
    """There is no connection to the target `node`, for this `reason` (an upper-case name), as far as they are known."""

    def __init__(self, text: str, node: int | None = None, reason: str | None = None) -> None:
        super().__init__(text, node, reason)
        self.node = node
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[0])


class DeliveryError(CdpsError):
    """A send has failed: message `sn`, for this `reason` (an upper-case name)."""

    def __init__(self, text: str, sn: int, reason: str) -> None:
        super().__init__(text, sn, reason)
        self.sn = sn
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[0])


class Nacked(DeliveryError):
    """The message was certainly not sent."""


class DeliveryUnknown(DeliveryError):
    """The message may have arrived, and may have been acknowledged."""


class InternalError(CdpsError, RuntimeError):
    """A fault of this library."""
