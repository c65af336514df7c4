"""Reads the YAML file of `--config.file`.

The document is read as a tree of nodes, not as Python values: so a duplicate key is seen, every key has a
line, and a value is the text that stands there (`5m` and `16` alike), as it is for flags and variables.
"""

from collections.abc import Iterator
from pathlib import Path

import yaml

from exporter.config.errors import looks_like_a_name, suggestion
from exporter.config.layers import Layer, Text
from exporter.config.model import all_settings

_NULL = "tag:yaml.org,2002:null"
_PLAIN = "tag:yaml.org,2002:"


def read_config_file(named: Text | None) -> Layer:
    """The settings in the file, none where no file is named. Never raises: errors are in `errors`."""
    layer = Layer()
    if named is None or not named.value:
        return layer
    try:
        text = Path(named.value).read_text(encoding="utf-8-sig")
    except OSError as error:
        layer.errors.append(f"{named.origin}: the file cannot be read: {error.strerror}")
    except ValueError:  # not UTF-8, or a zero byte in the path
        layer.errors.append(f"{named.origin}: names no file of UTF-8 text")
    else:
        parse_config(text, layer)
    return layer


def parse_config(text: str, layer: Layer) -> None:
    """Adds the settings in a YAML document to `layer`."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:  # yaml's own text quotes the file
        layer.errors.append(f"configuration file{_position(error)}: not valid YAML; check quotes and indents")
        return
    if root is not None:
        _read_node(root, (), layer)


def _position(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", {_place(mark)}, column {mark.column + 1}" if mark else ""


def _place(mark: yaml.Mark) -> str:
    return f"line {mark.line + 1}"


def _read_node(node: yaml.Node, keys: tuple[str, ...], layer: Layer) -> None:
    """Follows only keys of the model: its depth bounds the walk, also over anchors that loop."""
    name = ".".join(keys)
    origin = f"configuration file, {_place(node.start_mark)}" + (f", key {name}" if name else "")
    if name in {setting.name for setting in all_settings()}:
        if isinstance(node, yaml.ScalarNode) and node.tag.startswith(_PLAIN):
            layer.texts[name] = Text(origin, "" if node.tag == _NULL else node.value)
        else:
            layer.errors.append(f"{origin}: must be a single plain value")
    elif isinstance(node, yaml.MappingNode):
        for key, value in _unique_pairs(node, keys, layer):
            _read_node(value, (*keys, key), layer)
    elif node.tag != _NULL:
        layer.errors.append(f"{origin}: must be a mapping of keys to values")


def _unique_pairs(
    node: yaml.MappingNode, above: tuple[str, ...], layer: Layer
) -> Iterator[tuple[str, yaml.Node]]:
    known = _known_paths()
    seen: set[str] = set()
    for key_node, value in node.value:
        key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
        name = ".".join((*above, key))
        shown = f", key {name}" if looks_like_a_name(name) else ""
        origin = f"configuration file, {_place(key_node.start_mark)}{shown}"
        if name not in known or "." in key:
            layer.errors.append(
                f"{origin}: unknown key{suggestion(name, known) if shown else ' (not shown here)'}"
            )
        elif key in seen:
            layer.errors.append(f"{origin}: written twice; keep one")
        else:
            seen.add(key)
            yield key, value


def _known_paths() -> list[str]:
    """Dotted names of all sections and settings."""
    parts = [setting.name.split(".") for setting in all_settings()]
    return list(dict.fromkeys(".".join(path[:depth]) for path in parts for depth in range(1, len(path) + 1)))
