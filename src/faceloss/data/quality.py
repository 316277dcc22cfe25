"""What a crop looks like, measured without any model: sharpness, brightness, contrast and noise.

Of the gray image I = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), values 0 to 255, over the inner pixels where a filter
needs neighbors:

    sharpness   variance of the Laplacian I(x+1,y) + I(x-1,y) + I(x,y+1) + I(x,y-1) - 4 I(x,y)
    brightness  mean of I
    contrast    standard deviation of I
    noise       sqrt(pi / 2) / 6 times the mean |N * I|, N the difference of two Laplacians [1 -2 1; -2 4 -2; 1 -2 1]

Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000 (sharpness); Immerkaer, "Fast noise
variance estimation", Computer Vision and Image Understanding 64, 1996 (noise: the standard deviation of white noise;
fine texture counts as noise too).
"""

import numpy as np
from numpy.typing import NDArray

from faceloss.data.faces import Rows

MEASURES = ("sharpness", "brightness", "contrast", "noise")
BLOCK = 256  # images at a time


def quality(pixels: NDArray[np.uint8] | Rows) -> dict[str, NDArray[np.float64]]:
    """Each of :data:`MEASURES` of crops [N,H,W,3] uint8 RGB, at least 3 pixels a side: [N]."""
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in MEASURES}
    for start in range(0, len(pixels), BLOCK):
        gray = pixels[start : start + BLOCK] @ np.array([0.299, 0.587, 0.114], dtype=np.float32)  # [B,H,W]
        middle = gray[:, 1:-1]
        beside = gray[:, :-2] + gray[:, 2:]  # above and below, [B,H-2,W]
        laplacian = beside[:, :, 1:-1] + middle[:, :, :-2] + middle[:, :, 2:] - 4 * middle[:, :, 1:-1]
        rough = beside - 2 * middle
        noise = rough[:, :, :-2] + rough[:, :, 2:] - 2 * rough[:, :, 1:-1]
        found["sharpness"].append(laplacian.var(axis=(1, 2), dtype=np.float64))
        found["brightness"].append(gray.mean(axis=(1, 2), dtype=np.float64))
        found["contrast"].append(gray.std(axis=(1, 2), dtype=np.float64))
        found["noise"].append(np.abs(noise).mean(axis=(1, 2), dtype=np.float64) * (np.sqrt(np.pi / 2) / 6))
    return {name: np.concatenate(parts) if parts else np.zeros(0) for name, parts in found.items()}
