"""`train`: a training step of the small net at 64 px, bfloat16 and channels last against plain float32.

    python benchmarks/train.py            (the bar: at least 1.7 times the images; 20 seconds)
    python benchmarks/train.py --nets     (every net in the four combinations; some minutes)

A step is what the training loop does after its batch is prepared: pixels to floats, network, ArcFace over 1,000
identities, backward, clipping, SGD. The error is that of the gradient of all weights of the network after the first
step, relative, against the same step in float64.
"""

import copy
import sys
from collections.abc import Callable

import numpy as np
import torch
from measure import header, interleaved, peak_mib, relative_error, with_tuned_allocator
from torch import nn

from faceloss import losses, nets
from faceloss.data.load import load_faces
from faceloss.train.loop import to_input
from faceloss.train.settings import Recipe
from faceloss.train.state import build_optimizer

STEPS = 6
CLASSES = 1000
PLAIN, BEST = "fp32 NCHW", "bf16 channels_last"
VARIANTS = {
    PLAIN: (torch.float32, torch.contiguous_format),
    "fp32 channels_last": (torch.float32, torch.channels_last),
    "bf16 NCHW": (torch.bfloat16, torch.contiguous_format),
    BEST: (torch.bfloat16, torch.channels_last),
}
# Net, pixels, batch: a batch that takes a second at most.
NETS = (
    ("small", 64, 64), ("resnet18", 64, 64), ("resnet18", 96, 32), ("mobilefacenet", 64, 32),
    ("mobilefacenet", 112, 16), ("iresnet18", 64, 16), ("iresnet18", 112, 8), ("iresnet50", 112, 4),
)  # fmt: skip


class Training:
    """A net and all that trains it; ``step`` is what is timed."""

    def __init__(self, name: str, size: int, batch: int, dtype: torch.dtype, memory: torch.memory_format):
        self.net = nets.build(name, seed=1, input_size=size).to(memory_format=memory)
        self.loss = losses.build("arcface", dim=128, classes=CLASSES, seed=1)
        self.optimizer = build_optimizer(self.net, self.loss, Recipe())
        self.dtype, self.memory = dtype, memory
        faces = load_faces("builtin", size=size)
        chosen = np.random.default_rng(0).permutation(len(faces))[:batch]
        self.pixels, self.labels = faces.pixels[chosen], torch.from_numpy(faces.labels[chosen])

    def gradients(self) -> None:
        """Forward and backward."""
        images = to_input(self.pixels, torch.device("cpu")).contiguous(memory_format=self.memory)
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            embeddings = self.net(images)
        self.loss(embeddings.float(), self.labels).loss.backward()

    def error(self) -> float:
        """How far the gradient of the network's weights is from that in float64, relative."""
        net, loss = copy.deepcopy(self.net).double(), copy.deepcopy(self.loss).double()
        loss(net(to_input(self.pixels, torch.device("cpu")).double()), self.labels).loss.backward()
        self.gradients()
        ours, exact = (
            torch.cat([p.grad.flatten() for p in some.parameters() if p.grad is not None]) for some in (self.net, net)
        )
        return relative_error(ours, exact)

    def step(self) -> None:
        """One training step."""
        self.gradients()
        nn.utils.clip_grad_norm_([*self.net.parameters(), *self.loss.parameters()], 5.0)
        self.optimizer.step()


def compare(name: str, size: int, batch: int, variants: tuple[str, ...], rounds: int) -> float:
    """Print a line for each variant; returns how many times faster the last is than the first."""
    trainings = {variant: Training(name, size, batch, *VARIANTS[variant]) for variant in variants}
    errors = {variant: training.error() for variant, training in trainings.items()}
    steps: dict[str, Callable[[], object]] = {variant: training.step for variant, training in trainings.items()}
    seconds = interleaved(steps, rounds, warm=2)
    for variant, training in trainings.items():
        rate, times = batch / seconds[variant], seconds[variants[0]] / seconds[variant]
        measured = f"{rate:9.1f} {times:6.2f} {peak_mib(training.step):9.0f} {errors[variant]:9.1e}"
        print(f"{name:13} {size:4} {batch:5}  {variant:18} {measured}", flush=True)
    return seconds[variants[0]] / seconds[variants[-1]]


def main() -> None:
    """Print the table; exit with 1 where the bar is missed."""
    header()
    print("net             px batch  variant            images/CPU s  times  peak MiB  gradient error")
    if "--nets" in sys.argv:
        for name, size, batch in NETS:
            compare(name, size, batch, tuple(VARIANTS), rounds=5)
        return
    times = compare("small", 64, 64, (PLAIN, BEST), rounds=STEPS)
    print(f"train: {times:.2f} times (bar 1.7): {'reached' if times >= 1.7 else 'MISSED'}")
    with_tuned_allocator()


if __name__ == "__main__":
    main()
