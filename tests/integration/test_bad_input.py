"""Bad input to the command line: exit code, one line that names the value, nothing left behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from edgeprune.cli import main

VIT = ["vit_tiny_patch16_224", "--no-pretrained", "--img-size", "32", "--num-classes", "2"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two domains, two classes, four images each."""
    root = tmp_path / "images"
    for domain in ("ink", "oil"):
        for label, colour in (("cat", (200, 30, 30)), ("dog", (30, 30, 200))):
            folder = root / domain / label
            folder.mkdir(parents=True)
            for index in range(5):
                Image.new("RGB", (40, 36), colour).save(folder / f"{index}.png")
    return root


def fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], code: int
) -> str:
    """Run the command; check code and form of the error; return its line, and the hint's."""
    before = sorted(tmp_path.rglob("*"))
    found = main(arguments)
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line]
    errors = [line for line in lines if line.startswith("error: ")]
    assert found == code, captured.err
    assert len(errors) == 1, captured.err
    hints = [line for line in lines if line.startswith("hint: ")]
    assert len(hints) <= 1
    assert lines[lines.index(errors[0]) + 1 :] == hints
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert sorted(tmp_path.rglob("*")) == before
    return "\n".join([*errors, *hints])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ratio", "0"], "ratio 0"),
        (["--ratio", "1"], "ratio 1"),
        (["--ratio", "1.5"], "ratio 1.5"),
        (["--ratio", "-1"], "ratio -1"),
        (["--ratio", "half"], "'half'"),
        (["--metric", "magic"], "unknown metric 'magic'"),
        (["--metric", "hessian"], "needs calibration images"),
        (["--budget", "watts"], "unknown budget 'watts'"),
        (["--scope", "everywhere"], "unknown scope 'everywhere'"),
        (["--dims", "embed,depth"], "unknown dimension 'depth'"),
        (["--data", "emoji"], "accepted: apple,"),
        (["--target", "apple"], "--target and --source say which images of --data"),
        (["--data", "emoji", "--target", "apple", "--source", "google"], "give one of the two"),
        (["--img-size", "7"], "image size 7"),
        (["--weights", "missing.safetensors"], "'missing.safetensors' does not exist"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_prune_options(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["-o", str(tmp_path / "out")]
    assert message in fails(capsys, tmp_path, ["prune", *VIT, *output, *options], 2)


@pytest.mark.parametrize("command", [["prune"], ["export", "--onnx"], ["finetune"], ["bench"]])
def test_unknown_models(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], images: Path
) -> None:
    extra = {"finetune": ["--data", str(images), "--target", "ink", "--steps", "1"]}
    arguments = [command[0], "vit_tinny_patch16_224", "--no-pretrained", *command[1:]]
    arguments += ["-o", str(tmp_path / "out"), *extra.get(command[0], [])]
    assert "vit_tinny_patch16_224" in fails(capsys, tmp_path, arguments, 2)


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18", "convnext_tiny", "mobilenetv3_small_100", "efficientnet_b0"),
        *("swinv2_cr_tiny_224", "xcit_tiny_12_p16_224", "cait_xxs24_224", "volo_d1_224"),
        *("mvitv2_tiny", "maxvit_tiny_tf_224", "twins_svt_small", "vit_base_r50_s16_224"),
        *("vit_relpos_small_patch16_224", "naflexvit_base_patch16_gap"),
        # of a supported family, with a part that is not; large ones are refused as quickly
        *("vit_5b_patch16_sapiens2", "aimv2_3b_patch14_224", "eva02_enormous_patch14_clip_224"),
        *("vit_small_patch16_18x2_224", "vit_base_patch16_rope_mixed_224", "test_vit4"),
    ],
)
def test_unsupported_architectures(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for pretrained in ("--pretrained", "--no-pretrained"):
        run = ["prune", name, pretrained, "--num-classes", "2", "-o", str(tmp_path / "out")]
        error = fails(capsys, tmp_path, run, 2)
        assert repr(name) in error
        assert re.search("supported.*: beit, deit, eva, .*vit", error)


def test_missing_artifact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["prune", str(tmp_path / "nothing"), "-o", str(tmp_path / "out")]
    assert "nothing" in fails(capsys, tmp_path, run, 2)


@pytest.mark.parametrize(("device", "code"), [("toaster", 2), ("cuda", 3), ("jetson-orin-nano", 3)])
def test_devices(
    device: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert device in fails(capsys, tmp_path, ["bench", VIT[0], "--device", device], code)


def _finetune(images: Path, tmp_path: Path, target: str = "oil") -> list[str]:
    return [
        *("finetune", *VIT, "--data", str(images), "--target", target),
        *("--steps", "1", "--batch-size", "4", "-o", str(tmp_path / "out")),
    ]


def _calibrate(images: Path, tmp_path: Path, target: str = "oil") -> list[str]:
    return ["prune", *VIT, "--data", str(images), "--target", target, "-o", str(tmp_path / "out")]


@pytest.mark.parametrize("command", [_finetune, _calibrate])
def test_data_roots(command, images: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    assert "'clay'" in fails(capsys, tmp_path, command(images, tmp_path, "clay"), 2)
    near = fails(capsys, tmp_path, command(images, tmp_path, "Ink"), 2)
    assert "accepted: ink, oil\nhint: did you mean 'ink'?" in near
    missing = tmp_path / "missing"
    assert "missing" in fails(capsys, tmp_path, command(missing, tmp_path), 2)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "empty" in fails(capsys, tmp_path, command(empty, tmp_path), 2)
    alone = tmp_path / "alone"
    shutil.copytree(images / "ink", alone / "ink")
    assert "one domain" in fails(capsys, tmp_path, command(alone, tmp_path), 2)
    (images / "oil" / "dog").rename(images / "oil" / "fox")
    error = fails(capsys, tmp_path, command(images, tmp_path), 2)
    assert "oil" in error


def _truncate(folder: Path) -> Path:
    path = folder / "1.png"
    Image.effect_noise((64, 64), 90).save(path)
    path.write_bytes(path.read_bytes()[:200])
    return path


def _text(folder: Path) -> Path:
    path = folder / "1.png"
    path.write_text("this is not a picture")
    return path


def _animated(folder: Path) -> Path:
    path = folder / "moving.gif"
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


@pytest.mark.parametrize("spoil", [_truncate, _text, _animated])
@pytest.mark.parametrize("command", [_finetune, _calibrate])
def test_unreadable_images_are_named(command, spoil, images: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    # every image of the class, so that whichever is drawn first is a bad one
    for path in sorted((images / "ink" / "cat").iterdir()):
        path.unlink()
    bad = spoil(images / "ink" / "cat")
    for copy in range(5):
        shutil.copy(bad, bad.with_stem(f"copy{copy}"))
    error = fails(capsys, tmp_path, command(images, tmp_path), 2)
    assert bad.suffix in error
    assert "cat" in error


def test_odd_but_sound_images_are_read(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = images / "ink" / "cat"
    Image.new("RGB", (1, 1), (9, 9, 9)).save(folder / "0.png")
    Image.new("CMYK", (20, 20), (0, 90, 90, 20)).save(folder / "cmyk.jpg")
    Image.new("I;16", (20, 20), 40_000).save(folder / "deep.png")
    assert main([*_calibrate(images, tmp_path), "--json"]) == 0
    assert '"schema": "edgeprune/prune@1"' in capsys.readouterr().out


def test_what_is_said_about_a_dense_model_is_not_ignored_for_an_artifact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact, weights = tmp_path / "artifact", tmp_path / "artifact" / "model.safetensors"
    assert main(["prune", *VIT, "-o", str(artifact)]) == 0
    capsys.readouterr()
    for options, message in (
        (["--num-classes", "5"], "--num-classes 5 is for a dense timm model"),
        (["--img-size", "64"], "has 32"),
        (["--weights", str(weights)], "has its own"),
    ):
        for command in (["prune"], ["export", "--onnx"]):
            run = [*command, str(artifact), *options, "-o", str(tmp_path / "out")]
            assert message in fails(capsys, tmp_path, run, 2)
    same = ["--num-classes", "2", "--img-size", "32", "--dry-run"]
    assert main(["prune", str(artifact), *same]) == 0


def test_calibration_needs_an_image(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for samples in ("0", "-3"):
        run = [*_calibrate(images, tmp_path), "--samples", samples]
        assert f"samples {samples} is not accepted" in fails(capsys, tmp_path, run, 2)


@pytest.mark.parametrize("output", ["", ".", ".."])
def test_the_working_directory_is_never_replaced(
    output: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An empty name, as of a variable that is not set, is the working directory."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "precious").write_text("keep me")
    monkeypatch.chdir(here)
    error = fails(capsys, tmp_path, ["prune", *VIT, "--force", "-o", output], 2)
    assert "is the working directory" in error


def test_output_directories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "precious").write_text("keep me")
    error = fails(capsys, tmp_path, ["prune", *VIT, "-o", str(full)], 2)
    assert "not empty" in error
    error = fails(capsys, tmp_path, ["export", *VIT, "--onnx", "-o", str(full / "precious")], 2)
    assert "is a file" in error
    assert main(["prune", *VIT, "-o", str(full), "--force"]) == 0
    assert not (full / "precious").exists()


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small file system at ``folder``, which only root can mount."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_an_output_that_may_not_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mounted(tmp_path / "closed", "ro") as closed:
        error = fails(capsys, tmp_path, ["prune", *VIT, "-o", str(closed / "x")], 2)
        assert "no permission" in error


def test_a_full_disk_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with mounted(tmp_path / "small", "size=1m") as small:
        for command in (["prune", *VIT], ["export", *VIT, "--onnx"]):
            error = fails(capsys, tmp_path, [*command, "-o", str(small / "out")], 2)
            assert "no space left" in error
