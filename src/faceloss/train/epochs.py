"""Epochs over a set of faces: which images, in which order, how augmented; all keyed by (seed, epoch, index)."""

from dataclasses import dataclass, field

from faceloss.data.augment import Augmentation
from faceloss.data.batches import (
    group_balanced_batches,
    identity_balanced_batches,
    shuffled_batches,
    windowed_batches,
)
from faceloss.data.encoded import shards_of
from faceloss.data.faces import Faces
from faceloss.errors import BadInput
from faceloss.train.loop import Index, Pixels
from faceloss.train.settings import Batches, Recipe, identity_balanced


@dataclass
class FaceEpochs:
    """The training identities of one run. ``kind`` is the composition of batches that the loss asked for."""

    faces: Faces
    recipe: Recipe
    seed: int
    kind: Batches
    _augmentation: tuple[int, Augmentation] | None = field(default=None, init=False)  # of the epoch last asked for

    def batches(self, epoch: int) -> list[Index]:
        """Index arrays, one a batch."""
        if identity_balanced(self.kind):
            people, images = self.recipe.identities_per_batch, self.recipe.images_per_identity
            groups = self.faces.groups if self.kind == "identity- and group-balanced" else None
            return identity_balanced_batches(self.faces.labels, people, images, self.seed, epoch, groups)
        if self.kind == "group-balanced":
            return group_balanced_batches(self.faces.groups, self.recipe.batch, self.seed, epoch)
        if self.recipe.shard_window:
            shards, window = shards_of(self.faces), self.recipe.shard_window
            if shards is None:
                raise BadInput("shard_window is of faces that are streamed from shards; leave it out.")
            return windowed_batches(shards, window, self.recipe.batch, self.seed, epoch)
        return shuffled_batches(len(self.faces.labels), self.recipe.batch, self.seed, epoch)

    def images(self, epoch: int, index: Index) -> Pixels:
        """Augmented crops [B,H,W,3] uint8."""
        known = self._augmentation  # read once: several threads may ask
        if known is None or known[0] != epoch:
            count, strengths = len(self.faces.labels), self.recipe.augment.model_dump()
            known = self._augmentation = (epoch, Augmentation(self.seed, epoch, count, **strengths))
        return known[1](self.faces.pixels[index], index)

    def labels(self, index: Index) -> Index:
        """Identity numbers [B]."""
        return self.faces.labels[index]
