"""Exported, a SEAL model is its host: the same graph, the same weights, nothing of a loss-net."""

import io
import warnings

import pytest
import torch

from seal_lightning import SealConfig, SealMixin
from tests import hosts
from tests.training.assets.make_checkpoint import SealTinyLifter, TinyLifter, configuration, loader

PAIRS = [
    (host, type(f"Seal{host.__name__}", (SealMixin, host), {"__module__": __name__}))
    for host in (hosts.ForwardHost, hosts.DictHost, hosts.SequenceHost, hosts.ManualHost)
] + [(TinyLifter, SealTinyLifter)]
PAIRS = [pytest.param(*pair, id=pair[0].__name__) for pair in PAIRS]


def twins(host, seal, make_trainer, state):
    """A plain model, and a SEAL model with its weights, as made, attached to a trainer, or trained."""
    config = configuration() if seal is SealTinyLifter else SealConfig(**state.get("seal", {}))
    model = seal(seal=config)
    if state["steps"]:
        make_trainer(max_steps=state["steps"]).fit(model, loader() if seal is SealTinyLifter else model.loader())
    plain = host()
    plain.load_state_dict(model.state_dict())
    if state["steps"]:
        plain.trainer = model.trainer
    return plain.eval(), model.eval(), torch.randn(4, *((5,) if host is hosts.SequenceHost else ()), 17, 2)


@pytest.fixture(params=[{"steps": 0}, {"steps": 2}], ids=["new", "trained"])
def state(request):
    return request.param


@pytest.fixture(autouse=True)
def _deprecated():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def same(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def names(module):
    return sorted({name for name, _ in [*module.named_parameters(), *module.named_buffers()]})


@pytest.mark.parametrize(("host", "seal"), PAIRS)
def test_torch_export(host, seal, state, make_trainer):
    plain, model, x = twins(host, seal, make_trainer, state)
    wanted, found = (torch.export.export(module, (x,)) for module in (plain, model))
    assert found.graph_module.code == wanted.graph_module.code
    assert found.state_dict.keys() == wanted.state_dict.keys() == plain.state_dict().keys()
    assert "seal" not in str(found.graph)
    same(found.module()(x), plain(x))


@pytest.mark.parametrize(("host", "seal"), PAIRS)
@pytest.mark.parametrize("method", ["trace", "script"])
def test_torchscript(host, seal, method, state, make_trainer):
    plain, model, x = twins(host, seal, make_trainer, state)
    options = {"strict": False} if host is hosts.DictHost else {}
    make = {
        "trace": lambda module: module.to_torchscript(method="trace", example_inputs=x, **options),
        "script": lambda module: module.to_torchscript(method="script"),
    }[method]
    try:
        wanted = make(plain)
    except (RuntimeError, torch.jit.frontend.NotSupportedError):  # what the host cannot do, SEAL need not
        pytest.skip("the plain host cannot be exported in this way")
    found = make(model)
    assert found.code == wanted.code
    same(found(x), plain(x))
    file = io.BytesIO()
    torch.jit.save(found, file)
    file.seek(0)
    loaded = torch.jit.load(file)
    same(loaded(x), plain(x))
    assert names(loaded) == names(wanted)
    assert b"loss_nets" not in file.getvalue()


@pytest.mark.parametrize("mode", ["dynamic", "static"])
def test_tracing_past_lightning(mode, tmp_path, make_trainer):
    """`torch.jit.trace` itself takes a model attached to a trainer, static ones too."""
    _, model, x = twins(TinyLifter, SealTinyLifter, make_trainer, {"steps": 2})
    if mode == "static":
        torch.save(model.seal.state_dict(), tmp_path / "criterion.pt")
        terms = configuration().energies
        model = SealTinyLifter(seal=SealConfig(energies=terms, mode="static", checkpoint=tmp_path / "criterion.pt"))
        make_trainer(max_steps=1).fit(model, loader())
        model.eval()
    traced = torch.jit.trace(model, x)
    same(traced(x), model(x))
    assert names(traced) == names(model)


@pytest.mark.parametrize(("host", "seal"), PAIRS)
def test_onnx(host, seal, state, make_trainer):
    pytest.importorskip("onnx", reason="onnx is no dependency; without it torch exports nothing")
    plain, model, x = twins(host, seal, make_trainer, state)
    files = []
    for module in (plain, model):
        files.append(io.BytesIO())
        torch.onnx.export(module, (x,), files[-1], dynamo=False)
    wanted, found = (__import__("onnx").load_from_string(file.getvalue()).graph for file in files)
    assert [tensor.name for tensor in found.initializer] == [tensor.name for tensor in wanted.initializer]
    assert [tensor.raw_data for tensor in found.initializer] == [tensor.raw_data for tensor in wanted.initializer]
    assert [(node.op_type, [*node.input], [*node.output]) for node in found.node] == [
        (node.op_type, [*node.input], [*node.output]) for node in wanted.node
    ]


def test_what_is_hidden_from_torchscript_is_there():
    model = SealTinyLifter(seal=configuration())
    assert "seal_optimizer" not in dir(model)
    assert len(model.seal_optimizer.param_groups) == 2
    with pytest.raises(RuntimeError, match="Expected a training, validation or test step before `seal_captured`"):
        _ = model.seal_captured
