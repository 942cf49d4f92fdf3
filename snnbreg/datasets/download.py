"""Fetching data sets, checked by md5; only ``snnbreg prepare`` does it, never a run.

Addresses and checksums of SHD, SSC, N-MNIST and MNIST are tonic's, and so is the download.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FASHION_MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"


class Archive(NamedTuple):
    """A file to fetch.

    Attributes:
        url: where it is.
        filename: its name on disk.
        md5: checksum of the file.
        folder: where it goes below the data set's root.
        gives: what it is unpacked to, below ``folder``; empty for a file used as it is.
    """

    url: str
    filename: str
    md5: str
    folder: str = ""
    gives: str = ""


def archives(dataset: str) -> list[Archive]:
    """Return what has to be fetched for a data set.

    Raises:
        ValueError: if there is nothing to fetch for this name.
    """
    if dataset in ("shd", "ssc", "nmnist", "mnist"):
        return _from_tonic(dataset)
    if dataset == "fashion_mnist":
        return [Archive(FASHION_URL + name, name, md5) for name, md5 in FASHION_MD5.items()]
    if dataset == "cifar10":
        name = CIFAR_URL.rsplit("/", 1)[1]
        return [Archive(CIFAR_URL, name, CIFAR_MD5, gives="cifar-10-batches-bin")]
    raise ValueError(
        f"only shd, ssc, nmnist, mnist, fashion_mnist and cifar10 can be fetched, not {dataset!r}"
    )


def _from_tonic(dataset: str) -> list[Archive]:
    from tonic import datasets as tonic

    if dataset == "nmnist":
        source = tonic.NMNIST
        return [
            Archive(source.train_url, source.train_filename, source.train_md5, "NMNIST", "Train"),
            Archive(source.test_url, source.test_filename, source.test_md5, "NMNIST", "Test"),
        ]
    if dataset == "mnist":
        return [
            Archive(
                f"{tonic.SMNIST.base_url}{getattr(tonic.SMNIST, part + '_file')}.gz",
                f"{getattr(tonic.SMNIST, part + '_file')}.gz",
                getattr(tonic.SMNIST, part + "_md5"),
            )
            for part in ("train_images", "train_labels", "test_images", "test_labels")
        ]
    source, splits = {
        "shd": (tonic.SHD, ("train", "test")),
        "ssc": (tonic.SSC, ("train", "valid", "test")),
    }[dataset]
    zips = [(getattr(source, f"{s}_zip"), getattr(source, f"{s}_md5")) for s in splits]
    return [
        Archive(source.base_url + name, name, md5, dataset.upper(), name.removesuffix(".zip"))
        for name, md5 in zips
    ]


def fetch(dataset: str, root: Path) -> list[Path]:
    """Download and unpack a data set below ``root``; what is already there is left alone.

    An archive is unpacked into a folder of its own and its content then moved into place, so a
    stopped command leaves nothing half unpacked. An archive that is already there is checked
    instead of fetched.

    Returns:
        the files and folders the data set consists of.

    Raises:
        OSError: if the network, the disk or the checksum fails.
    """
    results = []
    for archive in archives(dataset):
        folder = root / archive.folder
        target = folder / (archive.gives or archive.filename)
        results.append(target)
        if archive.gives and target.exists():
            print(f"{target} is already there; delete it to fetch it again")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        _download(archive, folder)
        if archive.gives:
            _unpack(folder / archive.filename, target)
    return results


def _download(archive: Archive, folder: Path) -> None:
    from tonic.download_utils import download_url

    try:
        download_url(archive.url, str(folder), archive.filename, archive.md5)
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"{archive.url} could not be fetched to {folder} with md5 {archive.md5} ({error}). Try "
            f"again, or fetch it elsewhere, put it at {folder / archive.filename}, and repeat the "
            "command, which then checks and unpacks it"
        ) from error


def _unpack(path: Path, target: Path) -> None:
    from tonic.download_utils import extract_archive

    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=target.parent) as part:
        extract_archive(str(path), part)
        content = Path(part) / target.name
        if not content.exists():
            raise OSError(f"{path} does not contain {target.name}; it cannot be used")
        content.rename(target)
