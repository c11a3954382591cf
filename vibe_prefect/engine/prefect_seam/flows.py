"""Flows of Prefect, and the forms of their deployments."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import update_wrapper
from inspect import Signature
from types import FunctionType
from typing import TYPE_CHECKING, Any

from prefect import Flow
from prefect.utilities.callables import ParameterSchema, parameter_schema

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment


class LateSchemaFlow(Flow[..., Coroutine[Any, Any, Any]]):
    """A flow that makes the schema of its parameters when that is asked for, and not when it is made.

    No run needs the schema, and to make that of a plan takes 0.2 s of each process.
    """

    def __init__(self, fn: FunctionType, **options: Any) -> None:
        """Make the flow as Prefect does, which makes the schema from the signature.

        Args:
            fn: The flow's function.
            **options: As Prefect's own.
        """
        bare = update_wrapper(FunctionType(fn.__code__, fn.__globals__, closure=fn.__closure__), fn)
        bare.__dict__["__signature__"] = Signature()
        super().__init__(bare, **options)
        update_wrapper(self, fn)
        self.fn = fn
        del self.parameters, self.__dict__["__signature__"]

    def __getattr__(self, name: str) -> Any:
        if name != "parameters":
            raise AttributeError(name)
        self.parameters = parameter_schema(self.fn)
        return self.parameters


def extend_form(deployment: RunnerDeployment, extend: Callable[[ParameterSchema], ParameterSchema]) -> None:
    """Replace the schema of a deployment's parameters, which Prefect makes from the flow alone.

    Args:
        deployment: The deployment, before it is sent to the server.
        extend: Returns the new schema.
    """
    form = deployment._parameter_openapi_schema  # pyright: ignore[reportPrivateUsage]
    deployment._parameter_openapi_schema = extend(form)  # pyright: ignore[reportPrivateUsage]
