"""Videos that play in the page: a link to an MP4 that is a paragraph of its own becomes one.

On a code host it stays what it is, a link to the file.
"""

from __future__ import annotations

import re

_LINK = re.compile(r'<p><a href="([^"]+\.mp4)">(.*?)</a></p>', re.DOTALL)
_VIDEO = (
    '<figure><video src="{}" controls loop muted playsinline preload="metadata"></video>'
    "<figcaption>{}</figcaption></figure>"
)


def on_page_content(content: str, **_: object) -> str:
    """Replaces the links."""
    return _LINK.sub(lambda match: _VIDEO.format(match[1], match[2]), content)
