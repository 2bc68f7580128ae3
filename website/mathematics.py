"""Equations as MathML, made while the site is built: browsers draw it themselves.

Pages have them as code hosts do: `$x$` in a line, and blocks of code of the language `math`.
"""

from __future__ import annotations

import html
import logging
import re

from latex2mathml.converter import convert

log = logging.getLogger(f"mkdocs.hooks.{__name__}")

_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_BLOCK = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.DOTALL)
_RELATIONS = {"~": "&#x223C;", "&#x0007E;": "&#x223C;", "&#x02223;": "&#x2223;"}
"""Signs that `latex2mathml` takes for names, and what stands between what they relate."""
_FUNCTION = re.compile(r"<m([io])>(ln|log)</m\1>")


def on_page_content(content: str, page: object, **_: object) -> str:
    """Replaces the LaTeX that the extension `arithmatex` has found; a fault in it is a warning."""

    def inline(match: re.Match[str]) -> str:
        return mathml(match[1], "inline", page)

    def block(match: re.Match[str]) -> str:
        return f'<div class="equation" tabindex="0">{mathml(match[1], "block", page)}</div>'

    return _INLINE.sub(inline, _BLOCK.sub(block, content))


def mathml(latex: str, display: str, page: object) -> str:
    """Returns the MathML of LaTeX as HTML has it, with the LaTeX for those who copy it."""
    text = html.unescape(latex).strip()
    try:
        made = convert(text.replace("{aligned}", "{align*}"), display=display)
    except Exception as error:  # of many kinds; with --strict a warning ends the build
        log.warning("%s: no MathML of %r (%s: %s)", page, text, type(error).__name__, error)
        return html.escape(text)
    unknown = re.findall(r"\\[A-Za-z]+|<mi>&</mi>", made)
    if unknown:
        log.warning("%s: not understood in %r: %s", page, text, ", ".join(unknown))
    for sign, relation in _RELATIONS.items():
        made = made.replace(f"<mi>{sign}</mi>", f"<mo>{relation}</mo>")
    made = _FUNCTION.sub(r'<mi>\2</mi><mspace width="0.17em"/>', made)
    return made.replace("<math ", f'<math alttext="{html.escape(text)}" ', 1)
