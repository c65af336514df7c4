"""Words of the API that become labels: as many as a set may have, and OTHER for the rest. Pure.

A workspace that sends ever new words can't grow the exposition; every run is counted all the same.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from exporter.families import RUN_FAMILIES, Family
from exporter.runs.records import ActiveRun, Job
from exporter.runs.series_keys import NO_TARGET, OTHER, SeriesKey, is_job_id
from exporter.runs.totals import Totals

TARGETS, STATES, REASONS, RUN_TYPES = "effective_performance_target", "state", "reason", "run_type"

# How many words each set may have in a workspace, by the label that they become; others have the usual limit.
USUAL_LIMIT = 50
LIMITS = {"code": 200} | dict.fromkeys((TARGETS, "type", STATES, REASONS, RUN_TYPES), USUAL_LIMIT)
_WORD_LABELS = {family.name: family.word_labels for family in RUN_FAMILIES if family.word_labels}
# These say that there is no word: they take no place.
_NO_WORDS = frozenset({NO_TARGET, OTHER, "UNKNOWN"})


class OpenSets:
    """The words that are known, by the label that they become. Only read while changes are worked out."""

    def __init__(
        self,
        totals: Mapping[SeriesKey, Totals],
        jobs: Mapping[str, Job],
        active: Iterable[ActiveRun] = (),
    ) -> None:
        """The words that have series already keep them, whatever comes after."""
        self.known: defaultdict[str, set[str]] = defaultdict(set)
        for run in active:
            self.known[STATES].add(run.state)
            if run.queue_reason is not None:
                self.known[REASONS].add(run.queue_reason)
        for (label, target), each in totals.items():
            self.known[TARGETS].add(target)
            if not is_job_id(label):
                self.known[RUN_TYPES].add(label)
            for name, counts in each.words.items():
                for words in counts:
                    for of, word in zip(_WORD_LABELS.get(name, ()), words, strict=False):
                        self.known[of].add(word)
        self.known[RUN_TYPES].update(label for label in jobs if not is_job_id(label))
        for known in self.known.values():
            known.difference_update(_NO_WORDS)

    def apply(self, words: Mapping[str, Iterable[str]]) -> None:
        """Take over the words that a committed change was the first to use."""
        for label, new in words.items():
            self.known[label].update(new)


class NewWords:
    """The words that one change is the first to use."""

    def __init__(self, open_sets: OpenSets) -> None:
        self._known = open_sets.known
        self.words: dict[str, set[str]] = {}
        # The sets that had no place for a word.
        self.limited: set[str] = set()

    def bounded(self, label: str, word: str) -> str:
        """The word itself, or OTHER where its set is full."""
        known, new = self._known[label], self.words.setdefault(label, set())
        if word in known or word in new or word in _NO_WORDS:
            return word
        if len(known) + len(new) >= LIMITS.get(label, USUAL_LIMIT):
            self.limited.add(label)
            return OTHER
        new.add(word)
        return word

    def of_family(self, family: Family, words: tuple[str, ...]) -> tuple[str, ...]:
        """The values of a counter's open labels, each within its limit."""
        labels = family.word_labels
        return tuple(self.bounded(label, word) for label, word in zip(labels, words, strict=True))
