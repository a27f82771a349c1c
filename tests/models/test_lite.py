from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tctrack.models.base import TemporalState
from tctrack.models.build import build_model
from tctrack.models.efficientnet import EfficientNetLite, adapt_imagenet_weights
from tctrack.models.lite import LiteConfig, LiteOutputs, TCTrackLite


@pytest.fixture(scope="module", params=["tctrack-lite", "tctrack-nano"])
def model(request: pytest.FixtureRequest) -> TCTrackLite:
    """A model whose temporal parts do something."""
    torch.manual_seed(0)
    model = build_model(request.param).eval()
    assert isinstance(model, TCTrackLite)
    for name, parameter in model.named_parameters():
        if "temporalconv" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    torch.nn.init.normal_(model.centre.weight, std=20.0)
    return model


def _crops(model: TCTrackLite, batch: int, length: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z, x = model.config.template_size, model.config.search_size
    template = torch.rand(batch, 3, z, z, generator=generator) * 255
    return template, torch.rand(batch, length, 3, x, x, generator=generator) * 255


def _stream(model: TCTrackLite, template: torch.Tensor, clip: torch.Tensor) -> tuple[LiteOutputs, TemporalState]:
    state = model.start(template, clip[:, 0])
    maps = []
    for search in clip.unbind(1)[1:]:
        outputs, state = model.step(search, state)
        maps.append(outputs)
    return LiteOutputs(*(torch.stack(frames, 1) for frames in zip(*maps, strict=True))), state


@torch.no_grad()
def test_streaming_equals_the_clip(model: TCTrackLite) -> None:
    template, clip = _crops(model, 2, 4)
    for whole, streamed in zip(model(template, clip), _stream(model, template, clip)[0], strict=True):
        torch.testing.assert_close(whole[:, 1:], streamed, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_batch_of_targets_equals_separate_streams(model: TCTrackLite) -> None:
    template, clip = _crops(model, 2, 3)
    together = _stream(model, template, clip)[0]
    for index in range(2):
        alone = _stream(model, template[index : index + 1], clip[index : index + 1])[0]
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one[index : index + 1], other, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_interleaved_streams_do_not_touch_each_other(model: TCTrackLite) -> None:
    streams = [_crops(model, 1, 3, seed) for seed in (1, 2)]
    states = [model.start(template, clip[:, 0]) for template, clip in streams]
    for t in (1, 2):
        for index, (_, clip) in enumerate(streams):
            outputs, states[index] = model.step(clip[:, t], states[index])
    torch.testing.assert_close(outputs.centre, _stream(model, *streams[1])[0].centre[:, -1], rtol=0, atol=0)


def test_tracking_computes_what_training_does(model: TCTrackLite) -> None:
    template, clip = _crops(model, 2, 1)
    search, extent = clip[:, 0], torch.full((2, 2), 50.0)
    given = template.clone(), search.clone()
    trained = model.step(search, model.start(template, search, extent))[0]
    with torch.no_grad():
        tracked = model.step(search, model.start(template, search, extent))[0]
    torch.testing.assert_close(tracked, trained, rtol=0, atol=0)
    torch.testing.assert_close((template, search), given, rtol=0, atol=0)


def test_a_network_in_half_precision_tracks(model: TCTrackLite) -> None:
    half = copy.deepcopy(model).bfloat16()
    template, search = (crops.bfloat16() for crops in _crops(model, 1, 1))
    search = search[:, 0]
    with torch.inference_mode():
        outputs, _ = half.step(search, half.start(template, search))
    assert outputs.centre.dtype == torch.bfloat16
    assert torch.isfinite(outputs.centre).all()
    assert torch.isfinite(outputs.box).all()


def test_the_past_matters_and_the_future_does_not(model: TCTrackLite) -> None:
    template, clip = _crops(model, 1, 4)
    base = model(template, clip).centre
    changed = clip.clone()
    changed[:, 2] = 255 - changed[:, 2]
    after = model(template, changed).centre
    torch.testing.assert_close(after[:, :2], base[:, :2], rtol=0, atol=1e-6)
    assert (after[:, 3] - base[:, 3]).abs().max() > 1e-4


@torch.no_grad()
def test_the_state_keeps_its_size() -> None:
    model = TCTrackLite(LiteConfig(template_size=32, search_size=64)).eval()
    template, search = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 64, 64)

    def sizes(state: TemporalState) -> list[torch.Size]:
        return [state.template.shape, state.extent.shape, state.memory.shape, *(cache.shape for cache in state.caches)]

    state = model.start(template, search)
    first = sizes(state)
    for _ in range(1000):
        state = model.step(search, state)[1]
    assert sizes(state) == first
    assert all(torch.isfinite(tensor).all() for tensor in (state.memory, *state.caches))


def test_the_budget_holds(model: TCTrackLite) -> None:
    most = 1.5e6 if model.config.trunk == "lite" else 0.6e6
    assert sum(parameter.numel() for parameter in model.parameters()) < most
    template, clip = _crops(model, 1, 1)
    with torch.no_grad():
        state = model.start(template, clip[:, 0])
        with FlopCounterMode(display=False) as counter:
            model.step(clip[:, 0], state)
    assert counter.get_total_flops() / 2 < 0.6e9


@torch.no_grad()
def test_decoding_puts_a_box_where_the_map_says(model: TCTrackLite) -> None:
    side = model.config.grid.size
    centre = torch.full((1, 1, side, side), -10.0)
    centre[0, 0, 4, 8] = 3.0
    box = torch.tensor([10.0, 20.0, 30.0, 40.0]).reshape(1, 4, 1, 1).expand(1, 4, side, side)
    boxes, scores = model.decode(LiteOutputs(centre, box))
    best = scores[0].argmax()
    half = model.config.search_size / 2
    # The cell's point is (136, 72); its box spans 126–166 by 52–112.
    torch.testing.assert_close(boxes[0, best], torch.tensor([146.0 - half, 82.0 - half, 40.0, 60.0]))
    torch.testing.assert_close(scores[0, best], torch.sigmoid(torch.tensor(3.0)))


@pytest.mark.parametrize("options", [{"use_memory": False}, {"adaptive_blocks": ()}])
@torch.no_grad()
def test_ablations_stream_too(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = TCTrackLite(replace(LiteConfig(template_size=32, search_size=64), **options)).eval()  # type: ignore[arg-type]
    template, clip = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 3, 64, 64)
    torch.testing.assert_close(model(template, clip).box[:, 1:], _stream(model, template, clip)[0].box)


@torch.no_grad()
def test_fresh_calibration_is_the_plain_trunk() -> None:
    torch.manual_seed(0)
    adaptive, plain = EfficientNetLite((8, 9, 10)).eval(), EfficientNetLite(()).eval()
    state = adaptive.state_dict()
    plain.load_state_dict({key: state[key].reshape(value.shape) for key, value in plain.state_dict().items()})
    clip = torch.rand(1, 2, 3, 64, 64) * 255
    frames = clip.flatten(0, 1)
    found, expected = adaptive.run(frames, None, clip.shape[1])[0], plain.run(frames)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@torch.no_grad()
def test_cells_lie_symmetrically_in_the_crop() -> None:
    """An averaging trunk maps a ramp across the image to a ramp that is zero between the two middle cells."""
    trunk = EfficientNetLite(()).eval()
    for module in trunk.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.constant_(module.weight, 1.0 / module.weight[0].numel())
    ramp = torch.linspace(-1, 1, 256).expand(1, 3, 256, 256) * 20 + 140
    row = trunk.run(ramp)[0][0, 0, 8]
    flat = trunk.run(torch.full_like(ramp, 140.0))[0][0, 0, 8]
    rise = row - flat
    assert abs(rise[7] + rise[8]) < 0.15 * (rise[8] - rise[7])


def test_imagenet_weights_fill_every_plain_layer() -> None:
    trunk = EfficientNetLite()
    names = {"expand": "_expand_conv", "expand_bn": "_bn0", "depthwise": "_depthwise_conv", "depthwise_bn": "_bn1",
             "project": "_project_conv", "project_bn": "_bn2"}  # fmt: skip
    published = {"_fc.weight": torch.zeros(1), "_blocks.15._bn1.bias": torch.zeros(1)}
    for key, value in trunk.state_dict().items():
        words = key.split(".")
        if "temporalconv" in key:
            continue
        shape = value.shape[2:] if value.dim() == 6 else value.shape
        if words[0] == "blocks":
            published[f"_blocks.{words[1]}.{names[words[2]]}.{words[3]}"] = torch.full(shape, 2.0)
        else:
            published[{"stem": "_conv_stem", "stem_bn": "_bn0"}[words[0]] + f".{words[1]}"] = torch.full(shape, 2.0)
    adapted = adapt_imagenet_weights(published, trunk)
    trunk.load_state_dict(adapted)
    assert all((value == 2).all() for key, value in adapted.items() if "temporalconv" not in key)


@torch.no_grad()
def test_the_box_starts_from_the_first_shape(model: TCTrackLite) -> None:
    torch.manual_seed(0)
    fresh = TCTrackLite().eval()
    torch.nn.init.zeros_(fresh.box.weight)
    extent = torch.tensor([[30.0, 80.0], [90.0, 40.0]])
    near, far = fresh(*_crops(fresh, 2, 2), extent).box.chunk(2, 2)
    torch.testing.assert_close((near + far)[:, 1], extent[:, :, None, None].expand(-1, -1, 14, 14))
    template, clip = _crops(model, 2, 2)
    square = torch.full((2, 2), model.config.template_size / 2)
    for one, other in zip(model(template, clip), model(template, clip, square), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert not torch.allclose(model(template, clip).box, model(template, clip, extent).box)


@torch.no_grad()
def test_a_stream_keeps_the_first_shape(model: TCTrackLite) -> None:
    template, clip = _crops(model, 1, 3)
    extent = torch.tensor([[30.0, 80.0]])
    state = model.start(template, clip[:, 0], extent)
    _, state = model.step(clip[:, 1], state)
    torch.testing.assert_close(
        model.step(clip[:, 2], state)[0].box, model(template, clip, extent).box[:, 2], rtol=1e-5, atol=1e-4
    )
