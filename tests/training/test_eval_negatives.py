"""`PredictionNegatives(eval=True)`: what the pose-net predicts in evaluation mode, made in a training step."""

import copy
from functools import partial

import lightning as L
import pytest
import torch

from seal_lightning import EnergyTerm, SealBatch, SealConfig, SealLoss, SealMixin
from seal_lightning.loss_nets import MLPLossNet
from seal_lightning.negatives import BoneLengthNegatives, PredictionNegatives
from tests import hosts
from tests.training.reading.styles import STYLES, seal

SMALL = partial(MLPLossNet, hidden=16, stages=1)
EVAL = (PredictionNegatives(eval=True),)


def config(**fields):
    return SealConfig(**{"loss_net": SMALL, "negatives": EVAL, **fields})


def sealed(host):
    return type(f"Seal{host.__name__}", (SealMixin, host), {"__module__": __name__})


def ranked(model):
    """Keep what every call of `ranking_loss` is given, and the state of the host then."""
    seen, rank = [], model.seal.ranking_loss

    def keep(*given, **options):
        seen.append((given[0].detach(), options["eval_prediction"], copy.deepcopy(model.state_dict())))
        return rank(*given, **options)

    model.seal.ranking_loss = keep
    return seen


def step(model, batch):
    model.log = model.log_dict = lambda *args, **kwargs: None
    return model.training_step(batch, 0)


@pytest.mark.parametrize("host", [hosts.ForwardHost, hosts.DictHost, hosts.CentreHost, hosts.SequenceHost])
def test_the_negatives_are_what_the_host_predicts_in_evaluation_mode(host):
    torch.manual_seed(0)
    model = sealed(host)(seal=config())
    batch = next(iter(host.loader()))
    seen = ranked(model)
    step(model, batch).backward() if host is not hosts.DictHost else step(model, batch)["loss"].backward()
    ((predicted, evaluated, state),) = seen
    then = host().eval()
    then.load_state_dict(state)
    with torch.no_grad():
        expected = then(batch["inputs"]["keypoints"] if host is hosts.DictHost else batch[0])
    torch.testing.assert_close(evaluated, expected["joints"] if host is hosts.DictHost else expected)
    assert not torch.allclose(evaluated, predicted, atol=1e-2)  # batch norm and dropout
    assert not evaluated.requires_grad


@pytest.mark.parametrize("host", [hosts.ForwardHost, hosts.ManualHost])
def test_the_host_trains_bit_for_bit_as_it_would_without(make_trainer, host):
    states = []
    for cls, given in ((host, {}), (sealed(host), {"seal": config(weight=0.0)})):
        L.seed_everything(0, verbose=False)
        model = cls(**given)
        make_trainer().fit(model, host.loader())
        states.append((model.state_dict(), torch.get_rng_state()))
    (plain, plain_random), (trained, random) = states
    assert all(torch.equal(plain[name], trained[name]) for name in plain)
    assert torch.equal(plain_random, random)


@pytest.mark.parametrize(("negatives", "calls"), [(None, 1), ((BoneLengthNegatives(),), 1), (EVAL, 2)])
def test_the_network_runs_twice_only_where_it_is_asked_for(negatives, calls):
    model = sealed(hosts.ForwardHost)(seal=config(negatives=negatives))
    count = []
    model.net.register_forward_hook(lambda *_: count.append(1))
    step(model, next(iter(hosts.ForwardHost.loader())))
    assert len(count) == calls


def test_the_same_frames_and_joints_are_taken_as_of_the_prediction():
    """Without dropout and batch norm both modes predict the same."""
    model = sealed(hosts.SequenceHost)(seal=config(frames_per_clip=2))
    model.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(34, 51))
    seen = ranked(model)
    step(model, next(iter(hosts.SequenceHost.loader())))
    ((predicted, evaluated, _),) = seen
    assert predicted.shape == (16, 2, 17, 3)
    torch.testing.assert_close(evaluated, predicted)

    pose = torch.randn(2, 20, 3)
    read = SealBatch(torch.zeros(2, 17, 2), pose, joints=range(3, 20), eval_prediction=pose + 1).complete()
    assert torch.equal(read.eval_prediction, read.prediction + 1)
    assert SealBatch(None, pose, eval_prediction=pose).empty().eval_prediction.shape == (0, 20, 3)


class Override(SealMixin, hosts.ForwardHost):
    def seal_batch(self, batch, inputs, output):
        return SealBatch(*batch[:1], output, *batch[1:])


def test_an_override_that_returns_the_poses_of_the_network_needs_no_more():
    model = Override(seal=config())
    model.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(34, 51))
    seen = ranked(model)
    step(model, next(iter(hosts.ForwardHost.loader())))
    assert torch.equal(seen[0][0], seen[0][1])


class Normalised(SealMixin, hosts.NormalisedHost):
    def seal_batch(self, batch, inputs, output):
        x, y = batch
        return SealBatch(x, output * self.std + self.mean, y, eval_prediction=self.evaluated)


def test_an_override_that_changes_the_poses_has_to_give_them():
    model = Normalised(seal=config())
    model.evaluated = None
    batch = next(iter(hosts.NormalisedHost.loader()))
    with pytest.raises(ValueError, match=r"run once more, but `seal_batch` changes the poses after its call\. Do all"):
        step(model, batch)
    model.evaluated, seen = torch.ones(16, 17, 3), ranked(model)
    step(model, batch)
    assert torch.equal(seen[0][1], model.evaluated)


@pytest.mark.parametrize(
    ("name", "reason"), [("residual", "changes the poses"), ("encoder_and_head", "was made by another network")]
)
def test_where_the_network_cannot_be_run_once_more_it_says_so(name, reason):
    model = seal(STYLES[name])
    model._seal_build(SealConfig(skeleton=model.seal.skeleton, negatives=EVAL), warm=True)
    with pytest.raises(ValueError, match=rf"Expected PredictionNegatives\(eval=True\) to find a network .*{reason}"):
        model.training_step(STYLES[name].batch(), 1)


@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_is_that_of_these_poses_as_negatives(update, masked):
    torch.manual_seed(0)
    prediction, target, evaluated, keypoints = (torch.randn(6, 17, n) for n in (3, 3, 3, 2))
    visibility = torch.rand(6, 17) < 0.8 if masked else None
    values = []
    for negatives, given, options in (
        (EVAL, prediction, {"eval_prediction": evaluated}),
        ((PredictionNegatives(),), evaluated, {}),
    ):
        criterion = SealLoss("h36m17", [EnergyTerm(SMALL, negatives=negatives)], update=update)
        values.append(criterion.ranking_loss(given, target, keypoints, visibility, **options))
    torch.testing.assert_close(*values)


@pytest.mark.parametrize("given", [None, torch.zeros(6, 16, 3)])
def test_a_loop_of_ones_own_has_to_hand_them_in(given):
    criterion = SealLoss("h36m17", [EnergyTerm(SMALL, negatives=EVAL)])
    with pytest.raises(ValueError, match=r"`eval_prediction` to have the shape \(6, 17, 3\) of `prediction`, but got"):
        criterion.ranking_loss(*torch.zeros(2, 6, 17, 3), torch.zeros(6, 17, 2), eval_prediction=given)


def test_the_option_is_a_bool_and_lives_in_a_file():
    with pytest.raises(TypeError, match="`eval` to be True or False, but got 1"):
        PredictionNegatives(eval=1)
    assert SealConfig.of(config(loss_net=MLPLossNet).plain()).terms()[0].negatives == EVAL
