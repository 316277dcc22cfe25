"""What the records say of losses that were searched for while training: what was tried, what went on, what it cost."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import log1p
from statistics import median

from faceloss.report.kinds import Run
from faceloss.report.kinds_of_training import Candidate, Search
from faceloss.report.records import Records

Values = dict[str, float | None]

MOST_COORDINATES = 4
_PIECE = re.compile(r"(t|tau)_(slope|offset)_(\d+)")


@dataclass(frozen=True)
class Coordinate:
    """One number of a search as it is drawn: its name, and how it comes from the hyperparameters."""

    name: str
    of: Callable[[Values], float | None]


def _plain(name: str) -> Coordinate:
    return Coordinate(name, lambda values: values.get(name))


def nats(values: Values) -> float | None:
    """u = ln(1 - a), what the modulating factor a of Search-Softmax takes from the target's logit.

    >>> round(nats({"a": -42901.0}), 3)
    10.667
    """
    a = values.get("a")
    return None if a is None or a >= 1 else log1p(-a)


NATS = Coordinate("u = ln(1 − a), nats", nats)


def labels(records: Records) -> list[str]:
    """The rows in which something was searched, in the order of the study."""
    known = {label for (label, _), epochs in records.searches.items() if names(epochs)}
    return [label for label in records.labels if label in known] + sorted(known - set(records.labels))


def courses(records: Records, label: str) -> dict[int, list[Search]]:
    """The epochs of each seed of a row."""
    return {seed: found for (name, seed), found in sorted(records.searches.items()) if name == label}


def names(epochs: Iterable[Search]) -> list[str]:
    """The hyperparameters that are searched, in the order of the records."""
    return list(dict.fromkeys(name for entry in epochs for c in entry.candidates for name in c.values))


def coordinates(epochs: Sequence[Search]) -> list[Coordinate]:
    """What is drawn of a search: the numbers that differ between candidates or epochs, one at least.

    A search of a alone is drawn in nats: in units of a one step is a thousand times larger at one end than at the
    other.
    """
    found = names(epochs)
    if found == ["a"]:
        return [NATS]
    known = [_plain(name) for name in found]
    moved = [x for x in known if len({x.of(c.values) for entry in epochs for c in entry.candidates}) > 1]
    return moved or known[:1]


def pieces(values: Values, function: str) -> list[tuple[float, float]] | None:
    """Slope and offset of each part of the ``function`` ("t" or "tau") of AM-LFS; None where one is missing."""
    found: dict[int, dict[str, float]] = {}
    for name, value in values.items():
        match = _PIECE.fullmatch(name)
        if match is not None and match[1] == function and value is not None:
            found.setdefault(int(match[3]), {})[match[2]] = value
    whole = sorted(found) == list(range(len(found))) and all(len(part) == 2 for part in found.values())
    return [(found[i]["slope"], found[i]["offset"]) for i in sorted(found)] if found and whole else None


def functions(epochs: Iterable[Search]) -> bool:
    """Whether what is searched for is the pair of functions of AM-LFS."""
    found = names(epochs)
    return bool(found) and all(_PIECE.fullmatch(name) for name in found)


def ranks(candidates: Sequence[Candidate], chosen: int) -> list[int | None]:
    """Place of each candidate within its epoch, 0 for the one that went on; None for one that was not tried.

    Who got further is ahead; of those that got equally far, who had the higher reward there. A candidate without a
    reward is behind those that have one.
    """

    def worth(i: int) -> tuple[bool, int, bool, float]:
        rewards = candidates[i].rewards
        known = rewards[-1] if rewards else None
        return i == chosen, len(rewards), known is not None, known or 0.0

    tried = [i for i, c in enumerate(candidates) if c.rewards or i == chosen]
    order = sorted(tried, key=worth, reverse=True)
    return [order.index(i) if i in tried else None for i in range(len(candidates))]


def first_rewards(entry: Search) -> list[float]:
    """The rewards at the point of the epoch at which all that were tried are compared."""
    return [c.rewards[0] for c in entry.candidates if c.rewards and c.rewards[0] is not None]


def last_reward(entry: Search) -> float | None:
    """The reward at the end of the epoch of the candidate that went on."""
    rewards = entry.candidates[entry.chosen].rewards
    return rewards[-1] if rewards else None


def scored(epochs: Iterable[Search]) -> tuple[int, int]:
    """Pairs of candidates that both had a score and were tried, and how many of them the scores put in the right order.

    Returns (right, pairs). Pairs that a score or a reward cannot tell apart do not count.
    """
    right = total = 0
    for entry in epochs:
        known = [(c.score, c.rewards[0]) for c in entry.candidates if c.score is not None and c.rewards]
        pairs = [(s, r) for s, r in known if s is not None and r is not None]
        for i, (score, reward) in enumerate(pairs):
            for other_score, other_reward in pairs[:i]:
                product = (score - other_score) * (reward - other_reward)
                right, total = right + (product > 0), total + (product != 0)
    return right, total


def _finished(records: Records, label: str) -> list[Run]:
    return [run for (name, _), run in records.runs.items() if name == label and run.status == "finished"]


def images(records: Records, label: str) -> tuple[float, float] | None:
    """Medians over the finished seeds: images seen by the model that is judged, and by all candidates."""
    known = [(run.images_seen, run.images_tried) for run in _finished(records, label)]
    pairs = [(seen, seen if tried is None else tried) for seen, tried in known if seen is not None]
    return _medians(pairs)


def seconds(records: Records, label: str) -> tuple[float, float] | None:
    """Medians over the finished seeds: seconds of the model that is judged, and of all candidates."""
    costs = [records.costs.get((label, run.seed)) for run in _finished(records, label)]
    known = [(cost.seconds, cost.search_seconds) for cost in costs if cost is not None]
    return _medians([(own, own if all_ is None else all_) for own, all_ in known if own is not None])


def _medians(pairs: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    return (median(own for own, _ in pairs), median(all_ for _, all_ in pairs)) if pairs else None


def paid(records: Records, label: str) -> float | None:
    """How many times the images of the model that is judged were trained on; None where nothing was searched."""
    found = images(records, label)
    searched = any(run.images_tried is not None for run in _finished(records, label))
    return found[1] / found[0] if found and searched and found[0] else None
