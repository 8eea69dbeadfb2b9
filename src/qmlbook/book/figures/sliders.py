"""A slider over pictures that works in a page without a server: everything is in the output."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ...base.errors import UsageError
from ...base.files import fill, sha256

LIVE = Path(__file__).parent / "live"  # HTML and JavaScript of figures that react


@dataclass(frozen=True)
class Slider:
    """A row of pictures, one at a time, chosen by a slider.

    Shown in a notebook or a page it needs no server and no other file, and works by keyboard; where
    scripts do not run, or in print, the last picture is shown.

    Attributes:
        label: what the slider chooses.
        frames: PNG files, one per position.
        captions: a sentence for each; shown, read out, and the picture's alternative text.
    """

    label: str
    frames: tuple[bytes, ...]
    captions: tuple[str, ...]

    @classmethod
    def of(cls, label: str, figures: Sequence[Figure], captions: Sequence[str]) -> Slider:
        """Return a slider over matplotlib figures, which are closed.

        Raises:
            UsageError: if there is no figure, or not one caption for each.
        """
        if not figures or len(figures) != len(captions):
            raise UsageError(
                "captions must hold one sentence for each of at least one figure; there are "
                f"{len(captions)} for {len(figures)}."
            )
        frames = []
        for figure in figures:
            file = BytesIO()
            figure.savefig(file, format="png", metadata={"Software": None})
            plt.close(figure)
            frames.append(file.getvalue())
        return cls(label, tuple(frames), tuple(captions))

    def html(self) -> str:
        """Return the page's part."""
        key = f"slider-{sha256(b''.join(self.frames))[:12]}"
        last = len(self.frames) - 1
        images = [base64.b64encode(frame).decode() for frame in self.frames]
        # "</" must not end the script.
        captions = json.dumps(self.captions).replace("</", "<\\/")
        return fill(
            LIVE / "slider.html",
            key=key,
            frames=zip(images, self.captions, strict=True),
            label=self.label,
            last=last,
            words=self.captions[last],
            captions=captions,
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {
            "text/html": self.html(),
            "image/png": base64.b64encode(self.frames[-1]).decode(),
            "text/plain": f"{self.label}: {self.captions[-1]}",
        }
