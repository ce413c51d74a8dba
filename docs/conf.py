"""The documentation: `pip install -e '.[docs]' && sphinx-build -W -c docs . docs/_build`.

The source is the whole repository, so that a link leads to the same file here as where the repository is read.
"""

import re
from importlib import import_module
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import gan_jax
from gan_jax.options import FLAG, REQUIRED, Option, options_of

logger = logging.getLogger(__name__)

project = "gan_jax"
author = "the authors of gan_jax"
release = version = gan_jax.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "notebooks/*.ipynb",
    "experiments/README.md",
    "experiments/searches.md",
    "experiments/results/**.md",
    "CHANGELOG.md",
]
exclude_patterns = [".*", "docs/_build", "runs", "build", "dist"]  # not even looked into
html_theme = "furo"
html_math_renderer = "mathml"  # browsers draw it by themselves, without a script from elsewhere
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_copyright = False
html_extra_path = ["_root"]
html_title = f"gan_jax {version}"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebooks are kept with their outputs; CI runs them by themselves
nb_render_markdown_format = "myst"  # tables and formulas that cells print, too

default_role = "code"  # docstrings put code between single backticks
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False


class Options(SphinxDirective):
    """`{options} gan_jax.sample:Options`: each flag of a command, what it takes, its default and its help."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The flags as a list of definitions, from the same fields as --help."""
        module, name = self.arguments[0].split(":")
        items = [
            _item(flag, found) for flag, found in options_of(getattr(import_module(module), name)).items()
        ]
        return [nodes.definition_list("", *items)]


def _item(name: str, option: Option) -> nodes.definition_list_item:
    metavar = option.rule.metavar if isinstance(option.rule.metavar, str) else option.rule.metavar()
    flag = f"--{name}, --no_{name}" if option.rule is FLAG else f"--{name}={metavar.replace(',', ', ')}"
    default = " ".join(map(str, option.default)) if isinstance(option.default, tuple) else option.default
    note = "" if default is None or default == "" else f" Default: `{default}`."
    note = " Required." if option.default is REQUIRED else note
    term = nodes.term("", "", nodes.literal("", flag))
    return nodes.definition_list_item(
        "", term, nodes.definition("", nodes.paragraph("", "", *_inline(option.help + note)))
    )


def _inline(text: str) -> list[nodes.Node]:
    """Text in which what stands between backticks is code."""
    return [nodes.literal("", part) if i % 2 else nodes.Text(part) for i, part in enumerate(text.split("`"))]


def _mathml(node: nodes.Element, *, as_block: bool) -> str:
    tex = re.sub(
        r"(\\[td]?frac)\s*(\d)\s*(\d)", r"\1{\2}{\3}", node.astext()
    )  # docutils reads \frac12 as 12/…
    try:
        return tex2mathml(tex, as_block=as_block)
    except MathError as error:
        logger.warning("%s, in the formula %s", error, tex, location=node)
        return ""


def _inline_math(writer: Any, node: nodes.math) -> None:
    writer.body.append(_mathml(node, as_block=False))
    raise nodes.SkipNode


def _block_math(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f"<div>{_mathml(node, as_block=True)}</div>")
    raise nodes.SkipNode


def _plain_bars(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Has |x| in a docstring mean what it does in mathematics."""
    lines[:] = [line.replace("|", "\\|") for line in lines]


def _results_apart(app: Sphinx, doctree: nodes.document) -> None:
    """Has the pages of results be reached by links alone: not all have a title, which a table of contents needs."""
    if app.env.docname.startswith("experiments/results/"):
        app.env.metadata[app.env.docname]["orphan"] = "true"


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_directive("options", Options)
    app.add_html_math_renderer("mathml", (_inline_math, None), (_block_math, None))
    app.connect("autodoc-process-docstring", _plain_bars)
    app.connect("doctree-read", _results_apart)
