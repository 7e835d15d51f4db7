"""Treatment: a workload with a remedy. A remedy of a plugin may know how; else the adapter does, by its name."""

from __future__ import annotations

from gradscope.adapter import Adapter
from gradscope.verdict import Remedy
from gradscope.workload import Workload


def treated(workload: Workload, remedy: Remedy, adapter: Adapter) -> Workload:
    """The workload with a remedy; what is given is left as it is. Raises CannotApply where it does not fit.

    adapter: that of the workload's framework.
    """
    if remedy.apply is not None:
        return remedy.apply(workload)
    return adapter.treat(workload, remedy.name, remedy.settings)
