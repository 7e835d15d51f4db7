"""Rules and plugins of strangers, made for a test."""

from gradscope.hookspecs import hookimpl
from gradscope.plugins import Plugins
from gradscope.rule import rule
from gradscope.verdict import Evidence, Role

from tests.specimens import healthy_run, judged


def plugin(*rules):
    """A plugin that brings rules."""

    class Stranger:
        @hookimpl
        def gradscope_rules(self):
            return list(rules)

    return Plugins([("stranger", Stranger())])


def shows(code, name, *evidence, explains=()):
    """A rule that always yields the same evidence."""

    def judge(history):
        """It is ill."""
        yield from evidence

    judge.__name__ = name
    return rule(code, explains=explains)(judge)


def only(*rules):
    """The verdicts of some rules alone on a healthy run."""
    return judged(healthy_run(), plugins=plugin(*rules), select=tuple(r.code for r in rules)).verdicts


def harm(step=None, module=None, role=Role.HARM):
    return Evidence("q", 2, ">", 1, step, module=module, role=role)
