"""How long one call takes on this machine: finding the faces of a picture, embedding crops, matching a probe.

One thread, warm, wall-clock: each call is made a few times before it is timed, then for some seconds. p50 and p95 are
times that were taken, of which half and 95 % of the calls took no longer. What else the machine does is in them.
"""

import io
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from faceloss.compare.model import Model
from faceloss.data.builtin import builtin_path
from faceloss.data.photographs.detector import choose_detector, open_detector
from faceloss.data.photographs.select import Selection, smallest_side
from faceloss.data.sources import open_source
from faceloss.errors import BadInput
from faceloss.matching.gallery import gallery, quantized
from faceloss.matching.nearest import nearest
from faceloss.progress import Callback
from faceloss.train.state import resolve_device

WARM, LEAST, MOST = 3, 20, 500  # calls before the first that counts, and that count
SECONDS = 3.0  # for which a call is timed, unless LEAST calls take longer
BATCHES = (1, 64)
GALLERIES = (1_000, 100_000)
SCENE, FACE = (640, 480), 130  # pixels: a picture, and the face in it

Record = dict[str, Any]


class Times(NamedTuple):
    calls: int
    p50_ms: float
    p95_ms: float


def timed(call: Callable[[], object], seconds: float = SECONDS) -> Times:
    """``call`` again and again for ``seconds``, at least ``LEAST`` and at most ``MOST`` times."""
    for _ in range(WARM):
        call()
    taken: list[float] = []
    while len(taken) < MOST and (len(taken) < LEAST or sum(taken) < seconds):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    middle, late = np.percentile(taken, [50, 95], method="higher") * 1e3
    return Times(len(taken), round(float(middle), 4), round(float(late), 4))


def measure(model: Model, progress: Callback, seconds: float = SECONDS) -> Iterator[Record]:
    """A record for each step; finding faces is left out where the extra ``detect`` is not installed."""
    steps = [step for step in (_detect(), *_embed(model), *_match(model)) if step is not None]
    with _one_thread():
        for done, (what, about, prepare) in enumerate(steps):
            progress("latency", done, len(steps))
            times = timed(prepare(), seconds)
            yield {"kind": "latency", "what": what, "about": about, **times._asdict(), "machine": machine()}


def machine() -> str:
    """What the times are of: the system, the device, PyTorch."""
    device = resolve_device("auto")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "1 thread of the CPU"
    return f"{platform.system()} {platform.machine()}, {name}, PyTorch {torch.__version__}"


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


Step = tuple[str, str, Callable[[], Callable[[], object]]]  # what, of what, and what makes the call to time


def _detect() -> Step | None:
    try:
        chosen = choose_detector("mtcnn")
    except BadInput:
        return None

    def prepare() -> Callable[[], object]:
        detector, picture = open_detector(chosen), scene()
        smallest = smallest_side(Selection(), *SCENE)
        return lambda: detector.detect([picture], [smallest])

    return "detect", f"1 picture of {SCENE[0]} x {SCENE[1]} with a face of {FACE} pixels (MTCNN)", prepare


def scene() -> Any:
    """A generated face on a smooth background with noise, as a picture."""
    from PIL import Image

    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(40, 200, (9, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(SCENE, Image.Resampling.BICUBIC), np.float64)
    picture = Image.fromarray(np.clip(smooth + random.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8))
    face = Image.open(io.BytesIO(open_source(builtin_path()).entries[0].read()))
    picture.paste(face.resize((FACE, FACE), Image.Resampling.BICUBIC), (255, 150))
    return picture


def _embed(model: Model) -> Iterator[Step]:
    more = f" ({model.contract['net']}{', with mirror images' if model.contract['flip_test'] else ''})"
    for batch in BATCHES:
        shape = (batch, model.size, model.size, 3)

        def prepare(shape: tuple[int, ...] = shape) -> Callable[[], object]:
            crops = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
            return lambda: model.embedder(crops)

        yield "embed", f"{batch} crop{'s' if batch > 1 else ''} of {model.size} x {model.size}{more}", prepare


def _match(model: Model) -> Iterator[Step]:
    dim = int(model.contract.get("embedding_size", model.contract["dim"]))
    for count in GALLERIES:

        def prepare(count: int = count) -> Callable[[], object]:
            random = np.random.default_rng(0)
            probe, others = _unit(random, 1, dim), _unit(random, count, dim)
            ready = quantized(gallery(others, normalized=True))
            return lambda: nearest(probe, ready)

        yield "match", f"1 probe against {count:,} vectors of {dim} numbers, exactly", prepare


def _unit(random: np.random.Generator, count: int, dim: int) -> NDArray[np.float32]:
    rows = random.standard_normal((count, dim), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows
