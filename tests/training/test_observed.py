"""Any host's step seen from outside: what is read of it, and that the training is what it was."""

import lightning as L
import pytest
import torch

from seal_lightning import SealConfig, SealMixin, get_skeleton
from seal_lightning.functional import mirror_keypoints, mirror_poses
from seal_lightning.training.observed import StepObserver, flip_averaged
from tests import hosts

H36M = get_skeleton("h36m17")


class Onlooker(L.Callback):
    """Observes every step."""

    def __init__(self):
        self.observer, self.seen = StepObserver("h36m17"), []

    def on_train_batch_start(self, trainer, module, *_):
        self.observer.watch(module, "training_step")

    def on_validation_batch_start(self, trainer, module, *_):
        self.observer.watch(module, "validation_step")

    def on_predict_batch_start(self, trainer, module, *_):
        self.observer.watch(module, "predict_step")

    def on_train_batch_end(self, trainer, module, *_):
        self.seen.append(self.observer.read(module))
        if self.seen[-1] is not None:
            self.seen[-1].predict(self.seen[-1].keypoints_2d)

    def on_validation_batch_end(self, trainer, module, *_):
        self.on_train_batch_end(trainer, module)
        keypoints = self.seen[-1].keypoints_2d
        self.seen[-1].check(self.seen[-1].predict(keypoints), self.seen[-1].mirrored(keypoints))

    def on_predict_batch_end(self, trainer, module, *_):
        self.on_validation_batch_end(trainer, module)


class SureHost(hosts.ConfidenceHost):
    """Its third channel is a confidence indeed."""

    @staticmethod
    def loader(**kwargs):
        return hosts.loader(lambda x, y, i: (torch.cat((x[:, :2], x[:, 2:].sigmoid()), 1), y), channels=3, **kwargs)


HOSTS = [SureHost if host is hosts.ConfidenceHost else host for host in hosts.HOSTS]


def fitted(make_trainer, host, callbacks=(), **options):
    torch.manual_seed(0)
    model = host(**options)
    data = host.loader(count=48), host.loader(count=32, shuffle=False, seed=1)
    make_trainer(max_epochs=1, callbacks=list(callbacks), num_sanity_val_steps=0).fit(model, *data)
    return model, torch.get_rng_state()


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.__name__)
def test_a_host_trains_to_the_same_weights(host, make_trainer):
    validates = host.__name__ not in ("ChildHost", "FlatHost", "CentreHost")
    host = host if validates else type(host.__name__, (host,), {"validation_step": None})
    onlooker = Onlooker()
    (plain, state), (watched, state_after) = (fitted(make_trainer, host, c) for c in ([], [onlooker]))
    assert same_weights(plain, watched)
    assert torch.equal(state, state_after)
    assert not [name for name in vars(watched) if name.endswith("_step")]
    assert len(onlooker.seen) == 3 + 2 * validates
    for observed in onlooker.seen:
        assert observed.read.prediction.shape == observed.read.target.shape
        assert observed.read.keypoints.shape[:-1] == observed.read.prediction.shape[:-1]
        assert not observed.read.prediction.requires_grad


@pytest.mark.parametrize("seal", [False, True])
def test_prediction_and_its_flip_average(seal, make_trainer):
    class Host(hosts.ForwardHost):
        def predict_step(self, batch, batch_idx):
            return self(batch[0])

    class SealHost(SealMixin, Host):
        pass

    onlooker, model = Onlooker(), SealHost(seal=SealConfig()) if seal else Host()
    (poses,) = make_trainer(callbacks=[onlooker]).predict(model, Host.loader(count=16, shuffle=False))
    (observed,) = onlooker.seen
    keypoints = observed.keypoints_2d
    assert observed.read.target is None
    assert torch.equal(observed.read.prediction, poses)
    with torch.no_grad():
        assert torch.equal(model.eval()(keypoints), poses)
        other = mirror_poses(model(mirror_keypoints(keypoints, "h36m17")), "h36m17")
        shifted = mirror_poses(model(mirror_keypoints(keypoints, "h36m17", image_width=1.0)), "h36m17")
    torch.testing.assert_close(flip_averaged(observed), (poses + other) / 2)
    torch.testing.assert_close(flip_averaged(observed, image_width=1.0), (poses + shifted) / 2)


@pytest.mark.parametrize("step", ["validation", "predict"])
def test_a_host_that_averages_in_its_step(step, make_trainer):
    """With a mask of joints, which the mirror image has on the other side."""

    class Host(hosts.ForwardHost):
        def forward(self, x, seen=None):
            return super().forward(x if seen is None else torch.where(seen[..., None], x, 0.0))

        def lift(self, x, seen):
            other = self(mirror_keypoints(x, "h36m17"), seen[:, list(H36M.partners)])
            return (self(x, seen) + mirror_poses(other, "h36m17")) / 2

        def validation_step(self, batch, batch_idx):
            hosts.distance(self.lift(batch[0], batch[2]), batch[1])

        def predict_step(self, batch, batch_idx):
            return self.lift(batch[0], batch[2])

    data = hosts.loader(lambda x, y, i: (x, y, torch.arange(17) % 4 != i % 4), count=8, shuffle=False)
    onlooker, model = Onlooker(), Host()
    trainer = make_trainer(callbacks=[onlooker])
    (trainer.predict if step == "predict" else trainer.validate)(model, data)
    (observed,) = onlooker.seen
    keypoints = observed.keypoints_2d
    torch.testing.assert_close(flip_averaged(observed), observed.read.prediction)
    assert not torch.allclose(observed.predict(keypoints), observed.mirrored(keypoints), atol=0.01)


def test_two_observers_of_one_step(make_trainer):
    one, other = Onlooker(), Onlooker()
    model, _ = fitted(make_trainer, hosts.ForwardHost, [one, other])
    assert len(one.seen) == len(other.seen) == 5
    assert all(a.read.prediction is b.read.prediction for a, b in zip(one.seen, other.seen, strict=True))
    assert same_weights(model, fitted(make_trainer, hosts.ForwardHost)[0])
    assert not [name for name in vars(model) if name.endswith("_step")]


def test_a_step_that_is_never_called_is_left_alone():
    model, one, other = hosts.ForwardHost(), StepObserver("h36m17"), StepObserver("coco17")
    one.watch(model, "training_step")
    other.watch(model, "training_step")  # of another skeleton: looks for itself
    other.close()
    one.watch(model, "training_step")
    assert "training_step" in vars(model)
    one.close()
    assert "training_step" not in vars(model)
    assert one.read(model) is None


def test_a_seal_host_is_read_by_itself(make_trainer):
    class SealHost(SealMixin, hosts.ManualHost):
        pass

    onlooker = Onlooker()
    model, _ = fitted(make_trainer, SealHost, [onlooker], seal=SealConfig(every_n_steps=2))
    last = onlooker.seen[-1].read
    assert last is model.seal_captured
    assert [observed is None for observed in onlooker.seen[:3]].count(True) <= 1


def test_windows_of_which_the_centre_is_predicted(make_trainer):
    onlooker = Onlooker()
    host = type("Host", (hosts.CentreHost,), {"validation_step": None})
    fitted(make_trainer, host, [onlooker])
    observed = onlooker.seen[0]
    assert observed.keypoints_2d.shape == (16, 5, 17, 2)
    assert torch.equal(observed.read.keypoints_2d, observed.keypoints_2d[:, 2])


def test_what_cannot_be_run_once_more_says_so(make_trainer):
    class Random(hosts.ForwardHost):
        def predict_step(self, batch, batch_idx):
            return self(batch[0])

        def forward(self, x):
            return super().forward(x) + torch.randn(17, 3)

    class Shifted(Random):
        def predict_step(self, batch, batch_idx):
            return hosts.ForwardHost.forward(self, batch[0]) + 0.1

    class Two(Random):
        def predict_step(self, batch, batch_idx):
            return batch[1], self(batch[0])

    changed = "once more what the step predicted, but it does not"
    cases = (Random, changed), (Shifted, changed), (Two, "but got 2 of")
    for host, message in cases:
        with pytest.raises(ValueError, match=message):
            make_trainer(callbacks=[Onlooker()]).predict(host(), host.loader(count=16))


def test_a_step_that_raises_leaves_nothing_behind():
    class Broken(hosts.ForwardHost):
        def training_step(self, batch, batch_idx):
            raise RuntimeError("broken")

    model, observer = Broken(), StepObserver("h36m17")
    observer.watch(model, "training_step")
    with pytest.raises(RuntimeError, match="broken"):
        model.training_step(None, 0)
    assert "training_step" not in vars(model)
    assert observer.read(model) is None
