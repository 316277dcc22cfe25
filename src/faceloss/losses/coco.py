"""CoCo: softmax on cosines to the centroids of the batch, without class vectors.

    loss = mean of -log( exp(s c_y) / sum_{k in the batch} exp(s c_k) ),  c_k = cos(x, mean of the x_i with y_i = k)

x [B,D] embedding as it comes, c_k [B,P] cosine to the centroid of each of the P identities of the batch, the sample's
own identity with the sample itself; s scale (alpha of the paper); y [B] label. Gradients flow through the centroids. A
batch of one identity has nothing to tell apart: its loss is 0.

Paper: Liu, Li, Wang, "Rethinking Feature Discrimination and Polymerization for Large-scale Recognition", 2017.
Family: softmax.
Batches: identity-balanced.
Deviations: s = 5 is ours. The released code has 30 and 100 for images of people and 1 and 2 for digits; as the sample's
own centroid holds the sample itself, its cosine to it is about 1/sqrt(n) for n images before anything is learnt, and at
s = 30, 16 identities of 4 images leave an untrained net a loss of 5e-6 (LAB.md). 5 is enough for a perfectly placed
sample among 16 identities to reach probability 0.9; give more for larger batches. The centroids are those of the batch,
as the paper has them; libraries that learn them as weights under this name have NormFace with a fixed s. That the
centroid is the mean of the embeddings before normalizing is recalled, not looked up.
Checked: formula read in its released code (sciencefans/coco_loss), in part our reading; value and gradient against
loops in its test.
"""

from faceloss.losses.class_vectors import centroids
from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead


def build(dim: int, classes: int, *, s: float = 5.0) -> Loss:
    """``s``: scale, above 0."""
    scale = Number(s, above=0)
    return ClassHead(dim, classes, scale=scale, vectors=centroids, rows=0, batches="identity-balanced")
