"""What is wrong with the settings: all of it at once, and no value in any message."""

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


class SettingsError(Exception):
    """The settings cannot be used. `errors`: one line each, ready for standard error."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(self.errors))


class Problems(list[str]):
    """A list of errors that grows while the rest is still read."""

    def attempt(self, read: Callable[[], T], origin: str = "") -> T | None:
        """What `read` returns; None where it raises a ValueError, which becomes one more problem."""
        try:
            return read()
        except ValueError as error:
            self.append(f"{origin}{error}")
            return None
