"""A linear map learned on top of embeddings: with the net, or afterwards on the embeddings of a frozen one.

Learned with the net, it belongs to the model: ``loss.embed`` applies it wherever embeddings are compared.

Afterwards, on embeddings [N,D] and labels [N] that the net gave for the training faces::

    loss = losses.build("tpe", dim=512, classes=identities, size=128)
    loss.project.start_at_principal_axes(embeddings)     # optional
    fit(loss, embeddings, labels)
    compared = loss.embed(others)                        # [M,128], unit length
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from faceloss.losses import mining
from faceloss.losses.core import Number
from faceloss.losses.operations import normalize
from faceloss.losses.tuples import TupleHead

MINERS: dict[str, mining.Miner] = {
    "hard_negative": mining.hard_negative,
    "random": mining.random,
    "all": mining.all_triplets,
}


class Projection(nn.Module):
    """x -> W x / ||W x||, [B,D] -> [B,size]; W [size,D] starts with random orthonormal rows, there is no bias.

    Of full size (``size`` 0 or D) the start is a rotation, which leaves every cosine as it was.
    """

    def __init__(self, dim: int, size: int):
        super().__init__()
        if not 0 <= size <= dim:
            raise ValueError(f"size must be between 1 and dim, which is {dim}, or 0 for dim itself; given {size}.")
        columns, _ = torch.linalg.qr(torch.randn(max(dim, 1), size or max(dim, 1)))
        self.weight = nn.Parameter(columns.T.contiguous())  # [size,D]

    def forward(self, embeddings: Tensor) -> Tensor:
        return normalize(embeddings @ self.weight.to(embeddings.dtype).T)

    @torch.no_grad()
    def start_at_principal_axes(self, embeddings: Tensor) -> None:
        """Set the rows of W to the axes of largest variance of ``embeddings`` [N,D], N >= size."""
        size, dim = self.weight.shape
        if embeddings.ndim != 2 or embeddings.shape[1] != dim or len(embeddings) < size:
            raise ValueError(
                f"Principal axes need embeddings [N, {dim}] with N at least {size}; given {list(embeddings.shape)}."
            )
        centered = embeddings.double() - embeddings.double().mean(0)
        _, axes = torch.linalg.eigh(centered.T @ centered)  # by increasing variance
        self.weight.copy_(axes.flip(1)[:, :size].T)


def cosine_distance(directions: Tensor) -> Tensor:
    """1 - cos between unit rows, [B,D] -> [B,B]."""
    return 1 - directions @ directions.T


def projected(
    dim: int,
    classes: int,
    *,
    size: int,
    mining: str,
    term: Callable[..., Tensor],
    hyperparameters: Mapping[str, Number],
) -> TupleHead:
    """The mean of ``term`` over triplets of cosine distances after a projection to ``size``; mined as MINERS says."""
    return TupleHead(
        dim,
        classes,
        project=Projection(dim, size),
        measure=cosine_distance,
        miner=MINERS[mining],
        term=term,
        reduction="mean",
        hyperparameters=hyperparameters,
    )


def fit(
    loss: TupleHead,
    embeddings: Tensor,
    labels: Tensor,
    *,
    steps: int = 1000,
    identities: int = 32,
    images: int = 4,
    learning_rate: float = 0.01,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> list[float]:
    """Train the projection of ``loss`` on given ``embeddings`` [N,D] and ``labels`` [N]; returns the loss of each step.

    Each step draws ``identities`` identities and up to ``images`` embeddings of each, keyed by ``seed`` and the step,
    and takes a step of plain SGD with momentum 0.9. Identities with one embedding serve as negatives.

    Raises:
        ValueError: embeddings or labels that the loss refuses, or fewer than two identities.
    """
    present = torch.unique(labels)
    if len(present) < 2:
        raise ValueError(f"A projection needs at least 2 identities to tell apart; given {len(present)}.")
    rows = [(labels == label).nonzero().squeeze(1) for label in present]
    optimizer = torch.optim.SGD(loss.parameters(), lr=learning_rate, momentum=0.9)
    history = []
    for step in range(steps):
        loss.key(seed, step)
        generator = loss.generator("batch")
        chosen = torch.randperm(len(rows), generator=generator)[:identities].tolist()
        drawn = [rows[who][torch.randperm(len(rows[who]), generator=generator)[:images]] for who in chosen]
        batch = torch.cat(drawn)
        value = loss(embeddings[batch].detach(), labels[batch]).loss
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        history.append(float(value.detach()))
        progress("projection", step + 1, steps)
    return history
