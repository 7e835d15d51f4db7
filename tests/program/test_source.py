"""Source: edits change what they say and nothing else, lines keep their places, patches apply."""

import ast
import subprocess
from pathlib import Path

import pytest
from gradscope.errors import CannotApply
from gradscope.program.source import Edit, Source, keyword

TEXT = """import torch

# größe: a comment with letters of two bytes
def train(model, data):
    größe = torch.optim.SGD(model.parameters(), lr=0.1)  # keep me
    for x, y in data:
        loss = criterion(model(x), y)
        loss.backward()
        größe.step()
    if größe:
        pass
"""


def source(text: str = TEXT, path: str = "train.py") -> Source:
    return Source(Path(path).resolve(), text)


def call(of: Source, word: str) -> ast.Call:
    return next(c for c in of.calls() if of.of(c.func).endswith(word))


def test_the_text_of_a_node_is_told_in_characters_not_bytes():
    one = source()
    assert one.of(call(one, ".step")) == "größe.step()"


def test_an_edit_leaves_everything_else_as_it_was():
    one = source()
    changed = one.edited([one.with_argument(call(one, "SGD"), "lr", "0.01")])
    assert changed.text == TEXT.replace("lr=0.1", "lr=0.01")


def test_an_argument_is_added_behind_the_last():
    one = source("f(a, *b)\n")
    assert one.edited([one.with_argument(one.calls()[0], "k", "1")]).text == "f(a, *b, k=1)\n"
    one = source("f()\n")
    assert one.edited([one.with_argument(one.calls()[0], "k", "1")]).text == "f(k=1)\n"
    one = source("f(a,)\n")
    assert one.edited([one.with_argument(one.calls()[0], "k", "1")]).text == "f(a, k=1,)\n"


def test_a_bare_generator_takes_no_second_argument():
    one = source("f(x for x in y)\n")
    with pytest.raises(CannotApply, match="line 1: its only argument is a bare generator"):
        one.with_argument(one.calls()[0], "k", "1")


def test_lines_are_indented_like_the_statement_they_stand_beside():
    one = source()
    statement = one.statement_of(call(one, "backward"))
    changed = one.edited([one.before(statement, "a()\nb()")])
    assert "    for x, y in data:\n        loss = criterion(model(x), y)\n        a()\n        b()\n" in changed.text


def test_lines_go_above_decorators():
    one = source("@wraps\ndef f():\n    pass\n")
    assert one.edited([one.before(one.tree.body[0], "x = 1")]).text == "x = 1\n@wraps\ndef f():\n    pass\n"


def test_lines_go_below_a_last_line_without_an_end():
    one = source("a = 1")
    assert one.edited([one.after(one.tree.body[0], "b = 2")]).text == "a = 1\nb = 2\n"


def test_the_only_statement_of_a_block_leaves_pass_behind():
    one = source("if a:\n    b()\n")
    assert one.edited([one.without(one.statement_of(one.calls()[0]))]).text == "if a:\n    pass\n"


def test_what_would_be_no_python_is_refused():
    one = source("a = 1\n")
    with pytest.raises(CannotApply, match="line 1 would be no Python"):
        one.edited([Edit(4, 5, "(")])


def test_what_changes_nothing_is_refused():
    one = source("a = 1\n")
    with pytest.raises(CannotApply, match="the program already says so"):
        one.edited([Edit(4, 5, "1")])


def test_a_line_is_found_again_after_edits():
    one = source()
    changed = one.edited([one.before(one.tree.body[0], "import os\nimport sys")])
    assert changed.now(5) == 7
    again = changed.edited([changed.without(changed.tree.body[0])])
    assert again.now(5) == 6
    assert one.now(5) == 5


def test_a_line_that_is_gone_is_nowhere():
    one = source("a = 1\nb = 2\nc = 3\n")
    assert one.edited([one.without(one.tree.body[1])]).now(2) is None


@pytest.mark.parametrize("text", [TEXT, "a = 1\nlr = 0.1", "lr = 0.1\n\n\n\nb = 2\n"])
def test_a_patch_is_taken_by_git(tmp_path, text):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "train.py"
    file.write_text(text, "utf-8")
    one = Source(file, text)
    at = text.index("0.1")
    changed = one.edited([Edit(at, at + 3, "0.5")])
    (tmp_path / "x.patch").write_text(one.patch(changed, tmp_path), "utf-8")
    subprocess.run(["git", "apply", "x.patch"], cwd=tmp_path, check=True)
    assert file.read_text("utf-8") == changed.text


def test_a_keyword_is_found_by_its_name():
    one = source("f(1, a=2)\n")
    assert one.of(keyword(one.calls()[0], "a")) == "2"
    assert keyword(one.calls()[0], "b") is None


def test_equal_edits_are_made_once():
    one = source("lr = 0.5\n")
    assert one.edited([Edit(5, 8, "0.1"), Edit(5, 8, "0.1")]).text == "lr = 0.1\n"


def test_edits_that_meet_are_refused():
    one = source("lr = 0.5\n")
    with pytest.raises(CannotApply, match="two of its changes would meet in one place"):
        one.edited([Edit(5, 8, "0.1"), Edit(5, 8, "0.2")])


@pytest.mark.parametrize("edit", ["before", "after", "without"])
def test_a_line_of_several_statements_is_left_alone(edit):
    one = source("a()\nb(); c()\n")
    statement = one.tree.body[1]
    with pytest.raises(CannotApply, match="line 2: several statements stand in one line"):
        one.edited([getattr(one, edit)(statement, *(["x()"] if edit != "without" else []))])
