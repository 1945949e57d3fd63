"""What a loss counts of its errors, in whatever way it weighs them, picks from them or leaves some out."""

import inspect

import pytest
import torch
import torch.nn.functional as F

from tests.training.reading.styles import B, J, bodies, clips, distance, keypoints
from tests.training.reading.test_what_counts import SEEN, assert_read, assert_right, error, run, sequence

X, Y = keypoints(B), bodies(B)
TRUTH = torch.where(SEEN[..., None], Y, 0.0)
ZERO = torch.zeros(())
NUMBERS = "numbers of the batch"


def placed(p, y, m):
    errors = (p - y).abs().sum(-1)
    errors[tuple((~m).nonzero(as_tuple=True))] = 0.0
    return errors.mean()


WEIGHED = {
    "row times column": lambda p, y, w: (error(p, y)[:, None] @ w[..., None]).sum(),
    "column after row": lambda p, y, w: (w[:, None] @ error(p, y)[..., None]).sum(),
    "bmm": lambda p, y, w: torch.bmm(error(p, y)[:, None], w[..., None]).sum(),
    "bmm of differences": lambda p, y, w: torch.bmm(w[:, None], (p - y).abs()).sum(),
    "baddbmm": lambda p, y, w: torch.baddbmm(torch.zeros(B, 1, 1), error(p, y)[:, None], w[..., None]).sum(),
    "a diagonal matrix": lambda p, y, w: (error(p, y)[:, None] @ torch.diag_embed(w)).sum(),
    "a diagonal matrix before": lambda p, y, w: (torch.diag_embed(w) @ (p - y).abs()).sum(),
    "matmul of all in a row": lambda p, y, w: w.flatten() @ error(p, y).flatten(),
    "linear": lambda p, y, w: F.linear(error(p, y).flatten(), w.flatten()),
    "vecdot": lambda p, y, w: torch.linalg.vecdot(error(p, y), w).sum(),
    "tensordot": lambda p, y, w: torch.tensordot((p - y).abs(), w, dims=([0, 1], [0, 1])).sum(),
    "einsum, turned": lambda p, y, w: torch.einsum("bj,jb->", error(p, y), w.t()),
    "einsum of three": lambda p, y, w: torch.einsum("bjc,bjc,bj->", p - y, p - y, w),
    "einsum of the rest": lambda p, y, w: torch.einsum("...c,...->...", (p - y).abs(), w).mean(),
    "an axis between": lambda p, y, w: (error(p, y)[:, None] * w[:, None]).mean(),
    "addcmul": lambda p, y, w: torch.addcmul(ZERO, error(p, y), w).sum(),
    "addcmul the other way": lambda p, y, w: torch.zeros(B, J).addcmul_(w, error(p, y)).sum(),
    "addcmul by name": lambda p, y, w: torch.addcmul(ZERO, tensor1=error(p, y), tensor2=w).sum(),
    "squares, one weighed": lambda p, y, w: torch.addcmul(ZERO, (p - y) * w[..., None], p - y).sum(),
    "lerp": lambda p, y, w: torch.lerp(torch.zeros(B, J), error(p, y), w).sum(),
    "lerp of poses": lambda p, y, w: F.l1_loss(torch.lerp(y, p, w[..., None]), y),
    "lerp away": lambda p, y, w: torch.lerp(error(p, y), torch.zeros(B, J), 1 - w).sum(),
    "divided by infinity": lambda p, y, w: (error(p, y) / torch.where(w > 0, 1.0, torch.inf)).sum(),
    "index_put": lambda p, y, w: error(p, y).index_put((w == 0,), ZERO).sum(),
    "masked_scatter": lambda p, y, w: error(p, y).masked_scatter(w == 0, torch.zeros(B, J)).sum(),
    "places in place": lambda p, y, w: placed(p, y, w > 0),
    "take": lambda p, y, w: torch.take(error(p, y), w.flatten().nonzero()[:, 0]).mean(),
    "index_select": lambda p, y, w: error(p, y).flatten().index_select(0, w.flatten().nonzero()[:, 0]).mean(),
    "list of places": lambda p, y, w: error(p, y).flatten()[w.flatten().nonzero()[:, 0].tolist()].mean(),
    "list of bools": lambda p, y, w: sum(error(p, y)[n][(w[n] > 0).tolist()].sum() for n in range(B)),
    "one by one": lambda p, y, w: sum(error(p, y)[n, j] for n in range(B) for j in range(J) if w[n, j] > 0),
    "samples of one tensor": lambda p, y, w: sum((one * some).sum() for one, some in zip(error(p, y), w, strict=True)),
    "joints of one tensor": lambda p, y, w: sum(
        torch.where(some > 0, one, 0.0).sum() for one, some in zip(error(p, y).unbind(1), w.unbind(1), strict=True)
    ),
}  # fmt: skip
if "weight" in inspect.signature(F.mse_loss).parameters:
    WEIGHED["weight of mse_loss"] = lambda p, y, w: F.mse_loss(p, y, weight=w[..., None].expand_as(p))
    WEIGHED["weight of l1_loss"] = lambda p, y, w: F.l1_loss(p, y, weight=w[..., None].expand_as(p))


@pytest.mark.parametrize("form", WEIGHED)
def test_joints_whose_errors_weigh_nothing_are_invisible(form):
    model, read, words = run(lambda host, b, i: WEIGHED[form](host(b[0]), b[1], b[2]), (X, TRUTH, SEEN.float()))
    assert torch.equal(read.visibility, SEEN)
    assert read.labelled is None
    assert not any("taken to count" in word for word in words)
    if model.task is not None:  # it is the loss that it is without SEAL
        assert float(model.task.detach()) == float(WEIGHED[form](model.net(X), TRUTH, SEEN.float()).detach())


UNTOLD = {
    "each sample with each mask": lambda e, w: (e @ w[..., None]).sum(),
    "the diagonal of a product": lambda e, w: (e @ w.t()).diagonal().sum(),
    "the diagonal of inner": lambda e, w: torch.inner(e, w).diagonal().sum(),
    "the diagonal of einsum": lambda e, w: torch.einsum("bj,kj->bk", e, w).diagonal().sum(),
    "the diagonal of linear": lambda e, w: F.linear(e, w).diagonal().sum(),
    "the smaller": lambda e, w: torch.minimum(e, 1e6 * w).sum(),
    "no larger than": lambda e, w: e.clamp(max=1e6 * w).sum(),
    "product of a stack": lambda e, w: torch.stack([e, w]).prod(0).sum(),
    "foreach": lambda e, w: torch._foreach_mul([e], [w])[0].sum(),
    "index_fill": lambda e, w: e.flatten().index_fill(0, (w == 0).flatten().nonzero()[:, 0], 0.0).sum(),
    "scatter": lambda e, w: e.flatten().scatter(0, (w == 0).flatten().nonzero()[:, 0], 0.0).sum(),
    "taken off again": lambda e, w: (e - e * (1 - w)).sum(),
    "addcmul of the same": lambda e, w: torch.addcmul(e, e, 1 - w, value=-1).sum(),
    "here one, there another": lambda e, w: torch.where(w > 0, e, 0.0 * e).sum() + (e * w).sum(),
}


@pytest.mark.parametrize("form", UNTOLD)
def test_what_cannot_be_told_is_said_and_all_count(form):
    def loss(host, b, i):
        return UNTOLD[form](error(host(b[0]), b[1]), b[2])

    _, read, words = run(loss, (X, Y, SEEN.float()))
    assert read.visibility is None
    assert read.labelled is None
    assert any(NUMBERS in word and "Override `seal_batch" in word for word in words)


def test_groups_of_errors_and_weights_that_are_never_zero_are_no_masks():
    group, share = torch.arange(B) % 3, torch.rand(B, J) + 0.1

    def grouped(host, b, i):
        errors = error(*host.uses(b[0], host(b[0]), b[1])).mean(1)
        return torch.zeros(3).index_add(0, b[2], errors).max()

    def weighed(host, b, i):
        errors = error(*host.uses(b[0], host(b[0]), b[1]))
        return errors.mean() + (errors * b[2]).mean() + torch.maximum(errors, b[2]).mean()

    for loss, more in ((grouped, group), (weighed, share)):
        _, words = assert_read(loss, (X, Y, more))
        assert not any(NUMBERS in word for word in words)


def test_errors_that_count_anyway_are_not_left_out():
    def loss(host, b, i):
        errors = error(*host.uses(b[0], host(b[0]), b[1]))
        return errors.mean() + errors[:, :14].mean() + errors[b[2]].mean()

    _, read, words = run(loss, (X, Y, SEEN))
    assert read.visibility is None
    assert any(NUMBERS in word for word in words)  # the mask may stand for more


# Errors that the step itself chooses.
FIRST = {
    "slice": lambda p, y: error(p, y)[:, 1:14].mean(),
    "list": lambda p, y: error(p, y)[:, list(range(1, 14))].mean(),
    "narrow": lambda p, y: error(p, y).narrow(1, 1, 13).mean(),
    "split": lambda p, y: error(p, y).split([1, 13, 3], 1)[1].mean(),
    "of the difference": lambda p, y: (p - y)[:, 1:14].norm(dim=-1).mean(),
    "of mse_loss": lambda p, y: F.mse_loss(p, y, reduction="none")[:, 1:14].mean(),
    "flat": lambda p, y: F.mse_loss(p.flatten(1), y.flatten(1), reduction="none")[:, 3:42].mean(),
    "joint by joint": lambda p, y: sum(error(p, y)[:, joint].mean() for joint in range(1, 14)),
    "two parts": lambda p, y: error(p, y)[:, 1:9].mean() + error(p, y)[:, 9:14].mean(),
    "places": lambda p, y: error(p, y).gather(1, torch.arange(1, 14).expand(B, -1)).mean(),
    "overwritten": lambda p, y: _overwritten((p - y).abs()).mean(),
}


def _overwritten(errors):
    errors[:, 14:] = 0
    return errors


@pytest.mark.parametrize("form", FIRST)
def test_joints_whose_errors_are_not_taken_are_invisible_but_for_the_root(form):
    _, read, words = run(lambda host, b, i: FIRST[form](host(b[0]), b[1]))
    assert torch.equal(read.visibility, (torch.arange(J) < 14).expand(B, -1))
    assert not any("taken to count" in word for word in words)


def test_the_root_counts_where_its_error_is_left_out():
    _, read, words = run(lambda host, b, i: error(host(b[0]), b[1])[:, 1:].mean())
    assert read.visibility is None
    assert not any("taken to count" in word for word in words)


ALL = {
    "all but the root": lambda e, d: e[:, 1:].mean(),
    "axis by axis": lambda e, d: d[..., :2].abs().mean() + 0.5 * d[..., 2].abs().mean(),
    "the smallest": lambda e, d: e.sort(1).values[:, :8].mean(),
    "the largest": lambda e, d: e.topk(8, 1).values.mean(),
    "those above the median": lambda e, d: e[e > e.median()].mean(),
    "turned round": lambda e, d: e.flip(1)[:, :8].mean(),
    "by the mean error": lambda e, d: e[:, e.mean(0).argsort()][:, :8].mean(),
    "the mean of each joint": lambda e, d: e.mean(0)[:8].mean(),
}


@pytest.mark.parametrize("form", ALL)
def test_errors_of_which_all_joints_count(form):
    def loss(host, b, i):
        prediction, truth = host.uses(b[0], host(b[0]), b[1])
        return ALL[form](error(prediction, truth), prediction - truth)

    assert_read(loss)
    _, read, _ = run(loss)
    assert read.visibility is None
    assert read.labelled is None


LENGTHS = [4, 3, 2, 4, 1, 4, 3, 2]
PADDED = {
    "slices": lambda e, lengths: sum(e[n, :length].mean() for n, length in enumerate(lengths)),
    "slices of samples": lambda e, lengths: sum(one[:length].mean() for one, length in zip(e, lengths, strict=True)),
    "of frames alone": lambda e, lengths: sum(e.mean(-1)[n, :length].sum() for n, length in enumerate(lengths)),
    "mask": lambda e, lengths: (e * (torch.arange(4) < torch.as_tensor(lengths)[:, None])[..., None]).mean(),
}


@pytest.mark.parametrize("lengths", [torch.tensor(LENGTHS), LENGTHS], ids=["tensor", "list"])
@pytest.mark.parametrize("form", PADDED)
def test_padding_whose_errors_do_not_count_is_invisible(form, lengths):
    frames = torch.arange(4) < torch.tensor(LENGTHS)[:, None]
    _, read, _ = run(lambda host, b, i: PADDED[form](error(sequence(host, b[0]), b[1]), b[2]), (*clips(), lengths))
    assert torch.equal(read.visibility, frames[..., None].expand(-1, -1, J))


# Joints and samples that meet others.
CROSSED = {
    "slices": lambda p, y: distance(p[:, :5], y[:, 5:10]),
    "lists": lambda p, y: distance(p[:, [0, 1, 2]], y[:, [2, 1, 0]]),
    "tensors": lambda p, y: distance(p[:, torch.tensor([0, 1])], y[:, torch.tensor([1, 0])]),
    "joint by joint": lambda p, y: sum(distance(p[:, j], y[:, J - 1 - j]) for j in range(J)),
    "unbind": lambda p, y: sum(distance(*pair) for pair in zip(p.unbind(1), y.unbind(1)[::-1], strict=True)),
    "samples": lambda p, y: distance(p[:4, 3], y[4:, 3]),
}


@pytest.mark.parametrize("form", CROSSED)
def test_joints_that_meet_others_stop(form):
    with pytest.raises(ValueError, match=r"each joint with the same joint .* Override `seal_batch"):
        run(lambda host, b, i: CROSSED[form](host(b[0]), b[1]))


def test_the_same_joints_by_another_expression():
    def loss(host, b, i):
        p, y = host.uses(b[0], host(b[0]), b[1])
        return distance(p[:, 3:5], y[:, [3, 4]]) + distance(p[:, -1], y.select(1, 16)) + distance(p[:, :3], y[:, :3])

    _, read, _ = run(loss)
    assert read.visibility[0].nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 16]


ORDER = torch.stack([torch.randperm(J, generator=torch.Generator().manual_seed(sample)) for sample in range(B)])


def test_joints_of_each_sample_in_an_order_of_its_own_keep_their_keypoints():
    for take in (
        lambda pose, order: pose[torch.arange(B)[:, None], order],
        lambda pose, order: pose.gather(1, order[..., None].expand(-1, -1, 3)),
        lambda pose, order: torch.take_along_dim(pose, order[..., None], 1),
        lambda pose, order: pose.roll(1, 1),
    ):
        assert_right(
            lambda host, b, i, take=take: distance(*host.uses(b[0], take(host(b[0]), b[2]), b[1])), (X, Y, ORDER)
        )


def test_samples_that_are_moved_have_their_own_keypoints_or_stop():
    assert_right(lambda host, b, i: distance(*host.uses(b[0].roll(2, 0), host(b[0]).roll(2, 0), b[1].roll(2, 0))))
    for move in (
        lambda pose: pose.gather(0, (ORDER % B)[..., None].expand(-1, -1, 3)),
        lambda pose: torch.take_along_dim(pose, (ORDER % B)[..., None], 0),
        lambda pose: pose[ORDER % B, torch.arange(J)],
        lambda pose: pose.roll((1, 1), (0, 1)),
    ):
        with pytest.raises(ValueError, match=r"from which samples .* Override `seal_batch"):
            run(lambda host, b, i, move=move: distance(move(host(b[0])), move(b[1])))


@pytest.mark.skipif("weight" not in inspect.signature(F.l1_loss).parameters, reason="l1_loss takes no weight")
def test_a_watched_loss_keeps_the_weight_that_it_was_given():
    weight = torch.rand(B, J, 3)
    model, _, _ = run(lambda host, b, i: F.l1_loss(input=host(b[0]), target=b[1], weight=weight))
    assert float(model.task.detach()) == float(F.l1_loss(model.net(X), Y, weight=weight).detach())


DEPTH = torch.tensor([1.0] * 5 + [0.0] * (B - 5))


def depth_of_its_own(p, y, depth):
    apart = (p - y).abs()
    return (apart[..., 0] + apart[..., 1] + apart[..., 2] * depth[:, None]).mean()


def depth_put_back(p, y, depth):
    apart = F.l1_loss(p, y, reduction="none")
    return torch.cat([apart[..., :2], apart[..., 2:] * depth[:, None, None]], -1).mean()


@pytest.mark.parametrize("form", [depth_of_its_own, depth_put_back])
def test_a_joint_whose_depth_does_not_count_is_not_known(form):
    def loss(host, b, i):
        return form(*host.uses(b[0], host.net(b[0]), b[1]), b[2])

    assert_read(loss, (X, Y, torch.ones(B)))
    model, words = assert_read(loss, (X, Y, DEPTH))
    assert torch.equal(model._seal_last.visibility, (DEPTH > 0)[:, None].expand(B, J))
    assert not words


WEIGHTS = torch.tensor([0.0] + [2.0] * (J - 4) + [0.0] * 3)
OF_JOINTS = {
    "of the last axis": lambda p, y, w: (w * error(p, y)).mean(),
    "of coordinates": lambda p, y, w: ((p - y) ** 2 * w.view(1, J, 1)).mean(),
    "an array": lambda p, y, w: (error(p, y) * torch.from_numpy(w.numpy())).sum() / w.sum(),
    "a list": lambda p, y, w: (torch.tensor(w.tolist()) * (p - y).abs().sum(-1)).mean(),
    "bools": lambda p, y, w: torch.where(w > 0, error(p, y), 0.0).sum(),
}


@pytest.mark.parametrize("form", OF_JOINTS)
def test_joints_that_the_host_itself_weighs_with_zero_are_invisible_but_for_the_root(form):
    def loss(weights):
        def step(host, b, i):
            return OF_JOINTS[form](*host.uses(b[0], host.net(b[0]), b[1]), weights)

        return step

    model, words = assert_read(loss(WEIGHTS))
    assert model._seal_last.visibility[:, 0].all()
    assert torch.equal(model._seal_last.visibility[:, 1:], (WEIGHTS[1:] > 0).expand(B, -1))
    assert not words
    model, _ = assert_read(loss(WEIGHTS + 1))
    assert model._seal_last.visibility is None


def test_samples_that_a_list_of_the_batch_names():
    names = ["measured", "guessed"] * (B // 2)

    def loss(host, b, i):
        p, y = host.uses(b["x"], host.net(b["x"]), b["y"])
        measured = torch.tensor([float(name == "measured") for name in b["names"]])
        return (error(p, y).mean(-1) * measured).sum() / measured.sum()

    model, words = assert_read(loss, {"x": X, "y": Y, "names": names})
    assert torch.equal(model._seal_last.labelled, torch.arange(B) % 2 == 0)
    assert not words


def test_weights_of_axes_and_those_drawn_at_random_are_no_masks():
    for weight in (lambda: torch.tensor([1.0, 1.0, 0.5]), lambda: torch.tensor(2.0), lambda: torch.rand(J, 1) < 0.5):

        def loss(host, b, i, weight=weight):
            p, y = host.uses(b[0], host.net(b[0]), b[1])
            return ((p - y).abs() * weight()).mean()

        model, _ = assert_read(loss)
        assert model._seal_last.visibility is None
