"""Statistics of the detector noise."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from benchmarks import sensor_noise
from seal_lightning.data import DetectorNoise, Draws
from seal_lightning.skeleton import get_skeleton

H36M = get_skeleton("h36m17")
KINECT = Path(__file__).resolve().parents[2] / "../shared/data/uiprmd_kinect_h36m17.npz"


def keypoints(batch, frames=1):
    pose = torch.rand(1, 1, 17, 2, generator=torch.Generator().manual_seed(0))
    return pose.expand(batch, frames, -1, -1).clone()


def disturb(noise, batch=4000, frames=1, seed=0):
    """Errors as a share of the person's size (B, T, J, 2), and confidences (B, T, J)."""
    true = keypoints(batch, frames)
    size = (true[0, 0].max(dim=0).values - true[0, 0].min(dim=0).values).max()
    seen = noise(true, H36M, Draws(seed, torch.arange(batch)))
    return ((seen[..., :2] - true) / size).numpy(), seen[..., 2].numpy()


def test_marginals_are_student_t():
    errors, _ = disturb(DetectorNoise(scale=1e-4, tail=3.0, dropout=0.0, joint_scales={}))
    scaled = np.sort((errors[:, 0] * 1e4).reshape(-1))
    # Quantiles of Student's t with 3 degrees of freedom, from its table.
    for probability, quantile in ((0.90, 1.6377), (0.95, 2.3534), (0.975, 3.1824), (0.99, 4.5407), (0.995, 5.8409)):
        assert np.quantile(scaled, probability) == pytest.approx(quantile, rel=0.03)
        assert np.quantile(scaled, 1 - probability) == pytest.approx(-quantile, rel=0.03)


def test_tail_parameter():
    wild, gaussian = (
        np.abs(disturb(DetectorNoise(scale=1e-4, tail=tail, dropout=0.0, joint_scales={}))[0]) * 1e4
        for tail in (2.0, 1000.0)
    )
    assert np.quantile(gaussian, 0.99) == pytest.approx(2.576, rel=0.03)
    assert np.quantile(wild, 0.99) == pytest.approx(9.925, rel=0.05)


def test_time_does_not_change_the_marginal():
    errors, _ = disturb(DetectorNoise(scale=1e-4, correlation=0.9, dropout=0.0, joint_scales={}), frames=12)
    last = errors[:, -1].reshape(-1) * 1e4
    assert np.quantile(last, 0.975) == pytest.approx(3.1824, rel=0.04)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_autocorrelation(correlation):
    noise = DetectorNoise(scale=1e-4, tail=1000.0, correlation=correlation, dropout=0.0, joint_scales={})
    errors, _ = disturb(noise, batch=2000, frames=6)
    for lag in (1, 3):
        found = np.corrcoef(errors[:, 1, ..., 0].ravel(), errors[:, 1 + lag, ..., 0].ravel())[0, 1]
        assert found == pytest.approx(correlation**lag, abs=0.02)
    across = np.corrcoef(errors[:, 2, 3, 0], errors[:, 2, 4, 0])[0, 1]
    assert abs(across) < 0.08


def test_joint_scales():
    errors, _ = disturb(DetectorNoise(scale=1e-3, dropout=0.0))
    spread = dict(zip(H36M.names, np.median(np.linalg.norm(errors[:, 0], axis=-1), axis=0), strict=True))
    assert spread["RWrist"] / spread["RHip"] == pytest.approx(1.6 / 0.7, rel=0.08)
    assert spread["LAnkle"] / spread["Spine"] == pytest.approx(1.4, rel=0.08)
    own, _ = disturb(DetectorNoise(scale=1e-3, dropout=0.0, joint_scales={"HEAD": 0.0}))
    assert np.abs(own[:, :, 10]).max() == 0.0
    assert np.abs(own[:, :, 9]).min() > 0.0


def test_confidence_falls_with_the_error():
    errors, confidence = disturb(DetectorNoise(scale=0.03, dropout=0.0))
    error = np.linalg.norm(errors, axis=-1).ravel()
    order = np.argsort(error)
    means = [part.mean() for part in np.array_split(confidence.ravel()[order], 8)]
    assert all(above > below for above, below in itertools.pairwise(means))
    assert means[0] > 0.8
    assert means[-1] < 0.4
    assert 0.0 < confidence.min() < confidence.max() <= 1.0
    near = np.abs(error - 0.05) < 0.002
    assert np.median(confidence.ravel()[near]) == pytest.approx(0.5, abs=0.02)
    assert confidence.ravel()[near].std() > 0.05  # uncertain itself


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_dropouts(rate):
    true = keypoints(3000, 4)
    seen = DetectorNoise(scale=0.0, dropout=rate, correlation=0.9)(true, H36M, Draws(0, torch.arange(3000)))
    moved = (seen[..., :2] != true).any(dim=-1)
    assert moved.float().mean() == pytest.approx(rate, rel=0.08)
    for frame in range(4):
        assert moved[:, frame].float().mean() == pytest.approx(rate, rel=0.1)
    stays = (moved[:, 0] & moved[:, 1]).sum() / moved[:, 0].sum()
    assert stays > 2 * rate  # in runs
    # Every dropped joint lies exactly on another joint of the person, one for the whole window.
    hits = (seen[..., None, :2] == true[:, :, None]).all(dim=-1)
    assert torch.equal(hits.sum(dim=-1), torch.ones_like(moved, dtype=torch.long))
    landing = hits.long().argmax(dim=-1)
    both = moved[:, 0] & moved[:, 3]
    assert torch.equal(landing[:, 0][both], landing[:, 3][both])
    assert landing[moved].unique().numel() == 17
    # Landing near by is no reason for confidence: it is that of an error of 0.2 sizes, 1 / (1 + 0.2 / 0.05).
    size = (true[0, 0].amax(dim=0) - true[0, 0].amin(dim=0)).max()
    near = moved & ((seen[..., :2] - true).norm(dim=-1) < 0.15 * size)
    assert near.sum() > 100
    assert seen[..., 2][near].median() == pytest.approx(0.2, abs=0.03)
    assert seen[..., 2][moved & ~near].median() < 0.15
    assert (seen[..., 2][~moved] == 1.0).all()


def test_errors_never_exceed_the_person():
    errors, confidence = disturb(DetectorNoise(scale=0.5, tail=1.0, dropout=0.0))
    assert np.linalg.norm(errors, axis=-1).max() <= 1.0 + 1e-5
    assert np.isfinite(errors).all()
    assert np.isfinite(confidence).all()


def test_noise_scales_with_the_person_and_keeps_nothing_else():
    noise, draws = DetectorNoise(), Draws(0, torch.arange(6))
    true = keypoints(6)
    small = noise(true, H36M, draws)
    large = noise(3.0 * true + 5.0, H36M, draws)
    torch.testing.assert_close(large[..., :2], 3.0 * small[..., :2] + 5.0, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(large[..., 2], small[..., 2], rtol=1e-3, atol=1e-3)


def test_all_keypoints_in_one_point():
    seen = DetectorNoise()(torch.zeros(2, 3, 17, 2), H36M, Draws(0, torch.arange(2)))
    assert torch.isfinite(seen).all()
    assert (seen[..., :2] == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": -1.0}, r"Expected `scale` to be 0 or more, but got -1\.0\."),
        ({"scale": float("nan")}, r"Expected `scale` to be 0 or more, but got nan\."),
        ({"tail": 0.5}, r"Expected `tail` to be 1 or more, but got 0\.5\."),
        ({"correlation": 1.0}, r"Expected `correlation` to be from 0 to below 1, but got 1\.0\."),
        ({"dropout": -0.1}, r"Expected `dropout` to be from 0 to below 1, but got -0\.1\."),
        ({"joint_scales": {"hip": -1.0}}, r"Expected `joint_scales` to hold factors of 0 or more, but got \{'hip'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        DetectorNoise(**options)


def test_the_sensor_setting_is_stated_in_the_documentation():
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    (stated,) = (line for line in page.splitlines() if line.startswith("noise: {scale: 0.0125"))
    assert DetectorNoise(**yaml.safe_load(stated)["noise"]) == DetectorNoise.sensor()


def test_a_fit_finds_the_setting_that_made_the_errors():
    made = DetectorNoise(scale=0.02, tail=4.0, correlation=0.9, dropout=0.0, joint_scales={})
    people = keypoints(200)[:, 0].double().numpy()
    fitted = sensor_noise.fit(*sensor_noise.noise_errors(made, people))
    assert fitted.scale == pytest.approx(0.02, rel=0.03)
    assert fitted.tail == pytest.approx(4.0, rel=0.1)
    assert fitted.correlation == pytest.approx(0.9, abs=0.01)


@pytest.mark.skipif(not KINECT.exists(), reason="needs the Kinect recordings in ../shared/data")
def test_the_sensor_setting_has_the_errors_of_the_sensor():
    errors, clip, true = sensor_noise.sensor_errors(KINECT)
    made, window = sensor_noise.noise_errors(DetectorNoise.sensor(), true[::10])
    for share in (0.25, 0.5, 0.75, 0.9, 0.99):
        ours, theirs = (np.quantile(np.linalg.norm(e, axis=-1), share) for e in (made, errors))
        assert ours == pytest.approx(theirs, rel=0.06)
    assert sensor_noise.autocorrelation(made, window, 1) == pytest.approx(
        sensor_noise.autocorrelation(errors, clip, 1), abs=0.01
    )
