"""CIFAR-10 (Krizhevsky 2009) and CIFAR-10-C (Hendrycks & Dietterich 2019) as arrays.

CIFAR-10 is read from its binary version: the one for Python is pickles, which are programs. Of an
archive only regular files with the names that are expected are taken.
"""

import tarfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int64, UInt8

from attributome.core.errors import DataError, UsageError
from attributome.core.files import write_text, write_whole
from attributome.data.sources.downloads import fetch

CIFAR10 = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
CIFAR10C = "https://zenodo.org/records/2535967/files/CIFAR-10-C.tar?download=1"
CIFAR10C_SHA256 = "c72763e101c723b7c507b96205f7e938912a5d587376173b825850cf3cb876a7"
TERMS10 = "Alex Krizhevsky, who states no licence, https://www.cs.toronto.edu/~kriz/cifar.html"
TERMS10C = "Dan Hendrycks and Thomas Dietterich, CC BY 4.0, https://zenodo.org/records/2535967"
LICENCE = """\
CIFAR-10 is of Alex Krizhevsky, https://www.cs.toronto.edu/~kriz/cifar.html, who states no licence
and asks to cite Learning Multiple Layers of Features from Tiny Images (2009). CIFAR-10-C is of Dan
Hendrycks and Thomas Dietterich, https://zenodo.org/records/2535967, as CC BY 4.0, and asks to cite
Benchmarking Neural Network Robustness to Common Corruptions and Perturbations (ICLR 2019). This
note was written by a program and is not the licence.
"""

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
CORRUPTIONS = (
    *("brightness", "contrast", "defocus_blur", "elastic_transform", "fog", "frost"),
    *("gaussian_blur", "gaussian_noise", "glass_blur", "impulse_noise", "jpeg_compression"),
    *("motion_blur", "pixelate", "saturate", "shot_noise", "snow", "spatter", "speckle_noise"),
    "zoom_blur",
)
SEVERITIES = (1, 2, 3, 4, 5)

TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = ("test_batch.bin",)
SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE
MEMBER_BYTES = 2**28


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    """Images in 8 bits, red, green and blue, and the class of each, 0 to 9 as in `CLASSES`."""

    images: UInt8[np.ndarray, "n 3 32 32"]
    labels: Int64[np.ndarray, " n"]


def fetch_cifar10(
    folder: Path,
    *,
    url: str = CIFAR10,
    checksum: str = CIFAR10_SHA256,
    tries: int = 5,
    timeout: float = 30.0,
    wait: float = 1.0,
    progress: Callable[[int, int | None], object] | None = None,
) -> Path:
    """Fetch CIFAR-10 and unpack it to `cifar-10-batches-bin` in `folder`; it is also returned."""
    names = (*TRAIN, *TEST)
    terms: dict[str, Any] = {"tries": tries, "timeout": timeout, "wait": wait}
    terms |= {"progress": progress}
    return _fetched(folder, "cifar-10-batches-bin", names, url, checksum, terms)


def fetch_cifar10c(
    folder: Path,
    *,
    url: str = CIFAR10C,
    checksum: str = CIFAR10C_SHA256,
    tries: int = 5,
    timeout: float = 30.0,
    wait: float = 1.0,
    progress: Callable[[int, int | None], object] | None = None,
) -> Path:
    """Fetch CIFAR-10-C (2.9 GB) and unpack it to `CIFAR-10-C` in `folder`; it is also returned."""
    names = (*(f"{name}.npy" for name in CORRUPTIONS), "labels.npy")
    terms: dict[str, Any] = {"tries": tries, "timeout": timeout, "wait": wait}
    terms |= {"progress": progress}
    return _fetched(folder, "CIFAR-10-C", names, url, checksum, terms)


def read_cifar10(folder: Path, part: Literal["train", "test"]) -> Labelled:
    """The 50,000 images to train with, or the 10,000 to test with, of what was unpacked."""
    records = []
    for name in TRAIN if part == "train" else TEST:
        path = folder / name
        try:
            flat = np.frombuffer(path.read_bytes(), np.uint8)
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}") from error
        if not len(flat) or len(flat) % RECORD:
            raise DataError(f"{path} has {len(flat)} bytes, no multiple of {RECORD}: it is cut")
        records.append(flat.reshape(-1, RECORD))
    whole = np.concatenate(records)
    return _labelled(whole[:, 1:].reshape(-1, 3, SIDE, SIDE), whole[:, 0], folder)


def read_cifar10c(folder: Path, corruption: str, severity: int) -> Labelled:
    """The test images under one corruption at a severity from 1 to 5, in the order of `test`."""
    if corruption not in CORRUPTIONS or severity not in SEVERITIES:
        raise UsageError(
            f"there is no {corruption!r} of severity {severity}: use 1 to 5 of "
            f"{', '.join(CORRUPTIONS)}"
        )
    images = _array(folder / f"{corruption}.npy")
    labels = _array(folder / "labels.npy")
    fits = images.shape[1:] == (SIDE, SIDE, 3) and labels.shape == images.shape[:1]
    if not fits or not len(images) or len(images) % len(SEVERITIES):
        raise DataError(
            f"{folder} has {corruption} of shape {images.shape} and labels of shape "
            f"{labels.shape}: they must be (5 n, 32, 32, 3) and (5 n,)"
        )
    count = len(images) // len(SEVERITIES)
    rows = slice((severity - 1) * count, severity * count)
    return _labelled(images[rows].transpose(0, 3, 1, 2), labels[rows], folder)


def unpack(archive: Path, wanted: Mapping[str, Path], *, most: int = MEMBER_BYTES) -> None:
    """Write the members of a tar archive that are wanted, and nothing else, each whole.

    Only regular files count: a link, a device or a name that leaves a folder is never followed.
    Raises `DataError` where one is missing, there twice, or larger than `most` bytes.
    """
    found: set[str] = set()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if name not in wanted or not member.isreg():
                    continue
                if name in found or member.size > most:
                    raise DataError(f"{archive} has {name} twice, or with more than {most} bytes")
                found.add(name)
                body = tar.extractfile(member)
                contents = body.read() if body is not None else b""
                if len(contents) != member.size:
                    raise DataError(f"{archive} ends in {name}: it is cut")
                write_whole(wanted[name], partial(Path.write_bytes, data=contents))
    except DataError:
        raise
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise DataError(f"cannot read the archive {archive}: {error}") from error
    if missing := sorted({*wanted} - found):
        raise DataError(f"{archive} has no {', '.join(missing)}")


def _fetched(
    folder: Path,
    inner: str,
    names: tuple[str, ...],
    url: str,
    checksum: str,
    terms: Mapping[str, Any],
) -> Path:
    """The folder with all the files of an archive, which is fetched if one is missing."""
    home = folder / inner
    if all((home / name).exists() for name in names):
        return home
    archive = folder / url.partition("?")[0].rpartition("/")[2]
    write_text(folder / "LICENCE.txt", LICENCE)
    fetch(url, archive, checksum=checksum, **terms)
    unpack(archive, {f"{inner}/{name}": home / name for name in names})
    return home


def _array(path: Path) -> UInt8[np.ndarray, "..."]:
    """An array of bytes on the disk; one of Python objects would be a pickle."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        raise DataError(f"{path} holds no bytes: images and labels are uint8")
    return array


def _labelled(images: np.ndarray, labels: np.ndarray, folder: Path) -> Labelled:
    if labels.max() >= len(CLASSES):
        raise DataError(f"{folder} has the label {labels.max()}: classes are 0 to 9")
    return Labelled(images=np.ascontiguousarray(images), labels=labels.astype(np.int64))
