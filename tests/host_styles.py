"""Plain Lightning hosts, one for each style of docs/bring-your-own-model.md and more; none of them knows SEAL."""

from types import SimpleNamespace

import lightning as L
import torch
from torch import nn

from tests.hosts import JOINTS, distance, loader


class StyleHost(L.LightningModule):
    """A host that notes what its loss compares, so that what SEAL reads of the step can be held against it."""

    skeleton, joints = "h36m17", JOINTS
    reads = True  # False: the loss compares no poses
    read_steps = 12  # how many of twelve steps compare poses
    draws = False  # whether the step draws random numbers, of which each process has its own

    def __init__(self):
        super().__init__()
        self.net, self.used = self.make_net(), None

    def make_net(self):
        return pose_net(2 * self.joints, self.joints)

    def compare(self, x, prediction, truth):
        self.used = x, prediction.detach(), truth
        return distance(prediction, truth)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return self.compare(x, self.net(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)

    @staticmethod
    def pack(x, y, index):
        return x, y

    @classmethod
    def loader(cls, **kwargs):
        return loader(cls.pack, joints=cls.joints, **kwargs)


def pose_net(inputs, joints=JOINTS):
    layers = nn.Flatten(), nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, 3 * joints), nn.Unflatten(1, (joints, 3))
    return nn.Sequential(*layers)


class DirectStyle(StyleHost):
    """The net's output meets the batch's truth."""


class ResidualStyle(StyleHost):
    """The net returns how far a pose is from the mean pose."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.linspace(-0.5, 0.5, 3 * JOINTS).view(JOINTS, 3))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return self.compare(x, self.net(x) + self.mean, y)


class StandardisedStyle(StyleHost):
    """The net predicts in units of standard deviations; the step goes back to those of the truth."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        mean, std = y.new_tensor([0.0, 0.1, 0.2]), y.new_tensor([0.3, 0.4, 0.2])
        return self.compare(x, self.net(x) * std + mean, y)


class FlippingStyle(StyleHost):
    """Every other batch is mirrored in the step, and each truth centred."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        if batch_idx % 2:
            x, y = x * x.new_tensor([-1, 1]), y * y.new_tensor([-1, 1, 1])
        return self.compare(x, self.net(x), y - y[:, :1])


class ManualStyle(StyleHost):
    """Manual optimization."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False


class GanStyle(ManualStyle):
    """A critic takes the first step of two."""

    def __init__(self):
        super().__init__()
        self.critic = nn.Sequential(nn.Flatten(), nn.Linear(3 * JOINTS, 1))

    def training_step(self, batch, batch_idx):
        x, y = batch
        lifter, critic = self.optimizers()
        fake = self.net(x)
        critic.zero_grad()
        self.manual_backward(self.critic(fake.detach()).mean() - self.critic(y).mean())
        critic.step()
        lifter.zero_grad()
        self.manual_backward(self.compare(x, fake, y) - 0.01 * self.critic(fake).mean())
        lifter.step()

    def configure_optimizers(self):
        return [torch.optim.SGD(part.parameters(), lr=0.05, momentum=0.9) for part in (self.net, self.critic)]


class AlternatingGanStyle(GanStyle):
    """A critic and the lifter take turns, a batch each."""

    read_steps = 6

    def training_step(self, batch, batch_idx):
        x, y = batch
        lifter, critic = self.optimizers()
        fake, self.used = self.net(x), None
        if batch_idx % 2 == 0:
            critic.zero_grad()
            self.manual_backward(self.critic(fake.detach()).mean() - self.critic(y).mean())
            critic.step()
        else:
            lifter.zero_grad()
            self.manual_backward(self.compare(x, fake, y) - 0.01 * self.critic(fake).mean())
            lifter.step()


class SeldomCriticStyle(GanStyle):
    """The critic takes a step in every second batch alone, ahead of the lifter's."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        lifter, critic = self.optimizers()
        fake = self.net(x)
        if batch_idx % 2 == 0:
            critic.zero_grad()
            self.manual_backward(self.critic(fake.detach()).mean() - self.critic(y).mean())
            critic.step()
        lifter.zero_grad()
        self.manual_backward(self.compare(x, fake, y) - 0.01 * self.critic(fake).mean())
        lifter.step()


class SeldomLifterStyle(GanStyle):
    """The lifter takes one step for the gradients of two batches, the critic one in each."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        lifter, critic = self.optimizers()
        fake = self.net(x)
        critic.zero_grad()
        self.manual_backward(self.critic(fake.detach()).mean() - self.critic(y).mean())
        critic.step()
        self.manual_backward((self.compare(x, fake, y) - 0.01 * self.critic(fake).mean()) / 2)
        if batch_idx % 2:
            lifter.step()
            lifter.zero_grad()


class SamStyle(ManualStyle):
    """Sharpness-aware minimisation: the gradient is taken where the loss is worst nearby."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        optimizer, parameters = self.optimizers(), list(self.net.parameters())
        optimizer.zero_grad()
        self.manual_backward(self.compare(x, self.net(x), y))
        norm = torch.stack([parameter.grad.norm() for parameter in parameters]).norm()
        moves = [0.05 * parameter.grad / norm for parameter in parameters]
        torch._foreach_add_([parameter.data for parameter in parameters], moves)
        optimizer.zero_grad()
        self.manual_backward(self.compare(x, self.net(x), y))
        torch._foreach_sub_([parameter.data for parameter in parameters], moves)
        optimizer.step()


class DenoisingStyle(StyleHost):
    """A diffusion model that predicts the pose of which it sees a noised one."""

    draws = True

    def make_net(self):
        return pose_net(5 * JOINTS)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return self.compare(x, self.net(torch.cat([y + 0.1 * torch.randn_like(y), x], dim=-1)), y)


class NoiseStyle(DenoisingStyle):
    """A diffusion model that predicts the noise: no pose."""

    reads = False

    def training_step(self, batch, batch_idx):
        x, y = batch
        noise = torch.randn_like(y)
        return distance(self.net(torch.cat([y + 0.1 * noise, x], dim=-1)), noise)


class ImageStyle(StyleHost):
    """There are no keypoints."""

    def make_net(self):
        return pose_net(3 * 8 * 8)

    def training_step(self, batch, batch_idx):
        image, y = batch
        return self.compare(None, self.net(image), y)

    @staticmethod
    def pack(x, y, index):
        rows = x.flatten()[:32].view(4, 8)
        return rows[:3, :, None] * rows[3], y


class Body(nn.Module):
    """A body model without parameters, whose joints are more than the skeleton's."""

    def forward(self, root, limbs):
        return SimpleNamespace(joints=torch.cat([limbs + root, root.expand(-1, 4, 3)], dim=1))


class BodyStyle(StyleHost):
    """A body model makes the joints, of which the loss compares some."""

    def __init__(self):
        super().__init__()
        self.body = Body()

    def training_step(self, batch, batch_idx):
        x, y = batch
        limbs = self.net(x)
        return self.compare(x, self.body(root=limbs[:, :1], limbs=limbs).joints[:, :JOINTS], y)


class HandStyle(StyleHost):
    """Another skeleton."""

    skeleton, joints = "hand21", 21


STYLES = (
    *(DirectStyle, ResidualStyle, StandardisedStyle, FlippingStyle),
    *(GanStyle, AlternatingGanStyle, SeldomCriticStyle, SeldomLifterStyle, SamStyle),
    *(DenoisingStyle, NoiseStyle, ImageStyle, BodyStyle, HandStyle),
)
