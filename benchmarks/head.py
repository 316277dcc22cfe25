"""One training step of a classification head (forward and backward), ours beside pytorch-metric-learning's ArcFace.

    python benchmarks/head.py        (under a minute; needs the extra `bench`)
    python benchmarks/head.py autocast headmem pfc        (the other tables, each under a minute; `make bench` has all)

Printed are medians of CPU seconds, peak extra memory, the share of the rate at which torch.mm does a step's matrix
products alone in the same run (over 100 % where :mod:`faceloss.losses.products` has a faster way), and the error of
the gradients against float64, so that speed is never compared between different results.
"autocast" is the same ArcFace in plain operations under bfloat16 autocast. "insightface form" is Partial FC as its
repository describes it: a copy of the sampled rows as a parameter, arccos and cos over the whole matrix.
"""

import math
import sys
from collections.abc import Callable, Sequence

import torch
from measure import allocator, chosen, header, interleaved, peak_mib, relative_error, with_tuned_allocator
from pytorch_metric_learning.losses import ArcFaceLoss
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize

import faceloss.losses as ours
from faceloss.losses.products import add_inner, inner
from faceloss.losses.scores import Blocks, read_in
from faceloss.train.rows import SGD

M = 0.5  # radians; the scale is 32 at 128 dimensions and 64 at 512
SIZES = ((256, 128, 100_000), (256, 512, 50_000))
ROUNDS, FEW = 5, 3


class Problem:
    """A batch and class vectors, and steps that leave the gradients in ``x.grad`` and the weight's."""

    def __init__(self, batch: int, dim: int, classes: int):
        generator = torch.Generator().manual_seed(0)
        self.batch, self.dim, self.classes = batch, dim, classes
        self.s = 32.0 if dim < 512 else 64.0
        self.y = torch.randint(classes, (batch,), generator=generator)
        self.weight = nn.Parameter(torch.randn(classes, dim, generator=generator) / dim**0.5)
        # As in the middle of a training: cosines of about 0.8 to the own class.
        own = normalize(self.weight.data[self.y])
        self.x = (8 * own + 6 * normalize(torch.randn(batch, dim, generator=generator))).requires_grad_()

    def step(self, loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], None]:
        def take() -> None:
            self.x.grad = self.weight.grad = None
            loss(self.x, self.y).backward()

        return take

    def mine(self, blocks: Blocks, name: str = "arcface", **values: float) -> Callable[[], None]:
        loss = ours.build(name, dim=self.dim, classes=self.classes, s=self.s, **(values or {"m": M}))
        loss.weight = self.weight
        read_in(loss, blocks)
        return self.step(lambda x, y: loss(x, y).loss)

    def peer(self) -> Callable[[], None]:
        loss = ArcFaceLoss(self.classes, self.dim, margin=math.degrees(M), scale=self.s)
        loss.W = nn.Parameter(self.weight.data.T.contiguous())

        def take() -> None:
            self.x.grad = self.weight.grad = None
            loss(self.x, self.y).backward()
            self.weight.grad, loss.W.grad = loss.W.grad.T, None

        return take

    def autocast(self) -> Callable[[], None]:
        def loss(x: Tensor, y: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                cos = linear(normalize(x), normalize(self.weight))
                index = y.unsqueeze(1)
                theta = cos.gather(1, index).clamp(-1 + 1e-6, 1 - 1e-6).acos()
                return cross_entropy(self.s * cos.scatter(1, index, (theta + M).cos().to(cos.dtype)), y)

        return self.step(loss)

    def products(self, block: int = 512) -> Callable[[], None]:
        """The three matrix products of a head by torch.mm, in blocks and nothing else."""
        x, w = self.x.detach(), self.weight.detach()
        z, e, g = torch.empty(self.batch, block), torch.rand(self.batch, block), torch.empty(block, self.dim)
        a = torch.zeros_like(x)

        def take() -> None:
            for low in range(0, self.classes - block + 1, block):
                torch.mm(x, w[low : low + block].T, out=z)
                a.addmm_(e, w[low : low + block], beta=0)
                torch.mm(e.T, x, out=g)

        return take

    def faster_products(self, block: int = 512) -> Callable[[], None]:
        """The same by what faceloss has in place of torch.mm where the processor has AVX-512: the floor."""
        x, w = self.x.detach(), self.weight.detach()
        e, a = torch.rand(block, self.batch), torch.zeros_like(x)

        def take() -> None:
            for low in range(0, self.classes - block + 1, block):
                inner(w[low : low + block], x)
                add_inner(a, e.T, w[low : low + block].T)
                inner(e, x.T)

        return take

    def exact(self) -> tuple[Tensor, Tensor]:
        """The gradients in float64, by plain operations."""
        loss = read_in(ours.build("arcface", dim=self.dim, classes=self.classes, s=self.s, m=M), Blocks(stream=False))
        assert loss is not None
        loss = loss.double()
        loss.weight.data = self.weight.data.double()
        x = self.x.detach().double().requires_grad_()
        loss(x, self.y).loss.backward()
        return x.grad, loss.weight.grad

    def memory(self, step: Callable[[], None]) -> float:
        """MiB of extra memory of a step, its gradients included, whatever was done before."""
        self.x.grad = self.weight.grad = None
        return peak_mib(step)

    def error(self, step: Callable[[], None], exact: tuple[Tensor, Tensor]) -> float:
        """The larger relative error of the two gradients that ``step`` gives."""
        step()
        return max(relative_error(got, want) for got, want in zip((self.x.grad, self.weight.grad), exact, strict=True))


def table(sizes: tuple[int, int, int], names: Sequence[str], rival: str) -> None:
    """Print a line for each of the forms ``names``: time and memory as multiples of the ``rival``'s."""
    problem = Problem(*sizes)
    steps = {name: FORMS[name](problem) for name in names}
    floor = {"products": problem.products(), "faster products": problem.faster_products()}
    if allocator() == "default":  # they do not depend on it
        exact = problem.exact()
        errors = {name: f"   gradient error {problem.error(step, exact):.0e}" for name, step in steps.items()}
        for step in floor.values():  # so that all were called once
            step()
        seconds = interleaved(steps | floor, ROUNDS, warm=0)
    else:
        errors = dict.fromkeys(steps, "")
        seconds = interleaved(steps | floor, ROUNDS)
    memory = {name: problem.memory(step) for name, step in steps.items()}
    print(f"batch {problem.batch}, dim {problem.dim}, {problem.classes:,} classes; {alone(seconds)}")
    for name in steps:
        print(
            f"  {name:20} {seconds[name]:6.3f} s  {seconds[rival] / seconds[name]:5.2f} x   {memory[name]:6.0f} MiB "
            f"{memory[rival] / memory[name]:5.1f} x   {seconds['products'] / seconds[name]:4.0%} of the products' rate"
            f"{errors[name]}"
        )


def alone(seconds: dict[str, float]) -> str:
    """What the three float32 products of a step take by themselves, by either library."""
    return f"products alone {seconds['products']:.3f} s (torch.mm), {seconds['faster products']:.3f} s (faceloss)"


FORMS: dict[str, Callable[[Problem], Callable[[], None]]] = {
    "faceloss": lambda problem: problem.mine(Blocks()),
    "faceloss, bfloat16": lambda problem: problem.mine(Blocks(product=torch.bfloat16)),
    "autocast": Problem.autocast,
    "metric-learning": Problem.peer,
}


def head() -> None:
    """Beside metric-learning, float32 at least 1.6 and 1.35 times as fast, 4.5 times less memory, 55 and 70 % of the
    rate of the products; bfloat16 products at least 3.0 and 2.4 times as fast, gradient error at most 0.5 %."""
    for sizes in SIZES:
        table(sizes, ("faceloss", "faceloss, bfloat16", "metric-learning"), "metric-learning")


def autocast() -> None:
    """bfloat16 products beside plain operations under autocast."""
    for sizes in SIZES:
        table(sizes, ("faceloss, bfloat16", "autocast"), "autocast")


def headmem() -> None:
    """A million classes: extra memory at most 1.1 times the weights; the peer's time is taken at 200,000 classes."""
    problem = Problem(256, 128, 1_000_000)
    step = {"faceloss": problem.mine(Blocks(keep=0))}
    seconds = interleaved(step, FEW)["faceloss"]
    weights = problem.weight.numel() * 4 / 2**20
    memory = problem.memory(step["faceloss"])
    small = Problem(256, 128, 200_000)
    few = interleaved({"faceloss": small.mine(Blocks(keep=0)), "metric-learning": small.peer()}, FEW)
    print(
        f"batch 256, dim 128, 1,000,000 classes, logits computed again: {seconds:.2f} s, "
        f"{memory:.0f} MiB of extra memory = {memory / weights:.2f} times the weights\n"
        f"at 200,000 classes: metric-learning {few['metric-learning']:.2f} s = "
        f"{few['metric-learning'] / few['faceloss']:.1f} times faceloss's {few['faceloss']:.2f} s"
    )


class Part:
    """Partial FC at rate 0.1: steps of the head and of its optimizer, SGD with momentum and weight decay.

    After a step ``index`` says which classes took part and ``gradient`` what their rows got, before the decay.
    """

    rate, lr, momentum, decay = 0.1, 0.1, 0.9, 5e-4

    def __init__(self, problem: Problem):
        self.problem, self.weight = problem, problem.weight
        self.index = self.gradient = torch.empty(0)

    def mine(self, blocks: Blocks) -> Callable[[], None]:
        sizes = {"dim": self.problem.dim, "classes": self.problem.classes}
        loss = ours.build("partial_fc", **sizes, s=self.problem.s, m=M, rate=self.rate, margin="arcface")
        loss.weight = self.weight
        read_in(loss, blocks)
        optimizer = SGD([self.weight], lr=self.lr, momentum=self.momentum, weight_decay=self.decay)

        def take() -> None:
            self.problem.x.grad = self.weight.grad = None
            loss(self.problem.x, self.problem.y).loss.backward()
            optimizer.step()
            self.index, self.gradient = self.weight.grad._indices()[0], self.weight.grad._values()
            self.weight.grad = None

        return take

    def insightface(self) -> Callable[[], None]:
        classes, y = self.problem.classes, self.problem.y
        memory = torch.zeros_like(self.weight)
        row = torch.arange(self.problem.batch)

        def take() -> None:
            self.problem.x.grad = None
            chance = torch.rand(classes)
            chance[y.unique()] = 2.0
            self.index = index = chance.topk(int(self.rate * classes)).indices.sort().values
            part = nn.Parameter(self.weight.data[index])
            optimizer = torch.optim.SGD([part], lr=self.lr, momentum=self.momentum, weight_decay=self.decay)
            optimizer.state[part]["momentum_buffer"] = memory[index]
            column = torch.searchsorted(index, y)
            logits = linear(normalize(self.problem.x), normalize(part)).clamp(-1, 1)
            with torch.no_grad():
                logits.arccos_()
                logits[row, column] += M
                logits.cos_()
            cross_entropy(logits * self.problem.s, column).backward()
            self.gradient = part.grad.clone() if self.checked else part.grad
            optimizer.step()
            self.weight.data[index] = part.data
            memory[index] = optimizer.state[part]["momentum_buffer"]

        return take

    checked = False  # whether a gradient is looked at after the step

    def error(self, step: Callable[[], None]) -> float:
        """The larger relative error of the two gradients, against those in float64 over the same classes."""
        before, self.checked = self.weight.data.clone(), True
        step()
        self.checked = False
        self.weight.data.copy_(before)  # the next form is asked at the same weights
        loss = ours.build("arcface", dim=self.problem.dim, classes=len(self.index), s=self.problem.s, m=M).double()
        loss.weight.data = before[self.index].double()
        x = self.problem.x.detach().double().requires_grad_()
        loss(x, torch.searchsorted(self.index, self.problem.y)).loss.backward()
        return max(relative_error(self.problem.x.grad, x.grad), relative_error(self.gradient, loss.weight.grad))


def pfc() -> None:
    """Partial FC, 0.1 of the classes, optimizer step included: at least 1.5 times as fast, 4 times less memory."""
    part = Part(Problem(256, 512, 100_000))
    steps = {
        "faceloss": part.mine(Blocks()),
        "faceloss, bfloat16": part.mine(Blocks(product=torch.bfloat16)),
        "insightface form": part.insightface(),
    }
    errors = {name: part.error(step) for name, step in steps.items()}
    small = Problem(256, 512, 10_000)
    floor = {"products": small.products(), "faster products": small.faster_products()}
    seconds = interleaved(steps | floor, ROUNDS)
    memory = {name: peak_mib(step) for name, step in steps.items()}
    print(f"batch 256, dim 512, 100,000 classes, of which 10,000 take part; {alone(seconds)}")
    for name in steps:
        print(
            f"  {name:20} {seconds[name]:6.3f} s  {seconds['insightface form'] / seconds[name]:5.2f} x   "
            f"{memory[name]:6.0f} MiB {memory['insightface form'] / memory[name]:5.1f} x   "
            f"{seconds['products'] / seconds[name]:4.0%} of the products' rate   gradient error {errors[name]:.0e}"
        )


TABLES = {"head": head, "autocast": autocast, "headmem": headmem, "pfc": pfc}


def main() -> None:
    """Print the tables that the command line names, by default the first."""
    chosen(TABLES)
    header("pytorch-metric-learning")
    for name in sys.argv[1:] or ["head"]:
        print(f"\n{name}: {' '.join((TABLES[name].__doc__ or '').split())}")
        TABLES[name]()
    with_tuned_allocator()


if __name__ == "__main__":
    main()
