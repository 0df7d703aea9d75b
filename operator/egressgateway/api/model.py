"""The base of every API type: camelCase in JSON, immutable, unknown fields rejected, docstrings as descriptions."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from egressgateway.api.rules import VALIDATIONS, Rule
from egressgateway.api.scalars import without_nulls


class ApiModel(BaseModel):
    """
    One object of the API. Validation by pydantic covers types and bounds only; `rules` are run by `validation`,
    after the whole object has its shape, as the API server does.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    rules: ClassVar[tuple[Rule[Any], ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, raw: Any) -> Any:
        return without_nulls(raw)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core_schema))
        if cls.rules:
            schema[VALIDATIONS] = [rule.as_cel() for rule in cls.rules]
        return schema

    def as_json(self) -> dict[str, Any]:
        """The fields that were set, in JSON spelling and with JSON's types."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)
