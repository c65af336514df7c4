"""The locks of a web config, which no change of the file may remove while the process runs. Pure."""

from exporter.server.web_config.config import WebConfig


def removed_locks(current: WebConfig, new: WebConfig) -> list[str]:
    """Every reason why `new` would let in what `current` keeps out; empty where it may follow.

    Users may come and go while one is left.
    """
    removed: list[str] = []
    if current.users and not new.users:
        removed.append("basic_auth_users names no user any more")
    if current.tls and not new.tls:
        removed.append("tls_server_config is missing")
    if current.tls and new.tls:
        if new.tls.client_auth < current.tls.client_auth:
            removed.append("tls_server_config.client_auth_type asks less of clients")
        if new.tls.min_version < current.tls.min_version:
            removed.append("tls_server_config.min_version is lower")
    if not removed and _is_cut_off(current, new):
        removed.append("the file is cut off: it holds only the beginning of the one in force")
    return removed


def _is_cut_off(current: WebConfig, new: WebConfig) -> bool:
    """Whether `new` is the beginning of `current` and lacks more than users at the end."""
    is_beginning = new.content != current.content and current.content.startswith(new.content)
    return is_beginning and (new.tls, new.headers) != (current.tls, current.headers)
