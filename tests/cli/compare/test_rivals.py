"""Rivals in a comparison: hand-written losses and random bone lengths, trained like the host."""

import math
import shutil

import pytest
import torch

from seal_lightning.cli.compare.rivals import PoseCollector
from seal_lightning.cli.compare.text import about_rivals
from seal_lightning.evaluation.outcome import rivals_of
from seal_lightning.evaluation.runs import Run
from seal_lightning.training.batch import SealBatch
from tests.cli.compare.comparisons import results, run

PRIMARY = ("mpjpe", "body_segment_length_error", "asymmetry_error")


def primary(run):
    """Geometric mean of the primary errors on test data after the run's own best."""
    return math.prod(run["own_best"]["mean"][name] for name in PRIMARY) ** (1 / 3)


def test_rivals_are_trained_and_seal_is_compared_with_the_best(config, capsys):
    rivals = ["--rivals", "symmetry", "pose_pca", "augmentation"]
    run(config(seeds=[3], report=True), *rivals, "--rival_weight", "5")
    content, printed = results(), capsys.readouterr().out
    runs = {one["method"]: one for one in content["runs"]}
    assert list(runs) == ["host", "symmetry", "pose pca", "augmentation", "SEAL"]
    assert len({one["weights"] for one in runs.values()}) == 5  # each has changed what was learned
    for name in ("symmetry", "pose pca", "augmentation"):
        change = content["rivals"][name]["verdict"]["own_best"]["change"]
        assert change == pytest.approx(100 * (primary(runs[name]) / primary(runs["host"]) - 1))
        (row,) = [line for line in printed.splitlines() if line.startswith(f"| {name} ")]
        assert f"{change:+.1f} %" in row
    beside = printed[printed.rindex("own best") :]  # the last table
    assert [line.split()[1] for line in beside.splitlines()[2:7]] == [
        "host",
        "SEAL",
        "symmetry",
        "pose",
        "augmentation",
    ]
    best = min(set(runs) - {"SEAL"}, key=lambda name: min(runs[name]["validation"].values()))
    assert content["strongest_rival"] == best
    if best == "host":
        assert content["against_strongest_rival"] is None
    else:
        change = content["against_strongest_rival"]["verdict"]["own_best"]["change"]
        assert change == pytest.approx(100 * (primary(runs["SEAL"]) / primary(runs[best]) - 1))
    with open("out/report.html") as page:
        assert page.read() == "a page with ['Rivals']"
    # The principal components are those of the first training's poses, also where that one had ended before a stop.
    shutil.rmtree("out/trainings/pose-pca_seed-3")
    run("config.yaml", *rivals, "--rival_weight", "5", "--resume", "out")
    again = {one["method"]: one for one in results()["runs"]}
    assert again["pose pca"]["weights"] == runs["pose pca"]["weights"]


def test_a_rival_without_weight_is_the_host(config):
    run(config(seeds=[3]), "--rivals", "bone_length", "--rival_weight", "0")
    runs = {one["method"]: one["weights"] for one in results()["runs"]}
    assert runs["bone length"] == runs["host"] != runs["SEAL"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rivals": ["symmetry", "symmetry"]}, "`rivals` to be different names"),
        (
            {"rivals": ["symmetry"], "host": "TupleLifter", "seal_model": "some_lifters.NamedTupleLifter"},
            "no losses among `rivals` with NamedTupleLifter",
        ),
        ({"rivals": ["augmentation"], "data": {"class_path": "some_lifters.Poses"}}, "but it has none: leave it out"),
    ],
)
def test_rivals_that_cannot_be(config, options, message):
    with pytest.raises(ValueError, match=message):
        run(config(**options))


def run_of(method, seed, test, val):
    scores = {scope: dict.fromkeys(PRIMARY, test) for scope in ("mean", "x", "x/1", "x/2")}
    validation = {} if val is None else {"nothing": val}
    return Run(method, seed, 1, 1.0, scores, {}, scores, validation=validation, weights=method)


def test_the_strongest_rival_is_the_best_on_validation_data_the_host_included():
    def runs(*rows):
        return [run_of(*row[:1], seed, *row[1:]) for seed in (0, 1) for row in rows]

    host, seal = ("host", 10.0, 5.0), ("SEAL", 8.0, 1.0)
    rivals = rivals_of(runs(host, seal, ("a", 16.0, 3.0), ("b", 4.0, 4.0)), ["a", "b"], "SEAL")
    assert rivals.strongest == "a"
    assert rivals.against.own_best.change == pytest.approx(-50.0)
    assert about_rivals(rivals, "SEAL").endswith("best: helps, -50.0 % [-50.0, -50.0].")
    rivals = rivals_of(runs(host, seal, ("a", 1.0, 6.0)), ["a"], "SEAL")
    assert (rivals.strongest, rivals.against) == ("host", None)
    assert about_rivals(rivals, "SEAL") == "No rival is better than the host on validation data."
    rivals = rivals_of(runs(("host", 10.0, None), seal, ("a", 1.0, None)), ["a"], "SEAL")
    assert rivals.strongest is None
    assert about_rivals(rivals, "SEAL").startswith("There are no validation data")
    assert rivals_of(runs(host, seal), ["a"], "SEAL") is None


def test_components_are_of_poses_that_are_labelled_and_whole():
    class Model:
        _seal_last = None

    collector, pose = PoseCollector(), torch.arange(5.0)[:, None, None, None].expand(5, 2, 3, 3).clone()
    collector.on_train_batch_end(None, Model)
    assert not len(collector.poses)
    visibility, labelled = torch.ones(5, 2, 3, dtype=torch.bool), torch.tensor([1, 1, 0, 1, 1]).bool()
    visibility[0, 1, 2] = False
    pose[4, 0, 0, 0] = torch.nan
    Model._seal_last = SealBatch(torch.zeros(5, 2, 3, 2), pose, pose, visibility=visibility, labelled=labelled)
    collector.on_train_batch_end(None, Model)
    assert collector.poses[:, 0, 1].tolist() == [0.0, 1.0, 1.0, 3.0, 3.0, 4.0]
