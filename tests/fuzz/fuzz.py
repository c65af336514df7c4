#!/usr/bin/env python3
"""Feeds bytes, grown by what they reach in the code, to all that reads what others wrote.

Coverage-guided and without end, so no part of `make test`; what it finds becomes a test there. It needs
atheris, which has wheels for Linux only and so is no dependency:

    .venv/bin/pip install atheris==3.0.0
    .venv/bin/python tests/fuzz/fuzz.py decoder -max_total_time=180

Targets: decoder, token, status, redaction, settings, config-file, web-config, state. Further arguments go to
libFuzzer. A crash, or an input that takes more than five seconds or 512 MB, ends it and is written to a file.
"""

import sys
import tempfile
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["exporter", "yaml"]):
    from exporter.config import SettingsError, parse
    from exporter.databricks import responses
    from exporter.databricks.errors import WorkspaceError
    from exporter.databricks.models import Run
    from exporter.logs.redaction import PART, REDACTED, Redactor
    from exporter.runs.layout import Layout
    from exporter.server.web_config import WebConfigError, load
    from exporter.state.errors import StateError
    from exporter.state.store import StateStore

NOW = 1_780_000_000.0
SECRET = "dapi0123456789abcdef-Planted"
REDACTOR = Redactor([SECRET])
LOGIN = {"DATABRICKS_HOST": "adb-1.2.azuredatabricks.net", "DATABRICKS_TOKEN": SECRET}
SEEDS = {
    "decoder": [
        b'{"runs":[{"run_id":1,"job_id":"2","start_time":1780000000000,"tasks":[{"run_id":3,"status":{}}]}]}',
        b'{"runs":[{"run_id":1,"job_id":2,"status":{"state":"TERMINATED","termination_details":{"code":"X"}}}]}',
        b'{"jobs":[{"job_id":5,"settings":{"name":"\\ud800"}}],"next_page_token":"a"}',
    ],
    "token": [b'{"access_token":"abc","expires_in":60}'],
    "status": [b'\x01\x90{"error_code":"A","message":"does not exist"}', b"\x01\x94<title>no</title>"],
    "redaction": [f"Bearer {SECRET[:9]}%2B{SECRET[9:]}\r\n".encode(), b64encode(f"me:{SECRET}".encode())],
    "settings": [b"check\0--poll.interval=5m\0--state.path\0x", b"--demo\0--no-collect.tasks"],
    "config-file": [b"poll: {interval: 5m}\nweb:\n  listen-address: ':1'\n", b"a: &a [*a]"],
    "web-config": [
        b"basic_auth_users:\n  a: $2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG\n",
        b"tls_server_config:\n  cert_file: a\n  key: |\n    b\n",
        b"http_server_config: {headers: {X-Frame-Options: deny}}\nrate_limit: {interval: 0}\n",
    ],
    "state": [],
}


def decoder(data: bytes) -> None:
    """Any bytes are a page or an error we know; what is read has ids and words that can be served."""
    for decode in (responses.decode_run_page, responses.decode_run, responses.decode_job_page):
        with suppress(WorkspaceError):
            _serve(decode(data))


def _serve(read: object) -> None:
    for run in read.runs if isinstance(read, responses.RunPage) else [read]:
        if isinstance(run, Run):
            (run.run_name or "").encode(), (run.effective_performance_target or "").encode()
            assert isinstance(run.run_id, int), run
            assert isinstance(run.job_id, int), run


def token(data: bytes) -> None:
    """Any bytes are a token or an error we know."""
    with suppress(WorkspaceError):
        responses.decode_token(200 if data[:1] != b"x" else 400, {}, data, NOW)


def status(data: bytes) -> None:
    """Any status, headers and body are a good answer or an error we know, on one line."""
    number = int.from_bytes(data[:2], "big") % 500 + 100
    header = data[2:40].decode("latin-1")
    headers = {"Retry-After": header, "Date": header, "Location": header}
    try:
        responses.check(number, headers, data[2:], NOW)
    except WorkspaceError as error:
        assert str(error).isprintable(), error


def redaction(data: bytes) -> None:
    """No text shows a part of a secret, and one without such a part stays as it is."""
    text = data.decode("utf-8", "replace")
    shown = REDACTOR.text(text)
    parts = {SECRET[at : at + PART].lower() for at in range(len(SECRET) - PART + 1)}
    assert not any(part in piece.lower() for piece in shown.split(REDACTED) for part in parts), shown
    assert REDACTED in shown or shown == text, shown


def settings(data: bytes) -> None:
    """Any arguments and variables are settings or a SettingsError that tells no secret."""
    words = data.decode("utf-8", "replace").split("\0")
    half = len(words) // 2
    variables = {f"DATABRICKS_EXPORTER_{word[:20]}": word[20:] for word in words[half:] if word}
    _parse([f"{words[0]}{SECRET}", *words[:half]], LOGIN)
    _parse(words, LOGIN)
    _parse([], LOGIN | variables)
    _parse([], {"DATABRICKS_HOST": words[0], "DATABRICKS_TOKEN": words[-1] + SECRET})


def config_file(data: bytes) -> None:
    """Any file is settings or a SettingsError that tells no secret."""
    FILE.write_bytes(data.replace(b"SECRET", SECRET.encode()))
    _parse([f"--config.file={FILE}"], LOGIN)


def _parse(arguments: list[str], environ: dict[str, str]) -> None:
    try:
        parse(arguments, environ)
    except SettingsError as error:
        assert error.errors
        assert SECRET not in str(error), error


def web_config(data: bytes) -> None:
    """Any file is a configuration or a WebConfigError."""
    FILE.write_bytes(data)
    with suppress(WebConfigError):
        load(FILE)


def state(data: bytes) -> None:
    """Any bytes are a state file or a StateError."""
    FILE.write_bytes(data)
    for name in ("-wal", "-shm"):
        FILE.with_name(FILE.name + name).unlink(missing_ok=True)
    with suppress(StateError):
        store = StateStore(FILE, Layout())
        try:
            store.load("w")
        finally:
            store.close()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "decoder": decoder,
    "token": token,
    "status": status,
    "redaction": redaction,
    "settings": settings,
    "config-file": config_file,
    "web-config": web_config,
    "state": state,
}


def _seed(folder: Path, name: str) -> None:
    seeds = SEEDS[name]
    if name == "state":
        store = StateStore(folder / "0", Layout())
        store.load("w")
        store.close()
    for number, seed in enumerate(seeds):
        (folder / str(number)).write_bytes(seed)


if __name__ == "__main__":
    if sys.argv[1:2] == [] or sys.argv[1] not in TARGETS:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as name:
        FILE = Path(name) / "file"
        corpus = Path(name) / "corpus"
        corpus.mkdir()
        _seed(corpus, sys.argv[1])
        limits = ["-timeout=5", "-rss_limit_mb=512", "-max_len=16384", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], str(corpus), *limits, *sys.argv[2:]], TARGETS[sys.argv[1]])
        atheris.Fuzz()
