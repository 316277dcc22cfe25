"""A map of a test's embeddings: a few identities in two dimensions, a ``map`` record. It shows, and proves nothing.

Who is on it is drawn by a key of the test's contents alone, so that every loss and seed has the same images, and
nobody can look for identities that lie well.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceloss.data.faces import Faces
from faceloss.data.keys import generator
from faceloss.evaluate.geometry import principal_plane

Index = NDArray[np.int64]

IDENTITIES = 8  # as many as there are colors
FEWEST, MOST = 4, 8  # images of an identity


def eligible(faces: Faces) -> Index:
    """The labels that a map is drawn from: identities with a name and ``FEWEST`` images or more."""
    named = np.array(faces.identities)[faces.labels] != ""
    found, counts = np.unique(faces.labels[named], return_counts=True)
    return found[counts >= FEWEST]


def drawn(faces: Faces) -> list[Index]:
    """The images of each identity on the map: up to ``IDENTITIES`` of the eligible ones, up to ``MOST`` of each.

    Keyed by ("map", digest of ``faces``), and for the images of an identity by its label too.
    """
    enough = eligible(faces)
    chosen = np.sort(generator("map", faces.digest).permutation(enough)[:IDENTITIES])
    return [
        np.sort(generator("map", faces.digest, int(label)).permutation(np.flatnonzero(faces.labels == label))[:MOST])
        for label in chosen
    ]


def map_record(test: str, faces: Faces, rows: NDArray[np.float32]) -> dict[str, Any] | None:
    """The places of the drawn images of a test with embeddings ``rows`` [N,D]; None with fewer than two identities.

    Places are in units of the sphere's radius, to three decimals, identity by identity (``counts`` images each); of
    their variance ``share`` lies along x and y (:func:`faceloss.evaluate.geometry.principal_plane`, of these images).
    """
    images = drawn(faces)
    if len(images) < 2 or rows.shape[1] < 2:
        return None
    plane = principal_plane(rows[np.concatenate(images)])
    x, y = (plane.places.round(3) + 0.0).T.tolist()  # + 0.0: no minus before a zero
    return {
        "kind": "map",
        "test": test,
        "identities": [faces.identities[faces.labels[some[0]]] for some in images],
        "counts": [len(some) for some in images],
        "x": x,
        "y": y,
        "share": [round(share, 4) for share in plane.share],
        "of": len(eligible(faces)),
        "fewest": FEWEST,
    }
