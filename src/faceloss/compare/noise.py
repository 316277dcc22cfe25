"""Noise that a study puts into its training set, the same for every loss and every seed of the study."""

from collections.abc import Iterable
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from faceloss.data.noise import Noisy
from faceloss.errors import BadInput, unknown
from faceloss.train.settings import Frozen

Share = Annotated[float, Field(ge=0, lt=1)]


class Noise(Frozen):
    """What :func:`faceloss.data.noise.spoil` takes; nothing by default. Its seed is its own, not that of a run."""

    flip: Share = 0.0  # share of the training images that get another identity's label
    outlier: Share = 0.0  # share that is replaced by faces of identities given up for it
    imbalance: Annotated[float, Field(ge=1)] = 1.0  # the last identity keeps 1/imbalance of its images
    seed: Annotated[int, Field(ge=0)] = 0


def noise_from(texts: Iterable[str], imbalance: float | None) -> Noise:
    """From ``--label-noise flip=0.2,outlier=0.1`` (also one by one; ``seed=1`` draws other images) and ``--imbalance``.

    Raises:
        BadInput: not of that form, or a share that is none.
    """
    values: dict[str, Any] = {"imbalance": imbalance} if imbalance is not None else {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        name, equals, number = part.partition("=")
        if not equals:
            raise BadInput(f"--label-noise {part}: write flip=SHARE or outlier=SHARE, e.g. flip=0.2,outlier=0.1.")
        if name not in ("flip", "outlier", "seed"):
            raise BadInput(f"--label-noise {part}: {unknown('kind of label noise', name, ('flip', 'outlier', 'seed'))}")
        if name in values:
            raise BadInput(f"--label-noise {name} is given twice.")
        try:
            values[name] = int(number) if name == "seed" else float(number)
        except ValueError:
            raise BadInput(f"--label-noise {part}: {number} is no number.") from None
    for name in ("flip", "outlier"):
        if not 0 <= values.get(name, 0) < 1:
            raise BadInput(f"--label-noise {name}={values[name]:g}: a share of the images, from 0 to below 1.")
    if values.get("seed", 0) < 0:
        raise BadInput("--label-noise seed: a whole number, 0 or more.")
    if not 1 <= values.get("imbalance", 1) < float("inf"):
        raise BadInput(
            f"--imbalance {imbalance:g}: how many times the images of the last the first one keeps, 1 or more."
        )
    return Noise(**values)


def words_of(noise: Noise) -> list[str]:
    """The options that give ``noise``."""
    said = noise.model_dump(exclude={"imbalance"}, exclude_defaults=True)
    words = ["--label-noise " + ",".join(f"{name}={value:g}" for name, value in said.items())] if said else []
    return words + ([f"--imbalance {noise.imbalance:g}"] if noise.imbalance != 1 else [])


def told(noise: Noise, noisy: Noisy) -> dict[str, Any]:
    """What became of the training set, for its data record."""
    said = np.array(noisy.faces.identities)[noisy.faces.labels]
    assert int(np.count_nonzero(said != np.array(noisy.truth))) == int((noisy.flipped | noisy.outliers).sum())
    return {
        **noise.model_dump(),
        "flipped": int(noisy.flipped.sum()),
        "outliers": int(noisy.outliers.sum()),
        "images_left_out": noisy.left_out,
        "identities_given_up": noisy.given_up,
    }
