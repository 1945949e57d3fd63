"""Hosts in the styles of the wild, each of which notes what its own loss compares.

A style is a function of host and batch that returns the loss; `host.uses(keypoints, prediction, truth)` notes the three
on the way. What SEAL reads of the step can then be held against them.
"""

import types
from dataclasses import dataclass

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from seal_lightning import SealConfig, SealMixin
from seal_lightning.functional import symmetrise_bones

J, B = 17, 8
RIGHT, SILENT, ERROR = "right", "sits out", "error"
STYLES = {}


def bodies(*leading, seed=0):
    """Poses whose left and right bones are equally long."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(J, 3, generator=generator)
    return symmetrise_bones(mean + 0.05 * torch.randn(*leading, J, 3, generator=generator), "h36m17")


def keypoints(*leading, channels=2, seed=1):
    return torch.rand(*leading, J, channels, generator=torch.Generator().manual_seed(seed))


def pair():
    return keypoints(B), bodies(B)


def with_visibility():
    visibility = keypoints(B)[..., 0] > 0.2
    visibility[:, 0] = True  # without its root a pose feels no energy
    return {"x": keypoints(B), "y": bodies(B), "visibility": visibility}


def clips():
    return keypoints(B, 4), bodies(B, 4)


def net(inputs=2 * J, outputs=3 * J):
    layers = nn.Flatten(), nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, outputs)
    return nn.Sequential(*layers, *([nn.Unflatten(1, (J, 3))] if outputs == 3 * J else []))


def distance(prediction, truth):
    return (prediction - truth).norm(dim=-1).mean()


class StyleHost(L.LightningModule):
    """A host that notes what it compares."""

    loss = build = None

    def __init__(self):
        super().__init__()
        self.net = net()
        type(self).build(self)
        self.used = None

    def forward(self, x):
        return self.net(x)

    def uses(self, x, prediction, truth):
        self.used = x, prediction, truth
        return prediction, truth

    def training_step(self, batch, batch_idx):
        self.used = None
        self.task = type(self).loss(self, batch, batch_idx)
        return self.task

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-2)


def style(expected=RIGHT, batch=pair, build=lambda host: None):
    def register(loss):
        name = "".join(part.title() for part in loss.__name__.split("_"))
        host = type(name, (StyleHost,), {"loss": staticmethod(loss), "build": staticmethod(build)})
        host.__doc__, host.expected, host.batch = loss.__doc__, expected, staticmethod(batch)
        STYLES[loss.__name__] = host
        return loss

    return register


def seal(host, **options):
    torch.manual_seed(0)
    return type(f"Seal{host.__name__}", (SealMixin, host), {})(seal=SealConfig(**options))


def with_parts(**parts):
    def build(host):
        for name, make in parts.items():
            setattr(host, name, make())

    return build


# The prediction is not what the network returned.
@style(build=lambda host: host.register_buffer("mean", bodies(1)[0]))
def residual(host, b, i):
    return distance(*host.uses(b[0], host.net(b[0]) + host.mean, b[1]))


@style()
def unnormalised(host, b, i):
    return F.mse_loss(*host.uses(b[0], host.net(b[0]) * torch.tensor([0.3, 0.4, 0.2]) + 1, b[1]))


@style()
def root_of_the_prediction_zeroed_in_place(host, b, i):
    prediction = host.net(b[0]) * 1.0
    prediction[:, 0] = 0
    return distance(*host.uses(b[0], prediction, b[1]))


@style()
def mean_of_two_views(host, b, i):
    flip = torch.tensor([-1.0, 1.0, 1.0])
    prediction = (host.net(b[0]) + host.net(b[0] * flip[:2]) * flip) / 2
    return distance(*host.uses(b[0], prediction, b[1]))


@style(build=with_parts(encoder=lambda: nn.Linear(34, 24), head=lambda: nn.Linear(24, 51)))
def encoder_and_head(host, b, i):
    return distance(*host.uses(b[0], host.head(host.encoder(b[0].flatten(1)).relu()).view(-1, J, 3), b[1]))


@style(build=with_parts(camera=lambda: nn.Linear(34, 3)))
def depth_lifted_with_the_keypoints(host, b, i):
    depth = host.net(b[0])[..., 2:]
    return distance(*host.uses(b[0], torch.cat([b[0] * (1 + depth), depth], dim=-1), b[1]))


@style()
def rotated_by_einsum(host, b, i):
    turn = torch.linalg.qr(torch.randn(B, 3, 3))[0]
    return distance(*host.uses(b[0], torch.einsum("bij,bkj->bki", turn, host.net(b[0])), b[1]))


# The truth is not what the batch holds.
@style()
def truth_centred(host, b, i):
    return distance(*host.uses(b[0], host(b[0]), b[1] - b[1][:, :1]))


@style()
def both_centred(host, b, i):
    prediction = host(b[0])
    return distance(*host.uses(b[0], prediction - prediction[:, :1], b[1] - b[1][:, :1]))


@style()
def mirrored_now_and_then(host, b, i):
    x, y = b
    if i % 2:
        x, y = x * torch.tensor([-1.0, 1.0]), y * torch.tensor([-1.0, 1.0, 1.0])
    return distance(*host.uses(x, host(x), y))


@style()
def mixed_up(host, b, i):
    share, order = torch.rand(B, 1, 1), torch.randperm(B)
    x, y = (share * value + (1 - share) * value[order] for value in b)
    return distance(*host.uses(x, host(x), y))


@style()
def scaled_by_chance(host, b, i):
    return distance(*host.uses(b[0], host(b[0]), b[1] * (0.8 + 0.4 * torch.rand(B, 1, 1))))


@style()
def root_of_the_truth_zeroed(host, b, i):
    truth = b[1].clone()
    truth[:, 0] = 0
    return distance(*host.uses(b[0], host(b[0]), truth))


@style(batch=lambda: (keypoints(B), 1000 * bodies(B)))
def millimetres_to_metres(host, b, i):
    return distance(*host.uses(b[0], host(b[0]), b[1] * 1e-3))


@style()
def truth_through_numpy(host, b, i):
    return distance(*host.uses(b[0], host(b[0]), torch.from_numpy(b[1].numpy()[..., ::-1].copy())))


@style()
def truth_jittered(host, b, i):
    return distance(*host.uses(b[0], host(b[0]), b[1] + 0.01 * torch.randn_like(b[1])))


@style()
def jittered_before_it_is_projected(host, b, i):
    y = b[1] + 0.01 * torch.randn_like(b[1])
    x = y[..., :2] / (9 + y[..., 2:])
    return distance(*host.uses(x, host(x), y))


@style(SILENT, build=lambda host: host.register_buffer("mean", bodies(B)))
def pulled_to_a_mean_pose(host, b, i):
    return distance(host(b[0]), host.mean)


@style(SILENT, build=lambda host: setattr(host, "earlier", bodies(B)))
def pulled_to_earlier_predictions(host, b, i):
    prediction = host(b[0])
    loss, host.earlier = distance(prediction, host.earlier), 0.6 * host.earlier + 0.4 * prediction.detach()
    return loss


@style(SILENT, build=lambda host: setattr(host, "net", nn.Sequential(nn.Flatten(), nn.Linear(2 * J, 3 * J))))
def all_x_before_all_y(host, b, i):
    return F.mse_loss(host(b[0]), b[1].transpose(1, 2).flatten(1))


@style(build=lambda host: setattr(host, "net", nn.Sequential(nn.Flatten(), nn.Linear(2 * J, 3 * J))))
def all_x_before_all_y_until_they_meet(host, b, i):
    prediction = host(b[0].mT.reshape(B, -1)).view(B, 3, J).transpose(1, 2)
    return distance(*host.uses(b[0], prediction, b[1]))


@style(batch=lambda: (keypoints(B), bodies(B), bodies(B, seed=5)))
def two_truths_in_the_batch(host, b, i):
    return distance(*host.uses(b[0], host(b[0]), b[2]))


# Loss functions.
@style(build=with_parts(criterion=nn.SmoothL1Loss))
def loss_as_a_module(host, b, i):
    return host.criterion(*host.uses(b[0], host.net(b[0]), b[1]))


class WeighedLoss(nn.Module):
    """A weight per joint as a buffer, a learned temperature."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.linspace(0.5, 1.5, J))
        self.temperature = nn.Parameter(torch.zeros(()))

    def forward(self, prediction, truth):
        error = ((prediction - truth).square().sum(-1) * self.weight).mean()
        return error * torch.exp(-self.temperature) + self.temperature


@style(build=with_parts(criterion=WeighedLoss))
def loss_with_parameters(host, b, i):
    return host.criterion(*host.uses(b[0], host.net(b[0]), b[1]))


@style(batch=clips)
def three_terms(host, b, i):
    prediction = host.net(b[0].flatten(0, 1)).view(B, 4, J, 3)
    p, y = host.uses(b[0], prediction, b[1])
    scale = (p * y).sum((-1, -2), keepdim=True) / (p * p).sum((-1, -2), keepdim=True)
    return distance(p, y) + distance(scale * p, y) + distance(p.diff(dim=1), y.diff(dim=1))


@style()
def joint_by_joint(host, b, i):
    p, y = host.uses(b[0], host.net(b[0]), b[1])
    return sum((p[:, j] - y[:, j]).norm(dim=-1).mean() for j in range(J))


@style()
def axis_by_axis(host, b, i):
    p, y = host.uses(b[0], host.net(b[0]), b[1])
    return F.l1_loss(p[..., :2], y[..., :2]) + 2 * F.l1_loss(p[..., 2], y[..., 2])


@style()
def sample_by_sample(host, b, i):
    p, y = host.uses(b[0], host.net(b[0]), b[1])
    return torch.stack([(p[n] - y[n]).norm(dim=-1).mean() for n in range(B)]).mean()


@style(SILENT)
def only_two_axes(host, b, i):
    return F.l1_loss(host.net(b[0])[..., :2], b[1][..., :2])


@style()
def added_with_a_minus(host, b, i):
    p, y = host.uses(b[0], host.net(b[0]), b[1])
    return torch.add(p, y, alpha=-1).abs().mean() + (-y + p).abs().mean()


@style()
def less_by_a_minus_alone(host, b, i):
    p, y = host.uses(b[0], host.net(b[0]), b[1])
    return (-y + p).abs().mean()


@style()
def less_by_a_factor(host, b, i):
    p, y = host.uses(b[0], host.net(b[0]), b[1])
    return (p + (-1) * y).abs().mean()


@style(SILENT)
def less_twice_the_truth(host, b, i):
    return torch.sub(host.net(b[0]), b[1], alpha=2).abs().mean()


@style()
def an_operation_below_torch(host, b, i):
    p, y = host.uses(b[0], host.net(b[0]), b[1])
    return torch.ops.aten.sub.Tensor(p, y).abs().mean()


@style()
def sorted_errors(host, b, i):
    p, y = host.uses(b[0], host.net(b[0]), b[1])
    return torch.frexp((p - y).norm(dim=-1))[0].mean() + (p - y).norm(dim=-1).max(dim=1).values.mean()


@style(batch=lambda: (keypoints(B, channels=3), bodies(B)), build=lambda host: setattr(host, "net", net(51)))
def reprojected_as_well(host, b, i):
    p, y = host.uses(b[0], host.net(b[0]), b[1])
    return distance(p, y) + (p[..., :2] - b[0][..., :2]).abs().mean()


@style(SILENT, batch=lambda: (keypoints(B, channels=3),), build=lambda host: setattr(host, "net", net(51)))
def reprojected_only(host, b, i):
    p = host.net(b[0])
    return ((p[..., :2] / (2 + p[..., 2:].abs()) - b[0][..., :2]).abs() * b[0][..., 2:]).mean()


@style(SILENT)
def bones_only(host, b, i):
    p, y = host.net(b[0]), b[1]
    bones = [value[:, 1:] - value[:, :-1] for value in (p, y)]
    return F.mse_loss(*(bone.norm(dim=-1) for bone in bones))


PARENTS = [0, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15]


@style(SILENT)
def bone_vectors_predicted(host, b, i):
    return F.l1_loss(host.net(b[0]), b[1] - b[1][:, PARENTS])


@style(SILENT)
def bone_directions_predicted(host, b, i):
    truth = F.normalize(b[1] - b[1][:, PARENTS] + 1e-6, dim=-1)
    return (1 - F.cosine_similarity(F.normalize(host.net(b[0]), dim=-1), truth, dim=-1)).mean()


@style()
def bone_vectors_followed_to_joints(host, b, i):
    vectors, joints = host.net(b[0]), [torch.zeros(B, 3)]
    for j in range(1, J):
        joints.append(joints[PARENTS[j]] + vectors[:, j])
    return distance(*host.uses(b[0], torch.stack(joints, dim=1), b[1] - b[1][:, :1]))


@style()
def axes_split(host, b, i):
    p, y = host.uses(b[0], host.net(b[0]), b[1])
    (p_image, p_depth), (y_image, y_depth) = p.split([2, 1], dim=-1), y.split([2, 1], dim=-1)
    return F.mse_loss(p_image, y_image) + 2 * F.l1_loss(p_depth, y_depth)


@style(build=with_parts(features=lambda: nn.Linear(34, 8)))
def variational(host, b, i):
    mean, log = host.features(b[0].flatten(1)).chunk(2, dim=1)
    kl = (mean.square() + log.exp() - log).mean()
    p, y = host.uses(b[0], host.net(b[0]) + (mean + log.mul(0.5).exp() * torch.randn_like(mean)).mean(), b[1])
    return distance(p, y) + 1e-2 * kl


@style(build=with_parts(sigma=lambda: nn.Linear(34, J)))
def negative_log_likelihood(host, b, i):
    p, y = host.uses(b[0], host.net(b[0]), b[1])
    sigma = F.softplus(host.sigma(b[0].flatten(1)))
    return ((p - y).norm(dim=-1) / sigma + sigma.log()).mean()


@style(build=with_parts(teacher=net))
def taught_by_a_teacher_too(host, b, i):
    with torch.no_grad():
        other = host.teacher(b[0])
    p, y = host.uses(b[0], host.net(b[0]), b[1])
    return distance(p, y) + 0.1 * distance(p, other)


@style(build=with_parts(second=lambda: net(51)))
def two_stages_of_which_the_last_is_trained(host, b, i):
    coarse = host.net(b[0])
    return distance(*host.uses(b[0], coarse + host.second(coarse), b[1]))


@style(build=with_parts(points=lambda: nn.Linear(34, 34)))
def heads_for_2d_and_3d(host, b, i):
    flat = host.points(b[0].flatten(1)).view(-1, J, 2)
    p, y = host.uses(b[0], host.net(b[0]), b[1])
    return distance(p, y) + F.mse_loss(flat, b[0])


@style(ERROR, build=with_parts(other=net))
def two_predictions(host, b, i):
    return distance(host.net(b[0]), b[1]) + distance(host.other(b[0]), b[1])


@style(ERROR)
def overwritten_after_it_met(host, b, i):
    p = host.net(b[0]) * 1.0
    loss = distance(p, b[1])
    p[:, 0] = 0
    return loss


@style(ERROR)
def subtracted_in_place(host, b, i):
    return (host.net(b[0]) * 1.0).sub_(b[1]).abs().mean()


# Masks.
@style(batch=with_visibility)
def weighted_by_visibility(host, b, i):
    p, y = host.uses(b["x"], host(b["x"]), b["y"])
    return (p - y).norm(dim=-1)[b["visibility"]].mean()


@style(batch=with_visibility)
def hidden_joints_zeroed(host, b, i):
    seen = b["visibility"][..., None]
    p, y = (torch.where(seen, value, 0.0) for value in (host(b["x"]), b["y"]))
    return distance(*host.uses(b["x"], p, y))


@style(batch=lambda: (keypoints(B), bodies(B), torch.arange(B) % 2 == 0))
def labelled_rows_of_a_tuple(host, b, i):
    return distance(*host.uses(b[0][b[2]], host(b[0])[b[2]], b[1][b[2]]))


# What goes in.
class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, noised, x):
        return self.layer(torch.cat([noised, x], dim=-1))


@style(build=with_parts(denoiser=Denoiser))
def denoised_with_keypoints(host, b, i):
    noised = b[1] + 0.1 * torch.randn_like(b[1])
    return distance(*host.uses(b[0], host.denoiser(noised, b[0]), b[1]))


@style(build=lambda host: setattr(host, "net", net(51)))
def denoised_without(host, b, i):
    return distance(*host.uses(None, host.net(b[1] + 0.1 * torch.randn_like(b[1])), b[1]))


@style(SILENT, build=lambda host: setattr(host, "net", net(85)))
def noise_predicted(host, b, i):
    noise = torch.randn_like(b[1])
    return F.mse_loss(host.net(torch.cat([b[0].flatten(1), (b[1] + noise).flatten(1)], dim=1)), noise)


@style(SILENT, build=lambda host: setattr(host, "net", net(85)))
def noise_of_numpy_predicted(host, b, i):
    noise = torch.from_numpy(np.random.default_rng(i).standard_normal((B, J, 3), dtype=np.float32))
    return F.mse_loss(host.net(torch.cat([b[0], b[1] + noise], dim=-1)), noise)


@style(SILENT, build=lambda host: setattr(host, "net", net(85)))
def scaled_noise_predicted(host, b, i):
    noise = torch.randn_like(b[1]) * b[1].std(0)
    return F.mse_loss(host.net(torch.cat([b[0], b[1] + noise], dim=-1)), noise)


@style(ERROR, batch=lambda: (*pair(), torch.randn(B, J, 3)), build=lambda host: setattr(host, "net", net(85)))
def noise_of_the_batch_predicted(host, b, i):
    x, y, noise = b
    return F.mse_loss(host.net(torch.cat([x, 0.9 * y + 0.1 * noise], dim=-1)), noise)


@style(SILENT, build=with_parts(denoiser=Denoiser))
def flow_predicted(host, b, i):
    noise, time = torch.randn_like(b[1]), torch.rand(B, 1, 1)
    return F.mse_loss(host.denoiser((1 - time) * noise + time * b[1], b[0]), b[1] - noise)


def disturbed(host, x, y):
    """Keypoints a little way up the gradient of the loss."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(distance(host(x), y), x)
    return (x + 0.01 * gradient.sign()).detach()


@style()
def adversarial(host, b, i):
    x = disturbed(host, *b)
    return distance(*host.uses(x, host(x), b[1]))


@style(ERROR)
def adversarial_beside_clean(host, b, i):
    return distance(host(b[0]), b[1]) + distance(host(disturbed(host, *b)), b[1])


@style(batch=lambda: (torch.randn(B, 3, 8, 8), bodies(B)), build=lambda host: setattr(host, "net", net(192)))
def image_to_pose(host, b, i):
    return distance(*host.uses(None, host(b[0]), b[1]))


class SoftArgmax(nn.Module):
    """Heat maps of three axes, integrated."""

    def __init__(self):
        super().__init__()
        self.maps = nn.Conv2d(3, 3 * J, 1)

    def forward(self, image):
        weights = self.maps(image).flatten(2).softmax(-1)
        return (weights * torch.linspace(-1, 1, weights.shape[-1])).sum(-1).view(-1, J, 3)


@style(batch=lambda: (torch.randn(B, 3, 8, 8), bodies(B)), build=with_parts(maps=SoftArgmax))
def integral_heat_maps(host, b, i):
    return F.l1_loss(*host.uses(None, host.maps(b[0]), b[1]))


@style(batch=lambda: {"views": {"front": keypoints(B), "side": keypoints(B, seed=3)}, "pose": {"y": bodies(B)}})
def two_cameras_in_nested_dicts(host, b, i):
    front, side = b["views"]["front"], b["views"]["side"]
    return distance(*host.uses(front, host.net(front) + 0.1 * host.net(side), b["pose"]["y"]))


@style(batch=lambda: (keypoints(B), torch.randn(B, 4), bodies(B)), build=lambda host: setattr(host, "net", net(38)))
def keypoints_and_camera_in_one_vector(host, b, i):
    return distance(*host.uses(b[0], host.net(torch.cat([b[0].flatten(1), b[1]], dim=1)), b[2]))


@style(ERROR, batch=lambda: [(keypoints(n), bodies(n)) for n in (2, 3)])
def a_list_of_people(host, b, i):
    return sum(distance(host.net(x), y) for x, y in b)


class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.GRUCell(51, 8), nn.Linear(8, 51)

    def forward(self, pose, state=None):
        state = self.cell(pose, state)
        return pose + self.out(state), state


@style(batch=lambda: {"past": bodies(B, seed=2), "future": bodies(B, 3)}, build=with_parts(cell=Cell))
def forecast_with_the_truth_as_its_input(host, b, i):
    given, state, frames = torch.cat([b["past"][:, None], b["future"]], dim=1).flatten(2), None, []
    for t in range(3):
        pose, state = host.cell(given[:, t], state)
        frames.append(pose)
    return distance(*host.uses(None, torch.stack(frames, dim=1).view(B, 3, J, 3), b["future"]))


@style(batch=lambda: {"labelled": pair(), "unlabelled": keypoints(B, seed=9)}, build=with_parts(teacher=net))
def a_part_of_the_batch_is_called_labelled(host, b, i):
    (x, y), more = b["labelled"], b["unlabelled"]
    with torch.no_grad():
        taught = host.teacher(more)
    both = host.net(torch.cat([x, more]))
    return distance(*host.uses(x, both[:B], y)) + 0.1 * distance(both[B:], taught)


# What comes out, and of which calls.
@dataclass
class Both:
    x: torch.Tensor
    y: torch.Tensor


class ReturnsData(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = net()

    def forward(self, x):
        return Both(x, self.inner(x))


@style(batch=lambda: Both(*pair()), build=with_parts(data=ReturnsData))
def data_classes(host, b, i):
    return distance(*host.uses(b.x, host.data(b.x).y, b.y))


class BodyModel(nn.Module):
    """No parameters; 21 joints in an object."""

    def forward(self, root, body):
        more = root[..., None].expand(-1, 4, 3)
        return types.SimpleNamespace(joints=torch.cat([body.view(-1, J, 3) + root[..., None], more], dim=1))


@style(build=with_parts(head=lambda: nn.Linear(34, 52), body=BodyModel))
def body_model(host, b, i):
    z = host.head(b[0].flatten(1))
    return distance(*host.uses(b[0], host.body(root=z[:, :1], body=z[:, 1:]).joints[:, :J], b[1]))


@style(build=lambda host: setattr(host, "nets", nn.ModuleList([net()])))
def network_in_a_list(host, b, i):
    return distance(*host.uses(b[0], host.nets[0](b[0]), b[1]))


@style()
def forward_called_directly(host, b, i):
    return distance(*host.uses(b[0], host.net.forward(b[0]), b[1]))


@style(build=lambda host: setattr(host, "net", torch.jit.script(host.net)))
def scripted_network(host, b, i):
    return distance(*host.uses(b[0], host.net(b[0]), b[1]))


@style(build=lambda host: setattr(host, "weight", nn.Parameter(0.1 * torch.randn(51, 34))))
def weights_in_the_step(host, b, i):
    return distance(*host.uses(b[0], F.linear(b[0].flatten(1), host.weight).view(-1, J, 3), b[1]))


@style()
def activation_checkpoint(host, b, i):
    return distance(*host.uses(b[0], checkpoint(host.net, b[0], use_reentrant=False), b[1]))


@style()
def autocast(host, b, i):
    with torch.autocast("cpu", torch.bfloat16):
        prediction = host.net(b[0])
    return distance(*host.uses(b[0], prediction.float(), b[1]))


class LossInside(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = net()

    def forward(self, x, y):
        self.prediction = self.inner(x)
        return {"loss": F.l1_loss(self.prediction, y)}


@style(build=with_parts(model=LossInside))
def network_that_returns_its_loss(host, b, i):
    loss = host.model(*b)["loss"]
    host.uses(b[0], host.model.prediction, b[1])
    return loss


class LossOfSamples(nn.Module):
    """Given images or keypoints, and a list of what is known of each sample."""

    def __init__(self, inputs=2 * J):
        super().__init__()
        self.inner = net(inputs)

    def forward(self, x, samples):
        self.used = self.inner(x), torch.stack([sample["pose"] for sample in samples])
        return {"loss_pose": F.smooth_l1_loss(*self.used)}


@style(batch=lambda: (keypoints(B), [{"pose": pose} for pose in bodies(B)]), build=with_parts(model=LossOfSamples))
def network_that_returns_the_loss_of_a_list(host, b, i):
    loss = host.model(*b)["loss_pose"]
    host.uses(b[0], *host.model.used)
    return loss


@style(
    batch=lambda: (torch.randn(B, 3, 8, 8), [{"pose": pose} for pose in bodies(B)]),
    build=with_parts(model=lambda: LossOfSamples(192)),
)
def network_that_returns_the_loss_of_images(host, b, i):
    loss = host.model(*b)["loss_pose"]
    host.uses(None, *host.model.used)
    return loss


@style(batch=lambda: (keypoints(B)[:, None], bodies(B)[:, None]))
def one_frame(host, b, i):
    return distance(*host.uses(b[0], host.net(b[0])[:, None], b[1]))


@style(batch=lambda: (keypoints(B)[..., None], bodies(B)[..., None]))
def axis_of_one_at_the_end(host, b, i):
    p, y = host.uses(b[0], host.net(b[0])[..., None], b[1])
    return (p - y).norm(dim=-2).mean()


@style(batch=lambda: (keypoints(B, 5), bodies(B)), build=lambda host: setattr(host, "net", net(170)))
def centre_frame(host, b, i):
    prediction = host.net(b[0])
    host.uses(b[0][:, 2], prediction, b[1])
    return distance(prediction, b[1])


# As public projects do it.
class Hypotheses(nn.Module):
    """Four poses for one, with their shares."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2 * J, 4 * 3 * J + 4)

    def forward(self, x):
        out = self.layer(x.flatten(1))
        return out[:, :-4].view(-1, 4, J, 3), out[:, -4:].softmax(-1)


@style(build=with_parts(many=Hypotheses))
def best_of_several_hypotheses(host, b, i):
    many, _ = host.many(b[0])
    best = (many.detach() - b[1][:, None]).norm(dim=-1).mean(-1).argmin(1)
    return distance(*host.uses(b[0], many[torch.arange(B), best], b[1]))


@style(SILENT, build=with_parts(many=Hypotheses))
def mixture_density(host, b, i):
    many, shares = host.many(b[0])
    return -((shares.log() - (many - b[1][:, None]).square().sum((-1, -2))).logsumexp(1)).mean()


@style(build=with_parts(denoiser=Denoiser))
def flow_to_the_pose(host, b, i):
    noise, time = torch.randn_like(b[1]), torch.rand(B, 1, 1)
    between = torch.lerp(noise, b[1], time)
    return F.mse_loss(*host.uses(b[0], between + (1 - time) * host.denoiser(between, b[0]), b[1]))


@style(build=with_parts(denoiser=Denoiser))
def denoiser_with_a_skip(host, b, i):
    sigma = torch.rand(B, 1, 1) + 0.1
    noised = b[1] + sigma * torch.randn_like(b[1])
    prediction = noised / (1 + sigma**2) + sigma * host.denoiser(noised, b[0])
    return F.mse_loss(*host.uses(b[0], prediction, b[1]))


@style(build=with_parts(trajectory=lambda: nn.Linear(2 * J, 3)))
def pose_and_trajectory(host, b, i):
    root, truth = b[1][:, 0], b[1] - b[1][:, :1]
    loss = (host.trajectory(b[0].flatten(1)) - root).norm(dim=-1).mean()
    return loss + distance(*host.uses(b[0], host.net(b[0]), truth))


@style()
def one_step_of_meta_learning(host, b, i):
    (x, more), (y, its) = (value.split(B // 2) for value in b)
    weights = dict(host.net.named_parameters())
    inner = distance(torch.func.functional_call(host.net, weights, (x,)), y)
    slopes = torch.autograd.grad(inner, list(weights.values()), create_graph=True)
    fast = {name: value - 0.01 * slope for (name, value), slope in zip(weights.items(), slopes, strict=True)}
    return distance(*host.uses(more, torch.func.functional_call(host.net, fast, (more,)), its))


@style(batch=lambda: (bodies(B, 8),), build=lambda host: setattr(host, "net", nn.Linear(5 * 3 * J, 3 * 3 * J)))
def forecast_from_one_clip(host, b, i):
    past, future = b[0][:, :5], b[0][:, 5:]
    prediction = host.net(past.flatten(1)).view(B, 3, J, 3) + past[:, -1:]
    return distance(*host.uses(None, prediction, future))


@style(SILENT, build=with_parts(teacher=net))
def distilled_alone(host, b, i):
    with torch.no_grad():
        taught = host.teacher(b[0])
    return distance(host.net(b[0]), taught)


@style(SILENT)
def squares_multiplied_out(host, b, i):
    p, y = host.net(b[0]), b[1]
    return (p * p - 2 * p * y + y * y).mean()


@style(ERROR, batch=lambda: (keypoints(B), keypoints(B, seed=3), bodies(B)))
def two_views_of_one_truth(host, b, i):
    one, other = host.net(b[0]), host.net(b[1])
    return distance(one, b[2]) + distance(other, b[2]) + 0.1 * distance(one, other)


@style(ERROR)
def nearest_and_farthest_truth(host, b, i):
    p, y = host.net(b[0]), b[1]
    return F.relu(0.1 + (p - y).norm(dim=-1).mean(1) - (p - y.flip(0)).norm(dim=-1).mean(1)).mean()


# Losses that cannot be followed.
@torch.jit.script
def scripted(prediction: torch.Tensor, truth: torch.Tensor):
    return (prediction - truth).abs().mean()


@style(build=lambda host: host.register_buffer("mean", bodies(1)[0]))
def scripted_loss(host, b, i):
    return scripted(*host.uses(b[0], host.net(b[0]) + host.mean, b[1] - b[1][:, :1]))


@style(SILENT, build=with_parts(heat=lambda: nn.Linear(34, 8)))
def another_head_alone(host, b, i):
    return host.heat(b[0].flatten(1)).square().mean()


@style(SILENT)
def compared_without_a_gradient(host, b, i):
    p = host.net(b[0])
    return p.square().mean() * (p - b[1]).detach().norm()
