"""A tutorial in cells: editors such as VS Code, PyCharm and Spyder run them one by one, Python runs them all.

python examples/tutorial.py
"""

# %% [markdown]
# # Tutorial
#
# From a plain model to a comparison with SEAL, on a model that is written here. The page is a script,
# [examples/tutorial.py](tutorial.py), whose cells run one by one in an editor, or all at once from the folder that
# holds `examples`:
#
# ```console
# python -m examples.tutorial
# ```
#
# It needs no data: the motion is made up. So no number that it prints says anything about real people.

# %%
from pathlib import Path

import lightning as L
import torch
from torch import nn

from seal_lightning import ForceRatio, SealConfig, SealMixin
from seal_lightning.data import DetectorNoise, MocapDataModule, SyntheticMocap
from seal_lightning.evaluation import corrupt
from seal_lightning.functional import (
    bone_lengths,
    shrink_bones,
    symmetrise_bones,
)
from seal_lightning.metrics import PoseMetrics

STEPS = 500
Batch = dict[str, torch.Tensor]

# %% [markdown]
# ## A plain model
#
# This is the *host*. It knows nothing of SEAL, and nothing in it is going to change: a network, a loss, an optimizer.
# Its own loss is the mean distance between predicted and true joints.


# %%
class MyLifter(L.LightningModule):
    """Lifts 17 keypoints (B, 17, 2) to a pose (B, 17, 3)."""

    def __init__(self, hidden: int = 256, lr: float = 3e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            nn.Flatten(),
            nn.Linear(34, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 51),
        )

    def forward(self, keypoints_2d: torch.Tensor) -> torch.Tensor:
        """Predict poses."""
        return self.net(keypoints_2d).unflatten(1, (17, 3))

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """One step on the mean joint distance."""
        error = self(batch["keypoints_2d"]) - batch["target"]
        loss = error.norm(dim=-1).mean()
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The same on people that the training does not see."""
        error = self(batch["keypoints_2d"]) - batch["target"]
        self.log("val_loss", error.norm(dim=-1).mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])


# %% [markdown]
# ## Data
#
# Eight made-up people, seen by random cameras, with keypoints that have the errors of a detector. A batch is a dict
# with `keypoints_2d` (B, 17, 2) and `target` (B, 17, 3), in metres. Two of the people are kept for validation.

# %%
data = MocapDataModule(
    synthetic=SyntheticMocap(subjects=8, clips_per_subject=4, frames=60),
    noise=DetectorNoise(),
    batch_size=64,
    eval_frame_step=5,
)


# %% [markdown]
# ## Train it, plain and with SEAL
#
# Three lines make the SEAL model. `ForceRatio(0.2)` says that the energy pulls a fifth as hard as the loss above.
# During the warm-up the loss-net trains alone, so that it knows something by the time that the model feels it.


# %%
class SealLifter(SealMixin, MyLifter):
    """The same model, with a learned loss."""


def train(model: L.LightningModule) -> L.Trainer:
    """Train a model for the same number of steps on the same batches."""
    trainer = L.Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    return trainer


L.seed_everything(0)
plain = MyLifter()
train(plain)

L.seed_everything(0)  # the same weights at the start
config = SealConfig(
    skeleton="h36m17",
    weight=ForceRatio(0.2),
    warmup_steps=STEPS // 10,
)
model = SealLifter(seal=config)
trainer = train(model)
for name, value in trainer.callback_metrics.items():
    print(f"{name:24} {value.item():.3g}")

# %% [markdown]
# `seal/force_ratio` is what was asked for, or a little less. `seal/ranking_accuracy` is how often the loss-net tells
# truth from prediction: 0.5 would be chance.
#
# ## Score both
#
# `PoseMetrics` measures accuracy and structure with one call. LSE, the limb symmetry error, is how much left and
# right bones differ in percent; BSLE, the body segment length error, how far the lengths of bones are from the true
# ones.

# %%
NAMES = {
    "mpjpe": "MPJPE (mm)",
    "limb_symmetry_error": "LSE (%)",
    "body_segment_length_error": "BSLE (%)",
}
Poses = tuple[torch.Tensor, torch.Tensor]


@torch.no_grad()
def predict(lifter: L.LightningModule) -> Poses:
    """Predicted and true poses of the validation people, in millimetres."""
    lifter.eval()
    batches = list(data.val_dataloader())
    predictions = [lifter(batch["keypoints_2d"]) for batch in batches]
    targets = [batch["target"] for batch in batches]
    return 1000 * torch.cat(predictions), 1000 * torch.cat(targets)


def score(prediction: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    """Three errors of poses."""
    metrics = PoseMetrics("h36m17", unit="mm")
    metrics.update(prediction, target)
    values = metrics.compute()
    return {title: round(values[name].item(), 2) for name, title in NAMES.items()}


for name, lifter in (("plain", plain), ("SEAL", model)):
    print(f"{name:6}", score(*predict(lifter)))

# %% [markdown]
# One seed, a few hundred steps: that is a look, not a result. A result has several seeds and an interval. Section
# *The same with one command* is how to get one.
#
# ## Do not forget the cheap way
#
# Where poses may be changed after they are predicted, their bones can be given other lengths, with the directions
# kept: a fifth of the way to the mean lengths of the training data, and left and right to their mean. That needs no
# SEAL. Ask of SEAL that it adds something to it.

# %%
truth = 1000 * torch.cat([batch["target"] for batch in data.train_dataloader()])
lengths = bone_lengths(truth, "h36m17").mean(0)
for name, lifter in (("plain", plain), ("SEAL", model)):
    prediction, target = predict(lifter)
    rescaled = shrink_bones(prediction, lengths, "h36m17", alpha=0.2)
    rescaled = symmetrise_bones(rescaled, "h36m17")
    print(f"{name:6} rescaled", score(rescaled, target))

# %% [markdown]
# ## Ask the loss-net
#
# Its energy should be higher for a damaged pose than for the true one. Here one arm or leg of every true pose is made
# 40 % longer or shorter:

# %%
batch = next(iter(data.val_dataloader()))
generator = torch.Generator().manual_seed(0)
damaged = corrupt("limb_scale", batch["target"], "h36m17", 0.4, generator)
with torch.no_grad():
    (true,) = model.seal.energy(batch["target"], batch["keypoints_2d"]).values()
    (false,) = model.seal.energy(damaged, batch["keypoints_2d"]).values()
noticed = 100 * (false > true).float().mean()
print(f"the damaged pose has the higher energy for {noticed:.0f} % of the poses")

# %% [markdown]
# ## Keep the model, leave the loss-net
#
# A checkpoint of the SEAL model loads into the plain class. Nothing of SEAL is left in it, and its predictions are
# the same.

# %%
path = Path("runs/tutorial/seal.ckpt")
trainer.save_checkpoint(path)
deployed = MyLifter.load_from_checkpoint(path)
assert torch.equal(predict(deployed)[0], predict(model)[0])

# %% [markdown]
# ## The same with one command
#
# `compare` does all of this for several seeds, with intervals, rescaling and a verdict: helps, no evidence, or harms.
# It scores a host in its `test_step` or `validation_step`.
#
# ```console
# seal-lightning compare --model my_package.MyLifter --data my_package.MyData \
#     --trainer.max_epochs 20 --unit mm
# ```
#
# What next: [other styles of model](../docs/bring-your-own-model.md), [what the weight
# does](../docs/faq.md#which-weight), [your own files](../docs/formats.md), [how it works](../docs/method.md).
