"""Reads the YAML file of `--config.file`.

The document is read as a tree of nodes, not as Python values. So a duplicate key is seen, every key has a
line, and every value is its text (`5m` and `16` alike), as for flags and variables.
"""

from functools import cache
from pathlib import Path

import yaml

from exporter.config.characters import stray_in_value
from exporter.config.files import read_file
from exporter.config.names import Setting, all_settings, looks_like_a_name, suggestion
from exporter.config.place import Place

# A file with every setting has some kilobytes; what is larger is another kind of file.
MAX_CONFIG_BYTES = 2**20

_NULL = "tag:yaml.org,2002:null"
_PLAIN = "tag:yaml.org,2002:"


def read_config_file(named: tuple[str, str] | None) -> Place:
    """The settings in the file of this origin and path. Never raises: errors are in `errors`."""
    place = Place()
    if named is None or not named[1]:
        return place
    origin, path = named
    try:
        text = read_file(Path(path), MAX_CONFIG_BYTES).decode("utf-8-sig")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError:
        place.errors.append(f"{origin}: names no file of UTF-8 text")
    except ValueError as error:
        place.errors.append(f"{origin}: {error}")
    except (yaml.YAMLError, RecursionError) as error:  # yaml's own text quotes the file
        mark = getattr(error, "problem_mark", None)
        where = f"{_line(mark)}, column {mark.column + 1}" if mark else "configuration file"
        place.errors.append(f"{where}: not valid YAML; check quotes and indents (blanks, no tabs)")
    else:
        if root is not None:
            _read_node(root, (), place)
    return place


def _read_node(node: yaml.Node, keys: tuple[str, ...], place: Place) -> None:
    """Follows only keys of the model: its depth bounds the walk, also over anchors that loop."""
    name = ".".join(keys)
    origin = _line(node.start_mark) + (f", key {name}" if name else "")
    setting = _known_keys().get(name)
    if setting is not None:
        text = _text(node, setting)
        if text is None:
            shape = "a list of plain values" if setting.written.is_list else "a single plain value"
            place.errors.append(f"{origin}: must be {shape}")
        else:
            place.write(setting, origin, text)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key_node, value in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
            if error := _key_error((*keys, key), seen):
                place.errors.append(f"{_line(key_node.start_mark)}{error}")
            else:
                seen.add(key)
                _read_node(value, (*keys, key), place)
    elif node.tag != _NULL:
        place.errors.append(f"{origin}: must be a mapping of keys to values")


@cache
def _known_keys() -> dict[str, Setting | None]:
    """Every section (None) and setting by dotted name."""
    settings = {setting.name: setting for setting in all_settings()}
    sections = {
        name.rsplit(".", depth)[0]: None for name in settings for depth in range(1, name.count(".") + 1)
    }
    return sections | settings


def _key_error(keys: tuple[str, ...], seen: set[str]) -> str | None:
    name, key = ".".join(keys), keys[-1]
    if not looks_like_a_name(name):
        stray = stray_in_value(key)
        return ": unknown key (not shown here)" + (f"; it has {stray}" if stray else "")
    if name in _known_keys() and "." not in key:
        return f", key {name}: written twice; keep one" if key in seen else None
    for setting in all_settings():
        if setting.is_meant_by(name) and len(keys) != setting.name.count(".") + 1:
            return f", key {name}: unknown key; write {setting.yaml}"
    return f", key {name}: unknown key{suggestion(name, _known_keys())}"


def _line(mark: yaml.Mark) -> str:
    return f"configuration file, line {mark.line + 1}"


def _text(node: yaml.Node, setting: Setting) -> str | None:
    """The text of a plain value, or of a list of them with commas; None for anything else."""
    if isinstance(node, yaml.ScalarNode) and node.tag.startswith(_PLAIN):
        return "" if node.tag == _NULL else str(node.value)
    if isinstance(node, yaml.SequenceNode) and setting.written.is_list:
        parts = [_text(part, setting) if isinstance(part, yaml.ScalarNode) else None for part in node.value]
        return None if None in parts else ",".join(part for part in parts if part is not None)
    return None
