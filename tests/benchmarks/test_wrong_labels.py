"""The study of wrong labels: the labels, the scores, what is chosen, and a whole toy study."""

import json

import numpy as np
import pytest
import torch
import yaml

from benchmarks.label_scores import KINDS, auroc, bone_score, joined, pca_score, spoil
from benchmarks.wrong_labels import main
from benchmarks.wrong_labels_report import FAMILIES, SHARES, TRUTH, Choice, choices, ways
from seal_lightning.functional import bone_lengths
from seal_lightning.skeleton import get_skeleton

SKELETON = get_skeleton("h36m17")
SCORES = list(dict.fromkeys(name for scores in FAMILIES.values() for name in scores))


@pytest.fixture
def poses():
    return torch.randn(200, 17, 3, generator=torch.Generator().manual_seed(0))


def spoilt(kind, poses):
    return spoil(kind, poses, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
def test_five_percent_of_the_labels_are_wrong_and_the_others_are_as_they_were(kind, poses):
    labels, wrong = spoilt(kind, poses)
    assert int(wrong.sum()) == 10
    assert torch.equal(labels[~wrong], poses[~wrong])
    assert (labels[wrong] != poses[wrong]).flatten(1).any(1).all()


def test_each_kind_is_wrong_in_its_way(poses):
    labels, wrong = spoilt("swapped sides", poses)
    for left, right in zip(SKELETON.left, SKELETON.right, strict=True):
        assert torch.equal(labels[wrong][:, left], poses[wrong][:, right])
    labels, wrong = spoilt("shifted joint", poses)
    moved = (labels - poses)[wrong].norm(dim=-1)
    assert ((moved > 0).sum(1) == 1).all()
    assert moved.amax(1).min() >= 0.0999
    assert moved.max() <= 0.3001
    labels, wrong = spoilt("stretched limb", poses)
    factor = (bone_lengths(labels, SKELETON) / bone_lengths(poses, SKELETON))[wrong]
    stretched = (factor - 1).abs() > 1e-3
    assert (stretched.sum(1) == 2).all()
    assert factor[stretched].min() >= 1.199
    assert factor[stretched].max() <= 1.601


def test_scores_find_what_they_are_made_for(poses):
    group = torch.arange(200) % 3
    body = poses[:3][group]  # three people who stand still
    labels, wrong = spoilt("stretched limb", body)
    assert bone_score(labels, group)[~wrong].max() < 1e-5
    assert np.exp(bone_score(labels, group)[wrong].min()) >= 1.199
    turn = torch.linalg.qr(torch.randn(200, 3, 3, generator=torch.Generator().manual_seed(2)))[0]
    turn = turn * torch.linalg.det(turn).sign()[:, None, None]
    labels, wrong = spoilt("shifted joint", poses[:1].expand(200, -1, -1) @ turn)
    assert auroc(pca_score(labels, variance=0.5), wrong.numpy()) > 0.99


def test_auroc_counts_pairs():
    score, wrong = np.array([3.0, 1.0, 2.0, 2.0, 5.0]), np.array([True, False, True, False, False])
    pairs = [(a > b) + 0.5 * (a == b) for a in score[wrong] for b in score[~wrong]]
    assert auroc(score, wrong) == pytest.approx(np.mean(pairs))


def test_joined_scores_do_not_depend_on_units():
    one, other = np.random.default_rng(0).uniform(size=(2, 50))
    np.testing.assert_allclose(joined(one, other), joined(np.exp(9 * one), 1e3 * other))
    assert joined(one, one).argmax() == one.argmax()


def test_the_kind_that_is_held_out_has_no_say():
    def record(kind, best, share):
        aurocs = {name: 0.5 + 0.4 * (name in best) for name in SCORES}
        return {
            "kind": kind,
            "auroc": aurocs,
            "f1": {name: [float(s == share) for s in SHARES] for name in aurocs},
        }

    first, second = {"worst bone", "energy"}, {"PCA residual", "small loss + energy"}
    chosen = choices([record(KINDS[0], second, 0.1), record(KINDS[1], first, 0.02), record(KINDS[2], first, 0.02)])
    assert chosen[KINDS[0]] == {
        "small loss": Choice("small loss", 0.02),
        "cheap": Choice("worst bone", 0.02),
        "energy alone": Choice("energy", 0.02),
        "with an energy": Choice("energy", 0.02),
        "error estimate": Choice("loss over its estimate", 0.02),
        "estimate and energy": Choice("estimate above the prediction's + energy", 0.02),
    }
    assert ways(chosen[KINDS[0]])["truth"] == TRUTH


def test_a_toy_study_is_run_resumed_and_reported(tmp_path, capsys):
    synthetic = {"subjects": 6, "clips_per_subject": 2, "frames": 12}
    plain = {
        "data": {
            "class_path": "seal_lightning.data.MocapDataModule",
            "init_args": {"batch_size": 16, "synthetic": synthetic, "eval_frame_step": 4},
        },
        "host": {"class_path": "examples.plain_lifter.LitLifter", "init_args": {"hidden": 16}},
        "steps": 3,
        "seeds": [0, 1],
        "methods": {"host": None},
    }
    path, output = tmp_path / "toy.yaml", tmp_path / "runs"
    path.write_text(yaml.safe_dump(plain))
    arguments = ["--study", str(path), "--output", str(output)]
    main(["run", *arguments])
    records = [json.loads(line) for line in (output / "scores.jsonl").read_text().splitlines()]
    assert [(record["kind"], record["seed"]) for record in records] == [(kind, s) for s in (0, 1) for kind in KINDS]
    assert all(len(record["auroc"]) == len(SCORES) for record in records)
    capsys.readouterr()
    main(["run", *arguments])
    assert capsys.readouterr().out == ""
    main(["report", *arguments])
    aurocs, held_out, against_all, against_small_loss, absolute = capsys.readouterr().out.split("\n\n")[1::2]
    assert len(aurocs.splitlines()) == 2 + len(SCORES)
    assert len(held_out.splitlines()) == 2 + len(FAMILIES) * len(KINDS)
    assert len(against_all.splitlines()) == len(against_small_loss.splitlines()) == 2 + len(FAMILIES) * len(KINDS)
    assert [row.split(" | ")[0] for row in absolute.splitlines()[2:]] == [
        f"| {way}"
        for way in (
            "all labels",
            "small loss",
            "cheap",
            "with an energy",
            "error estimate",
            "estimate and energy",
            "truth",
        )
    ]
