"""The command in this process: what it does before anything runs."""

import ssl

import pytest

from exporter.cli import main


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_an_empty_variable_of_the_systems_cas_counts_as_not_set(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL would take it for a file without CAs, and trust nothing."""
    monkeypatch.delenv(variable, raising=False)
    expected = ssl.create_default_context().cert_store_stats()
    monkeypatch.setenv(variable, "")
    assert main(["--version"]) == 0
    assert ssl.create_default_context().cert_store_stats() == expected


def test_other_variables_of_the_systems_cas_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are OpenSSL's."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    assert main(["--version"]) == 0
    assert ssl.create_default_context().cert_store_stats()["x509"] == 0
