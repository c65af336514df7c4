"""What these tests share: the folder, the image as the Dockerfile makes it, and the programs of Debian."""

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from tests.test_packaging import arguments_of

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"


def load(path: Path) -> Any:
    """The one document of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def image_user() -> str:
    """`uid:gid` the image runs as."""
    return arguments_of("USER")[0]


def image_port() -> int:
    return int(arguments_of("EXPOSE")[0])


def image_volume() -> str:
    return arguments_of("VOLUME")[0]


def image_entrypoint() -> list[str]:
    words: list[str] = json.loads(arguments_of("ENTRYPOINT")[0])
    return words


def image_environment() -> dict[str, str]:
    """What the image's last stage sets."""
    pairs = shlex.split(arguments_of("ENV")[-1])
    return dict(pair.split("=", 1) for pair in pairs)


def untested(why: str) -> NoReturn:
    """Skips; where the programs are required, fails."""
    message = f"{why}, so this is NOT TESTED; REQUIRE_DEPLOY_TOOLS=1 makes it a failure"
    if os.environ.get("REQUIRE_DEPLOY_TOOLS") == "1":
        pytest.fail(message)
    pytest.skip(message)


def program(name: str, package: str) -> str:
    """The path of a program."""
    path = shutil.which(name)
    if path is None:
        untested(f"{name} is not installed (Debian: {package})")
    return path
