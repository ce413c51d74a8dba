"""The documentation: `pip install -e '.[docs]' && sphinx-build -W docs docs/_build`."""

from importlib import import_module

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import gan_jax
from gan_jax.options import FLAG, REQUIRED, Option, options_of

project = "gan_jax"
author = "the authors of gan_jax"
release = version = gan_jax.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"gan_jax {version}"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebooks are kept with their outputs; CI runs them by themselves

default_role = "code"  # docstrings put code between single backticks
autodoc_typehints = "none"  # they are in the signatures, beside the shapes that the docstrings say
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
# Of alternatives in `--no_spectral_norm`, and until the first notebook is there.
suppress_warnings = ["toc.empty_glob"]


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
    return [
        nodes.literal("", part) if i % 2 else nodes.Text(part) for i, part in enumerate(text.split("`"))
    ]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_directive("options", Options)
