"""What a search keeps in its run's folder: its log, and the candidates of the epoch that it is at."""

import json
import shutil
from pathlib import Path
from typing import Any

from faceloss.errors import CouldNotFinish
from faceloss.files import read_shared

LOG, PLACE = "search.json", "search"


def read(folder: Path) -> dict[str, Any]:
    """The log of a search: "epochs", one entry for each that is over, and the state of the "policy".

    Raises:
        CouldNotFinish: the file was changed into something else.
    """
    try:
        found: dict[str, Any] = json.loads(read_shared(folder / LOG))
        found["epochs"], found["policy"]
    except FileNotFoundError:
        return {"epochs": [], "policy": None}
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(folder, f"{LOG} is no log of a search") from error
    return found


def schedule(folder: Path) -> list[dict[str, float]]:
    """The hyperparameters that went on, epoch by epoch."""
    return [entry["candidates"][entry["chosen"]]["values"] for entry in read(folder)["epochs"]]


def clear(folder: Path) -> None:
    """Delete what is of no use once the run is complete; the log stays."""
    shutil.rmtree(folder / PLACE, ignore_errors=True)


def damaged(folder: Path, why: str) -> CouldNotFinish:
    """The error of a search that cannot be continued."""
    return CouldNotFinish(f"The search in {folder} is damaged ({why}); delete that folder to start this run again.")
