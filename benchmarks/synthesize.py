"""Generated faces a second with one and with two workers, and how long 10,000 people with 10 pictures each take.

    make bench-synthesize        (under a minute; needs the extra `synthetic`)

Pictures of 64 and 112 pixels with the defaults of the built-in faces, and with two instead of three points a pixel and
side (--oversampling 2), for which it is also told how far the pixels of the same pictures lie apart. Wall-clock seconds
from the first picture on: the start of the workers and loading the head, some seconds once, are not counted. "CPU" are
the seconds of one picture on one core. Where the time goes is printed last.
"""

import cProfile
import io
import os
import pstats
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import header
from PIL import Image

from faceloss.data.generated import work
from faceloss.data.generated.controls import Cast, Look
from faceloss.data.generated.head import load_head
from faceloss.data.generated.plan import Slot, plan

HERE = ("raster", "paint", "render", "camera", "head", "people", "shots", "truth")
WHOLE = 10_000 * 10
SECONDS = 5.0  # of drawing, for each figure


def settings(size: int, oversampling: int) -> work.Settings:
    """The built-in look."""
    return work.Settings(seed=0, size=size, oversampling=oversampling, look=Look(), cache=None)


def a_second(portions: list[tuple[Slot, ...]], how: work.Settings, workers: int) -> float:
    """Pictures a second of wall clock, from the end of the first job to that of the last."""
    marks: list[tuple[float, int]] = []

    def progress(what: str, done: int, total: int) -> None:
        marks.append((time.perf_counter(), done))

    with tempfile.TemporaryDirectory() as folder:
        work.run(Path(folder), portions, how, workers, progress)
    (start, first), (end, last) = marks[workers], marks[-1]
    return (last - first) / (end - start)


def pixels(slots: tuple[Slot, ...], how: work.Settings) -> tuple[np.ndarray, float]:
    """The decoded pictures and the CPU seconds of each."""
    head = load_head()
    list(work.draw(head, how, slots[:2]))
    start = time.process_time()
    made = [picture.data for picture, _ in work.draw(head, how, slots)]
    seconds = (time.process_time() - start) / len(slots)
    return np.stack([np.asarray(Image.open(io.BytesIO(data)), np.float64) for data in made]), seconds


def main() -> None:
    """Both tables."""
    header("numpy", "Pillow")
    slots = plan(Cast(), identities=120, images=10, seed=0).slots
    cases = ((64, 3), (64, 2), (112, 3))
    print(f"{'':<24}{'CPU ms':>8}{'1 worker':>10}{'2 workers':>11}   10,000 x 10 with 2")
    seen = {}
    for size, oversampling in cases:
        seen[size, oversampling], each = pixels(slots[:80], settings(size, oversampling))
        rates = []
        for workers in (1, 2):
            count = max(5 * workers, round(SECONDS * workers / each / 16)) * 16
            portions = [slots[at : at + 16] for at in range(0, min(count, len(slots)), 16)]
            rates.append(a_second(portions, settings(size, oversampling), workers))
        name = f"{size} px, {oversampling} x {oversampling} points"
        print(f"{name:<24}{1000 * each:>8.1f}{rates[0]:>9.1f}/s{rates[1]:>10.1f}/s   {WHOLE / rates[1] / 60:.0f} min")
    apart = np.abs(seen[64, 2] - seen[64, 3])
    print(
        f"2 x 2 beside 3 x 3 points: {apart.mean():.2f} gray levels of 255 apart, 99 % of values within "
        f"{np.quantile(apart, 0.99):.0f}; two pictures of one person: {_people_apart(seen[64, 3]):.0f}"
    )
    print("\nWhere a picture's time goes (64 px, share of the CPU time)")
    profile = cProfile.Profile()
    head = load_head()
    profile.enable()
    list(work.draw(head, settings(64, 3), slots[:80]))
    profile.disable()
    spent: dict[str, float] = dict.fromkeys((*HERE, "JPEG and Pillow", "the rest"), 0.0)
    for (file, _, name), (_, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        module = Path(file).stem if "generated" in file else ""
        where = module if module in spent else "JPEG and Pillow" if "Imaging" in name or "PIL" in file else "the rest"
        spent[where] += own
    whole = sum(spent.values())
    print("  ".join(f"{name} {value / whole:.0%}" for name, value in sorted(spent.items(), key=lambda item: -item[1])))


def _people_apart(pictures: np.ndarray) -> float:
    """How far, in gray levels, two pictures of one person lie apart on the mean."""
    by_person = pictures.reshape(-1, 10, *pictures.shape[1:])
    return float(np.abs(by_person[:, 0] - by_person[:, 1]).mean())


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    main()
