"""One pair, or one mask, that a step takes apart: by samples, frames or joints; and one network that is run twice."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.training.reading.styles import B, J, bodies, clips, distance, keypoints, net
from tests.training.reading.test_what_counts import SEEN, assert_right, assert_sits_out, error, run, sequence

X, Y = keypoints(B), bodies(B)
CLIPS = clips()
LENGTHS = [4, 3, 2, 4, 1, 4, 3, 2]


def each(pieces, other_pieces):
    return sum(distance(piece, other) for piece, other in zip(pieces, other_pieces, strict=True))


SAMPLES = {
    "split": lambda p, y: each(p.split(1), y.split(1)),
    "chunk": lambda p, y: each(p.chunk(B), y.chunk(B)),
    "slices": lambda p, y: each((p[n : n + 1] for n in range(B)), (y[n : n + 1] for n in range(B))),
    "samples as batches": lambda p, y: each((p[n][None] for n in range(B)), (y[n][None] for n in range(B))),
    "from the last": lambda p, y: each((p[-n].unsqueeze(0) for n in range(B)), (y[-n].unsqueeze(0) for n in range(B))),
    "two weights": lambda p, y: distance(p[:3], y[:3]) + 0.1 * distance(p[3:], y[3:]),
    "masks": lambda p, y: sum(distance(p[m], y[m]) for m in (torch.arange(B) < 3, torch.arange(B) >= 3)),
}
FRAMES = {
    "clips": lambda p, y: each(p, y),
    "frames": lambda p, y: each(p.unbind(1), y.unbind(1)),
    "two halves": lambda p, y: distance(p[:, :2], y[:, :2]) + 0.5 * distance(p[:, 2:], y[:, 2:]),
}


@pytest.mark.parametrize("form", SAMPLES)
def test_samples_that_are_compared_one_by_one(form):
    assert_right(lambda host, b, i: SAMPLES[form](*host.uses(b[0], host(b[0]), b[1])))


@pytest.mark.parametrize("form", FRAMES)
def test_frames_that_are_compared_one_by_one(form):
    assert_right(lambda host, b, i: FRAMES[form](*host.uses(b[0], sequence(host, b[0]), b[1])), CLIPS)


def test_frames_that_are_left_out_are_not_visible():
    def loss(host, b, i):
        p = sequence(host, b[0])
        return sum(distance(p[n, :length], b[1][n][:length]) for n, length in enumerate(LENGTHS))

    _, read, _ = run(loss, CLIPS)
    assert read.prediction.shape == (B, 4, J, 3)
    assert torch.equal(read.visibility, (torch.arange(4) < torch.tensor(LENGTHS)[:, None])[..., None].expand(-1, -1, J))


def test_samples_that_are_left_out_are_not_labelled():
    _, read, _ = run(lambda host, b, i: each(host(b[0]).split(2)[:2], b[1].split(2)[:2]))
    assert torch.equal(read.labelled, torch.arange(B) < 4)


@pytest.mark.parametrize("of", [lambda y: y.flip(0), lambda y: y.roll(1, 0)], ids=["turned", "rolled"])
def test_samples_that_meet_others_stop(of):
    with pytest.raises(ValueError, match="several pairs"):
        run(lambda host, b, i: distance(host(b[0]), b[1]) + each(host(b[0]).split(1), of(b[1]).split(1)))


def test_shifted_samples_stop():
    with pytest.raises(ValueError, match="several pairs"):
        run(lambda host, b, i: each(host(b[0])[:-1].split(1), b[1][1:].split(1)))


MASKS = {
    "samples": lambda p, y, m: sum((error(p[n], y[n]) * m[n]).sum() for n in range(B)),
    "samples by an index": lambda p, y, m: sum(error(*one)[k].mean() for *one, k in zip(p, y, m, strict=True)),
    "samples of both": lambda p, y, m: sum(distance(p[n][m[n]], y[n][m[n]]) for n in range(B)),
    "split": lambda *one: sum(error(p, y)[m].sum() for p, y, m in zip(*(v.split(1) for v in one), strict=True)),
    "halves": lambda p, y, m: (error(p[:4], y[:4]) * m[:4]).mean() + (error(p[4:], y[4:]) * m[4:]).mean(),
    "joints": lambda p, y, m: sum((error(p[:, j], y[:, j]) * m[:, j]).mean() for j in range(J)),
    "joints by an index": lambda p, y, m: sum(error(p[:, j], y[:, j])[m[:, j]].sum() for j in range(J)),
    "axes": lambda p, y, m: sum(((p[..., i] - y[..., i]).abs() * m).mean() for i in range(3)),
    "places": lambda p, y, m: error(p, y)[m.nonzero(as_tuple=True)].mean(),
    "places of where": lambda p, y, m: error(p, y)[torch.where(m)].mean(),
    "places in a row": lambda p, y, m: error(p, y).flatten()[m.flatten().nonzero().squeeze(1)].mean(),
    "joints in a row": lambda p, y, m: distance(p.reshape(-1, 3)[m.reshape(-1)], y.reshape(-1, 3)[m.reshape(-1)]),
    "coordinates": lambda p, y, m: F.mse_loss(p[m[..., None].expand_as(p)], y[m[..., None].expand_as(p)]),
    "dot": lambda p, y, m: torch.dot(error(p, y).flatten(), m.float().flatten()),
    "where as a method": lambda p, y, m: error(p, y).where(m, 0.0).mean(),
    "where of poses as a method": lambda p, y, m: distance(p.where(m[..., None], y), y),
    "where the other way": lambda p, y, m: distance(torch.where(~m[..., None], y, p), y),
}  # fmt: skip


@pytest.mark.parametrize("form", MASKS)
def test_masks_that_are_taken_apart(form):
    truth = torch.where(SEEN[..., None], Y, 0.0)
    _, read, _ = run(lambda host, b, i: MASKS[form](host(b[0]), b[1], b[2]), (X, truth, SEEN))
    assert torch.equal(read.visibility, SEEN)
    assert read.labelled is None


def test_a_mask_whose_joints_cannot_be_told_is_told():
    def loss(host, b, i):
        p = host(b[0])
        return sum((error(p[n], b[1][n]) * b[2][n].float()).sum() for n in range(B))

    _, read, words = run(loss, (X, Y, SEEN))
    assert read.visibility is None
    assert any("numbers of the batch (17,): which joints or samples" in word for word in words)
    _, _, words = run(loss, (X, Y, torch.ones(B, J)))
    assert not any("numbers of the batch" in word for word in words)


def test_samples_that_are_weighed_one_by_one():
    def loss(host, b, i):
        p, known = host(b[0]), b[2].float()
        return sum(known[n] * distance(p[n], b[1][n]) for n in range(B)) / known.sum()

    known = torch.arange(B) % 2 == 0
    _, read, _ = run(loss, (X, Y, known))
    assert torch.equal(read.labelled, known)


def test_frequencies_are_no_poses():
    assert_sits_out(
        lambda host, b, i: (torch.fft.fft(sequence(host, b[0]), dim=1) - torch.fft.fft(b[1], dim=1)).abs().mean(), CLIPS
    )


def test_what_turns_or_groups_errors_is_no_mask():
    turn, kind = torch.eye(3).repeat(B, 1, 1), F.one_hot(torch.arange(B) % 4, 4).float()

    def turned(host, b, i):
        return distance(*host.uses(b[0], torch.einsum("bij,bkj->bki", b[2], host(b[0])), b[1]))

    def grouped(host, b, i):
        errors = error(*host.uses(b[0], host(b[0]), b[1])).mean(1)
        return ((errors[:, None] * b[2]).sum(0) / b[2].sum(0)).mean()

    for loss, more in ((turned, turn), (grouped, kind)):
        words = assert_right(loss, (X, Y, more))
        assert not any("numbers of the batch" in word for word in words)


def test_weights_of_the_size_of_poses_are_no_keypoints():
    def loss(host, b, i):
        prediction = host.wide(b[0]).flatten(1)
        return F.l1_loss(*host.uses(None, prediction * b[2], b[1].flatten(1) * b[2]))

    batch = torch.randn(B, 3, 8, 8), Y, torch.ones(B, 3 * J)
    assert_right(loss, batch, lambda host: setattr(host, "wide", net(192)))


class Dropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Dropout(0.3), net())

    def forward(self, x):
        return self.layers(x)


def with_dropout(host):
    host.net = Dropping()


def test_two_passes_of_one_network_are_read_as_the_first():
    def loss(host, b, i):
        one, other = host.net(b[0]), host.net(b[0])
        host.uses(b[0], one, b[1])
        return distance(one, b[1]) + distance(other, b[1]) + 0.1 * distance(one, other)

    assert_right(loss, build=with_dropout)
    model, _, _ = run(loss, build=with_dropout)
    assert model.seal_reading.endswith("in `sub`, the first of 2 passes")


@pytest.mark.parametrize("other", [lambda host, x: host.net(x + 0.1), lambda host, x: 0.5 * host.net(x)])
def test_two_passes_that_differ_by_more_than_chance_stop(other):
    with pytest.raises(ValueError, match="several pairs"):
        run(lambda host, b, i: distance(host.net(b[0]), b[1]) + distance(other(host, b[0]), b[1]), build=with_dropout)


class Refining(nn.Module):
    """Returns two poses."""

    def __init__(self):
        super().__init__()
        self.first, self.second = net(), net()

    def forward(self, x):
        return [self.first(x), self.second(x)]


def all_of_one_pass(host, x):
    return host.net(x)


def one_of_each_pass(host, x):
    return [host.net(x)[0], host.net(x)[1]]


def of_one_tensor(host, x):
    return torch.stack(host.net(x)).unbind(0)


@pytest.mark.parametrize("made", [all_of_one_pass, one_of_each_pass, of_one_tensor])
def test_several_poses_of_one_network_are_no_repeated_passes(made):
    def loss(host, b, i):
        return sum(distance(pose, b[1]) for pose in made(host, b[0]))

    with pytest.raises(ValueError, match="several pairs"):
        run(loss, build=lambda host: setattr(host, "net", Refining()))
