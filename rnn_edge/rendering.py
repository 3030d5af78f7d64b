"""Text files from templates that are files of the package themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnn_edge.extras import import_extra

SUFFIX = ".jinja"


def render(template: Path, values: Mapping[str, Any]) -> str:
    """The text of one ``*.jinja`` file; a name that ``values`` lacks is an error.

    A template may import and include the others of its folder.
    """
    jinja = import_extra("jinja2")
    environment = jinja.Environment(
        loader=jinja.FileSystemLoader(template.parent),
        undefined=jinja.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return str(environment.get_template(template.name).render(**values))


def render_folder(templates: Path, values: Mapping[str, Any]) -> dict[str, str]:
    """The text of every file under ``templates`` by its path there, less ``.jinja``.

    A file without that suffix is taken as it is; one whose name starts with ``_`` is only there to
    be imported.
    """
    found = {}
    for path in sorted(templates.rglob("*")):
        if path.is_file() and not path.name.startswith("_"):
            name = path.relative_to(templates).as_posix()
            if path.suffix == SUFFIX:
                found[name.removesuffix(SUFFIX)] = render(path, values)
            else:
                found[name] = path.read_text(encoding="utf-8")
    return found
