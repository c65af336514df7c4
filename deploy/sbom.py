"""Write the software bill of materials: `python -m deploy.sbom dist/sbom.cdx.json`, or `make sbom`.

CycloneDX' own tool reads requirements.txt and pyproject.toml. Around it we add the version of our component
and that it depends on everything pinned, and name packages by their package URL instead of by the index that
the tool takes them to be from: which mirror an installation uses is not ours to say. The same input gives the
same bytes.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from exporter import __version__

ROOT = Path(__file__).parent.parent
NAME = "databricks-jobs-exporter"
_US = f"pkg:pypi/{NAME}@{__version__}"


def bill() -> str:
    """The document as JSON. Raises ValueError where it is not valid."""
    made: dict[str, Any] = json.loads(_by_the_tool())
    components = [_component(each) for each in made["components"]]
    named = [component["bom-ref"] for component in components]
    document = made | {
        "components": components,
        "dependencies": [{"ref": _US, "dependsOn": named}, *({"ref": name} for name in named)],
        "metadata": _metadata(made["metadata"]),
    }
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        raise ValueError(f"the bill of materials is not valid: {problem}")
    return text


def _by_the_tool() -> str:
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", "--pyproject"]
    options = ["--output-reproducible", "--spec-version", "1.6", "--output-format", "JSON"]
    finished = subprocess.run(  # noqa: S603  # our own words only
        [*command, str(ROOT / "pyproject.toml"), *options, str(ROOT / "requirements.txt")],
        check=True,
        stdout=subprocess.PIPE,
        env={"PATH": "", "PYTHONHASHSEED": "0"},
    )
    return finished.stdout.decode()


def _component(made: dict[str, Any]) -> dict[str, Any]:
    """A pinned package; its hashes are those of the files that may be installed."""
    purl = made["purl"].partition("?")[0]
    [files] = made["externalReferences"]
    reference = {"type": "distribution", "url": purl, "hashes": files["hashes"]}
    kept = {key: made[key] for key in ("type", "name", "version")}
    return kept | {"bom-ref": purl, "purl": purl, "scope": "required", "externalReferences": [reference]}


def _metadata(made: dict[str, Any]) -> dict[str, Any]:
    tools = [
        {key: word for key, word in tool.items() if key != "externalReferences"}
        for tool in made["tools"]["components"]
    ]
    component = made["component"] | {"bom-ref": _US, "purl": _US, "version": __version__}
    return made | {"component": component, "tools": {"components": tools}}


def main(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(bill())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
