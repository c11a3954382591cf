"""Models whose JSON Schema describes each field by the docstring below it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic_core import core_schema


class Documented(BaseModel):
    """A model that reads the docstrings of its fields when its JSON Schema is made.

    Pydantic's own `use_attribute_docstrings` reads them when the class is made: half of the time that the models of
    plans take to import, for texts that few commands show.
    """

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> dict[str, Any]:
        """Return the JSON Schema with the descriptions."""
        schema = handler(core_schema)
        properties: dict[str, dict[str, Any]] = handler.resolve_ref_schema(schema).get("properties", {})
        texts = field_docstrings(cls)
        for name, field in cls.model_fields.items():
            described = properties.get(field.alias or name, properties.get(name))
            if described is not None and name in texts:
                described["description"] = texts[name]
        return schema


@cache
def field_docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstrings of a model's fields, by name; none where there is no source."""
    inherited = [field_docstrings(base) for base in reversed(model.__bases__) if issubclass(base, BaseModel)]
    texts = {name: text for of_base in inherited for name, text in of_base.items()}
    if model in (BaseModel, Documented):
        return texts
    try:
        source = textwrap.dedent(inspect.getsource(model))
    except (OSError, TypeError):
        return texts
    statements = ast.walk(ast.parse(source))
    body = next(statement for statement in statements if isinstance(statement, ast.ClassDef)).body
    for field, below in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            match below.value:
                case ast.Constant(value=str(text)):
                    texts[field.target.id] = inspect.cleandoc(text)
                case _:
                    pass
    return texts
