"""Wrong labels: which score finds them, and what it gains to train without them. docs/wrong-labels.md tells more.

    python -m benchmarks.wrong_labels run --data-dir DIR
    python -m benchmarks.wrong_labels report --data-dir DIR --split test

For every kind of wrong label and every seed, 5 % of the training labels are spoilt, and a lifter is trained on all
labels; beside it learn a loss-net and an error critic, which do not act on it. Every label is scored, and the lifter is
trained again without the labels that a score flags. Which score, and how many it flags, is chosen on the other kinds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.accuracy.study import Study
from benchmarks.accuracy.training import make_data
from benchmarks.label_scores import KINDS, SKELETON, Array, auroc, bone_score, joined, pca_score, spoil
from benchmarks.wrong_labels_report import ALL, FAMILIES, SHARES, TRUTH, Choice, choices, ways, write_report
from examples.plain_lifter import SimpleBaseline
from seal_lightning import SealLoss
from seal_lightning.error_estimate.critic import ErrorCritic
from seal_lightning.error_estimate.training import CriticTraining, View, true_errors
from seal_lightning.functional import mirror_keypoints, mirror_poses, mpjpe

STUDY = Path(__file__).with_name("studies") / "wrong_labels.yaml"
DRAWS = 2  # cameras that see every training frame
CHUNK = 4096  # samples that are made or scored at once


class Samples(NamedTuple):
    """Keypoints (N, J, 2), poses (N, J, 3) in metres, and the person of each (N,)."""

    keypoints: Tensor
    pose: Tensor
    group: Tensor

    @classmethod
    def of(cls, batches: Any) -> Samples:
        """Collect batches."""
        parts = [(batch["keypoints_2d"], batch["target"], batch["group"]) for batch in batches]
        return cls(*(torch.cat(part) for part in zip(*parts, strict=True)))


class Beside:
    """What learns beside a lifter, from the same labels and from its predictions: a loss-net and an error critic."""

    def __init__(self, seed: int) -> None:
        self.criterion = SealLoss(SKELETON, seed=seed)
        self.critic = ErrorCritic(SKELETON, inputs=("keypoints", "pose"), seed=seed)
        self._optimizer = torch.optim.Adam(self.criterion.loss_nets.parameters(), lr=1e-3, betas=(0.5, 0.9))
        self._training = CriticTraining(self.critic)

    def step(self, prediction: Tensor, label: Tensor, keypoints: Tensor) -> None:
        """Learn from a batch; nothing of it reaches the lifter."""
        prediction = prediction.detach()
        self._optimizer.zero_grad()
        self.criterion.ranking_loss(prediction, label, keypoints).backward()
        self._optimizer.step()
        self._training.step(View({"keypoints": keypoints, "pose": prediction}, label))

    @torch.no_grad()
    def energy(self, pose: Tensor, keypoints: Tensor) -> Array:
        """Return the energy of poses (N,)."""
        self.criterion.eval()
        parts = zip(pose.split(CHUNK), keypoints.split(CHUNK), strict=True)
        return torch.cat([self.criterion.energy(*part)["energy_0"] for part in parts]).double().numpy()

    @torch.no_grad()
    def surprise(self, prediction: Tensor, label: Tensor, keypoints: Tensor) -> tuple[Array, Array]:
        """Return how much farther the label is than expected, as a logarithm (N,): the pose, and its worst joint."""
        view = View({"keypoints": keypoints, "pose": prediction}, label)
        errors, *_ = true_errors(self.critic, view)
        expected = self.critic(**view.inputs)
        joints = errors.joints.clamp(min=1e-3).log() - expected.joints  # the root has no error, and no logarithm
        return (errors.pose.log() - expected.pose).double().numpy(), joints.amax(1).double().numpy()

    @torch.no_grad()
    def doubt(self, prediction: Tensor, label: Tensor, keypoints: Tensor) -> Array:
        """Return how much more error the critic expects of a joint of the label than of the prediction's (N,).

        It is asked about the label as if that were a prediction: the logarithm of the ratio, of the joint where that is
        largest.
        """
        parts = zip(prediction.split(CHUNK), label.split(CHUNK), keypoints.split(CHUNK), strict=True)
        more = [
            self.critic(keypoints=seen, pose=b).joints - self.critic(keypoints=seen, pose=a).joints
            for a, b, seen in parts
        ]
        return torch.cat(more)[:, 1:].amax(1).double().numpy()  # the root has no error


class Bench:
    """The data of the study, and what is done with them."""

    def __init__(self, study: Study) -> None:
        self.study = study
        data = make_data(study, "host", seed=0)
        data.setup()
        train = data.dataset("train")
        indices = torch.arange(DRAWS * len(train)).split(CHUNK)  # sample i of draw k is k * len(train) + i
        self.pool = Samples.of(train.__getitems__(part.tolist()) for part in indices)
        self.views = {"val": Samples.of(data.val_dataloader()), "test": Samples.of(data.test_dataloader())}

    def spoilt(self, kind: str, seed: int) -> tuple[Tensor, Tensor]:
        """Return the labels of a run (N, J, 3), and which of them are wrong (N,)."""
        return spoil(kind, self.pool.pose, torch.Generator().manual_seed(1000 * KINDS.index(kind) + seed))

    def fit(self, labels: Tensor, kept: Tensor, seed: int, beside: Beside | None = None) -> SimpleBaseline:
        """Train a lifter on the labels at the indices `kept`."""
        torch.manual_seed(seed)
        net = SimpleBaseline(**self.study.host["init_args"])
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=self.study.steps)
        order = torch.Generator().manual_seed(seed)
        for _ in range(self.study.steps):
            rows = kept[torch.randint(len(kept), (self.study.data["init_args"]["batch_size"],), generator=order)]
            keypoints, label = self.pool.keypoints[rows], labels[rows]
            prediction = net(keypoints)
            if beside is not None:
                beside.step(prediction, label, keypoints)
            optimizer.zero_grad()
            mpjpe(prediction, label).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), self.study.gradient_clip_val)
            optimizer.step()
            schedule.step()
        return net.eval()

    def scores(self, labels: Tensor, net: SimpleBaseline, beside: Beside) -> dict[str, Array]:
        """Score all labels; the higher, the more suspicious."""
        keypoints = self.pool.keypoints
        prediction = lift(net, keypoints)
        energy = beside.energy(labels, keypoints)
        pose_surprise, joint_surprise = beside.surprise(prediction, labels, keypoints)
        found = {
            "small loss": mpjpe(prediction, labels, reduction="none").double().numpy(),
            "worst joint": (prediction - labels).norm(dim=-1).amax(1).double().numpy(),
            "PCA residual": pca_score(labels),
            "worst bone": bone_score(labels, self.pool.group),
            "energy": energy,
            "energy above the prediction's": energy - beside.energy(prediction, keypoints),
            "loss over its estimate": pose_surprise,
            "worst joint over its estimate": joint_surprise,
            "estimate above the prediction's": beside.doubt(prediction, labels, keypoints),
        }
        pairs = [name.split(" + ") for scores in FAMILIES.values() for name in scores if " + " in name]
        return found | {f"{one} + {other}": joined(found[one], found[other]) for one, other in pairs}

    def keep(self, net: SimpleBaseline, path: Path) -> None:
        """Store what a lifter makes of validation and test; a file of that name is always whole."""
        poses = {side: lift(net, views.keypoints).numpy() for side, views in self.views.items()}
        np.savez(path.with_suffix(".part.npz"), **poses)  # type: ignore[arg-type]
        path.with_suffix(".part.npz").rename(path)


@torch.no_grad()
def lift(net: SimpleBaseline, keypoints: Tensor) -> Tensor:
    """Lift keypoints (N, J, 2), as they are and mirrored, and return the mean of both poses (N, J, 3)."""
    mirrored = mirror_poses(net(mirror_keypoints(keypoints, SKELETON)), SKELETON)
    return (net(keypoints) + mirrored) / 2


def score(bench: Bench, kind: str, seed: int, folder: Path) -> None:
    """Train on all labels, score them, and keep the poses, the AUROCs and the most suspicious labels."""
    labels, wrong = bench.spoilt(kind, seed)
    beside = Beside(seed)
    net = bench.fit(labels, torch.arange(len(labels)), seed, beside)
    most = round(max(SHARES) * len(labels))
    record: dict[str, Any] = {"kind": kind, "seed": seed, "auroc": {}, "f1": {}}
    suspicious = {}
    for name, values in bench.scores(labels, net, beside).items():
        suspicious[name] = np.argsort(-values, kind="stable")[:most]
        record["auroc"][name] = auroc(values, wrong.numpy())
        flagged = [suspicious[name][: round(share * len(labels))] for share in SHARES]
        found = [int(wrong[rows].sum()) for rows in flagged]
        record["f1"][name] = [2 * n / (len(rows) + int(wrong.sum())) for n, rows in zip(found, flagged, strict=True)]
    bench.keep(net, folder / f"{kind}, seed {seed}, {ALL}.npz")
    np.savez(folder / f"{kind}, seed {seed}, suspicious.npz", **suspicious)
    with (folder / "scores.jsonl").open("a") as lines:
        lines.write(json.dumps(record) + "\n")
    print(f"{kind}, seed {seed}: scored", flush=True)


def clean(bench: Bench, kind: str, seed: int, how: Choice, folder: Path) -> None:
    """Train without the labels that a score flags, and keep the poses."""
    path = folder / f"{kind}, seed {seed}, {how}.npz"
    if path.exists():
        return
    labels, wrong = bench.spoilt(kind, seed)
    if how == TRUTH:
        kept = torch.where(~wrong)[0]
    else:
        with np.load(folder / f"{kind}, seed {seed}, suspicious.npz") as suspicious:
            flagged = torch.from_numpy(suspicious[how.score][: round(how.share * len(labels))])
        kept = torch.ones(len(labels), dtype=torch.bool).index_fill(0, flagged, False).nonzero()[:, 0]
    bench.keep(bench.fit(labels, kept, seed), path)
    print(f"{kind}, seed {seed}: {how}", flush=True)


def run(study: Study, folder: Path) -> None:
    """Make what is missing: first all scores, then, with what they say of the other kinds, the clean trainings."""
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(study)
    done = {(record["kind"], record["seed"]) for record in read(folder)}
    for seed in study.seeds:
        for kind in KINDS:
            if (kind, seed) not in done:
                score(bench, kind, seed, folder)
    chosen = choices(read(folder))
    for seed in study.seeds:
        for kind in KINDS:
            for how in ways(chosen[kind]).values():
                clean(bench, kind, seed, how, folder)


def read(folder: Path) -> list[Mapping[str, Any]]:
    """Return the lines of ``scores.jsonl``."""
    path = folder / "scores.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main(arguments: list[str] | None = None) -> None:
    """Run the study, or report on it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wrong_labels", description=__doc__)
    parser.add_argument("action", choices=("run", "report"), help="train what is missing, or print the tables")
    parser.add_argument("--study", type=Path, default=STUDY, help="YAML file of the data and the host")
    parser.add_argument("--data-dir", help="folder of the motion-capture files that the study names")
    parser.add_argument("--output", type=Path, default=Path("runs/wrong_labels"), help="folder of the runs")
    parser.add_argument(
        "--split", choices=("val", "test"), default="val", help="split to report on; read the test split only once"
    )
    options = parser.parse_args(arguments)
    study = Study.read(options.study, options.data_dir)
    if options.action == "run":
        run(study, options.output)
    else:
        print(write_report(study, read(options.output), options.output, options.split))


if __name__ == "__main__":
    main()
