"""Which images form a batch: pure functions of (seed, epoch), so a resumed run sees the same batches."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from faceloss.data.keys import generator
from faceloss.errors import BadInput

Index = npt.NDArray[np.int64]


def shuffled_batches(n: int, batch: int, seed: int, epoch: int) -> list[Index]:
    """The images 0..n-1 in random order, cut into batches of ``batch``.

    The last partial batch is dropped (a batch of another size has another gradient noise, and a batch of one breaks
    batch normalization) unless it is the only one.
    """
    if n < 1 or batch < 1:
        raise BadInput(f"Batches of {batch} from {n} images are not possible; both must be at least 1.")
    return _cut(generator(seed, epoch, "shuffled").permutation(n).astype(np.int64), batch)


def windowed_batches(shards: npt.ArrayLike, window: int, batch: int, seed: int, epoch: int) -> list[Index]:
    """As `shuffled_batches`, but reading few files at a time: nearly random, for archives on slow disks.

    ``shards`` [N] says which archive holds each image. The archives are shuffled and taken ``window`` at a time; the
    images of these are shuffled among each other. Two images that lie in different windows never share a batch, but for
    the one batch between two windows: people of whom all images lie in one archive meet few others, so archives should
    hold images in random order, as those of `faceloss data export` do.
    """
    held, which = np.unique(np.asarray(shards), return_inverse=True)
    if window < 1 or batch < 1 or not len(held):
        raise BadInput(f"Batches of {batch} from windows of {window} shards are not possible; both must be at least 1.")
    place = np.empty(len(held), np.int64)
    place[generator(seed, epoch, "shards").permutation(len(held))] = np.arange(len(held))
    inside = place[which] // window  # [N] the window of each image
    parts = np.split(np.argsort(inside, kind="stable"), np.cumsum(np.bincount(inside))[:-1])
    order = [generator(seed, epoch, "window", number).permutation(part) for number, part in enumerate(parts)]
    return _cut(np.concatenate(order).astype(np.int64), batch)


def _cut(order: Index, batch: int) -> list[Index]:
    """Batches of an order; the last partial one is dropped unless it is the only one."""
    if len(order) <= batch:
        return [order]
    return [order[start : start + batch] for start in range(0, len(order) - batch + 1, batch)]


def group_balanced_batches(groups: Sequence[str], batch: int, seed: int, epoch: int) -> list[Index]:
    """As many batches as of `shuffled_batches`, in which every group (``groups`` [n]) has equally many images.

    Each of G groups is drawn n / G times an epoch (up to one), and within it every image equally often (up to one):
    those of small groups more than once, of large groups some not at all. The images seen are as many as without
    balance.
    """
    names, code = np.unique(np.asarray(groups), return_inverse=True)
    random, n = generator(seed, epoch, "group-balanced"), len(code)
    share = np.full(len(names), n // len(names))
    share[np.roll(np.arange(len(names)), -epoch)[: n % len(names)]] += 1
    drawn = []
    for group, count in enumerate(share.tolist()):
        deck = random.permutation(np.flatnonzero(code == group))
        drawn.append(np.resize(deck, count))  # the deck again and again
    order = random.permutation(np.concatenate(drawn)).astype(np.int64)
    return [order[rows] for rows in shuffled_batches(n, batch, seed, epoch)]


def identity_balanced_batches(
    labels: npt.ArrayLike, P: int, K: int, seed: int, epoch: int, groups: Sequence[str] | None = None
) -> list[Index]:
    """Batches of exactly P different identities with K images each, identity after identity.

    An identity with at least K images gives K different ones; one with fewer gives each of its images equally often
    (up to one). An epoch has round(n / PK) batches, at least one, so it shows about as many images as there are; within
    it the identities appear equally often (up to one), which means that images of small identities appear more often.
    With ``groups`` (one for each image; an identity is of the group of its first image) every batch has equally many
    identities of each group, as far as there are so many.
    """
    numbers = np.asarray(labels)
    present, counts = np.unique(numbers, return_counts=True)
    if P < 1 or K < 1 or len(present) < P:
        raise BadInput(
            f"Batches of {P} identities with {K} images each are not possible with {len(present)} identities; "
            f"P must be 1 to {len(present)} and K at least 1."
        )
    random = generator(seed, epoch, "identity-balanced")
    images = np.split(np.argsort(numbers, kind="stable"), np.cumsum(counts)[:-1])
    if groups is None:
        identities = _Decks([np.arange(len(present))], random)
    else:
        own = np.asarray([groups[rows[0]] for rows in images])
        identities = _Decks([np.flatnonzero(own == name) for name in np.unique(own)], random)
    decks = [_Deck(len(own), random) for own in images]
    batches = []
    for _ in range(max(1, round(len(numbers) / (P * K)))):
        chosen = [images[i][np.resize(decks[i].deal(min(K, len(images[i]))), K)] for i in identities.deal(P)]
        batches.append(np.concatenate(chosen).astype(np.int64))  # [P*K]
    return batches


class _Deck:
    """Cards 0..size-1, dealt in random order; reshuffled when used up. One deal never holds a card twice."""

    def __init__(self, size: int, random: np.random.Generator) -> None:
        self.size, self.random = size, random
        self.rest: list[int] = []

    def deal(self, count: int) -> list[int]:
        hand, self.rest = self.rest[:count], self.rest[count:]
        if len(hand) < count:
            fresh = self.random.permutation(self.size).tolist()
            # Cards already in this hand wait until the end of the new round.
            fresh = _without(fresh, hand) + hand
            missing = count - len(hand)
            hand, self.rest = hand + fresh[:missing], fresh[missing:]
        return hand


class _Decks:
    """Cards of several kinds; a deal holds equally many of each, as far as there are so many."""

    def __init__(self, kinds: Sequence[Index], random: np.random.Generator) -> None:
        self.kinds, self.decks = kinds, [_Deck(len(kind), random) for kind in kinds]
        self.deals = 0

    def deal(self, count: int) -> list[int]:
        share = [0] * len(self.kinds)
        turn = self.deals  # who comes first where the count cannot be divided
        while sum(share) < count:
            kind, turn = turn % len(share), turn + 1
            share[kind] += share[kind] < len(self.kinds[kind])
        self.deals += 1
        dealt = zip(self.kinds, self.decks, share, strict=True)
        return [int(kind[card]) for kind, deck, n in dealt for card in deck.deal(n)]


def _without(cards: Iterable[int], dealt: list[int]) -> list[int]:
    gone = set(dealt)
    return [card for card in cards if card not in gone]
