"""What a step with each candidate would do to the validation identities, to first order, for all candidates at once.

With net parameters theta, the gradient v of a smooth measure V of the validation identities, and the loss L_c at the
hyperparameters of candidate c, a step of gradient descent at the rate eta changes V by

    V(theta - eta grad L_c) - V(theta) = -eta v . grad L_c + O(eta^2),   v . grad L_c = d L_c(theta + h v) / dh at 0

so two passes of the net, at theta + h v and theta - h v, serve all candidates: what is left of each is its loss of two
sets of embeddings. V is higher where the net is better, so the best step is the one whose loss falls most along v. How
long the gradient is, is for the learning rate and the clipping to set, so scores are per unit of gradient:

    score_c = mean over batches of ( L_c(x-) - L_c(x+) ) / ( 2 h |v| |d L_c / d x| )

x+, x-, x [B,D] embeddings at the shifted parameters and between. Higher is better. It holds while steps are short
against the curvature; momentum and weight decay are the same for all candidates and left out.
"""

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import Tensor, nn

from faceloss.search.policy import Values
from faceloss.train.loop import Epochs, Index, Pixels, keyed, to_input
from faceloss.train.settings import Recipe
from faceloss.train.state import State, resolve_device

TEMPERATURE = 0.05  # of cosines in the smooth measure
STEP = 1e-3  # length of h v, in lengths of the parameters


def similarity(embeddings: Tensor, labels: Tensor) -> Tensor:
    """How surely an image finds another of its person: 0-d, below 0, higher is better, differentiable.

        mean over ordered pairs a, p of one person of log( e^(c_ap / T) / (e^(c_ap / T) + sum_n e^(c_an / T)) )

    n images of other people than a; c cosines; T = 0.05. ``embeddings`` [N,D], ``labels`` [N].
    A smooth stand-in for TAR at a low FAR; the pairs' cross entropy of Goldberger et al., "Neighbourhood Components
    Analysis", NIPS 2004, one positive at a time as in Sohn, NIPS 2016 (N-pair loss).

    Raises:
        ValueError: no pair of one person, or one person only.
    """
    x = nn.functional.normalize(embeddings.float(), dim=1)
    cos = x @ x.T / TEMPERATURE  # [N,N]
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    genuine = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    if not bool(genuine.any()) or bool(same.all()):
        raise ValueError("A reward needs at least two people, one of them with two images.")
    others = cos.masked_fill(same, -math.inf).logsumexp(1, keepdim=True)  # [N,1]
    return -nn.functional.softplus(others - cos)[genuine].mean()


def scores(
    state: State,
    epochs: Epochs,
    recipe: Recipe,
    candidates: Sequence[Values],
    validation: tuple[Pixels, Index],
    *,
    seed: int,
    steps: int,
) -> list[float]:
    """The score of each candidate on the next ``steps`` batches of the epoch of ``state``, which is left as it is.

    ``validation`` are crops [N,H,W,3] uint8 and identity numbers [N]. The passes are in float32 whatever the recipe
    says, because they are subtracted from each other. nan where a score is not finite.
    """
    device = resolve_device(recipe.device)
    net, loss = copy.deepcopy(state.net), copy.deepcopy(state.loss)
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    net.eval()
    value = similarity(net(to_input(validation[0], device)), torch.from_numpy(validation[1]).to(device))
    slopes = torch.autograd.grad(value, parameters, allow_unused=True)
    direction = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, slopes, strict=True)]
    length = _length(direction)
    if not (length > 0 and math.isfinite(length)):
        return [math.nan] * len(candidates)
    h = STEP * _length(parameters) / length
    net.train()
    loss.train()
    sums = [0.0] * len(candidates)
    batches = epochs.batches(state.epoch)[state.batch : state.batch + steps]
    for number, index in enumerate(batches):
        images = to_input(epochs.images(state.epoch, index), device)
        labels = torch.from_numpy(epochs.labels(index)).to(device)
        random = partial(keyed, device, seed, state.step + number)
        sides = [_shifted(net, parameters, direction, sign * h, images, random) for sign in (-1.0, 1.0)]
        for i, candidate in enumerate(candidates):
            loss.set_hyperparameters(candidate)
            loss.key(seed, state.step + number)
            with torch.no_grad():
                low, high = (float(loss(side, labels).loss) for side in sides)
            middle = ((sides[0] + sides[1]) / 2).requires_grad_()
            (pull,) = torch.autograd.grad(loss(middle, labels).loss, middle)
            sums[i] += (low - high) / (2 * h * length * max(_length([pull]), 1e-30))
    return [total / len(batches) if math.isfinite(total) else math.nan for total in sums]


def _length(tensors: Sequence[Tensor]) -> float:
    with torch.no_grad():
        return float(torch.stack([tensor.double().square().sum() for tensor in tensors]).sum().sqrt())


def _shifted(
    net: nn.Module,
    parameters: Sequence[Tensor],
    direction: Sequence[Tensor],
    h: float,
    images: Tensor,
    random: Callable[[], AbstractContextManager[None]],
) -> Tensor:
    """The embeddings at parameters moved by ``h`` times ``direction``; the parameters are then moved back."""
    held = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad(), random():
        for parameter, part in zip(parameters, direction, strict=True):
            parameter.add_(part, alpha=h)
        embeddings: Tensor = net(images)
        for parameter, value in zip(parameters, held, strict=True):
            parameter.copy_(value)
    return embeddings.float()
