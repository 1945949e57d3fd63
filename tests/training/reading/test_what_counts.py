"""What of a step counts, and which rows, frames and refinements it is about, told by where tensors come from."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seal_lightning import SealBatch
from tests.training.reading.styles import PARENTS, B, J, StyleHost, bodies, clips, distance, keypoints, net, seal
from tests.training.reading.test_styles import force_ratio, same

X, Y = keypoints(B), bodies(B)
CLIPS = clips()
SEEN = torch.rand(B, J, generator=torch.Generator().manual_seed(2)) > 0.3
SEEN[:, 0] = True  # without its root a pose feels no energy
KNOWN = torch.arange(B) % 2 == 0
OTHER = keypoints(B, seed=5)
MIRROR = torch.tensor([-1.0, 1.0, 1.0])


def run(loss, batch=(X, Y), build=lambda host: None, steps=1):
    """Run a host whose step is this loss; return the model, what was read, what it used, and the warnings."""
    host = type("Host", (StyleHost,), {"loss": staticmethod(loss), "build": staticmethod(build)})
    model = seal(host)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(steps):
            model.total = model.training_step(batch, step)
    read = model._seal_last if isinstance(model._seal_last, SealBatch) else None
    return model, read, [str(warning.message) for warning in caught]


def assert_read(loss, batch=(X, Y), build=lambda host: None):
    model, read, words = run(loss, batch, build)
    x, prediction, truth = model.used
    assert same(read.prediction, prediction)
    assert same(read.target, truth)
    assert same(read.keypoints_2d, x)
    return model, words


def assert_right(loss, batch=(X, Y), build=lambda host: None):
    model, words = assert_read(loss, batch, build)
    assert force_ratio(model.total, model.task, model.used[1]) == pytest.approx(0.1, rel=0.05)
    return words


def assert_sits_out(loss, batch=(X, Y), build=lambda host: None):
    model, read, words = run(loss, batch, build)
    assert read is None
    assert model.total is model.task
    assert any("no energy joined it" in word for word in words)


# Which joints count.
def error(p, y):
    return (p - y).norm(dim=-1)


def zeroed(p, y, m):
    squares = (p - y) ** 2
    squares[~m] = 0
    return squares.mean()


MASKED = {
    "product": lambda p, y, m: (error(p, y) * m).sum() / m.sum(),
    "of numbers": lambda p, y, m: ((p - y).abs() * m.float()[..., None]).mean(),
    "of every axis": lambda p, y, m: (F.mse_loss(p, y, reduction="none") * m.float()[..., None].expand_as(p)).mean(),
    "index": lambda p, y, m: error(p, y)[m].mean(),
    "index of the difference": lambda p, y, m: (p - y)[m].abs().mean(),
    "index of both": lambda p, y, m: distance(p[m], y[m]),
    "index made twice": lambda p, y, m: distance(p[m.bool()], y[m.bool()]),
    "where": lambda p, y, m: torch.where(m, error(p, y), 0.0).mean(),
    "where not": lambda p, y, m: torch.where(~m, 0.0, error(p, y)).mean(),
    "masked_select": lambda p, y, m: error(p, y).masked_select(m).mean(),
    "masked_select of both": lambda p, y, m: distance(
        *(pose.masked_select(m[..., None]).view(-1, 3) for pose in (p, y))
    ),
    "masked_select of coordinates": lambda p, y, m: F.mse_loss(
        *(torch.masked_select(pose.flatten(1), m.repeat_interleave(3, 1)) for pose in (p, y))
    ),
    "masked_fill": lambda p, y, m: error(p, y).masked_fill(~m, 0.0).mean(),
    "both multiplied": lambda p, y, m: F.mse_loss(p * m[..., None], y * m[..., None]),
    "truth filled in": lambda p, y, m: distance(torch.where(m[..., None], p, y), y),
    "einsum": lambda p, y, m: torch.einsum("bjc,bj->", (p - y).abs(), m.float()),
    "in place": zeroed,
    "two terms": lambda p, y, m: (error(p, y) * m).mean() + ((p - y).square() * m[..., None]).mean(),
}


@pytest.mark.parametrize("form", MASKED)
def test_joints_that_the_loss_does_not_count_are_invisible(form):
    truth = torch.where(SEEN[..., None], Y, 0.0)
    _, read, words = run(lambda host, b, i: MASKED[form](host(b[0]), b[1], b[2]), (X, truth, SEEN))
    assert torch.equal(read.visibility, SEEN)
    assert read.labelled is None
    assert not any("true poses" in word for word in words)


def test_truths_that_are_nan_are_invisible_where_the_loss_leaves_them_out():
    truth = torch.where(SEEN[..., None], Y, torch.nan)
    _, read, _ = run(lambda host, b, i: error(host(b[0]), b[1])[~b[1].isnan().any(-1)].mean(), (X, truth))
    assert torch.equal(read.visibility, SEEN)


FEWER = {
    "slice": lambda p, y: distance(p[:, 2:14], y[:, 2:14]),
    "list": lambda p, y: distance(p[..., list(range(2, 14)), :], y[..., list(range(2, 14)), :]),
    "tensor": lambda p, y: distance(p[:, torch.arange(2, 14)], y[:, torch.arange(2, 14)]),
    "narrow": lambda p, y: distance(p.narrow(1, 2, 12), y.narrow(1, 2, 12)),
    "joint by joint": lambda p, y: sum(distance(p[:, j], y[:, j]) for j in range(2, 14)),
    "axis by axis": lambda p, y: sum(F.l1_loss(p[..., i][:, 2:14], y[..., i][:, 2:14]) for i in range(3)),
    "two parts": lambda p, y: distance(p[:, 2:9], y[:, 2:9]) + distance(p[:, 9:14], y[:, 9:14]),
}


@pytest.mark.parametrize("form", FEWER)
def test_joints_that_are_not_compared_are_invisible_but_for_the_root(form):
    _, read, _ = run(lambda host, b, i: FEWER[form](host(b[0]), b[1]))
    joints = torch.arange(J)
    assert torch.equal(read.visibility, ((joints == 0) | ((joints >= 2) & (joints < 14))).expand(B, -1))

    def all_but_the_root(host, b, i):
        prediction = host(b[0])
        return FEWER[form](prediction, b[1]) + distance(prediction[:, 1:], b[1][:, 1:])

    _, read, _ = run(all_but_the_root)
    assert read.visibility is None


def test_samples_that_the_loss_does_not_count_are_not_labelled():
    for loss in (
        lambda host, b, i: ((host(b[0]) - b[1]).abs().mean((1, 2)) * b[2]).sum(),
        lambda host, b, i: (b[2].float()[:, None, None] * (host(b[0]) - b[1]) ** 2).mean(),
    ):
        _, read, _ = run(loss, (X, Y, KNOWN))
        assert torch.equal(read.labelled, KNOWN)
        assert read.visibility is None


@pytest.mark.parametrize("pieces", [lambda p: p, lambda p: p.unbind(0)])
def test_samples_that_are_not_compared_are_not_labelled(pieces):
    def loss(host, b, i):
        p, y = host.uses(b["x"], host.net(b["x"]), b["y"])
        errors = [distance(pieces(p)[n], pieces(y)[n]) for n in range(B) if b["known"][n]]
        return torch.stack(errors).mean()

    model, words = assert_read(loss, {"x": X, "y": Y, "known": KNOWN})
    assert torch.equal(model._seal_last.labelled, KNOWN)
    assert not words


def test_one_mask_after_another_and_masks_of_two_terms():
    def both(host, b, i):
        return ((error(host(b[0]), b[1]) * b[2]).sum(1) * b[3]).sum()

    def either(host, b, i):
        errors = error(host(b[0]), b[1]).mean(1)
        return (errors * b[3]).sum() + 0.5 * (errors * ~b[3]).sum()

    _, read, _ = run(both, (X, Y, SEEN, KNOWN))
    assert torch.equal(read.visibility, SEEN & KNOWN[:, None])
    _, read, _ = run(either, (X, Y, SEEN, KNOWN))
    assert read.labelled.all()


def test_masks_of_frames_and_of_clips_in_a_row():
    frames = torch.arange(B * 4).view(B, 4) % 3 > 0
    seen = torch.rand(B, 4, J, generator=torch.Generator().manual_seed(3)) > 0.3

    def pose(host, b):
        return host(b[0].flatten(0, 1)).view(B, 4, J, 3)

    _, read, _ = run(lambda host, b, i: (error(pose(host, b), b[1]).mean(-1) * b[2]).sum(), (*CLIPS, frames))
    assert torch.equal(read.visibility, frames[..., None].expand(-1, -1, J))
    _, read, _ = run(
        lambda host, b, i: (error(pose(host, b), b[1]).view(-1, J) * b[2].view(-1, J)).sum(), (*CLIPS, seen.float())
    )
    assert torch.equal(read.visibility, seen)


def test_what_scales_an_error_masks_nothing():
    for loss in (
        lambda host, b, i: (error(host(b[0]), b[1]) * (1 / b[1].norm(dim=-1))).mean(),
        lambda host, b, i: distance(host(b[0]) * (b[1] * b[1]).sum(), b[1]) * b[1].mean(),
        lambda host, b, i: (error(host(b[0]), b[1]) * torch.linspace(0, 1, J)).mean(),
    ):
        _, read, _ = run(loss, (X, Y))
        assert read.visibility is None or read.visibility.all()
        assert read.labelled is None


# Which samples and frames.
def sequence(host, x):
    return host(x.flatten(0, 1)).view(*x.shape[:2], J, 3)


def test_the_last_frame_has_its_own_keypoints():
    def causal(host, b, i):
        return distance(*host.uses(b[0][:, -1], host.wide(b[0]), b[1][:, -1]))

    assert_right(causal, (keypoints(B, 5), bodies(B, 5)), lambda host: setattr(host, "wide", net(2 * J * 5)))
    for number in (4, 5):
        windows = keypoints(B, number), bodies(B, number)
        assert_right(
            lambda host, b, i: distance(*host.uses(b[0][:, -1], sequence(host, b[0])[:, -1], b[1][:, -1])), windows
        )


TAKEN = {
    "slice": lambda host, p: p[:B],
    "chunk": lambda host, p: p.chunk(2)[0],
    "split": lambda host, p: torch.split(p, B)[0],
    "narrow": lambda host, p: p.narrow(0, 0, B),
    "list of indices": lambda host, p: p[list(range(B))],
    "index_select": lambda host, p: p.index_select(0, torch.arange(B)),
    "mask": lambda host, p: p[torch.arange(2 * B) < B],
}


@pytest.mark.parametrize("form", TAKEN)
def test_labelled_samples_of_a_larger_batch_have_their_own_keypoints(form):
    def loss(host, b, i):
        prediction = TAKEN[form](host, host(torch.cat([b[0], b[2]])))
        return distance(*host.uses(b[0], prediction, b[1]))

    assert_right(loss, (X, Y, OTHER))


def test_samples_in_another_order_have_their_own_keypoints():
    order = torch.randperm(B, generator=torch.Generator().manual_seed(0))
    assert_right(lambda host, b, i: distance(*host.uses(b[0][order], host(b[0])[order], b[1][order])))


def test_frames_that_were_predicted_one_by_one():
    def loss(host, b, i):
        prediction = torch.stack([host(b[0][:, t]) for t in range(4)], 1)
        return distance(*host.uses(b[0], prediction, b[1]))

    assert_right(loss, CLIPS)


def test_labelled_samples_of_windows_have_the_centre_frames_of_theirs():
    def loss(host, b, i):
        prediction = host.wide(torch.cat([b[0], b[2]]))[:, None]
        return distance(*host.uses(b[0][:, 2:3], prediction[:B], b[1][:, None]))

    windows = keypoints(B, 5), Y, keypoints(B, 5, seed=7)
    assert_right(loss, windows, lambda host: setattr(host, "wide", net(2 * J * 5)))


ORDER = [0, *range(7, 17), *range(1, 7)]
IN_ANOTHER_ORDER = {
    "a list": lambda pose: pose[:, ORDER],
    "a list after all else": lambda pose: pose[..., ORDER, :],
    "a tensor": lambda pose: pose[:, torch.tensor(ORDER)],
    "index_select": lambda pose: pose.index_select(1, torch.tensor(ORDER)),
    "flattened then": lambda pose: pose[:, ORDER].flatten(1),
}


@pytest.mark.parametrize("form", IN_ANOTHER_ORDER)
def test_joints_that_the_loss_puts_in_another_order_stay_in_that_of_the_skeleton(form):
    def loss(host, b, i):
        p, y = host.uses(b[0], host.net(b[0]), b[1])
        return F.mse_loss(*map(IN_ANOTHER_ORDER[form], (p, y)))

    assert not assert_right(loss)


def test_a_truth_alone_that_is_put_in_another_order_is_read_in_it():
    def loss(host, b, i):
        return distance(*host.uses(b[0], host.net(b[0]), b[1][:, ORDER]))

    assert_right(loss)

    def turned(host, b, i):
        p, y = host.uses(b[0], host.net(b[0])[:, ORDER], b[1][:, ORDER[::-1]])
        return distance(p, y)

    assert_read(turned)


def test_frames_turned_round_have_their_own_keypoints():
    assert_right(
        lambda host, b, i: distance(*host.uses(b[0].flip(1), sequence(host, b[0]).flip(1), b[1].flip(1))), CLIPS
    )


ANOTHER = {
    "samples": lambda y: y[torch.randperm(B, generator=torch.Generator().manual_seed(0))],
    "people": lambda y: y.flip(0),
}


@pytest.mark.parametrize("form", ANOTHER)
def test_one_prediction_of_several_truths_stops(form):
    def loss(host, b, i):
        prediction = host(b[0])
        return 0.7 * distance(prediction, b[1]) + 0.3 * distance(prediction, ANOTHER[form](b[1]))

    with pytest.raises(ValueError, match=r"several pairs: .* Override `seal_batch"):
        run(loss)


MORE = {
    "slice": (lambda p: p[:, :J], slice(J)),
    "indices": (lambda p: p[..., list(range(J, 0, -1)), :], list(range(J, 0, -1))),
    "narrow": (lambda p: p.narrow(1, 1, J), slice(1, 1 + J)),
    "split": (lambda p: p.split([J, 1], 1)[0], slice(J)),
}


@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("form", MORE)
def test_a_prediction_of_more_joints_has_the_keypoints_of_those_that_are_compared(form, channels):
    of, joints = MORE[form]

    def loss(host, b, i):
        prediction = host.more(b[0])
        return distance(*host.uses(b[0][:, joints], of(prediction), b[1]))

    def build(host):
        host.more = nn.Linear(channels, 3)

    x = torch.rand(B, J + 1, channels, generator=torch.Generator().manual_seed(1))
    model, _ = assert_read(loss, (x, Y), build)
    assert f"keypoints = part of what is made from batch[0] (8, 18, {channels})" in model.seal_reading
    assert isinstance(model._seal_replay, str)


# Which keypoints.
def test_of_several_keypoints_those_that_the_others_are_made_from():
    def mirrored_first(host, b, i):
        mean = (host(b[0] * MIRROR[:2]) * MIRROR + host(b[0])) / 2
        return distance(*host.uses(b[0], mean, b[1]))

    assert_right(mirrored_first)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net(4 * J)

    def forward(self, one, other):
        return self.net(torch.cat([one, other], -1))


@pytest.mark.parametrize("unpacked", [True, False])
def test_clips_of_several_lengths_that_are_packed_have_their_own_keypoints(unpacked):
    lengths = [1, 4, 2, 3] * (B // 4)
    there = torch.arange(4) < torch.tensor(lengths)[:, None]

    def packed(clips):
        return pack_padded_sequence(clips.flatten(2), lengths, batch_first=True, enforce_sorted=False)

    def loss(host, b, i):
        given = packed(b[0])
        state, _ = host.memory(given)
        if unpacked:
            poses = host.head(pad_packed_sequence(state, batch_first=True)[0]).view(B, 4, J, 3)
            return distance(*host.uses(b[0][there], poses[there], b[1][there]))
        return F.mse_loss(*host.uses(given.data, host.head(state.data), packed(b[1]).data))

    parts = {"memory": nn.GRU(2 * J, 8, batch_first=True), "head": nn.Linear(8, 3 * J)}
    assert_right(loss, CLIPS, lambda host: [setattr(host, name, part) for name, part in parts.items()])


def test_a_state_that_is_carried_on_brings_the_keypoints_of_earlier_frames():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.out = nn.GRUCell(2 * J, 8), nn.Linear(8, 3 * J)

        def forward(self, x, state):
            state = self.cell(x.flatten(1), state)
            return self.out(state).view(-1, J, 3), state

    def loss(host, b, i):
        _, state = host.cell(b[0][:, 0], None)
        prediction, _ = host.cell(b[0][:, 1], state.detach())
        return distance(*host.uses(b[0][:, 1], prediction, b[1][:, 1]))

    words = assert_right(loss, CLIPS, lambda host: setattr(host, "cell", Recurrent()))
    assert any("2 may be its keypoints" in word for word in words)


def test_two_keypoints_are_told():
    def loss(host, b, i):
        return distance(*host.uses(b[0], host.two(b[0], b[2]), b[1]))

    words = assert_right(loss, (X, Y, OTHER), lambda host: setattr(host, "two", Two()))
    assert any("2 may be its keypoints: batch[0] (8, 17, 2), batch[2] (8, 17, 2)" in word for word in words)


@pytest.mark.parametrize("refined", [True, False])
def test_poses_that_go_in_are_no_keypoints(refined):
    def loss(host, b, i):
        made = host.wide(b[0])
        return distance(*host.uses(None, b[0] + made if refined else made, b[1]))

    words = assert_right(loss, (Y + 0.1, Y), lambda host: setattr(host, "wide", net(3 * J)))
    assert any("third channel is no confidence" in word for word in words)


def test_joints_of_the_truth_that_are_filled_in_are_no_keypoints():
    def loss(host, b, i):
        seen = b[1][..., None]
        filled = torch.where(seen, b[0], host.wide(torch.where(seen, b[0], 0.0)))
        return distance(*host.uses(None, filled, b[0]))

    _, words = assert_read(loss, (Y, SEEN), lambda host: setattr(host, "wide", net(3 * J)))
    assert any("third channel is no confidence" in word for word in words)


def test_arrays_and_whole_numbers():
    def arrays(host, b, i):
        x, y = torch.from_numpy(b[0]), torch.from_numpy(b[1])
        return distance(*host.uses(x, host(x), y))

    words = assert_right(arrays, (X.numpy(), Y.numpy()))
    assert any("comes from neither the batch nor a network" in word for word in words)
    millimetres = (Y * 1000).long()
    assert_right(lambda host, b, i: distance(*host.uses(b[0], host(b[0]), b[1])), (X, millimetres))


def test_a_truth_in_the_type_and_shape_of_the_prediction():
    def loss(host, b, i):
        prediction = host(b[0])
        return distance(*host.uses(b[0], prediction, b[1].type_as(prediction).view_as(prediction)))

    assert_right(loss, (X, Y.double().flatten(1)))


# Which pair.
def test_of_predictions_refined_one_after_the_other_the_last():
    def loss(host, b, i):
        first = host(b[0])
        last = first + host.wide(first)
        host.uses(b[0], last, b[1])
        scaled = last * 1.1
        return distance(first, b[1]) + distance(last, b[1]) + distance(scaled, b[1])

    assert_right(loss, build=lambda host: setattr(host, "wide", net(3 * J)))


class Auxiliary(nn.Module):
    """Predicts the middle pose, and keeps for the host the poses of all frames that a second head predicts."""

    def __init__(self):
        super().__init__()
        self.centre, self.all = net(), net(outputs=9 * J)

    def forward(self, x):
        self.sequence = self.all(x).view(-1, 3, J, 3)
        return self.centre(x)


def test_what_a_network_keeps_beside_its_output_is_not_the_prediction():
    def loss(host, batch, i):
        x, y, clip = batch
        first = distance(*host.uses(x, host.net(x), y))
        return first + distance(host.net.sequence, clip)

    def build(host):
        host.net = Auxiliary()

    assert_right(loss, (X, Y, Y[:, None].repeat(1, 3, 1, 1)), build)


def test_refined_side_by_side_stops():
    def loss(host, b, i):
        first = host(b[0])
        return sum(distance(p, b[1]) for p in (first, first + host.one(first), first + host.two(first)))

    def build(host):
        host.one, host.two = net(3 * J), net(3 * J)

    with pytest.raises(ValueError, match="several pairs"):
        run(loss, build=build)


def test_the_truth_is_of_the_batch_where_one_is():
    def mean_pose(host, b, i):
        prediction, _ = host.uses(b[0], host(b[0]), b[1])
        return distance(prediction, b[1]) + (prediction - host.mean).square().mean()

    def by_hand(host, b, i):
        prediction, _ = host.uses(b[0], host(b[0]), b[1])
        return distance(prediction, b[1]) + distance(prediction, (b[0].flatten(1) @ host.mean).view(-1, J, 3))

    assert_right(mean_pose, (X[:1], Y[:1]), lambda host: host.register_buffer("mean", bodies(1)))
    assert_right(by_hand, build=lambda host: host.register_buffer("mean", torch.randn(2 * J, 3 * J)))


def test_a_pose_that_no_batch_holds_is_told():
    def loss(host, b, i):
        return (host(b[0]) - host.mean.expand(B, -1, -1)).square().mean()

    _, _, words = run(loss, (X,), lambda host: host.register_buffer("mean", bodies(1)))
    assert any("comes from neither the batch nor a network" in word for word in words)


def test_each_with_each_is_no_pair():
    assert_sits_out(lambda host, b, i: torch.cdist(host(b[0]).flatten(1), b[1].flatten(1)).mean())


def test_a_way_from_truth_to_prediction_is_no_pair():
    def loss(host, b, i):
        between = b[1] + torch.rand(B, 1, 1) * (host(b[0]) - b[1])
        return host.critic(between.flatten(1)).square().mean()

    assert_sits_out(loss, build=lambda host: setattr(host, "critic", nn.Linear(3 * J, 1)))


MIXTURES = {
    "lerp": lambda p, y: p.lerp(y, 0.5),
    "lerp the other way": lambda p, y: torch.lerp(y, p, torch.rand(B, 1, 1)),
    "shares": lambda p, y: 0.3 * p + 0.7 * y,
    "shares by chance": lambda p, y: (share := torch.rand(B, 1, 1)) * p + (1 - share) * y,
    "mean": lambda p, y: (p + y) / 2,
    "alpha": lambda p, y: torch.add(p, y, alpha=0.5),
}


@pytest.mark.parametrize("form", MIXTURES)
def test_a_mixture_of_both_that_meets_the_truth_is_the_prediction_that_does(form):
    def loss(host, b, i):
        prediction, truth = host.uses(b[0], host(b[0]), b[1])
        return distance(MIXTURES[form](prediction, truth), truth)

    assert_right(loss)


def test_other_sums_are_the_prediction():
    def between_two_masks(host, b, i):
        seen = b[2][..., None].float()
        mixed = seen * host(b[0]) + (1 - seen) * b[1]
        return distance(*host.uses(b[0], mixed, b[1]))

    assert_read(between_two_masks, (X, Y, SEEN))
    assert_right(lambda host, b, i: distance(*host.uses(b[0], b[1] + host(b[0]), b[1])))
    assert_right(lambda host, b, i: distance(*host.uses(b[0], host(b[0]).lerp(Y.mean(0), 0.5), b[1])))


def bones(pose):
    return pose - pose[:, PARENTS]


def velocities(pose):
    return pose[:, 1:] - pose[:, :-1]


DISPLACEMENTS = {
    "bones": (bones, (X, Y)),
    "directions": (lambda pose: F.normalize(bones(pose), dim=-1, eps=1e-3), (X, Y)),
    "bones without the root": (lambda pose: pose[:, 1:] - pose[:, PARENTS[1:]], (X, Y)),
    "velocities": (velocities, CLIPS),
    "accelerations": (lambda pose: velocities(velocities(pose)), CLIPS),
    "diff": (lambda pose: pose.diff(dim=1), CLIPS),
}


@pytest.mark.parametrize("form", DISPLACEMENTS)
def test_displacements_are_compared_for_the_poses_that_they_lie_in(form):
    of, batch = DISPLACEMENTS[form]

    def loss(host, b, i):
        prediction, truth = host.uses(b[0], host(b[0].view(-1, J, 2)).view_as(b[1]), b[1])
        return (of(prediction) - of(truth)).square().mean()

    assert_right(loss, batch)


def test_a_loss_that_is_called_by_name_beside_its_parameters():
    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.zeros(()))

        def forward(self, *, pred, gt):
            return distance(pred, gt) * self.scale.exp()

    def loss(host, b, i):
        prediction, truth = host.uses(b[0], host(b[0]), b[1])
        return host.measure(pred=prediction, gt=truth)

    words = assert_right(loss, build=lambda host: setattr(host, "measure", Loss()))
    assert any("cannot be followed" in word for word in words)
