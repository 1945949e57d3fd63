"""What is wrong with an input is said in one error that names it: a table of bad inputs, one row each.

A row is an id, what is called, the exception, and a pattern that its message has to match. What is odd but may be
meant, and what looks odd but has to work, is in test_odd_inputs.py.
"""

import warnings
from functools import partial

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

from seal_lightning import (
    EnergyTerm,
    ForceRatio,
    SealBatch,
    SealConfig,
    SealLoss,
    SealMixin,
    Skeleton,
    data,
    functional,
    get_skeleton,
    loss_nets,
    metrics,
    negatives,
    objectives,
)
from seal_lightning.callbacks import PosePlot
from seal_lightning.constraints import (
    BoneDirectionConstraint,
    BoneLengthConstraint,
    PairwiseDistanceConstraint,
    SymmetryConstraint,
    TemporalVarianceConstraint,
    constrain,
)
from seal_lightning.evaluation.corruptions import corrupt, energy_report
from seal_lightning.objectives import penalties as gradient_penalties
from seal_lightning.plotting import plot_comparison, plot_curves, plot_poses
from seal_lightning.training.subclass import seal_class
from tests import hosts

NAN, INF = float("nan"), float("inf")
H36M, ONE, TWO = get_skeleton("h36m17"), Skeleton.from_parents([-1]), Skeleton.from_parents([-1, 0])
SMALL = partial(loss_nets.MLPLossNet, hidden=8, stages=1)
ROWS = []


def _draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


POSE, TRUTH, KEYPOINTS, CLIP = _draw(4, 17, 3), _draw(4, 17, 3, seed=1), _draw(4, 17, 2), _draw(2, 5, 17, 3)


def row(name, call, message, error=ValueError):
    ROWS.append(pytest.param(call, error, message, id=name))


def rows(name, make, field, values, message, error=ValueError):
    """One row a value of one field."""
    for value in values:
        row(f"{name}-{field}={value!r}"[:60], partial(make, **{field: value}), f"`{field}`.*{message}", error)


# Functions of two poses.
for function in (functional.mpjpe, functional.p_mpjpe, functional.n_mpjpe, functional.pck, functional.pck_auc):
    name = function.__name__
    for what, prediction, target, message, error in (
        ("list", POSE.tolist(), TRUTH, "`prediction` to be a tensor, but got list", TypeError),
        ("numpy", POSE, TRUTH.numpy(), "`target` to be a tensor, but got ndarray", TypeError),
        ("no target", POSE, None, "`target` to be a tensor, but got NoneType", TypeError),
        ("integer", POSE.long(), TRUTH, "`prediction` to be a floating-point tensor, but got torch.int64", TypeError),
        ("bool", POSE > 0, TRUTH, "`prediction` to be a floating-point tensor, but got torch.bool", TypeError),
        ("complex", POSE.to(torch.complex64), TRUTH, "`prediction` to be a floating-point tensor", TypeError),
        ("joints", POSE[:, :16], TRUTH, r"same shape, but got \(4, 16, 3\) and \(4, 17, 3\)", ValueError),
        ("broadcast", POSE[:1], TRUTH, r"same shape, but got \(1, 17, 3\) and \(4, 17, 3\)", ValueError),
        ("2D", POSE[..., :2], TRUTH[..., :2], r"shape \(\.\.\., J, 3\), but got \(4, 17, 2\)", ValueError),
        ("vector", POSE[0, 0], TRUTH[0, 0], r"shape \(\.\.\., J, 3\), but got \(3,\)", ValueError),
        ("no joints", POSE[:, :0], TRUTH[:, :0], "`prediction` to have at least one joint", ValueError),
        (
            "devices",
            POSE,
            TRUTH.to("meta"),
            "`prediction` and `target` to be on one device, .* cpu and meta",
            ValueError,
        ),
    ):
        row(f"{name}-{what}", partial(function, prediction, target), message, error)
    call = partial(function, POSE, TRUTH)
    rows(name, call, "reduction", ("sum", None), "to be 'mean' or 'none'")
    for what, visibility, message, error in (
        ("joints", torch.ones(4, 16), r"shape \(4, 17\), but got \(4, 16\)", ValueError),
        ("one row", torch.ones(17), r"shape \(4, 17\), but got \(17,\)", ValueError),
        ("column", torch.ones(4, 17, 1), r"but got \(4, 17, 1\)", ValueError),
        ("list", [1] * 17, "`visibility` to be a tensor, but got list", TypeError),
        ("complex", torch.ones(4, 17, dtype=torch.complex64), "to be boolean or 0/1", ValueError),
    ):
        row(f"{name}-visibility {what}", partial(call, visibility=visibility), message, error)
    if function is not functional.p_mpjpe:
        rows(name, call, "root", (17, -1, "Hip", (), 0.5, True, [[0]]), "joint indices from 0 to 16")
rows("pck", partial(functional.pck, POSE, TRUTH), "threshold", (0, -1, NAN, "150", None), "above zero")
rows("pck_auc", partial(functional.pck_auc, POSE, TRUTH), "steps", (0, -1, NAN, "30", None, 2.5, True), "zero|integer")
row("mpjve-pose", partial(functional.mpjve, POSE[0], TRUTH[0]), r"\(\.\.\., T, J, 3\) with at least 2 frames")
row("mpjve-one frame", partial(functional.mpjve, CLIP[:, :1], CLIP[:, :1]), "at least 2 frames")
row("acceleration-pose", partial(functional.acceleration_error, POSE[0], TRUTH[0]), "at least 3 frames")
row("acceleration-two frames", partial(functional.acceleration_error, CLIP[:, :2], CLIP[:, :2]), "at least 3 frames")
accelerate = partial(functional.acceleration_error, CLIP, CLIP)
rows("acceleration_error", accelerate, "fps", (0, -25, NAN, "25", True), "above zero")
rows("acceleration_error", accelerate, "root", (17, "Hip", [[0]]), "joint indices from 0 to 16")

# Functions of a skeleton.
for name in ("limb_symmetry_error", "mpsse", "bone_lengths", "symmetrise_bones", "mpsce", "clip_mean_bones"):
    function = getattr(functional, name)
    for skeleton in ("h36m", None, 17, [0, 1]):
        row(f"{name}-skeleton {skeleton}", partial(function, CLIP, skeleton), "`skeleton` to be one of")
    row(f"{name}-skeleton hint", partial(function, CLIP, "H36M_17"), "Did you mean 'h36m17'[?]")
    row(f"{name}-joints", partial(function, CLIP[..., :16, :], "h36m17"), "to have 17 joints like the skeleton")
    row(f"{name}-integer", partial(function, CLIP.long(), "h36m17"), "floating-point tensor, but got", TypeError)
    row(f"{name}-numpy", partial(function, CLIP.numpy(), "h36m17"), "to be a tensor, but got ndarray", TypeError)
for name in ("asymmetry_error", "body_segment_length_error", "limb_length_error"):
    function = getattr(functional, name)
    row(f"{name}-order", partial(function, POSE, "h36m17", TRUTH), "`skeleton` to be one of")
    row(f"{name}-no target", partial(function, POSE, None, "h36m17"), "`target` to be a tensor", TypeError)
    row(f"{name}-joints", partial(function, POSE[:, :16], TRUTH[:, :16], "h36m17"), "`prediction` to have 17 joints")
    row(f"{name}-reduction", partial(function, POSE, TRUTH, "h36m17", reduction="x"), "`reduction` to be 'mean' or")
for lengths, message, error in (
    (torch.ones(17), r"one entry per bone, shape \(\.\.\., 16\)", ValueError),
    (torch.ones(3, 16), r"broadcast against \(4,\), but got \(3, 16\)", ValueError),
    (torch.ones(16).long(), "`lengths` to be a floating-point tensor", TypeError),
    ([1.0] * 16, "`lengths` to be a tensor, but got list", TypeError),
):
    row(f"rescale_bones-{message[:20]}", partial(functional.rescale_bones, POSE, lengths, "h36m17"), message, error)
    row(f"shrink_bones-{message[:20]}", partial(functional.shrink_bones, POSE, lengths, "h36m17"), message, error)
shrink = partial(functional.shrink_bones, POSE, torch.ones(16), "h36m17")
rows("shrink_bones", shrink, "alpha", (-0.1, 1.1, NAN, "x", None), "from 0 to 1")
row("root_align-integer", partial(functional.root_align, POSE.long()), "`pose` to be a floating", TypeError)
row("root_align-root", partial(functional.root_align, POSE, 17), "`root` to be None or joint indices from 0 to 16")
row("scale_align", partial(functional.scale_align, POSE, TRUTH[:1]), "to have the same shape")
row("procrustes_align", partial(functional.procrustes_align, POSE, TRUTH[:1]), "to have the same shape")

# Metrics.
for name, metric in (
    ("PCK", metrics.PCK),
    ("PCKAUC", metrics.PCKAUC),
    ("ErrorTail", metrics.ErrorTail),
    ("ErrorCVaR", metrics.ErrorCVaR),
    ("ErrorPercentile", partial(metrics.ErrorPercentile, 50)),
    ("PoseMetrics", partial(metrics.PoseMetrics, "h36m17")),
):
    rows(name, metric, "unit", ("cm", None, 1), "to be 'mm' or 'm'")
for metric in (metrics.PCK, metrics.PCKAUC):
    name = metric.__name__
    rows(f"{name}-mm", partial(metric, unit="mm"), "threshold", (0, -1.0, NAN, "150"), "above zero")
    rows(f"{name}-mm", partial(metric, unit="mm"), "threshold", (0.15, 0.05), "to be in mm .* Did you mean (150|50)[?]")
    rows(f"{name}-m", partial(metric, unit="m"), "threshold", (150, 150.0, 50.0, 10), "to be in m .* mean 0[.]")
rows("AccelerationError", metrics.AccelerationError, "fps", (0, -25, NAN, "25"), "above zero")
rows("ErrorPercentile", partial(metrics.ErrorPercentile, unit="mm"), "percent", (-1, 101, NAN, "50"), "from 0 to 100")
rows("ErrorCVaR", partial(metrics.ErrorCVaR, unit="mm"), "percent", (-1, 100, NAN, "50"), "from 0 to below 100")
row("AccelerationError-clip", lambda: metrics.AccelerationError().update(CLIP[:, :2], CLIP[:, :2]), "at least 3 frames")
rows("PCKAUC", partial(metrics.PCKAUC, unit="mm"), "steps", (0, 2.5, None), "above zero|integer")
for name in ("LimbSymmetryError", "MPSSE", "MPSCE", "AsymmetryError", "BodySegmentLengthError", "LimbLengthError"):
    rows(name, getattr(metrics, name), "skeleton", ("x", None), "to be one of")
row("MPJPE-root", lambda: metrics.MPJPE(99).update(POSE, TRUTH), "`root` to be None or joint indices from 0 to 16")
row("MPJPE-no target", lambda: metrics.MPJPE().update(POSE), "`target` to be a tensor, but got NoneType", TypeError)
row("MPJVE-poses", lambda: metrics.MPJVE().update(POSE[0], TRUTH[0]), "at least 2 frames")
everything = partial(metrics.PoseMetrics, "h36m17", unit="mm")
row("PoseMetrics-joints", lambda: everything().update(POSE[:, :16], TRUTH[:, :16]), "to have 17 joints")
row("PoseMetrics-batch", lambda: everything().update(POSE, TRUTH[:2]), "to have the same shape")
row("PoseMetrics-temporal", lambda: everything(temporal=True).update(POSE[0], TRUTH[0]), "at least 3 frames")

# Loss-nets.
NETS = {"GraphLossNet": ("dim", "depth", "heads"), "MLPLossNet": ("hidden", "stages")}
NETS |= {"KCSLossNet": ("hidden", "pose_hidden"), "StructureLossNet": ("hidden", "depth")}
for name, fields in NETS.items():
    make = partial(getattr(loss_nets, name), "h36m17")
    for field in fields:
        rows(name, make, field, (0, -1, 1.5, "8", None, True), "to be a positive integer")
    rows(name, getattr(loss_nets, name), "skeleton", ("nobody", None), "to be one of")
    for what, keypoints, pose, message, error in (
        ("pose joints", KEYPOINTS, POSE[:, :16], r"`pose` to have shape \(\.\.\., 17, 3\)", ValueError),
        ("keypoint joints", KEYPOINTS[:, :16], POSE, r"`keypoints_2d` to have shape \(\.\.\., 17, 2\)", ValueError),
        ("channels", _draw(4, 17, 4), POSE, "`keypoints_2d` to have shape", ValueError),
        ("batches", KEYPOINTS[:2], POSE, "the same leading dimensions", ValueError),
        ("exchanged", POSE, KEYPOINTS, r"`pose` to have shape .* but got \(4, 17, 2\)", ValueError),
        ("no keypoints", None, POSE, "`keypoints_2d` to be a tensor of real numbers, but got NoneType", TypeError),
        ("numpy", KEYPOINTS, POSE.numpy(), "`pose` to be a tensor of real numbers, but got ndarray", TypeError),
        ("integer", KEYPOINTS, POSE.long(), "`pose` to be a tensor of real numbers, but got torch.int64", TypeError),
    ):
        row(f"{name}-{what}", lambda m=make, f=fields[0], k=keypoints, p=pose: m(**{f: 8})(k, p), message, error)
graph = partial(loss_nets.GraphLossNet, "h36m17", dim=8)
rows("GraphLossNet", graph, "dropout", (-0.1, 1.0, NAN, "x", None), "at least 0 and below 1")
rows("GraphLossNet", graph, "mlp_ratio", (0, -1, NAN, INF, "x", None), "times `dim` to be at least 1")
rows("ClipLossNet", partial(loss_nets.ClipLossNet, "h36m17"), "depth", (0, -1, 1.5, "8", None), "a positive integer")
row("GraphLossNet-heads", partial(graph, heads=3), "`dim` to be a multiple of `heads`, but got 8 and 3")

# Objectives, gradient penalties, negatives.
E, EK = _draw(4), _draw(2, 4)
for name in (name for name in objectives.__all__ if name.endswith("Objective") and name != "Objective"):
    objective = getattr(objectives, name)()
    row(f"{name}-column", partial(objective, E[:, None], EK, EK), r"`energy_true` to have shape \(N,\)")
    row(f"{name}-flat negatives", partial(objective, E, E, E), r"`energy_negative` to have shape \(K, 4\)")
    row(f"{name}-no negatives", partial(objective, E, EK[:0], EK[:0]), r"`energy_negative` to have shape \(K, 4\)")
    row(f"{name}-distance", partial(objective, E, EK, E), "`distance` and `energy_negative` to have the same shape")
    row(
        f"{name}-list",
        partial(objective, [1.0], EK, EK),
        "`energy_true` to be a floating-point tensor, .* list",
        TypeError,
    )
    row(f"{name}-integer", partial(objective, E, EK.long(), EK), "`energy_negative` to be a floating-point", TypeError)
rows("NCE", objectives.NCEObjective, "temperature", (0, -1, NAN, "1", None, True), "above 0")
rows("Margin", objectives.MarginObjective, "ratio", (0, -1, NAN, INF, "1", None), "above 0")
for name in ("R1", "InterpolatedPenalty", "DenoisingScore"):
    rows(name, getattr(gradient_penalties, name), "weight", (0, -1, NAN, INF, "1", None), "above 0 and finite")
for low, high in ((0, 1), (0.3, 0.2), (-1, 1), (0.1, INF), (NAN, 1), ("a", 1), (0.1, None)):
    row(f"DenoisingScore-{low}-{high}", partial(gradient_penalties.DenoisingScore, low, high), "0 < `low` <= `high`")
LEAF = POSE.clone().requires_grad_()
slope = gradient_penalties.gradient_penalty
row("gradient_penalty-column", partial(slope, E[:, None], POSE), r"shapes \(N,\) and \(N, J, 3\), but got \(4, 1\)")
row("gradient_penalty-no gradient", partial(slope, E, POSE), "`truth` to require a gradient before")
row("gradient_penalty-unrelated", lambda: slope(E.clone().requires_grad_() * 1, LEAF), "to depend on the poses")
row("gradient_penalty-list", partial(slope, [1.0], LEAF), "`energy_true` to be a tensor, but got list", TypeError)
for name, field in (("BoneLengthNegatives", "scale"), ("GaussianNegatives", "std"), ("AsymmetryNegatives", "scale")):
    rows(name, getattr(negatives, name), field, (0, -1, NAN, INF, "x", None), "above 0 and finite")
rows("BoneDirection", negatives.BoneDirectionNegatives, "angle", (0, -1, 181, NAN, "x", None), "at most 180 degrees")
for source in (negatives.BoneLengthNegatives, negatives.BoneDirectionNegatives):
    rows(source.__name__, source, "count", (0, -1, 1.5, "2", None, True), "a positive integer")
for low, high in ((0, 1), (0.5, 0.4), (0.5, 1.1), (NAN, 1), ("a", 1)):
    row(f"Interpolation-{low}-{high}", partial(negatives.InterpolationNegatives, low, high), "0 < `low` <= `high` <= 1")
draw, generator = negatives.BoneLengthNegatives(), torch.Generator()
row("negatives-clips", partial(draw, CLIP, CLIP, H36M, generator), r"`truth` to have shape \(N, 17, 3\)")
row("negatives-batches", partial(draw, POSE, POSE[:2], H36M, generator), "`prediction` and `truth` to have the same")
row("negatives-joints", partial(draw, POSE[:, :16], POSE[:, :16], H36M, generator), "`truth` to have shape")
row("negatives-skeleton", partial(draw, POSE, POSE, "nobody", generator), "`skeleton` to be one of")
row("negatives-integer", partial(draw, POSE.long(), POSE, H36M, generator), "`truth` to be a floating-point", TypeError)
row("negatives-list", partial(draw, POSE, [1], H36M, generator), "`prediction` to be a floating-point", TypeError)
pair = _draw(2, 2, 3)
row("negatives-no pairs", partial(negatives.AsymmetryNegatives(), pair, pair, TWO, generator), "to have paired bones")

# Constraints.
for kind in (BoneLengthConstraint, SymmetryConstraint, BoneDirectionConstraint, PairwiseDistanceConstraint):
    name = kind.__name__
    rows(name, kind, "skeleton", ("x", None), "to be one of")
    row(f"{name}-joints", partial(kind("h36m17"), POSE[:, :16], TRUTH[:, :16]), "`prediction` to have 17 joints")
    row(f"{name}-integer", partial(kind("h36m17"), POSE, TRUTH.long()), "`target` to be a floating", TypeError)
    row(f"{name}-no target", partial(kind("h36m17"), POSE, None), "`target` to be a tensor", TypeError)
    row(f"{name}-visibility", partial(kind("h36m17"), POSE, TRUTH, torch.ones(4)), "`visibility` to have one entry per")
row("SymmetryConstraint-no pairs", partial(SymmetryConstraint, TWO), "`skeleton` to have paired bones")
row("TemporalVariance-poses", partial(TemporalVarianceConstraint("h36m17"), POSE, TRUTH), "at least 2 frames")
bone = BoneLengthConstraint("h36m17")
host = hosts.ForwardHost
for weight in (-1, NAN, INF, "x", None):
    row(f"constrain-weight={weight}", lambda w=weight: constrain(host(), bone, w), "`weight` to be finite and not neg")
row("constrain-manual", lambda: constrain(hosts.ManualHost(), bone, 0.1), "a model with `automatic_optimization`")
row("constrain-no constraint", lambda: constrain(host(), "bone", 0.1), "`constraint` to be a Constraint", TypeError)
row("constrain-no model", lambda: constrain(nn.Linear(2, 2), bone, 0.1), "`model` to be a LightningModule", TypeError)

# Configuration.
made = loss_nets.MLPLossNet("h36m17", hidden=8)
TYPE = TypeError
for make, name in ((SealConfig, "SealConfig"), (partial(EnergyTerm, loss_net=SMALL), "EnergyTerm")):
    rows(name, make, "loss_net", ("MLPLossNet", made, 3), "a class or a function that makes it", TYPE)
    rows(name, make, "objective", ("nce", 3), "to be an instance of Objective, but got", TYPE)
    rows(name, make, "objective", (objectives.NCEObjective,), r"not a class: write `NCEObjective\(\)`", TYPE)
    rows(name, make, "negatives", (["x"],), "to be an instance of Negatives, but got 'x'", TYPE)
    rows(name, make, "negatives", ([negatives.PredictionNegatives],), "not a class: write `PredictionNeg", TYPE)
    rows(name, make, "negatives", (negatives.PredictionNegatives(),), "to be a sequence", TYPE)
    rows(name, make, "negatives", ([],), "at least one source of negatives")
    rows(name, make, "weight", (-1, NAN, INF, "0.1", None, True), "finite and not negative")
    rows(name, make, "gradient_penalty", (-1, NAN, "R1", gradient_penalties.R1), "finite and not negative")
    rows(name, make, "optimizer", ("Adam", 3), "a class or a function that makes it", TYPE)
rows("EnergyTerm", partial(EnergyTerm, SMALL), "name", (3,), "to be a string", TYPE)
row(
    "EnergyTerm-Wasserstein", partial(EnergyTerm, SMALL, objectives.WassersteinObjective()), "an InterpolatedPenalty to"
)
row("EnergyTerm-NoObjective", partial(EnergyTerm, SMALL, objectives.NoObjective()), "Expected a `gradient_penalty`")
rows("ForceRatio", ForceRatio, "ratio", (-1, NAN, INF, "x", None), "finite and not negative")
rows("ForceRatio", ForceRatio, "amplification", (0.5, NAN, INF, "x", None), "finite and at least 1")
rows("SealConfig", SealConfig, "skeleton", ("x", None, 17, ["h36m17"]), "to be one of")
rows("SealConfig", SealConfig, "energies", (["a"], [SMALL]), "to hold EnergyTerm alone", TYPE)
rows("SealConfig", SealConfig, "energies", (SMALL, 3, "abc"), "to be a sequence of EnergyTerm", TYPE)
rows("SealConfig", SealConfig, "energies", ([], [EnergyTerm(SMALL, name="a")] * 2), "one term|different names")
rows("SealConfig", SealConfig, "lr_scheduler", ("StepLR", 3), "a class or a function that makes it", TYPE)
for name, kind, least in (("warmup_steps", "a number", -1), ("gradient_clip_val", "a number", -1.0)):
    rows("SealConfig", SealConfig, name, ("3", True), f"to be {kind}", TYPE)
    rows("SealConfig", SealConfig, name, (least, NAN), "at least 0")
rows("SealConfig", SealConfig, "warmup_steps", (None,), "to be a number", TYPE)
rows("SealConfig", SealConfig, "frames_per_clip", (2.5, "x"), "to be an integer", TYPE)
rows("SealConfig", SealConfig, "frames_per_clip", (0, -1), "at least 1")
rows("SealConfig", SealConfig, "update", ("never", None), "'alternating' or 'simultaneous'")
rows("SealConfig", SealConfig, "mode", ("frozen", None), "'dynamic' or 'static'")
rows("SealConfig", SealConfig, "precision", ("half", 16, "16-mixed", None), "'float32' or 'bfloat16'")
rows("SealConfig", SealConfig, "checkpoint", (3, b"x"), "the path of a file", TYPE)
rows("SealConfig", SealConfig, "checkpoint", ("",), "the path of a file")
rows("SealConfig", SealConfig, "seed", (1.5, "x", None), "an integer", TYPE)
rows("SealConfig", SealConfig, "seed", (-1,), "at least 0")
row("SealConfig-static", partial(SealConfig, mode="static"), "Expected a `checkpoint` to take the loss-nets from")
row("SealConfig-static warm", partial(SealConfig, mode="static", checkpoint="x", warmup_steps=1), "no `warmup_steps`")
row("SealConfig-both", partial(SealConfig, energies=[EnergyTerm(SMALL)], loss_net=SMALL), "either `energies` or")
row("SealConfig.of-int", partial(SealConfig.of, 1), "`seal` to be a SealConfig, but got int", TYPE)
row("SealConfig.of-text", partial(SealConfig.of, "bad"), "`seal` to be a SealConfig, but got 'bad'", TypeError)
row("SealConfig.of-unknown", partial(SealConfig.of, {"weigth": 1}), "`seal` to be given anew.*(?s:.)*weigth")
row("SealConfig.of-value", partial(SealConfig.of, {"weight": "x"}), "`seal` to be given anew.*(?s:.)*weight")

# The criterion.
rows("SealLoss", SealLoss, "skeleton", ("x", None), "to be one of")
rows("SealLoss", SealLoss, "energies", (["a"], EnergyTerm(SMALL)), "EnergyTerm", TYPE)
rows("SealLoss", SealLoss, "task_loss", ("mse", 3), "a function of prediction and target", TYPE)
rows("SealLoss", SealLoss, "seed", (1.5, "x", None), "an integer", TYPE)
rows("SealLoss", SealLoss, "precision", ("half",), "'float32' or 'bfloat16'")
for name in ("a.b", "keys", "slope"):
    row(f"SealLoss-name {name}", lambda n=name: SealLoss("h36m17", [EnergyTerm(SMALL, name=n)]), "free for a module")
row("SealLoss-no net", lambda: SealLoss("h36m17", [EnergyTerm(lambda s: "x")]), "`loss_net` of 'energy_0'.* str", TYPE)


def criterion(**options):
    return SealLoss("h36m17", [EnergyTerm(SMALL)], **options)


def score(method, **changed):
    arguments = {"prediction": POSE.clone().requires_grad_(), "target": TRUTH, "keypoints_2d": KEYPOINTS}
    return getattr(criterion(), method)(**{**arguments, **changed})


REAL = "to be a tensor of real numbers, but got"
for what, changed, message, error in (
    ("prediction list", {"prediction": [1]}, f"`prediction` {REAL} list", TYPE),
    ("prediction numpy", {"prediction": POSE.numpy()}, f"`prediction` {REAL} ndarray", TYPE),
    ("prediction None", {"prediction": None}, f"`prediction` {REAL} NoneType", TYPE),
    ("prediction complex", {"prediction": POSE.to(torch.complex64)}, f"`prediction` {REAL} torch.complex64", TYPE),
    ("prediction integer", {"prediction": POSE.long()}, "`prediction` to be floating", ValueError),
    ("prediction pose", {"prediction": POSE[0]}, r"`prediction` to be floating, \(B, 17, 3\).* \(17, 3\)", ValueError),
    ("prediction flat", {"prediction": POSE.flatten(1)}, r"but got torch.float32 \(4, 51\)", ValueError),
    ("prediction 5 axes", {"prediction": POSE[None, None]}, r"but got torch.float32 \(1, 1, 4, 17, 3\)", ValueError),
    ("prediction joints", {"prediction": POSE[:, :16]}, r"but got torch.float32 \(4, 16, 3\)", ValueError),
    ("target None", {"target": None}, f"`target` {REAL} NoneType", TYPE),
    ("target numpy", {"target": TRUTH.numpy()}, f"`target` {REAL} ndarray", TYPE),
    ("target bool", {"target": TRUTH > 0}, f"`target` {REAL} torch.bool", TYPE),
    ("target batch", {"target": TRUTH[:1]}, "`prediction` and `target` to have the same shape", ValueError),
    (
        "target device",
        {"target": TRUTH.to("meta")},
        "`target` to be on cpu like `prediction`, but got meta",
        ValueError,
    ),
    ("keypoints None", {"keypoints_2d": None}, f"`keypoints_2d` {REAL} NoneType", TYPE),
    ("keypoints numpy", {"keypoints_2d": KEYPOINTS.numpy()}, f"`keypoints_2d` {REAL} ndarray", TYPE),
    ("keypoints complex", {"keypoints_2d": KEYPOINTS.to(torch.complex64)}, f"`keypoints_2d` {REAL} torch.com", TYPE),
    ("keypoints channels", {"keypoints_2d": _draw(4, 17, 4)}, r"`keypoints_2d` to be \(4, 17, 2\) or", ValueError),
    ("keypoints joints", {"keypoints_2d": KEYPOINTS[:, :16]}, "`keypoints_2d` to be", ValueError),
    ("keypoints batch", {"keypoints_2d": KEYPOINTS[:2]}, "`keypoints_2d` to be", ValueError),
    ("visibility list", {"visibility": [1]}, f"`visibility` {REAL} list", TYPE),
    ("visibility shape", {"visibility": torch.ones(4, 16)}, r"`visibility` to be \(4, 17\)", ValueError),
    ("labelled list", {"labelled": [True] * 4}, f"`labelled` {REAL} list", TYPE),
    ("labelled float", {"labelled": torch.ones(4)}, "`labelled` to be bool of shape", ValueError),
    ("labelled shape", {"labelled": torch.ones(3).bool()}, r"`labelled` to be bool of shape \(4,\)", ValueError),
):
    for method in ("__call__", "ranking_loss"):
        row(f"SealLoss.{method}-{what}", partial(score, method, **changed), message, error)
row("SealLoss-integer target", partial(score, "__call__", target=TRUTH.long()), "`target` to be a floating", TYPE)
row("energy-exchanged", lambda: criterion().energy(KEYPOINTS, POSE), r"`prediction` to be floating.* \(4, 17, 2\)")
for what, gradient, message, error in (
    ("None", None, "`task_gradient` to be a floating-point tensor, but got NoneType", TYPE),
    ("integer", TRUTH.long(), "`task_gradient` to be a floating-point tensor, but got torch.int64", TYPE),
    ("rows", torch.ones(3, 17, 3), "`task_gradient` to have a row for each of the 4 samples", ValueError),
):
    pulled = lambda g=gradient: criterion().energy_loss(LEAF, KEYPOINTS, g)  # noqa: E731
    row(f"energy_loss-{what}", pulled, message, error)
for returned in (None, 3.0):
    task_loss = lambda p, y, r=returned: r  # noqa: E731
    call = lambda t=task_loss: criterion(task_loss=t)(LEAF, TRUTH, KEYPOINTS)  # noqa: E731
    row(f"task_loss-{returned}", call, "`task_loss` to return a tensor", TYPE)


# Hosts.
def step(host=hosts.ForwardHost, batch=(KEYPOINTS, TRUTH), seal=None, **members):
    model = type("Seal", (SealMixin, host), {"__module__": __name__, **members})(
        seal=seal or SealConfig(loss_net=SMALL)
    )
    model.log = model.log_dict = lambda *args, **kwargs: None
    return model.training_step(batch, 0)


def reading(**changed):
    def seal_batch(self, batch, inputs, output):
        fields = {"keypoints_2d": batch[0], "prediction": output, "target": batch[1]}
        more = {name: value(output) if callable(value) else value for name, value in changed.items()}
        return SealBatch(**{**fields, **more})

    return partial(step, seal_batch=seal_batch)


for what, call, message, error in (
    ("target text", reading(target="x"), "`target` of SealBatch to be a tensor, but got str", TYPE),
    ("keypoints list", reading(keypoints_2d=[1]), "`keypoints_2d` of SealBatch to be a tensor, but got list", TYPE),
    ("no prediction", reading(prediction=None), "`prediction` of SealBatch to be a tensor, but got None", TYPE),
    ("prediction list", reading(prediction=lambda p: [p]), "`prediction` of SealBatch to be a tensor, but got", TYPE),
    (
        "prediction detached",
        reading(prediction=lambda p: p.detach()),
        "loss of `training_step` to depend on",
        ValueError,
    ),
    ("prediction flat", reading(prediction=lambda p: p.flatten(1)), "`prediction` to be floating", ValueError),
    ("no target", reading(target=None), "`seal_batch` to return a `target`", ValueError),
    ("target joints", reading(target=TRUTH[:, :16]), "`prediction` and `target` to have the same shape", ValueError),
    ("labelled integer", reading(labelled=torch.ones(4).long()), "`labelled` to be bool", ValueError),
    ("visibility shape", reading(visibility=torch.ones(4)), r"`visibility` to be \(4, 17\)", ValueError),
    ("a list", partial(step, seal_batch=lambda *_: [1]), "to return a SealBatch or None, but got list", TYPE),
    (
        "wrong skeleton",
        partial(step, seal=SealConfig(skeleton="h3wb133")),
        r"\(4, 17, 3\), which have 17. Did you mean .*skeleton=\"h36m17\".*Override `seal_batch",
        ValueError,
    ),
    ("joints", reading(joints=[17]), "`joints` of SealBatch to be indices from 0 to 16", ValueError),
    ("two predictions", partial(step, hosts.AmbiguousHost), "several pairs: prediction = output of", ValueError),
    (
        "truth in one point",
        partial(step, batch=(KEYPOINTS, TRUTH * 0)),
        "all joints of each lie in one point",
        ValueError,
    ),
):
    row(f"host-{what}", call, message, error)
for name in ("seal", "seal_batch", "seal_step", "_seal_key"):
    owner = type("Owner", (hosts.ForwardHost,), {name: None})
    row(f"host-owns {name}", partial(type, "S", (SealMixin, owner), {}), rf"Owner defines \['{name}'\]", TYPE)
row("host-order", partial(type, "S", (hosts.ForwardHost, SealMixin), {}), "SealMixin before the host", TYPE)
row("host-no step", lambda: type("S", (SealMixin, L.LightningModule), {})(), "a `training_step` of its own", TYPE)
row("host-seal=3", lambda: type("S", (SealMixin, hosts.ForwardHost), {})(seal=3), "`seal` to be a SealConfig", TYPE)
row("seal_class-instance", lambda: seal_class(hosts.ForwardHost()), "the model to be a class", TYPE)
row("seal_class-twice", lambda: seal_class(seal_class(hosts.ForwardHost)), "has SealMixin already", TYPE)

# Skeletons.
TREE = {"names": ("a", "b", "c"), "parents": (-1, 0, 0)}
for number, (changed, message, error) in enumerate(
    [
        ({"names": ()}, "`names` to be one different name per joint", ValueError),
        ({"names": ("a", "a", "b")}, "`names` to be one different name per joint", ValueError),
        ({"names": "abc"}, "`names` to be a sequence, but got 'abc'", TYPE),
        ({"names": (1, 2, 3)}, "`names` to be strings", TYPE),
        ({"parents": (-1, 0)}, "`parents` to hold 3 indices", ValueError),
        ({"parents": (-1, -1, 0)}, "exactly one tree root", ValueError),
        ({"parents": (1, 0, 0)}, "exactly one tree root", ValueError),
        ({"parents": (-1, 2, 1)}, "runs into a cycle", ValueError),
        ({"parents": (-1, 0, 5)}, "`parents` to be joint indices below 3", ValueError),
        ({"parents": (-1, 0, -2)}, "`parents` to be joint indices below 3", ValueError),
        ({"parents": (-1, 0.0, 0)}, "`parents` to be joint indices below 3", ValueError),
        ({"parents": ("-1", 0, 0)}, "`parents` to be joint indices below 3", ValueError),
        ({"parents": None}, "`parents` to be a sequence, but got None", TYPE),
        ({"left": (1,)}, "`left` and `right` to have the same length, but got 1 and 0", ValueError),
        ({"left": (1,), "right": (1,)}, "`left` and `right` to be disjoint", ValueError),
        ({"left": (1, 1), "right": (2, 2)}, "`left` to hold every joint once", ValueError),
        ({"left": (5,), "right": (2,)}, "`left` to hold joint indices from 0 to 2", ValueError),
        ({"left": ("b",), "right": ("c",)}, "`left` to hold joint indices", ValueError),
        ({"left": 1, "right": 2}, "`left` to be a sequence, but got 1", TYPE),
        ({"root": 5}, "`root` to hold joint indices", ValueError),
        ({"root": ()}, "`root` to be a joint or several", ValueError),
        ({"root": 1.5}, "`root` to be a sequence, but got 1.5", TYPE),
        ({"root": "a"}, "`root` to be a sequence, but got 'a'", TYPE),
        ({"root": (0, 0)}, "`root` to hold every joint once", ValueError),
        ({"limbs": ((1, 2),)}, "every limb to be a chain of bones", ValueError),
        ({"limbs": ((1,),)}, "every limb to be a chain of bones", ValueError),
        ({"limbs": ((0, 9),)}, "`limbs` to hold joint indices", ValueError),
        ({"limbs": (1, 2)}, "`limbs` to be a sequence, but got 1", TYPE),
    ]
):
    row(f"Skeleton-{number}", partial(Skeleton, **{**TREE, **changed}), message, error)
chain = {"parents": (-1, 0, 1, 0, 3), "names": tuple("abcde"), "left": (1, 2), "right": (4, 3)}
row("Skeleton-crossed partners", partial(Skeleton, **chain), "`left` and `right` to mirror the tree")
row("from_parents", partial(Skeleton.from_parents, 3), "`parents` to be a sequence, but got 3", TYPE)

# Corruptions, plots, callbacks.
for what, arguments, message, error in (
    ("kind", ("x", POSE, H36M, 0.1), "`kind` to be one of", ValueError),
    ("zero", ("noise", POSE, H36M, 0), "`severity` of 'noise' to be above 0", ValueError),
    ("nan", ("noise", POSE, H36M, NAN), "`severity` of 'noise' to be above 0", ValueError),
    ("text", ("noise", POSE, H36M, "x"), "`severity` of 'noise' to be above 0", ValueError),
    ("angle", ("joint_limit", POSE, H36M, 190), "at most 180", ValueError),
    ("clips", ("noise", CLIP, H36M, 0.1), r"`poses` to have shape \(N, 17, 3\)", ValueError),
    ("joints", ("noise", POSE[:, :16], H36M, 0.1), "`poses` to have shape", ValueError),
    ("numpy", ("noise", POSE.numpy(), H36M, 0.1), "`poses` to be a floating-point tensor, but got nd", TYPE),
    ("integer", ("noise", POSE.long(), H36M, 0.1), "`poses` to be a floating-point tensor, but got", TYPE),
    ("skeleton", ("noise", POSE, "x", 0.1), "`skeleton` to be one of", ValueError),
    ("limbs", ("limb_scale", pair, TWO, 0.1), "`skeleton` to have limbs", ValueError),
    ("pairs", ("left_right_swap", pair, TWO, 0.5), "`skeleton` to have paired joints", ValueError),
    ("bones", ("noise", pair[:, :1], ONE, 0.1), "`skeleton` to have bones", ValueError),
):
    row(f"corrupt-{what}", partial(corrupt, *arguments, generator), message, error)
height = lambda x, y: y.sum((1, 2))  # noqa: E731
for what, energy, keypoints, truths, message, error in (
    (
        "not finite",
        lambda x, y: height(x, y) * NAN,
        KEYPOINTS,
        POSE,
        "one finite number per pose.*4 are not",
        ValueError,
    ),
    ("scalar", lambda x, y: y.sum(), KEYPOINTS, POSE, "one finite number per pose", ValueError),
    ("number", lambda x, y: 3.0, KEYPOINTS, POSE, "`energy` to return a tensor, but got float", TYPE),
    ("batches", height, KEYPOINTS[:2], POSE, "`keypoints_2d` and `truths` to have shapes", ValueError),
    ("empty", height, KEYPOINTS[:0], POSE[:0], "the same N above 0", ValueError),
    ("numpy", height, KEYPOINTS, POSE.numpy(), "`truths` to be a tensor, but got ndarray", TYPE),
):
    row(f"energy_report-{what}", partial(energy_report, energy, keypoints, truths, H36M), message, error)
row("energy_report-kinds", partial(energy_report, height, KEYPOINTS, POSE, H36M, kinds=["x"]), "`kinds` to be one of")
for what, poses, message in (
    ("none", {}, "poses of one shape"),
    ("shapes", {"a": POSE, "b": POSE[0]}, "poses of one shape"),
    ("empty", {"a": POSE[:0]}, "poses of one shape"),
    ("nan", {"a": POSE * NAN}, r"`poses` to be finite, but \['a'\] hold NaN"),
):
    row(f"plot_poses-{what}", partial(plot_poses, poses, "h36m17"), message)
row("plot_poses-reference", partial(plot_poses, {"a": POSE}, "h36m17", reference="b"), "`reference` to be one of")
row("plot_curves", partial(plot_curves, {}), "`curves` to hold at least one panel")
row("plot_comparison", partial(plot_comparison, {}, {"a": {}}, "h36m17"), "`poses` to hold at least one column")
rows("PosePlot", PosePlot, "every_n_epochs", (0, 1.5, "x"), "1 or more")
rows("PosePlot", PosePlot, "poses", (0, None), "1 or more")


# Data.
def first_batch(**fields):
    few = {} if {"paths", "synthetic"} & set(fields) else {"synthetic": data.SyntheticMocap(3, 1, 8)}
    module = data.MocapDataModule(**few, **fields)
    module.setup("fit")
    return next(iter(module.train_dataloader()))


rows("DataModule", first_batch, "paths", ("a.npz", [], [3]), "a list of at least one file")
row("DataModule-no file", partial(first_batch, paths=["none.npz"]), "a mocap file at 'none.npz'", FileNotFoundError)
rows("DataModule", first_batch, "synthetic", (3,), "to be a SyntheticMocap", TYPE)
rows("DataModule", first_batch, "noise", (3, "x"), "to be a DetectorNoise", TYPE)
rows("DataModule", first_batch, "split", ("x", {"train": []}, {"tarin": ["y01"]}, {"train": "y01"}), "")
row("DataModule-absent", partial(first_batch, split={"train": ["zz"]}), r"name skeletons of the data, .* got \['zz'\]")
row("DataModule-twice", partial(first_batch, split={"train": ["y01"], "test": ["y01"]}), "every name once in `split`")
for name in (
    "frames",
    "train_frame_step",
    "eval_frame_step",
    "samples_per_epoch",
    "batch_size",
    "eval_cameras_per_clip",
):
    rows("DataModule", first_batch, name, (0, -1, 1.5, "x"), "1 or more")
rows("DataModule", first_batch, "rate", (0, -1, NAN, INF, "x"), "positive")
rows("DataModule", first_batch, "train_cameras", ("x", None), "'random' or 'fixed'")
rows("DataModule", first_batch, "unit", ("cm", None), "'m' or 'mm'")
rows("DataModule", first_batch, "num_workers", (-1, "x", 0.5), "0 or more")
rows("DataModule", first_batch, "seed", (-1, "x", 1.5), "0 or more")
row("DataModule-centre", partial(first_batch, centre_target=True), "`frames` above 1 with `centre_target`")
for name in ("subjects", "clips_per_subject", "frames", "fps"):
    rows("SyntheticMocap", data.SyntheticMocap, name, (0, -1, NAN, "x", None), "positive")
rows("SyntheticMocap", data.SyntheticMocap, "frames", (1.5,), "positive")
rows("SyntheticMocap", data.SyntheticMocap, "seed", (-1, 1.5, "x", None), "0 or more")
rows("DetectorNoise", data.DetectorNoise, "scale", (-1, NAN, "x"), "0 or more")
rows("DetectorNoise", data.DetectorNoise, "tail", (0.5, INF, None), "1 or more")
rows("DetectorNoise", data.DetectorNoise, "correlation", (-1, 1, "x"), "from 0 to below 1")
rows("DetectorNoise", data.DetectorNoise, "dropout", (-0.1, 1), "from 0 to below 1")
rows("DetectorNoise", data.DetectorNoise, "joint_scales", ({"hip": -1}, {"hip": "x"}), "factors of 0 or more")
rows("DetectorNoise", data.DetectorNoise, "joint_scales", (3,), "factors by name", TYPE)
noisy = partial(data.DetectorNoise(), skeleton=H36M, draws=data.Draws(0, torch.arange(4)))
rows("DetectorNoise", noisy, "keypoints_2d", (KEYPOINTS, _draw(4, 1, 16, 2)), r"shape \(B, T, 17, 2\)")
for part in (0.5, "x", None, torch.ones(2)):
    row(f"Draws-{part}", partial(data.Draws, part), "`key` to be integers", TYPE)
rows("CameraRig", data.CameraRig, "distance", ((6, 3), (-1, 2), 3.0, "ab", (1,)), "the least first")
rows("CameraRig", data.CameraRig, "width", (0,), "1 or more")
row("normalize_screen-width", partial(data.normalize_screen, KEYPOINTS, 0, 10), "`width` to be above 0")
row("normalize_screen-3D", partial(data.normalize_screen, POSE, 10, 10), r"`pixels` to have shape \(\.\.\., 2\)")
for fps, rate in ((30, 0), (0, 25), (30, -1), (30, NAN), ("30", 25)):
    row(
        f"resample-{fps}-{rate}",
        partial(data.resample, np.zeros((7, 1, 3), np.float32), fps, rate),
        "above 0 and finite",
    )
STEPS = np.zeros((4, 17, 3)) + 200.0 * np.arange(17)[None, :, None]
MOCAP = {"name": "m", "positions": STEPS, "clip_start": np.array([0]), "clip_length": np.array([4])}
MOCAP |= {"skeleton_id": np.array(["a"]), "fps": 25.0}
NONE = np.array([], int)
for number, (changed, message) in enumerate(
    [
        ({"positions": STEPS / 1000}, "in millimetres, with a mean bone of 50 to 1000"),
        (
            {"positions": STEPS[:, :16]},
            r"`positions` of 'm' to be numbers of shape \(T, 17, 3\), but got float64 \(4, 16, 3\)",
        ),
        ({"positions": STEPS * NAN}, "`positions` of 'm' to be finite"),
        ({"positions": STEPS.astype(str)}, "`positions` of 'm' to be numbers of shape"),
        ({"positions": STEPS.astype(object)}, "`positions` of 'm' to be numbers of shape"),
        ({"positions": [1]}, "`positions` of 'm' to be numbers of shape"),
        ({"positions": None}, "`positions` of 'm' to be numbers of shape"),
        ({"clip_start": np.array([0.0])}, "`clip_start` of 'm' to be integers"),
        ({"clip_start": np.array([3])}, "clip 0 starts at 3 and has length 4"),
        ({"clip_start": np.array([-1])}, "clip 0 starts at -1"),
        ({"clip_length": np.array([0])}, "has length 0"),
        ({"clip_length": np.array([4, 4])}, r"`clip_length` of 'm' to be integers of shape \(1,\)"),
        ({"skeleton_id": np.array([1])}, "`skeleton_id` of 'm' to be strings"),
        ({"subject": np.array(["a", "b"])}, "`subject` of 'm' to be strings of shape"),
        ({"fps": 0}, "`fps` of 'm' to be positive"),
        ({"fps": NAN}, "`fps` of 'm' to be positive"),
        ({"fps": "x"}, "`fps` of 'm' to be one number"),
        ({"fps": None}, "`fps` of 'm' to be one number"),
        ({"clip_start": NONE, "clip_length": NONE, "skeleton_id": NONE.astype(str)}, "which is empty"),
        ({"skeleton": "x"}, "`skeleton` to be one of"),
        ({"skeleton": ONE, "positions": STEPS[:, :1]}, "`skeleton` of 'm' to have bones"),
    ]
):
    row(f"Mocap-{number}", partial(data.Mocap, **{**MOCAP, **changed}), message)


@pytest.mark.parametrize(("call", "error", "message"), ROWS)
def test_a_bad_input_is_named(call, error, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(error, match=message) as raised:
            call()
    assert type(raised.value) in (ValueError, TypeError, FileNotFoundError)
    assert "Expected" in str(raised.value)


def test_the_table_is_long_and_says_nothing_twice():
    names = [param.id for param in ROWS]
    print(f"{len(names)} bad inputs")
    assert len(names) >= 700
    assert sorted(names) == sorted(set(names))
