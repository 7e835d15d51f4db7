"""Script: a user's program, run as `__main__` the way `python FILE` runs it, and what its failure looked like."""

from __future__ import annotations

import ast
import contextlib
import os
import sys
import threading
import traceback
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from gradscope.errors import GradscopeError, ScriptFailed, TargetError
from gradscope.frames import is_users


@dataclass(frozen=True, slots=True)
class Ending:
    """How a program left: its exit code, and what it gave to sys.exit() when that was a text."""

    code: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Script:
    """A program and its arguments. `package` is that of a script whose folder is one and that imports relatively."""

    path: Path
    arguments: tuple[str, ...]
    code: types.CodeType
    package: str | None
    defines_workload: bool

    def run(self, stop: type[BaseException]) -> Ending:
        """Runs to the end, to `stop`, or to sys.exit or os._exit, and tells how the script left.

        A message given to sys.exit is printed, as Python does. Raises ScriptFailed with the traceback cut to the
        user's frames. sys.argv, sys.path and `__main__` are as under `python FILE` while it runs, and as before
        afterwards.
        """
        with as_main(self) as module:
            try:
                import_package(self.package)
                exec(self.code, module.__dict__)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                if caused_by(error, stop):
                    return Ending()
                if isinstance(error, SystemExit):
                    return ending_of(error)
                raise ScriptFailed(users_traceback(error, self.path)) from error
        return Ending()

    def load(self) -> dict[str, Any]:
        """The names that the file defines, executed under a name other than `__main__`. Raises ScriptFailed."""
        with as_main(self, name=self.path.stem) as module, failing_as_script(self.path):
            import_package(self.package)
            exec(self.code, module.__dict__)
            return dict(module.__dict__)


def open_script(path: Path, arguments: Sequence[str] = (), changed: str | None = None) -> Script:
    """Reads and compiles a program. changed: the text that is run in its place.

    Raises TargetError: missing, a folder, no text, a syntax error.
    """
    if path.is_dir():
        raise TargetError(f"{path}: is a folder; expected a Python file such as {path / 'train.py'}")
    if not path.is_file():
        near = ", ".join(sorted(p.name for p in path.parent.glob("*.py"))[:5]) if path.parent.is_dir() else ""
        raise TargetError(f"{path}: no such file" + (f"; Python files there: {near}" if near else ""))
    try:
        text = path.read_bytes() if changed is None else changed.encode()
        tree = ast.parse(text, str(path))
        code = compile(tree, str(path.resolve()), "exec", dont_inherit=True)
    except SyntaxError as error:
        line = (error.text or "").rstrip()
        place = f"{path}:{error.lineno}" if error.lineno else f"{path}"
        raise TargetError(f"{place}: syntax error: {error.msg}" + (f"\n    {line}" if line else "")) from None
    except ValueError as error:
        raise TargetError(f"{path}: not a Python source file: {error}") from None
    relative = any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree))
    workload = any(isinstance(n, ast.FunctionDef) and n.name == "workload" for n in tree.body)
    workload = workload and b"gradscope" in text
    return Script(path.resolve(), tuple(arguments), code, package_of(path.resolve()) if relative else None, workload)


def package_of(path: Path) -> str | None:
    """The dotted package of a file, as far as folders with __init__.py go up."""
    parts: list[str] = []
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts) or None


@contextlib.contextmanager
def as_main(script: Script, name: str = "__main__") -> Iterator[types.ModuleType]:
    """The process as `python FILE` would set it up, put back at the end."""
    module = types.ModuleType(name)
    module.__file__ = str(script.path)
    module.__dict__["__builtins__"] = __builtins__
    module.__package__ = script.package
    root = script.path.parent
    for _ in (script.package or "").split(".") if script.package else ():
        root = root.parent
    saved = sys.argv, sys.path[:], sys.modules.get(name), sys.stdout, sys.stderr
    sys.argv = [str(script.path), *script.arguments]
    sys.path.insert(0, str(root))
    sys.modules[name] = module
    try:
        with exit_unwinding():
            yield module
    finally:
        sys.argv, sys.path[:] = saved[0], saved[1]
        sys.stdout, sys.stderr = still_open(saved[3], 1), still_open(saved[4], 2)
        if saved[2] is not None:
            sys.modules[name] = saved[2]
        else:
            sys.modules.pop(name, None)


@contextlib.contextmanager
def exit_unwinding() -> Iterator[None]:
    """os._exit ends the script as sys.exit does, so that there is a report; in processes that it forks, the process.

    From another thread the script cannot be unwound: the process ends, says so, and never with code 0.
    """
    leave, process, thread, active = os._exit, os.getpid(), threading.current_thread(), True

    def unwind(status: int) -> NoReturn:
        if not active or os.getpid() != process:
            leave(status)
        if threading.current_thread() is thread:
            raise SystemExit(status)
        flush(sys.stdout)
        os.write(2, f"gradscope: the script left by os._exit({status}) in a thread: no report is left\n".encode())
        leave(2)

    os._exit = unwind
    try:
        yield
    finally:
        os._exit, active = leave, False


def still_open(stream: Any, descriptor: int) -> Any:
    """The stream, or a new one on the same descriptor when the script has closed it."""
    if not getattr(stream, "closed", False):
        return stream
    return os.fdopen(descriptor, "w", encoding=getattr(stream, "encoding", None), closefd=False)


def ending_of(leaving: SystemExit) -> Ending:
    """What Python makes of sys.exit(CODE): None is 0, a text is printed and is 1."""
    if leaving.code is None or isinstance(leaving.code, int):
        return Ending(int(leaving.code or 0))
    with contextlib.suppress(OSError, ValueError):  # a stream that the script has closed
        print(leaving.code, file=sys.stderr)  # noqa: T201 - as Python does
    return Ending(1, str(leaving.code))


@contextlib.contextmanager
def failing_as_script(path: Path) -> Iterator[None]:
    """Raises ScriptFailed for whatever the user's code raises in here; what gradscope says of it passes."""
    try:
        yield
    except GradscopeError:
        raise
    except SystemExit as leaving:
        raise ScriptFailed(f"{path}: left by sys.exit({leaving.code!r})") from leaving
    except Exception as error:
        raise ScriptFailed(users_traceback(error, path)) from error


def import_package(package: str | None) -> None:
    """Imports the package of a script that imports relatively."""
    if package:
        import_module(package)


def caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether an error was raised while `kind` was being handled, or from it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, kind):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def users_traceback(error: BaseException, script: Path) -> str:
    """The traceback without the frames of gradscope and of libraries, except the innermost one."""
    frames = traceback.extract_tb(error.__traceback__)
    users = [f for f in frames if f.filename == str(script) or is_users(f.filename)]
    lines = traceback.format_list(users or frames[-1:])
    ending = "".join(traceback.format_exception_only(error)).rstrip()
    kept = "your frames only" if users else "none of your frames; the innermost one"
    return "".join([f"Traceback ({kept}):\n", *lines, ending])


@contextlib.contextmanager
def silenced(quiet: bool, *, aside: bool = False) -> Iterator[None]:
    """Swallows what the script prints, or puts it aside to stderr: also what its processes and C libraries print."""
    if not quiet:
        with contextlib.ExitStack() as stack:
            if aside:
                stack.enter_context(descriptor_to(1, 2, sys.stdout))
                stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            yield
        return
    with (
        Path(os.devnull).open("w") as sink,
        descriptor_to(1, sink.fileno(), sys.stdout),
        descriptor_to(2, sink.fileno(), sys.stderr),
        contextlib.redirect_stdout(sink),
        contextlib.redirect_stderr(sink),
    ):
        yield


@contextlib.contextmanager
def descriptor_to(descriptor: int, sink: int, stream: Any) -> Iterator[None]:
    """A file descriptor that points elsewhere for a while; nothing when it is closed."""
    flush(stream)
    try:
        saved = os.dup(descriptor)
    except OSError:
        yield
        return
    try:
        with contextlib.suppress(OSError):
            os.dup2(sink, descriptor)
        yield
    finally:
        flush(stream)
        os.dup2(saved, descriptor)
        os.close(saved)


def flush(stream: Any) -> None:
    """Writes out what a stream holds back, when it is one that still can."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        stream.flush()
