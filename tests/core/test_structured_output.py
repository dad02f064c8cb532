"""Types in, objects out."""

import gc
import weakref
from dataclasses import dataclass, field
from typing import Literal

import pytest
from pydantic import BaseModel, create_model
from typing_extensions import TypedDict  # typing's own isn't enough for pydantic before 3.12

from rtllm import ToolArgumentsError, parse_answer, response_format_of, why_not_strict
from rtllm.tools.structured_output import with_form


class Weather(BaseModel):
    """What the weather is like."""

    city: str
    sky: Literal["clear", "cloudy"] = "clear"


@dataclass
class Order:
    guests: int
    wishes: list[str] = field(default_factory=list)


class Place(TypedDict):
    name: str


class Anything(BaseModel):
    extra: dict[str, int]


@pytest.mark.parametrize("model", [Weather, Order, Place])
def test_a_type_makes_a_strict_form_with_its_name(model: type) -> None:
    form = response_format_of(model)
    assert form["type"] == "json_schema"
    schema = form["json_schema"]
    assert schema["name"] == model.__name__
    assert schema["strict"] is True
    assert why_not_strict(schema["schema"]) is None


def test_what_has_no_strict_form_is_reported() -> None:
    assert response_format_of(Anything)["json_schema"]["strict"] is False


def test_an_answer_becomes_an_object_of_the_type() -> None:
    assert parse_answer(Weather, '{"city":"Ulm","sky":null}') == Weather(city="Ulm")
    assert parse_answer(Order, '{"guests":2,"wishes":["quiet"]}') == Order(2, ["quiet"])
    assert parse_answer(Place, '{"name":"Ulm"}') == {"name": "Ulm"}


@pytest.mark.parametrize("text", ["", '{"city":', '{"sky":"clear"}', '{"city":"Ulm","sky":"red"}'])
def test_an_answer_of_another_form_is_an_error_that_says_where(text: str) -> None:
    with pytest.raises(ToolArgumentsError, match="Weather"):
        parse_answer(Weather, text)


def test_only_types_are_turned_into_forms() -> None:
    shaped = {"type": "json_object"}
    assert with_form({"response_format": shaped}) == {"response_format": shaped}
    assert with_form({"temperature": 1}) == {"temperature": 1}
    assert with_form({"response_format": Place})["response_format"]["type"] == "json_schema"


def test_types_that_are_made_for_each_call_are_not_all_kept() -> None:
    def used_once(number: int) -> weakref.ref[type[BaseModel]]:
        model = create_model(f"Order{number}", guests=(int, ...))
        assert response_format_of(model)["json_schema"]["name"] == f"Order{number}"
        return weakref.ref(model)

    made = [used_once(number) for number in range(200)]
    gc.collect()
    assert sum(reference() is not None for reference in made) < 100
