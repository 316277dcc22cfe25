"""A training step with a million classes x 128 dimensions in less than 3 GiB: forward, backward, optimizer step.

    make million      or: python benchmarks/million.py [cosface] [partial_fc]

Each loss runs in a process of its own, under the default recipe with a batch of 256. Printed are the largest resident
memory that the process ever had and the arithmetic by which ``faceloss compare`` decides what fits; the command fails
where the memory is 3 GiB or more, or where the steps teach nothing: the loss of the batch must fall.
"""

import resource
import subprocess
import sys
import time

CLASSES, MOST, STEPS = 1_000_000, 3 * 2**30, 3
LOSSES = ("cosface", "partial_fc")


def train(name: str) -> None:
    """Some steps on one batch, as a training takes them; prints what they took."""
    import torch

    from faceloss import losses, nets
    from faceloss.compare.memory import of_loss, of_network
    from faceloss.memory import in_words, sum_in_words
    from faceloss.train.rows import clip_gradients
    from faceloss.train.settings import Recipe
    from faceloss.train.state import build_optimizer

    torch.set_num_threads(1)
    start = peak()
    recipe = Recipe(batch=256, precision="fp32", device="cpu")
    net = nets.build(recipe.net, dim=recipe.dim, input_size=recipe.size)
    loss = losses.build(name, dim=recipe.dim, classes=CLASSES, s=30.0, m=0.2)
    optimizer = build_optimizer(net, loss, recipe)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(recipe.batch, 3, recipe.size, recipe.size, generator=generator)
    labels = torch.randint(CLASSES, (recipe.batch,), generator=generator)
    values, clock = [], time.process_time()
    for step in range(STEPS):
        loss.key(0, step)
        output = loss(net(images), labels)
        optimizer.zero_grad(set_to_none=True)
        output.loss.backward()
        clip_gradients([*net.parameters(), *loss.parameters()], recipe.clip)
        optimizer.step()
        values.append(output.loss.item())
    seconds = (time.process_time() - clock) / STEPS
    parts = {"Python with torch": start} | of_loss(recipe, loss) | {"network": of_network(recipe)}
    print(
        f"{name}: peak {in_words(peak())}; {seconds:.1f} CPU s a step; loss {values[0]:.2f} -> {values[-1]:.2f}\n"
        f"  {sum_in_words(parts)}"
    )
    if not values[-1] < values[0]:
        raise SystemExit(f"{name}: the steps taught nothing.")


def peak() -> int:
    """Bytes of memory that this process held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Train the losses that the command line names, by default all, and fail where one took too much."""
    for name in sys.argv[1:] or LOSSES:
        subprocess.run([sys.executable, "-c", f"import million; million.train({name!r})"], check=True, cwd=sys.path[0])
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024  # the largest of them
    print(f"{CLASSES:,} classes x 128 dimensions, 256 images: at most {most / 2**30:.2f} of {MOST / 2**30:.0f} GiB")
    if most >= MOST:
        raise SystemExit("Too much.")


if __name__ == "__main__":
    main()
