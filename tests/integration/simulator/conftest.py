from tests.faults.conftest import clock, server, workspace

__all__ = ["clock", "server", "workspace"]
