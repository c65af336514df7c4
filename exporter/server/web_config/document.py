"""The file as YAML nodes, each with its line.

An error names the line and the key, never the value: a value may be a password, a hash or a private key, also
in the wrong place. Nodes keep the text of a scalar as it was written, so `X-XSS-Protection: 0` is the
string "0", as it is for the toolkit. And nodes show a key that comes twice.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import yaml

# An error may name a key of this form. Any other could be a secret on the wrong side of the colon.
_NAMEABLE = re.compile(r"[A-Za-z][A-Za-z_-]{0,39}")
# YAML can write these as escapes, but no file name, password or header can hold them.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_NULL = "tag:yaml.org,2002:null"
_BOOL = "tag:yaml.org,2002:bool"
_TRUE = ("true", "yes", "on")


class WebConfigError(Exception):
    """Every problem of the file, for its author. `files` are the file and those it names."""

    def __init__(self, errors: tuple[str, ...], files: tuple[Path, ...] = ()) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors
        self.files = files


class Problems(list[str]):
    """The problems, in the order they were found."""

    def add(self, node: yaml.Node | None, text: str) -> None:
        self.append(text if node is None else f"line {line_of(node)}: {text}")


def line_of(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def read_file(path: Path) -> bytes:
    """The content of a regular file. Raises OSError."""
    if path.exists() and not path.is_file():
        raise OSError(0, "not a regular file")  # to open a named pipe would wait for its writer
    return path.read_bytes()


def parse(content: bytes, problems: Problems) -> yaml.Node | None:
    """The root node; None where the file is empty or is not valid YAML."""
    try:
        root: yaml.Node | None = yaml.compose(content.decode(), Loader=yaml.SafeLoader)
    except UnicodeDecodeError:
        problems.append("the file is not UTF-8")
    except yaml.MarkedYAMLError as error:
        # PyYAML's own message quotes the file.
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        problems.append(f"{where}not valid YAML")
    except (yaml.YAMLError, RecursionError):
        problems.append("not valid YAML")
    else:
        return root
    return None


def fields(
    node: yaml.Node | None, name: str, problems: Problems, known: Collection[str] | None = None
) -> Mapping[str, yaml.Node]:
    """The values of a mapping by key; empty where it is absent. With `known` None any key is allowed."""
    if node is None or node.tag == _NULL:
        return {}
    if not isinstance(node, yaml.MappingNode):
        problems.add(node, f"{name}: must be a mapping")
        return {}
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            problems.add(key, f"{name}: a key must be a string")
        elif _NO_TEXT.search(key.value):
            problems.add(key, f"{name}: a key holds a character that is not text")
        elif known is not None and key.value not in known:
            problems.add(key, f"{name}: unknown key{_named(key.value)}")
        elif key.value in found:
            problems.add(key, f"{name}: a key comes twice{_named(key.value) if known else ''}")
        else:
            found[key.value] = value
    return found


def text(node: yaml.Node | None, name: str, problems: Problems) -> str:
    """A scalar as written; empty where it is absent, blank or null: all three mean unset."""
    if node is None or node.tag == _NULL:
        return ""
    if not isinstance(node, yaml.ScalarNode):
        problems.add(node, f"{name}: must be a string")
        return ""
    if _NO_TEXT.search(node.value):
        problems.add(node, f"{name}: holds a character that is not text")
        return ""
    return str(node.value)


def texts(node: yaml.Node | None, name: str, problems: Problems) -> list[tuple[yaml.Node, str]]:
    """The strings of a list, each with its node."""
    if node is None or node.tag == _NULL:
        return []
    if not isinstance(node, yaml.SequenceNode):
        problems.add(node, f"{name}: must be a list of strings")
        return []
    words = [(item, text(item, name, problems)) for item in node.value]
    return [(item, word) for item, word in words if isinstance(item, yaml.ScalarNode)]


def flag(node: yaml.Node | None, name: str, problems: Problems, *, default: bool) -> bool:
    if node is None or node.tag == _NULL:
        return default
    if node.tag != _BOOL:
        problems.add(node, f"{name}: must be true or false")
        return default
    return str(node.value).lower() in _TRUE


def _named(key: str) -> str:
    return f" {key}" if _NAMEABLE.fullmatch(key) else ""
