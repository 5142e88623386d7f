"""What a replica of the service is told when it starts: where tasks are kept, and how much anybody may ask for."""

from __future__ import annotations

from dataclasses import dataclass

#: Names of this machine, to which a service without keys answers.
HERE = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class Settings:
    """The settings of a replica.

    Example:
        >>> Settings(classes=50).examples
        2000
    """

    database: str = "sqlite:///innerloop.db"
    """Where tasks are kept, an address of SQLAlchemy: ``sqlite:///FILE`` or ``postgresql://USER@HOST/NAME``."""
    hosts: tuple[str, ...] = ()
    """Names under which it is reached, as in the ``Host`` of a request; none: any."""
    states: int = 256
    """Adapted tasks that are held in memory."""
    batch: int = 32
    """The most inputs of all requests that an encoder takes at a time."""
    body: int = 32 * 2**20
    """The most bytes of a request."""
    pixels: int = 16_000_000
    """The most pixels of an image."""
    all_pixels: int = 64_000_000
    """The most pixels of all images of a request."""
    items: int = 256
    """The most examples or queries of a request."""
    examples: int = 2000
    """The most examples of a task."""
    classes: int = 200
    """The most classes of a task."""
    numbers: int = 4096
    """The most numbers of a vector and columns of a row."""
    text: int = 10_000
    """The most characters of a text."""
    tasks: int = 10_000
    """The most tasks of a tenant."""
    rate: float = 200.0
    """Requests of a tenant in a second, on average; twice as many at once."""
    deadline: float = 30.0
    """Seconds after which a request is given up."""
    in_flight: int = 256
    """Requests that are worked on at the same time; more are sent away for a moment."""
    slow: int = 2
    """The same of those that take seconds: insights, exports and imports."""
