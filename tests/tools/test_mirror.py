"""A mirrored definition is the package's own code with shorter docstrings."""

import ast
import inspect

from segformer_edu.mix_ffn import MixFFN
from tools.mirror import cut_docstrings, definition, public_definitions

WRITTEN = '''\
class Layer(Module):
    r"""Shrinks `x` by \\alpha. `(B, H, W, C)` stays.

    Args:
        x: a map.
    """

    def forward(self, x):
        """Returns
        x. Always.
        """
        text = """Stays. As it is."""
        return x  # (B, H, W, C)
'''
SHOWN = '''\
class Layer(Module):
    r"""Shrinks `x` by \\alpha."""

    def forward(self, x):
        """Returns x."""
        text = """Stays. As it is."""
        return x  # (B, H, W, C)'''


def test_docstrings_are_cut_to_their_first_sentence():
    assert cut_docstrings(WRITTEN) == SHOWN


def test_a_long_sentence_is_wrapped_within_the_line_length():
    written = f'def f():\n    """{"word " * 40}end.\n\n    More.\n    """\n'
    lines = cut_docstrings(written).splitlines()
    assert max(map(len, lines)) <= 100
    assert " ".join(ast.get_docstring(ast.parse(written).body[0]).split()[:41]) == " ".join(
        ast.get_docstring(ast.parse("\n".join(lines)).body[0]).split()
    )


def test_a_mirror_runs_the_same_code_as_the_package():
    def code(source):
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
                del node.body[0]
        return ast.dump(tree)

    shown = definition("segformer_edu.mix_ffn.MixFFN")
    assert code(shown) == code(inspect.getsource(MixFFN))


def test_public_definitions_are_those_a_module_makes_itself():
    assert public_definitions("segformer_edu.mix_ffn") == ["segformer_edu.mix_ffn.MixFFN"]
