"""What these tests share: the folder, and the image as the Dockerfile makes it."""

import json
import shlex
from pathlib import Path
from typing import Any

import yaml

from tests.packaging.test_packaging import arguments_of

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
