"""How the setting `DetectorNoise.sensor()` is fitted, and how much it looks like the sensor.

    python -m benchmarks.sensor_noise --data-dir DIR

The file holds what the body tracker of a Kinect v2 saw, beside the truth from markers. An error is the way from the
projected truth to the keypoint, as a share of the person's size (the larger side of the box around the true keypoints).
A tracker means another point by "head" or "hip" than markers do, which is no error: the median over all frames is taken
off every joint. What is left is fitted by quantiles, which a few wild frames cannot move.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import rankdata

from seal_lightning.data import DetectorNoise, Draws
from seal_lightning.skeleton import get_skeleton

__all__ = ["autocorrelation", "fit", "noise_errors", "sensor_errors"]

Array = NDArray[np.float64]

FILE = "uiprmd_kinect_h36m17.npz"
FOCAL, MIDDLE = 1060.0, (960.0, 540.0)  # pixels, of the sensor's colour image
LAGS = (1, 2, 5, 10)  # in frames, of which there are 30 a second
SHARES = (0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
WINDOWS = (2000, 21)  # how many windows of how many frames are disturbed to measure a setting
SKELETON = get_skeleton("h36m17")


def sensor_errors(path: Path) -> tuple[Array, NDArray[np.int64], Array]:
    """Return errors (N, 17, 2) as shares of the person's size, the clip of every frame (N,), and true pixels."""
    with np.load(path) as arrays:
        positions, keypoints = arrays["positions_3d"].astype(float), arrays["keypoints_2d"]
        clip = np.repeat(np.arange(len(arrays["clip_length"])), arrays["clip_length"])
    true = FOCAL * positions[..., :2] / positions[..., 2:] + np.array(MIDDLE)
    errors = (keypoints - true) / _size(true)
    return errors - np.median(errors, axis=0), clip, true


def noise_errors(noise: DetectorNoise, true: Array) -> tuple[Array, NDArray[np.int64]]:
    """Return the errors that a setting makes in windows of true keypoints (N, 17, 2), and the window of every frame."""
    windows, frames = WINDOWS
    rows = np.linspace(0, len(true) - 1, windows).astype(int)
    still = torch.from_numpy(true[rows]).float()[:, None].expand(-1, frames, -1, -1)
    seen = noise(still, SKELETON, Draws(0, torch.arange(windows)))[..., :2]
    errors = (seen - still).flatten(0, 1).numpy() / _size(still.flatten(0, 1).numpy())
    return errors, np.repeat(np.arange(windows), frames)


def fit(errors: Array, clip: NDArray[np.int64]) -> DetectorNoise:
    """Fit scale, tail and correlation to errors (N, 17, 2), the same for all joints and without drop-outs."""
    length = np.linalg.norm(errors, axis=-1)
    ratio = np.quantile(length, 0.99) / np.median(length)
    tail = float(brentq(lambda tail: _quantile(0.99, tail) / _quantile(0.5, tail) - ratio, 1.0, 100.0))
    scale = float(np.median(length)) / _quantile(0.5, tail)
    # The first-order process whose correlations, powers of one number, come nearest to those measured.
    measured = np.array([autocorrelation(errors, clip, lag) for lag in LAGS])
    rates = np.arange(0.5, 0.999, 0.001)
    rate = rates[((rates[:, None] ** np.array(LAGS) - measured) ** 2).sum(1).argmin()]
    return DetectorNoise(scale, tail, float(rate), 0.0, {})


def autocorrelation(errors: Array, clip: NDArray[np.int64], lag: int) -> float:
    """Correlation of errors `lag` frames apart within a clip, averaged over joints and coordinates.

    It is that of normal scores: with tails as heavy as these, a few frames would decide the ordinary one.
    """
    same = clip[lag:] == clip[:-lag]
    coordinates = errors.reshape(len(errors), -1).T
    scores = [ndtri((rankdata(one) - 0.5) / len(one)) for one in coordinates]
    return float(np.mean([np.mean(one[lag:][same] * one[:-lag][same]) for one in scores]))


def _size(keypoints: Array) -> Array:
    """Larger side of the box around keypoints (N, J, 2), shape (N, 1, 1)."""
    return np.asarray((keypoints.max(1) - keypoints.min(1)).max(-1)[:, None, None])


def _quantile(share: float, tail: float) -> float:
    """The length below which a share of bivariate t variables lies: P(R > r) = (1 + r^2 / tail)^(-tail / 2)."""
    return float(np.sqrt(tail * ((1.0 - share) ** (-2.0 / tail) - 1.0)))


def main(arguments: list[str] | None = None) -> None:
    """Print the fit, and the errors of the sensor beside those of the settings."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sensor_noise", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, help=f"folder of {FILE}")
    errors, clip, true = sensor_errors(parser.parse_args(arguments).data_dir / FILE)
    fitted = fit(errors, clip)
    print(f"scale {fitted.scale:.4f}, tail {fitted.tail:.2f}, correlation {fitted.correlation:.3f}\n")
    medians = np.median(np.linalg.norm(errors, axis=-1), axis=0)
    print(
        "median by joint, %: " + ", ".join(f"{n} {100 * m:.1f}" for n, m in zip(SKELETON.names, medians, strict=True))
    )
    coordinates = errors.reshape(len(errors), -1)[::10]
    across = np.corrcoef(np.apply_along_axis(rankdata, 0, coordinates).T)
    print(f"mean rank correlation of the two ends of a bone: {_along_bones(across):.2f}\n")
    print("| errors, % of the person's size | " + " | ".join(f"{100 * share:g} %" for share in SHARES), end="")
    print(" | " + " | ".join(f"lag {lag}" for lag in LAGS) + " |")
    print("|---" + "|---:" * (len(SHARES) + len(LAGS)) + "|")
    settings = {"sensor()": DetectorNoise.sensor(), "default": DetectorNoise()}
    found = {"the sensor": (errors, clip)} | {name: noise_errors(noise, true) for name, noise in settings.items()}
    for name, (of, window) in found.items():
        quantiles = 100 * np.quantile(np.linalg.norm(of, axis=-1), SHARES)
        correlations = [autocorrelation(of, window, lag) for lag in LAGS]
        print(f"| {name} | " + " | ".join([f"{q:.1f}" for q in quantiles] + [f"{c:.2f}" for c in correlations]) + " |")


def _along_bones(across: Array) -> float:
    """Mean correlation of the errors of a bone's two ends, from the matrix (2 J, 2 J) of all coordinates."""
    blocks = across.reshape(SKELETON.num_joints, 2, SKELETON.num_joints, 2)
    return float(np.mean([blocks[child, c, parent, c] for child, parent in SKELETON.bones for c in (0, 1)]))


if __name__ == "__main__":
    main()
