"""From the address of a model, `module:attribute`, as a command line gives it, to the model.

It imports users' code, so anything may happen in it: whatever the code raises, an exit of the process too, comes out as
a `ConfigError` or a `ModelError`. Only an interrupt stays one: it may be of the person at the terminal.
"""

import importlib
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

from aether.errors import AetherError, ConfigError, ModelError
from aether.model.model import Model


def load_model(address: str) -> Model:
    """The model at `module:attribute`.

    Raises `ConfigError` when the address names nothing, `ModelError` when the module cannot be imported (with the file
    and line of what failed in it) or the attribute is no model.
    """
    module_name, _, attribute = address.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), *attribute.split(".")]):
        raise ConfigError(f"a model's address is `module:attribute`, not {address!r}", setting="model")
    with _told_as_model_error(module_name):
        module = _imported(module_name)
        found = _attribute(module, module_name, attribute)
        is_model = isinstance(found, Model)
    if not is_model:
        file = str(getattr(module, "__file__", "") or "")
        raise ModelError(f"{address} is a {type(found).__name__}, not a Model", file=file, line=1 if file else 0)
    model: Model = found
    return model


def _attribute(module: Any, module_name: str, attribute: str) -> Any:
    try:
        return attrgetter(attribute)(module)
    except AttributeError:
        models = sorted(name for name, value in vars(module).items() if isinstance(value, Model))
        hint = f"; it has: {', '.join(models)}" if models else ""
        raise ConfigError(f"the module {module_name} has no {attribute!r}{hint}", setting="model") from None


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(f"there is no module {error.name!r} on the import path", setting="model") from None
        raise _import_error(name, error) from error
    except SyntaxError as error:
        message = f"the module {name} cannot be imported: SyntaxError: {error.msg}"
        raise ModelError(message, file=error.filename or "", line=error.lineno or 0) from error


@contextmanager
def _told_as_model_error(name: str) -> Iterator[None]:
    """Whatever the user's code raises is an error of that module, `sys.exit` and `os._exit` included."""
    leave, owner = os._exit, os.getpid()

    def refuse(status: int) -> None:
        if os.getpid() != owner:  # a child that the module forked
            leave(status)
        raise SystemExit(status)

    os._exit = refuse  # type: ignore[assignment]  # it cannot be caught otherwise, and would end a pool in silence
    try:
        yield
    except (AetherError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise _import_error(name, error) from error
    finally:
        os._exit = leave


def _import_error(name: str, error: BaseException) -> ModelError:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame.filename)]
    place = frames[-1] if frames else None
    what = "it ends the process: " if isinstance(error, SystemExit) else ""
    message = f"the module {name} cannot be imported: {what}{type(error).__name__}: {error}"
    return ModelError(message, file=place.filename if place else "", line=(place.lineno or 0) if place else 0)


def _is_machinery(file: str) -> bool:
    return file.startswith("<frozen importlib") or file in (__file__, importlib.__file__)
