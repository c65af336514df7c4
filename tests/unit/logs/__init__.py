"""What the log wrote, as a test reads it."""

import json
from dataclasses import dataclass
from typing import NoReturn

import pytest
import structlog

SECRET = "dapi0123/456+789=\"'\\x"
log = structlog.stdlib.get_logger("exporter.poller")


@dataclass
class Stderr:
    """Everything that was written to standard error so far."""

    capsys: pytest.CaptureFixture[str]
    text: str = ""

    def getvalue(self) -> str:
        self.text += self.capsys.readouterr().err
        return self.text


def line(stderr: Stderr) -> str:
    """The only line that was written."""
    text = stderr.getvalue()
    assert text.endswith("\n")
    assert text.count("\n") == 1
    return text[:-1]


def event(stderr: Stderr) -> dict[str, object]:
    result = json.loads(line(stderr))
    assert isinstance(result, dict)
    return result


def fail(message: str) -> NoReturn:
    raise ValueError(message)
