"""How near predicted pictures are to true ones: mean squared error, PSNR and SSIM.

Conventions: pictures are uint8 of three channels, their data range is 255.

- `mse`: the mean over pixels and channels of the squared difference, in squared steps of 0 to 255.
- `psnr`: 10 log10(255^2 / mse), in dB. Equal pictures have 100 dB and not infinitely many: those of
  64x64 that differ in one channel of one pixel by one have 89.
- `ssim`: the structural similarity as Wang et al. (2004) define it, at most 1: Gaussian windows of
  11x11 pixels with a standard deviation of 1.5, K1 = 0.01, K2 = 0.03; of each channel for itself,
  averaged over channels and pixels (but for the five at each border).

Computed by scikit-image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from armillary.errors import UsageError

DATA_RANGE = 255
HIGHEST_PSNR = 100.0
PERCENTILES = (5, 50, 95)
MEASURES = ("mse", "psnr", "ssim")
_SMALLEST = 11
"""Side of SSIM's window in pixels."""

CONVENTIONS = {
    "data_range": DATA_RANGE,
    "mse": "mean over pixels and channels, squared steps of 0 to 255",
    "psnr": f"dB, at most {HIGHEST_PSNR:g}",
    "ssim": "Wang et al. (2004), Gaussian windows, each channel for itself, at most 1",
}
"""The same for whoever reads the JSON."""


def quality(
    true: UInt8[np.ndarray, "*batch height width 3"],
    predicted: UInt8[np.ndarray, "*batch height width 3"],
) -> dict[str, Float64[np.ndarray, "*batch"]]:
    """Returns `mse`, `psnr` and `ssim` of each picture.

    Raises:
        UsageError: the shapes or types differ, or the pictures are too small.
    """
    if (
        true.shape != predicted.shape
        or true.dtype != np.uint8
        or predicted.dtype != np.uint8
        or true.ndim < 3
        or true.shape[-1] != 3
        or min(true.shape[-3:-1]) < _SMALLEST
    ):
        raise UsageError(
            f"true frames are {true.dtype}{list(true.shape)} and predicted ones {predicted.dtype}"
            f"{list(predicted.shape)}: both must be uint8 of the same shape (..., H, W, 3) "
            f"with sides of at least {_SMALLEST} pixels"
        )
    from skimage.metrics import (
        mean_squared_error,
        peak_signal_noise_ratio,
        structural_similarity,
    )

    batch = true.shape[:-3]
    values = {name: np.empty(batch) for name in MEASURES}
    for index in np.ndindex(batch):
        pair = true[index], predicted[index]
        values["mse"][index] = mean_squared_error(*pair)
        with np.errstate(divide="ignore"):
            values["psnr"][index] = peak_signal_noise_ratio(*pair, data_range=DATA_RANGE)
        values["ssim"][index] = structural_similarity(
            *pair,
            data_range=DATA_RANGE,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    values["psnr"] = np.minimum(values["psnr"], HIGHEST_PSNR)
    return values


def over_episodes(values: Float64[np.ndarray, "episodes time"]) -> dict[str, Any]:
    """Returns the mean and the percentiles over episodes at each time step, ready for JSON."""
    table = {"mean": values.mean(0).tolist()}
    for percent in PERCENTILES:
        table[f"p{percent}"] = np.percentile(values, percent, axis=0).tolist()
    return table
