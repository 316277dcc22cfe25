"""The check that a loss teaches something: faces of numbers, and identities that were never trained on."""

import torch
from torch import Tensor

from faceloss.checks.case import DIM, Case, must


def toy(identities: int, each: int, seed: int) -> tuple[Tensor, Tensor]:
    """Faces of numbers: identity in 8 of 24 coordinates, louder nuisance in the others."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(identities).repeat_interleave(each)
    who = torch.randn(identities, 8, generator=generator)[labels]
    who = who + 0.3 * torch.randn(len(labels), 8, generator=generator)
    return torch.cat([who, 2.0 * torch.randn(len(labels), 16, generator=generator)], 1), labels


def auc(embeddings: Tensor, labels: Tensor) -> float:
    """Share of (genuine, impostor) pairs of pairs that the cosine puts in the right order."""
    unit = torch.nn.functional.normalize(embeddings.double(), dim=1)
    first, second = torch.triu_indices(len(labels), len(labels), 1)
    score, same = (unit @ unit.T)[first, second], (labels[first] == labels[second])
    ranks = score.argsort().argsort().double() + 1
    n_same, n_other = same.sum().item(), (~same).sum().item()
    return (ranks[same].sum().item() - n_same * (n_same + 1) / 2) / (n_same * n_other)


def learns(case: Case) -> None:
    """60 steps on a toy set lower the loss and raise the AUC on identities never trained on.

    The loss has its final hyperparameters all along, so that its values compare; a course is another check's.
    """
    faces, labels = toy(12, 20, seed=0)
    unseen, names = toy(30, 6, seed=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = torch.nn.Linear(24, DIM, bias=False)
    loss = case.loss(classes=12)
    optimizer = torch.optim.Adam([*net.parameters(), *loss.parameters()], lr=0.02)
    generator = torch.Generator().manual_seed(2)
    start, history = auc(net(unseen).detach(), names), []
    for step in range(60):
        chosen = torch.stack([torch.randperm(20, generator=generator)[:4] + 20 * identity for identity in range(12)])
        loss.key(0, step)
        total = loss(net(faces[chosen.flatten()]), labels[chosen.flatten()]).loss
        optimizer.zero_grad()
        total.backward()
        for parameter in loss.parameters():
            if parameter.grad is not None:
                parameter.grad = parameter.grad.to_dense()  # torch's Adam has no other
        optimizer.step()
        history.append(float(total.detach()))
    end = auc(net(unseen).detach(), names)
    before, after = sum(history[:10]) / 10, sum(history[-10:]) / 10
    must(after < before, f"60 steps took the loss from {before:.3f} to {after:.3f}")
    must(end > start + 0.1, f"60 steps took the AUC on unseen identities from {start:.3f} to {end:.3f}")
