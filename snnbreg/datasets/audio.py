"""A person's own recordings, as ``snnbreg prepare audio`` made them into events."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from snnbreg.datasets.cache import cache_folder
from snnbreg.datasets.events import load_event_file, read_words
from snnbreg.datasets.speech import SpeechDataset
from snnbreg.datasets.splits import SPLITS, Splits


@dataclass
class Audio(SpeechDataset):
    """Recordings of any words: as many classes as ``extra/keys`` of the files names.

    ``root`` holds ``train.h5``, ``valid.h5`` and ``test.h5`` in SHD's layout.

    Args:
        duration_ms: length of the fixed grid; later events are dropped and counted.

    The other arguments are those of :class:`~snnbreg.datasets.speech.SpeechDataset`.
    """

    duration_ms: float = 1000.0

    NAME = "audio"

    def load(self) -> Splits:
        """Return the splits, with the words.

        Raises:
            FileNotFoundError: if ``root`` is not given or lacks a file.
            OSError, ValueError: if a file is damaged or a setting impossible.
        """
        if self.root is None:
            raise FileNotFoundError(
                "dataset.root must name the folder that snnbreg prepare audio FOLDER --root DIR "
                "wrote, with train.h5, valid.h5 and test.h5"
            )
        folder, grid, cache = Path(self.root).expanduser(), self._grid(), cache_folder(self.cache)
        paths = [folder / f"{split}.h5" for split in SPLITS]
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            raise FileNotFoundError(
                f"dataset.root={folder} lacks {', '.join(missing)}: make them from a folder with a "
                f"subfolder of recordings per word by snnbreg prepare audio FOLDER --root {folder}"
            )
        words = read_words(paths[0])
        for path in paths[1:]:
            if read_words(path) != words:
                raise ValueError(f"{path} has other words than {paths[0]}: prepare them together")
        parts = [load_event_file(path, self.NAME, grid, len(words), cache) for path in paths]
        return self._splits(dict(zip(SPLITS, parts, strict=True)))
