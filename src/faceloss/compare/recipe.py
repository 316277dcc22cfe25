"""The recipe of a comparison from what the user said: defaults that fit the data, --set changes, a budget."""

import math
import re
from typing import Any

from pydantic import ValidationError

from faceloss import nets
from faceloss.compare.engine import first_error
from faceloss.compare.noise import Noise
from faceloss.compare.prepare import fractions
from faceloss.compare.study import Single, parse_value
from faceloss.data.load import load_faces
from faceloss.data.noise import spoil
from faceloss.data.splits import split_identities
from faceloss.errors import BadInput, unknown
from faceloss.progress import Callback
from faceloss.train.settings import Augment, Recipe
from faceloss.train.state import resolve_device, resolve_precision

# The built-in faces are few and small; this trains on them in half a minute of one core.
BUILTIN: dict[str, Any] = {"net_options": {"width": 16}, "epochs": 16}


def recipe_from(data: str, epochs: int | None, settings: tuple[str, ...]) -> Recipe:
    """Defaults, then ``--epochs``, then each ``--set name=value`` (``augment.name=value`` for augmentation).

    Raises:
        BadInput: a name the recipe does not have (the nearest is named), or an impossible value.
    """
    values: dict[str, Any] = dict(BUILTIN) if data == "builtin" else {}
    if epochs is not None:
        values["epochs"] = epochs
    seen: set[str] = set()
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise BadInput(f"--set {setting}: write name=value.")
        if name in seen:
            raise BadInput(f"--set {name} is given twice.")
        seen.add(name)
        place, known, key = values, Recipe.model_fields, name
        for group, fields in (("augment", Augment.model_fields), ("net_options", None)):
            if name.startswith(f"{group}."):
                place = values[group] = dict(values.get(group, {}))
                known, key = fields, name.partition(".")[2]  # type: ignore[assignment]
        if known is not None and key not in known:
            raise BadInput(unknown("recipe setting", name, [*Recipe.model_fields, "augment.shift"]))
        place[key] = parse_value(text) if name != "step_epochs" else tuple(float(part) for part in text.split(","))
    try:
        recipe = Recipe(**values)
    except ValidationError as error:
        raise BadInput(first_error(error)) from error
    nets.build(recipe.net, dim=recipe.dim, input_size=recipe.size, **recipe.net_options)  # refuses what cannot be
    return recipe


def resolve(
    recipe: Recipe,
    budget: str | None,
    data: str,
    tested: bool,
    progress: Callback,
    single: Single | None = None,
    noise: Noise = Noise(),  # noqa: B008 (frozen)
    stream: bool = False,
) -> Recipe:
    """Settle what depends on machine and data: device, precision, and the epochs that a budget of images allows.

    ``tested`` says that the study brings tests of its own, ``single`` that it is one training, ``noise`` what is done
    to its training set. A study keeps the settled values, so that a resumed run computes in the same way.
    """
    try:
        device = resolve_device(recipe.device)
    except RuntimeError as error:
        raise BadInput(f"--set device={recipe.device}: no such device here; use auto, cpu or cuda.") from error
    changes: dict[str, Any] = {"device": device.type, "precision": resolve_precision(recipe.precision, device)}
    if budget is not None:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM]?)", budget)
        if not match:
            raise BadInput(f"--budget {budget}: write a number of images per run, e.g. 200000, 200k or 1.5M.")
        images = float(match.group(1)) * {"": 1, "k": 1e3, "m": 1e6}[match.group(2).lower()]
        faces = load_faces(data, size=recipe.size, progress=progress, stream=stream)
        shares = fractions(tested, single)
        train = split_identities(faces, seed=0, val=shares["val"], test=shares["test"]).train
        left = len(spoil(train, **noise.model_dump()).faces)
        changes["epochs"] = max(1, math.floor(images / max(1, left)))
    return recipe.model_copy(update=changes)
