"""Finding a model by its address, `module:attribute`, as a command line gives it.

It imports users' code, so anything may be raised in it; what comes out is always a `ConfigError` or a `ModelError`.
"""

import importlib
import traceback
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
    module = _imported(module_name)
    try:
        found = attrgetter(attribute)(module)
    except AttributeError:
        models = sorted(name for name, value in vars(module).items() if isinstance(value, Model))
        hint = f"; it has: {', '.join(models)}" if models else ""
        raise ConfigError(f"the module {module_name} has no {attribute!r}{hint}", setting="model") from None
    if not isinstance(found, Model):
        file = str(getattr(module, "__file__", "") or "")
        raise ModelError(f"{address} is a {type(found).__name__}, not a Model", file=file, line=1 if file else 0)
    return found


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except AetherError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(f"there is no module {error.name!r} on the import path", setting="model") from None
        raise _import_error(name, error) from error
    except SyntaxError as error:
        message = f"the module {name} cannot be imported: SyntaxError: {error.msg}"
        raise ModelError(message, file=error.filename or "", line=error.lineno or 0) from error
    except Exception as error:  # a module may raise anything while it is imported
        raise _import_error(name, error) from error


def _import_error(name: str, error: Exception) -> ModelError:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame.filename)]
    place = frames[-1] if frames else None
    message = f"the module {name} cannot be imported: {type(error).__name__}: {error}"
    return ModelError(message, file=place.filename if place else "", line=(place.lineno or 0) if place else 0)


def _is_machinery(file: str) -> bool:
    return file.startswith("<frozen importlib") or file in (__file__, importlib.__file__)
