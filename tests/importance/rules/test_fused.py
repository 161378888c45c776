"""The fused kernel against float64 in triton's interpreter, compiled for GPUs, and on a GPU where there is one.

Run as a script, this file is the process in which the interpreter works: triton must be told before its import.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mascli.importance.rules import fused
from mascli.importance.rules.fused import Reduction, Tiling, choose_tiling, launch_arguments, sum_of_products

Compiled = Callable[..., Any]
SMALLEST_SHARED_MEMORY = 99 * 1024  # of one program, on compute capabilities 8.6, 8.9 and 12.0


@dataclass(frozen=True)
class Case:
    """Shapes, how they lie in memory, and what is asked."""

    images: int
    groups: int
    positions: int
    outs: int
    ins: int
    dtype: torch.dtype = torch.float32
    layout: str = "contiguous"
    reduction: Reduction = "abs"

    def __str__(self) -> str:
        shape = "x".join(map(str, (self.images, self.groups, self.positions, self.outs, self.ins)))
        return f"{shape}-{str(self.dtype).removeprefix('torch.')}-{self.layout}-{self.reduction}"

    @property
    def tiling(self) -> Tiling:
        return choose_tiling(self.images, self.groups, self.positions, self.outs, self.ins, self.dtype, False)

    def inputs(self, device: str = "cpu") -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.positions)
        return self._factor(self.outs, generator, device), self._factor(self.ins, generator, device)

    def _factor(self, width: int, generator: torch.Generator, device: str) -> Tensor:
        n, g, t = self.images, self.groups, self.positions
        values = torch.randn(n, g, t, width, generator=generator).to(self.dtype).to(device)
        if self.layout == "channels first":  # a convolution: [N, channels, T]
            return values.transpose(2, 3).contiguous().transpose(2, 3)
        if self.layout == "groups last":  # [N, T, groups * width]
            return values.transpose(1, 2).contiguous().transpose(1, 2)
        if self.layout == "expanded":  # the gradient of a mean over positions
            return values[:, :, :1].expand(n, g, t, width)
        if self.layout == "between nan":  # whatever is read beside the tensor shows
            around = torch.full((n + 2, g + 1, t + 3, 2 * width + 5), torch.nan, dtype=self.dtype, device=device)
            inside = around[1:-1, :g, 1:-2, 2 : 2 * width + 2 : 2]
            return inside.copy_(values)
        if self.layout == "nan inside":
            values[-1, -1, -1, -1] = torch.nan
        return values


BF16, F16 = torch.bfloat16, torch.float16
CASES = [
    Case(1, 1, 1, 1, 1),
    Case(1, 1, 1, 1, 1, BF16, reduction="square"),
    Case(3, 2, 5, 7, 9),
    Case(3, 2, 5, 7, 9, BF16, "channels first"),
    Case(2, 1, 16, 16, 16, reduction="square"),
    Case(2, 3, 17, 33, 15, layout="groups last"),
    Case(2, 3, 33, 1, 40, BF16, "groups last", "square"),
    Case(4, 1, 49, 37, 70, layout="channels first"),  # steps over positions, the last one not full
    Case(4, 1, 49, 37, 70, BF16, "channels first"),  # one step
    Case(2, 1, 197, 40, 24, BF16),
    Case(2, 1, 100, 20, 65, F16, reduction="square"),
    Case(3, 1, 6, 5, 18, layout="expanded"),
    Case(2, 2, 35, 19, 21, layout="between nan"),
    Case(2, 2, 70, 19, 33, BF16, "between nan", "square"),
    Case(2, 2, 3, 17, 18, layout="nan inside"),
    Case(257, 1, 2, 2, 3),  # slices of 2 images, the last of 1
    Case(131, 2, 2, 2, 3, BF16, reduction="square"),
    Case(3, 256, 2, 1, 2),  # no slices: enough tiles already
]


def oracle(g: Tensor, a: Tensor, reduction: Reduction) -> Tensor:
    total = torch.zeros(g.shape[1], g.shape[3], a.shape[3], dtype=torch.float64)
    for image_g, image_a in zip(g.cpu().double(), a.cpu().double(), strict=True):
        gradient = torch.einsum("gto,gti->goi", image_g, image_a)
        total += gradient.abs() if reduction == "abs" else gradient**2
    return total


def error(result: Tensor, expected: Tensor) -> float:
    """Largest difference, in parts of the largest expected number; NaN must stand where it is expected."""
    result = result.cpu().double()
    if not torch.equal(result.isnan(), expected.isnan()):
        return torch.inf
    return float((result - expected).nan_to_num().abs().max() / expected.nan_to_num().max())


def forced_wide(case: Case) -> Tensor:
    """The result with 64-bit offsets in a tile, which no tensor of a test's size needs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "launch_arguments", lambda *args: launch_arguments(*args) | {"WIDE": True})
        return sum_of_products(*case.inputs(), reduction=case.reduction)


def interpret(out: str) -> None:
    """Compute every case in triton's interpreter."""
    from triton.runtime import interpreter

    product = interpreter.InterpreterBuilder.create_dot

    def of_values(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        """The interpreter's product, which takes bfloat16 for the integers it keeps them in (triton issue 11584)."""
        for factor in (a, b):
            if factor.dtype.scalar.is_bf16():
                factor.data = (factor.data.astype("uint32") << 16).view("float32")
        return product(self, a, b, *rest)

    interpreter.InterpreterBuilder.create_dot = of_values
    results = {str(case): sum_of_products(*case.inputs(), reduction=case.reduction) for case in CASES}
    torch.save({"cases": results, "wide": forced_wide(CASES[5])}, out)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    pytest.importorskip("triton", reason="the kernel needs triton, which PyTorch brings on Linux only")
    out = tmp_path_factory.mktemp("interpreted") / "results.pt"
    of_triton = "ignore:Conversion of an array:DeprecationWarning"  # older ones with newer NumPy
    command = [sys.executable, "-W", "error", "-W", of_triton, __file__, str(out)]
    run = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return torch.load(out)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_case_equals_float64_in_the_interpreter(case: Case, interpreted: dict[str, Any]) -> None:
    result = interpreted["cases"][str(case)]
    assert result.dtype == torch.float32
    assert result.shape == (case.groups, case.outs, case.ins)
    assert error(result, oracle(*case.inputs(), case.reduction)) <= 1e-6


def test_the_cases_have_all_ways_to_cut_the_work() -> None:
    tilings = [case.tiling for case in CASES]
    assert {t.slices == 1 for t, case in zip(tilings, CASES, strict=True) if case.images > 1} == {True, False}
    assert any(1 < t.slice_images < case.images for t, case in zip(tilings, CASES, strict=True))
    assert {case.positions > t.block_position for t, case in zip(tilings, CASES, strict=True)} == {True, False}


def test_wide_offsets_give_the_same_result(interpreted: dict[str, Any]) -> None:
    assert torch.equal(interpreted["wide"], interpreted["cases"][str(CASES[5])])


def test_wrong_sums_are_told_apart(interpreted: dict[str, Any]) -> None:
    case = CASES[7]
    g, a = (factor.double() for factor in case.inputs())
    result = interpreted["cases"][str(case)]
    wrong = {
        "over positions after the absolute value": oracle(g.abs(), a.abs(), "abs"),
        "over images before the absolute value": torch.einsum("ngto,ngti->goi", g, a).abs(),
        "another reduction": oracle(g, a, "square"),
        "without the last position": oracle(g[:, :, :-1], a[:, :, :-1], "abs"),
        "without the last image": oracle(g[:-1], a[:-1], "abs"),
    }
    assert {name for name, sums in wrong.items() if error(result, sums) <= 1e-3} == set()


# Compiled for GPUs that need not be here.

VIT = Case(32, 1, 197, 3072, 768, BF16)
SMALL_MAPS = Case(32, 1, 49, 512, 4608, F16, "channels first")
LARGE_MAPS = Case(32, 1, 3136, 64, 576, layout="channels first")
ONES = Case(1, 1, 1, 1, 1, reduction="square")


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiled:
    """Compiles the kernel as a launch for a GPU of a given capability would, without a GPU or a launch."""
    triton = pytest.importorskip("triton", reason="the kernel needs triton, which PyTorch brings on Linux only")
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("with TRITON_INTERPRET=1 nothing is compiled")
    from triton.backends.compiler import GPUTarget

    from mascli.importance.rules.fused_kernel import kernel

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    def build(capability: int, case: Case, tf32: bool = False, wide: bool = False) -> Any:
        driver = SimpleNamespace(
            get_current_device=lambda: capability,
            get_current_stream=lambda device: 0,
            get_current_target=lambda: GPUTarget("cuda", capability, 32),
        )
        monkeypatch.setattr(triton.runtime.driver, "_active", driver)
        g, a = (factor.to("meta") for factor in case.inputs())
        tiling = choose_tiling(case.images, case.groups, case.positions, case.outs, case.ins, case.dtype, tf32)
        sums = torch.empty(tiling.slices, case.groups, case.outs, case.ins, device="meta")
        arguments = launch_arguments(g, a, sums, tiling, case.reduction, tf32)
        return kernel.run(grid=(1,), warmup=True, **arguments | {"WIDE": wide})

    return build


@pytest.mark.parametrize(
    ("capability", "case", "tf32", "wide"),
    [
        (80, VIT, False, False),
        (90, VIT, False, True),
        (120, VIT, False, False),
        (90, SMALL_MAPS, False, False),
        (80, LARGE_MAPS, False, False),
        (90, LARGE_MAPS, False, True),
        (90, LARGE_MAPS, True, False),
        (80, ONES, False, False),
    ],
    ids=str,
)
def test_the_kernel_compiles_and_its_shared_memory_suffices(
    capability: int, case: Case, tf32: bool, wide: bool, compiled: Compiled
) -> None:
    built = compiled(capability, case, tf32, wide)
    assert built.asm["cubin"]
    assert 0 < built.metadata.shared <= SMALLEST_SHARED_MEMORY


def test_exact_float32_products_are_not_rounded_to_tf32(compiled: Compiled) -> None:
    exact, rounded = (compiled(80, LARGE_MAPS, tf32).asm["ptx"] for tf32 in (False, True))
    assert "fma.rn.f32" in exact and "tf32" not in exact
    assert "tf32" in rounded


def test_no_atomic_addition_is_compiled(compiled: Compiled) -> None:
    ptx = compiled(80, LARGE_MAPS).asm["ptx"]
    assert "st.global" in ptx
    assert re.findall(r"\b(?:atom|red)\.\S+", ptx) == []


def test_another_number_of_images_does_not_compile_anew(compiled: Compiled) -> None:
    first = compiled(80, LARGE_MAPS)
    assert compiled(80, replace(LARGE_MAPS, images=29)) is first
    assert compiled(80, replace(LARGE_MAPS, reduction="square")) is not first


# On a GPU.

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@needs_gpu
@pytest.mark.parametrize("case", [*CASES, VIT, SMALL_MAPS, LARGE_MAPS], ids=str)
def test_every_case_equals_float64_on_a_gpu_with_the_same_bytes_each_time(case: Case) -> None:
    g, a = case.inputs("cuda")
    assert fused.obstacle(g) is None
    first = sum_of_products(g, a, reduction=case.reduction)
    assert error(first, oracle(g, a, case.reduction)) <= 1e-5
    again = sum_of_products(g, a, reduction=case.reduction)
    assert torch.equal(first.view(torch.int32), again.view(torch.int32))


@needs_gpu
def test_tf32_on_a_gpu_is_asked_for() -> None:
    g, a = LARGE_MAPS.inputs("cuda")
    expected = oracle(g, a, "abs")
    assert error(sum_of_products(g, a), expected) <= 1e-5
    assert 1e-5 < error(sum_of_products(g, a, tf32=True), expected) <= 1e-2


@needs_gpu
@pytest.mark.parametrize("far", ["image", "position", "out"])
def test_offsets_beyond_32_bits_on_a_gpu(far: str) -> None:
    if torch.cuda.mem_get_info()[0] < 12 * 2**30:
        pytest.skip("needs 12 GiB of free GPU memory")
    case = Case(2, 1, 2, 2, 3, BF16)
    g, a = case.inputs("cuda")
    strides = {"image": (2**31 + 5, 4, 2, 1), "position": (4, 4, 2**31 + 5, 1), "out": (4, 4, 2, 2**31 + 5)}[far]
    memory = torch.empty(2**31 + 64, dtype=BF16, device="cuda")
    far_g = memory.as_strided(g.shape, strides).copy_(g)
    assert error(sum_of_products(far_g, a), oracle(g, a, "abs")) <= 1e-5


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices here")
def test_the_device_of_the_tensors_counts_not_the_current_one() -> None:
    g, a = CASES[2].inputs("cuda:1")
    assert error(sum_of_products(g, a), oracle(g, a, "abs")) <= 1e-5


def test_importing_the_module_does_not_load_triton() -> None:
    code = "import sys, mascli.importance.rules.fused; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_tensor_that_is_not_on_a_gpu_is_not_taken() -> None:
    assert not fused.available(torch.ones(1))
    assert fused.obstacle(torch.ones(1)) == "the tensor is not on a CUDA device"


def on_gpu(dtype: torch.dtype) -> Any:
    """As much of a CUDA tensor as `obstacle` looks at."""
    return SimpleNamespace(is_cuda=True, dtype=dtype, device=torch.device("cuda", 0))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    fused._obstacle_of_device.cache_clear()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch, "ones", lambda *shape, device: torch.full(shape, 1.0))
    monkeypatch.setattr(fused, "sum_of_products", lambda g, a: (g * a).abs())
    yield monkeypatch
    fused._obstacle_of_device.cache_clear()


def test_a_gpu_on_which_the_kernel_works_is_taken(gpu: pytest.MonkeyPatch) -> None:
    assert all(fused.available(on_gpu(dtype)) for dtype in (torch.float32, F16, BF16))
    assert fused.obstacle(on_gpu(torch.float64)) == "float64 is not among its dtypes"


def test_an_old_gpu_is_not_taken(gpu: pytest.MonkeyPatch) -> None:
    gpu.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert fused.obstacle(on_gpu(F16)) == "the GPU's compute capability is below 8.0"


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (Mock(side_effect=ImportError()), "triton is not installed"),
        (Mock(side_effect=RuntimeError("no C\ncompiler")), "triton does not work here: RuntimeError: no C compiler"),
        (lambda g, a: g * a, "triton gives a wrong result here"),
    ],
)
def test_what_keeps_the_kernel_from_working_is_told(
    call: Callable[..., Tensor], reason: str, gpu: pytest.MonkeyPatch
) -> None:
    gpu.setattr(fused, "sum_of_products", call)
    assert fused.obstacle(on_gpu(F16)) == reason


@pytest.mark.parametrize(
    ("g", "a"),
    [
        (torch.ones(2, 1, 3, 4), torch.ones(2, 1, 4, 4)),
        (torch.ones(2, 3, 4), torch.ones(2, 3, 4)),
        (torch.ones(0, 1, 3, 4), torch.ones(0, 1, 3, 4)),
        (torch.ones(2, 1, 3, 4), torch.ones(2, 1, 3, 4, dtype=F16)),
        (torch.ones(2, 1, 3, 4, dtype=torch.float64), torch.ones(2, 1, 3, 4, dtype=torch.float64)),
        (torch.ones(2, 1, 3, 4), torch.ones(2, 1, 3, 4, device="meta")),
    ],
)
def test_what_does_not_fit_is_refused(g: Tensor, a: Tensor) -> None:
    with pytest.raises(ValueError, match="needed"):
        sum_of_products(g, a)
    with pytest.raises(ValueError, match="abs, square is needed: taylor"):
        sum_of_products(g, a, reduction="taylor")


@given(
    sizes=st.tuples(*(st.integers(1, most) for most in (5000, 2048, 20000, 5000, 5000))),
    dtype=st.sampled_from([torch.float32, F16, BF16]),
    tf32=st.booleans(),
)
def test_every_tiling_can_run(sizes: tuple[int, ...], dtype: torch.dtype, tf32: bool) -> None:
    tiling = choose_tiling(*sizes, dtype, tf32)
    images, groups, _, outs, ins = sizes
    blocks = (tiling.block_out, tiling.block_in, tiling.block_position)
    assert all(16 <= block <= 128 and block & (block - 1) == 0 for block in blocks)
    step = (tiling.block_out + tiling.block_in) * tiling.block_position * dtype.itemsize
    assert step * tiling.stages <= 64 * 1024
    assert (tiling.slices - 1) * tiling.slice_images < images <= tiling.slices * tiling.slice_images
    tiles = groups * -(-outs // tiling.block_out) * -(-ins // tiling.block_in)
    assert tiling.slices == 1 or tiling.slices * tiles < 2 * fused.PROGRAMS
    sums_of_a_thread = 2 * tiling.block_out * tiling.block_in // (32 * tiling.warps)
    assert sums_of_a_thread <= (128 if dtype != torch.float32 or tf32 else 64)


@pytest.mark.parametrize(("stride", "wide"), [(2**26, False), (2**27, True), (2**33, True)])
def test_offsets_are_wide_where_a_tile_spans_too_much(stride: int, wide: bool) -> None:
    g, a = (torch.empty(1, device="meta").as_strided((2, 1, 9, 4), s) for s in ((4, 4, stride, 1), (36, 36, 4, 1)))
    tiling = choose_tiling(2, 1, 9, 4, 4, torch.float32, False)
    for factors in ((g, a), (a, g)):
        assert launch_arguments(*factors, torch.empty(1), tiling, "abs", False)["WIDE"] is wide


if __name__ == "__main__":
    interpret(sys.argv[1])
