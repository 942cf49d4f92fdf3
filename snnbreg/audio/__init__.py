"""From sound to spikes: the cochlea that made SHD, and folders of recordings as event files.

    folder -> recordings -> sound -> cochlea (membrane, cells) -> event files in SHD's layout

Needs scipy and soundfile (the extra ``audio``; tonic brings both along), and of this project
nothing else.
"""

from snnbreg.audio.cochlea import Spikes, hear
from snnbreg.audio.convert import SECONDS, TAIL, spikes_of, write_event_files
from snnbreg.audio.recordings import Recording, assign_splits, list_recordings
from snnbreg.audio.sound import read_sound

__all__ = [
    "SECONDS",
    "TAIL",
    "Recording",
    "Spikes",
    "assign_splits",
    "hear",
    "list_recordings",
    "read_sound",
    "spikes_of",
    "write_event_files",
]
