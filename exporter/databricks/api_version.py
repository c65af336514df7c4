"""Which version of the Jobs API a workspace is read with: 2.2, or 2.1 where it does not know that.

What must stay true: all that a process reads of a workspace is of one version. The first answer decides:
2.1 is only asked while 2.2 has never answered, and what is then still under way is asked again. The next
process begins with 2.2 again.
"""

import structlog

NEWEST = "2.2"
OLDER = "2.1"

_log = structlog.stdlib.get_logger(__name__)


class ApiVersion:
    """The version for one workspace."""

    def __init__(self, workspace: str) -> None:
        self._workspace = workspace
        # What to ask for next.
        self.asked = NEWEST
        self._decided = False

    def answered(self, version: str) -> bool:
        """Note that a version gave an answer; whether that answer may be used."""
        if version != self.asked:
            return False
        if not self._decided and version == OLDER:
            _log.warning(
                "the workspace doesn't know Jobs API 2.2 and is read with 2.1; restart to try 2.2 again",
                workspace=self._workspace,
            )
        self._decided = True
        return True

    def unknown(self, version: str) -> bool:
        """Note that the workspace does not know a version; whether to ask again with another."""
        if version != self.asked:
            return version == NEWEST
        if self._decided:
            return False
        self.asked = OLDER if version == NEWEST else NEWEST
        return self.asked == OLDER
