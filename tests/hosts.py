"""Plain Lightning hosts in the styles that are found in the wild; none of them knows SEAL."""

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

JOINTS = 17


class Poses(Dataset):
    """Random keypoints and, linearly tied to them, poses; each item as `pack` shapes it."""

    def __init__(self, pack, count=96, frames=None, channels=2, seed=0, joints=JOINTS):
        generator = torch.Generator().manual_seed(seed)
        shape = (count, joints) if frames is None else (count, frames, joints)
        with torch.device("cpu"):  # as a data set's, whatever the default device is
            self.x = torch.randn(*shape, channels, generator=generator)
            mix = torch.randn(2, 3, generator=generator)
            self.y = self.x[..., :2] @ mix * 0.1 + 0.2 * torch.randn(*shape, 3, generator=generator)
        self.pack = pack

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.pack(self.x[index], self.y[index], index)


def loader(pack, batch_size=16, shuffle=True, **kwargs):
    return DataLoader(Poses(pack, **kwargs), batch_size=batch_size, shuffle=shuffle)


class Resumable:
    """A loader of fixed batches that remembers where it is, as Lightning restores it."""

    def __init__(self, batches):
        self.batches, self.position = list(batches), 0

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        for index in range(self.position, len(self.batches)):
            self.position = (index + 1) % len(self.batches)
            yield self.batches[index]

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]


def net(inputs=2 * JOINTS, outputs=3 * JOINTS, dropout=0.2):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, outputs)
    )


def distance(prediction, target):
    return (prediction - target).norm(dim=-1).mean()


class ForwardHost(L.LightningModule):
    """`self(x)`, tuple batch."""

    def __init__(self, lr: float = 1e-2, dropout: float = 0.2):
        super().__init__()
        self.save_hyperparameters()
        self.net = net(dropout=dropout)

    def forward(self, x):
        return self.net(x).view(-1, JOINTS, 3)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = distance(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", distance(self(x), y))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)

    @staticmethod
    def loader(**kwargs):
        return loader(lambda x, y, i: (x, y), **kwargs)


class ChildHost(ForwardHost):
    """`self.model(x)` without a forward, batch of four."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(self.net, nn.Unflatten(1, (JOINTS, 3)))

    def training_step(self, batch, batch_idx):
        x, y, scale, _ = batch
        return (distance(self.model(x), y) * scale.mean()).clone()

    @staticmethod
    def loader(**kwargs):
        return loader(lambda x, y, i: (x, y, torch.ones(()), {"index": i}), **kwargs)


class DictHost(ForwardHost):
    """Nested dict in, dict out of the net, dict returned."""

    def forward(self, x):
        return {"joints": super().forward(x), "features": x.mean((1, 2))}

    def training_step(self, batch, batch_idx):
        output = self(batch["inputs"]["keypoints"])
        loss = distance(output["joints"], batch["truth"])
        self.log("train_loss", loss)
        return {"loss": loss, "note": "kept"}

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", distance(self(batch["inputs"]["keypoints"])["joints"], batch["truth"]))

    @staticmethod
    def loader(**kwargs):
        return loader(lambda x, y, i: {"inputs": {"keypoints": x}, "truth": y, "index": i}, **kwargs)


class FlatHost(ForwardHost):
    """(B, 34) -> (B, 51)."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.mse_loss(self.net(x), y)

    @staticmethod
    def loader(**kwargs):
        return loader(lambda x, y, i: (x.flatten(), y.flatten()), **kwargs)


class ConfidenceHost(ForwardHost):
    """Keypoints with a confidence: input, prediction and target share one shape."""

    def __init__(self):
        super().__init__()
        self.net = net(inputs=3 * JOINTS)

    @staticmethod
    def loader(**kwargs):
        return loader(lambda x, y, i: (x, y), channels=3, **kwargs)


class CentreHost(ForwardHost):
    """A window of 5 frames in, the centre frame out."""

    def __init__(self):
        super().__init__()
        self.net = net(inputs=5 * 2 * JOINTS)

    @staticmethod
    def loader(**kwargs):
        return loader(lambda x, y, i: (x, y[2]), frames=5, **kwargs)


class SequenceHost(ForwardHost):
    """A window of 5 frames in, all of them out."""

    def forward(self, x):
        return self.net(x.flatten(0, 1)).view(*x.shape[:2], JOINTS, 3)

    @staticmethod
    def loader(**kwargs):
        return loader(lambda x, y, i: (x, y), frames=5, **kwargs)


class ScheduledHost(ForwardHost):
    """OneCycleLR stepped every batch."""

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_end(self):
        if isinstance(self.optimizers(), list):
            raise TypeError("one optimizer expected")


class ManualHost(ForwardHost):
    """Manual optimization."""

    def __init__(self, lr: float = 1e-2, dropout: float = 0.2):
        super().__init__(lr, dropout)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        x, y = batch
        optimizer = self.optimizers()
        loss = distance(self(x), y)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.log("train_loss", loss)


class Loaders:
    """Before a host among the base classes: few data for training and validation, drawn by the host itself."""

    batch_size = 8
    drawn = 0

    def train_dataloader(self):
        self.drawn += 1
        return type(self).loader(batch_size=self.batch_size, count=32)

    def val_dataloader(self):
        return type(self).loader(batch_size=self.batch_size, count=32, shuffle=False)


def on_pytorch_lightning():
    """`ForwardHost` as its author would write it on the package `pytorch_lightning`."""
    import pytorch_lightning as pl

    class PytorchLightningHost(pl.LightningModule):
        def __init__(self, lr: float = 1e-2, dropout: float = 0.2):
            super().__init__()
            self.save_hyperparameters()
            self.net = net(dropout=dropout)

        forward, training_step = ForwardHost.forward, ForwardHost.training_step
        validation_step, configure_optimizers = ForwardHost.validation_step, ForwardHost.configure_optimizers
        loader = staticmethod(ForwardHost.loader)

    return PytorchLightningHost


class NormalisedHost(ForwardHost):
    """Net and targets in units of standard deviations."""

    mean, std = 0.1, torch.linspace(0.5, 1.5, 3)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return distance(self(x), (y - self.mean) / self.std)


class AmbiguousHost(ForwardHost):
    """Two predictions meet one truth: which of them is meant?"""

    def __init__(self):
        super().__init__()
        self.other = net()

    def training_step(self, batch, batch_idx):
        x, y = batch
        return distance(self(x), y) + distance(self.other(x).view_as(y), y)


HOSTS = (
    ForwardHost,
    ChildHost,
    DictHost,
    FlatHost,
    ConfidenceHost,
    CentreHost,
    SequenceHost,
    ScheduledHost,
    ManualHost,
)
