"""What is done to finished predictions, and which of it is chosen on validation data."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from seal_lightning import SealBatch, get_skeleton
from seal_lightning.evaluation.choosing import FinishChooser
from seal_lightning.evaluation.finishing import Finish, Finisher, candidates, describe_finishing
from seal_lightning.evaluation.rescaling import clip_lengths, rescale
from seal_lightning.functional import asymmetry_error, body_segment_length_error, mpjpe

H36M = get_skeleton("h36m17")


class Fixed(Finisher):
    """A finisher whose flip-averaged predictions are given, or refused."""

    def __init__(self, lengths, flipped=None):
        super().__init__(lengths)
        self.given = flipped

    def observe(self, module):
        return None

    def flipped(self, observed):
        if self.given is None:
            self.no_flip = "it cannot be"
        return self.given


def captured(*shape, **fields):
    return SealBatch(torch.randn(*shape, 17, 2), torch.randn(*shape, 17, 3), torch.randn(*shape, 17, 3), **fields)


def choose(finisher, batches, names=None, factor=1.0):
    chooser = FinishChooser(finisher, factor, names)
    for read, batch in batches:
        module = SimpleNamespace(seal_captured=read, seal=SimpleNamespace(skeleton=H36M))
        chooser.on_validation_batch_end(None, module, None, batch)
    return chooser.errors()


def test_combinations_begin_with_nothing_and_come_once():
    everything = list(candidates(flips=True, clips=True, paired=True))
    assert everything[0] == Finish()
    assert len(set(everything)) == len(everything) == 2 * 4 * 2 * 2 * 2
    assert list(candidates(flips=False, clips=False, paired=False)) == [Finish(), Finish(mean_lengths=True)]


def test_steps_come_in_their_order():
    read, flipped, lengths = captured(2, 9), torch.randn(2, 9, 17, 3), torch.rand(16)
    finish = Finish(flip=True, smooth=1.0, clip_lengths=True, mean_lengths=True, symmetrise=True)
    # The filter of SciPy lets a clip go on beyond its ends; in the middle frame of nine there are none within reach.
    filtered = torch.from_numpy(gaussian_filter1d(flipped.double().numpy(), 1.0, axis=1))
    found = Finisher(lengths)(Finish(flip=True, smooth=1.0), read, flipped, H36M)
    assert torch.allclose(found[:, 4].double(), filtered[:, 4], atol=1e-5)
    expected = rescale(clip_lengths(found, H36M), lengths, H36M)
    assert torch.allclose(Finisher(lengths)(finish, read, flipped, H36M), expected, atol=1e-6)
    assert Finisher(lengths)(Finish(), read, flipped, H36M) is read.prediction


def test_invisible_joints_do_not_smear():
    read = captured(2, 9, visibility=torch.rand(2, 9, 17) > 0.2)
    wild = torch.where(read.visibility.unsqueeze(-1), read.prediction, math.nan)
    odd = SealBatch(read.keypoints_2d, wild, read.target, read.visibility)
    finish = Finish(smooth=2.0, clip_lengths=True, mean_lengths=True, symmetrise=True)
    calm, other = (Finisher(torch.full((16,), 0.5))(finish, one, None, H36M) for one in (read, odd))
    seen = read.visibility
    assert other[seen].isfinite().all()
    assert torch.allclose(calm[seen], other[seen], atol=1e-5)


def test_a_flip_that_cannot_be_is_an_error():
    finisher = Fixed(torch.rand(16))
    finisher.flipped(None)
    with pytest.raises(ValueError, match="a prediction that can be flip-averaged, but it cannot: it cannot be"):
        finisher(Finish(flip=True), captured(2), None, H36M)


@pytest.mark.parametrize("factor", [1.0, 1000.0])
def test_primary_error_is_the_geometric_mean_of_three_macro_means(factor):
    first, second = captured(3), captured(2, labelled=torch.tensor([True, False]))
    second.target[1] = math.nan
    groups = [{"group": torch.tensor([0, 1, 1])}, {"group": torch.tensor([2, 2])}]
    lengths, names = torch.rand(16), ["a/1", "a/2", "b/1"]
    errors = choose(Fixed(lengths), zip((first, second), groups, strict=True), names, factor)
    assert list(errors) == list(candidates(flips=False, clips=False, paired=True))
    for finish, error in errors.items():
        rows = {}
        for read, group in ((first, [0, 1, 1]), (second, [2])):
            pose = Finisher(lengths)(finish, read, None, H36M)
            for row, name in enumerate(group):
                pair = factor * pose[row : row + 1], factor * read.target[row : row + 1]
                three = mpjpe(*pair, root=0), body_segment_length_error(*pair, H36M), asymmetry_error(*pair, H36M)
                rows.setdefault(name, []).append([float(value) for value in three])
        a, b = np.mean([np.mean(rows[0], axis=0), np.mean(rows[1], axis=0)], axis=0), np.mean(rows[2], axis=0)
        assert error == pytest.approx(np.prod((a + b) / 2) ** (1 / 3), rel=1e-5)


def test_what_mends_the_predictions_is_chosen():
    truth = torch.randn(4, 40, 17, 3).cumsum(dim=1) / 50 + torch.randn(17, 3)  # slow movements
    noisy = truth + 0.2 * torch.randn_like(truth)
    read = SealBatch(torch.zeros(4, 40, 17, 2), noisy, truth)
    errors = choose(Fixed(torch.rand(16)), [(read, None)])
    assert min(errors, key=errors.__getitem__).smooth > 0
    flips = choose(Fixed(torch.rand(16), truth), [(read, None)])
    assert min(flips, key=flips.__getitem__) == Finish(flip=True)


def test_a_flip_that_one_batch_refuses_is_no_candidate():
    finisher, reads = Fixed(torch.rand(16), torch.randn(2, 17, 3)), [captured(2), captured(2)]
    chooser = FinishChooser(finisher, 1.0, None)
    for read, given in zip(reads, (finisher.given, None), strict=True):
        finisher.given = given
        module = SimpleNamespace(seal_captured=read, seal=SimpleNamespace(skeleton=H36M))
        chooser.on_test_batch_end(None, module, None, None)
    assert not any(finish.flip for finish in chooser.errors())


def test_without_truth_there_is_nothing_to_choose_by():
    unlabelled = SealBatch(torch.randn(2, 17, 2), torch.randn(2, 17, 3))
    assert choose(Fixed(torch.rand(16)), [(unlabelled, None)]) == {}


def test_words():
    assert str(Finish()) == "nothing"
    assert str(Finish(flip=True, smooth=2.0, symmetrise=True)) == (
        "flip averaging, Gaussian filter of 2 frames, symmetrising"
    )
    assert len({str(finish) for finish in candidates(flips=True, clips=True, paired=True)}) == 64
    words = [describe_finishing(flips=f, clips=c) for f, c in itertools.product((True, False), repeat=2)]
    assert [("flip averaging" in w, "Gaussian" in w) for w in words] == [
        (True, True), (True, False), (False, True), (False, False),
    ]  # fmt: skip
    assert describe_finishing(flips=False, clips=False, no_flip="Why not.").endswith("No flip averaging: Why not.")
