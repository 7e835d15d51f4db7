"""Everything public in the core says what it is."""

import ast
import inspect
from pathlib import Path

import gradscope
import pytest
from gradscope import hookspecs
from gradscope.builtin import gradscope_reporters, gradscope_rules, remedy_sources

ROOT = Path(gradscope.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
HOOKS = [f for n, f in vars(hookspecs).items() if n.startswith("gradscope_")]


def is_stub(node: ast.AST) -> bool:
    """Whether a function only declares: its body is `...`."""
    return isinstance(node, ast.FunctionDef) and [ast.unparse(s) for s in node.body] == ["..."]


def public(body: list[ast.stmt], prefix: str = "") -> list[tuple[str, ast.AST]]:
    """The public functions and classes of a body, and the public methods of those classes."""
    found: list[tuple[str, ast.AST]] = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_") and not is_stub(node):
            found.append((prefix + node.name, node))
            if isinstance(node, ast.ClassDef):
                found += public(node.body, f"{prefix}{node.name}.")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_and_everything_public_in_it_has_a_docstring(path):
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree), path
    silent = [name for name, node in public(tree.body) if not ast.get_docstring(node)]
    assert not silent, f"{path.name}: no docstring: {silent}"


@pytest.mark.parametrize("hook", HOOKS, ids=lambda f: f.__name__)
def test_every_hook_is_one_documented_sentence_or_two(hook):
    assert inspect.getdoc(hook).endswith(".")


def test_there_are_four_hooks():
    assert [h.__name__ for h in HOOKS] == [
        "gradscope_rules",
        "gradscope_suggest_remedies",
        "gradscope_reporters",
        "gradscope_adapters",
    ]


@pytest.mark.parametrize("rule", gradscope_rules(), ids=lambda r: r.name)
def test_every_rule_has_a_page(rule):
    assert len(rule.documentation.splitlines()) > 8


@pytest.mark.parametrize("source", remedy_sources(), ids=lambda s: s.name)
def test_every_remedy_is_documented(source):
    assert inspect.getdoc(source.suggest)


@pytest.mark.parametrize("reporter", gradscope_reporters(), ids=lambda r: r.name)
def test_every_format_is_documented(reporter):
    assert inspect.getdoc(reporter.render)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_is_a_bag(path):
    assert path.stem not in {"utils", "helpers", "common", "base", "misc"}
