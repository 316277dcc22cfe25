"""A small generated twin of every protocol: embeddings of people who do not exist, made from a seed.

    x = center of the identity + noise of the identity * normal          with a center and a noise of each identity

They need no download, so that every protocol can be tried and is tested from end to end.
"""

from collections.abc import Callable

import numpy as np

from faceloss.evaluate.protocol import Array, conditions_of, load_protocol

Twin = dict[str, Array]
GROUPS = ("north", "east", "south", "west")


def faces(rng: np.random.Generator, sizes: Array, dim: int = 16, noise: float = 0.8) -> tuple[Array, Array]:
    """Embeddings [N,D] float32 and identities [N] of people with ``sizes`` [S] images."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    centers = rng.normal(size=(len(sizes), dim))
    spread = noise * rng.uniform(0.5, 1.5, len(sizes))
    e = centers[labels] + spread[labels, None] * rng.normal(size=(len(labels), dim))
    return e.astype(np.float32), labels


def _labelled(rng: np.random.Generator) -> Twin:
    e, labels = faces(rng, rng.integers(1, 9, 120))
    return {"embeddings": e, "identities": labels}


def _draw_pairs(rng: np.random.Generator, labels: Array, rows: Array, each: int, folds: int) -> Array:
    """[folds * 2 * each, 4] of the images ``rows``: half the pairs of a fold are of one person."""
    a, b = np.triu_indices(len(rows), 1)
    mates = labels[rows[a]] == labels[rows[b]]
    count = folds * each
    own = rng.choice(np.flatnonzero(mates), count, replace=False)
    other = rng.choice(np.flatnonzero(~mates), count, replace=False)
    fold = np.tile(np.arange(folds), each)
    pick, folds_of = np.concatenate([own, other]), np.concatenate([fold, fold])
    order = np.argsort(folds_of, kind="stable")
    table = np.stack([rows[a[pick]], rows[b[pick]], mates[pick].astype(np.int64), folds_of], axis=1)
    return np.asarray(table[order], dtype=np.int64)


def _pairs(rng: np.random.Generator) -> Twin:
    e, labels = faces(rng, rng.integers(3, 8, 90))
    return {"embeddings": e, "identities": labels, "pairs": _draw_pairs(rng, labels, np.arange(len(e)), 50, 10)}


def _pairs_by_group(rng: np.random.Generator) -> Twin:
    e, labels = faces(rng, rng.integers(4, 8, 120))
    groups = np.array(GROUPS)[labels % 4]
    parts = [_draw_pairs(rng, labels, np.flatnonzero(groups == name), 30, 10) for name in GROUPS]
    return {"embeddings": e, "identities": labels, "groups": groups, "pairs": np.concatenate(parts)}


def _templates(rng: np.random.Generator) -> Twin:
    """Each of 400 people has a gallery template and two probe templates of 1 to 6 images in 1 to 3 media."""
    people, each = 400, 3
    sizes = rng.integers(1, 7, people * each)
    owner = np.repeat(np.arange(people), each)
    whole, labels = faces(rng, np.bincount(owner, sizes).astype(np.int64), noise=1.6)
    templates = np.repeat(np.arange(people * each) + 1000, sizes)
    media = rng.integers(1, 4, len(templates))
    role = np.array(["gallery", "probe", "probe"])[(templates - 1000) % each].astype("<U8")
    second = labels % 2 == 1
    role = np.where(role == "gallery", np.where(second, "gallery2", "gallery1"), role)
    ids = np.arange(people * each) + 1000
    one, two = np.triu_indices(len(ids), 1)
    mates = owner[one] == owner[two]
    pick = np.concatenate([np.flatnonzero(mates), rng.choice(np.flatnonzero(~mates), 40_000, replace=False)])
    comparisons = np.stack([ids[one[pick]], ids[two[pick]], mates[pick].astype(np.int64)], axis=1)
    return {
        "embeddings": whole, "identities": labels, "templates": templates, "media": media, "roles": role,
        "comparisons": comparisons,
    }  # fmt: skip


def _distractors(people: int, images: int, strangers: int, noise: float) -> Callable[[np.random.Generator], Twin]:
    def make(rng: np.random.Generator) -> Twin:
        e, labels = faces(rng, np.full(people, images), noise=noise)
        crowd, _ = faces(rng, np.full(strangers, 1), noise=noise)
        roles = np.repeat(["probe", "distractor"], [len(e), strangers])
        everyone = np.concatenate([labels, people + np.arange(strangers)])
        return {"embeddings": np.concatenate([e, crowd]), "identities": everyone, "roles": roles}

    return make


def _open_set(rng: np.random.Generator) -> Twin:
    e, labels = faces(rng, rng.integers(1, 7, 500), noise=0.6)
    return {"embeddings": e, "identities": labels}


def _groups(rng: np.random.Generator) -> Twin:
    e, labels = faces(rng, np.full(160, 7), dim=24)
    return {"embeddings": e, "identities": labels, "groups": np.array(GROUPS)[labels % 4]}


def _robustness(rng: np.random.Generator) -> Twin:
    """Each corruption adds noise that grows with its level, as the others do or a little more."""
    e, labels = faces(rng, rng.integers(2, 7, 150), noise=0.6)
    asked = conditions_of(load_protocol("robustness").settings)
    harm = [level * 0.1 * (1.1 ** (place // 5)) for place, (_, level) in enumerate(asked)]
    corrupted = [e + scale * rng.normal(size=e.shape).astype(np.float32) for scale in harm]
    conditions = np.array([f"{name} {level}" for name, level in asked])
    return {"embeddings": e, "identities": labels, "corrupted": np.stack(corrupted), "conditions": conditions}


MAKERS: dict[str, Callable[[np.random.Generator], Twin]] = {
    "lfw": _pairs,
    "rfw": _pairs_by_group,
    "ijb": _templates,
    "megaface": _distractors(40, 6, 2_000, 0.6),
    "trillion-pairs": _distractors(8_000, 4, 300, 0.6),
    "cross-matrix": _labelled,
    "rank": _labelled,
    "closed-set": _labelled,
    "open-set": _open_set,
    "groups": _groups,
    "robustness": _robustness,
}


def twin(name: str, seed: int = 0) -> Twin:
    """The arrays of the generated twin of the protocol ``name``; the same seed gives the same arrays."""
    protocol = load_protocol(name).name
    return MAKERS[protocol](np.random.Generator(np.random.Philox(key=seed)))
