import enum
import pathlib
import sys
import unittest
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, NotRequired, Optional, TypedDict

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from animus import schema  # noqa: E402
from animus.errors import Invalid  # noqa: E402
from animus.schema import Unsuitable  # noqa: E402


class Colour(enum.Enum):
    """A colour."""

    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    """A place.

    Attributes:
        x: To the right.
    """

    x: int
    y: float = 0.5
    tags: list[str] = field(default_factory=list)


class Options(TypedDict):
    depth: int
    follow: NotRequired[bool]


class OfHints(unittest.TestCase):
    def test_each_kind_of_hint_has_its_schema(self) -> None:
        for hint, expected in [
            (str, {"type": "string"}),
            (Optional[int], {"type": ["integer", "null"]}),
            (int | str, {"type": ["integer", "string"]}),
            (list[float], {"type": "array", "items": {"type": "number"}}),
            (set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
            (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
            (dict[str, bool], {"type": "object", "additionalProperties": {"type": "boolean"}}),
            (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
            (Literal["a", 1], {"enum": ["a", 1]}),
            (Annotated[int, "How many."], {"type": "integer", "description": "How many."}),
            (Colour, {"type": "string", "enum": ["red", "blue"], "description": "A colour."}),
            (Any, {}),
            (date, {"type": "string", "format": "date"}),
        ]:
            self.assertEqual(schema.of(hint), expected, hint)

    def test_a_pair_has_its_length(self) -> None:
        self.assertEqual(schema.of(tuple[int, str])["maxItems"], 2)

    def test_a_dataclass_is_an_object_with_documented_fields(self) -> None:
        found = schema.of(Point)
        self.assertEqual(found["description"], "A place.")
        self.assertEqual(found["required"], ["x"])
        self.assertEqual(found["properties"]["x"], {"type": "integer", "description": "To the right."})
        self.assertEqual(found["properties"]["y"]["default"], 0.5)
        self.assertIs(found["additionalProperties"], False)

    def test_a_typed_dict_knows_what_it_requires(self) -> None:
        self.assertEqual(schema.of(Options)["required"], ["depth"])

    def test_what_has_no_json_form_is_unsuitable(self) -> None:
        class Loop: ...

        for hint in (Loop, dict[int, str], complex):
            with self.assertRaises(Unsuitable, msg=str(hint)):
                schema.of(hint)


class OfFunctions(unittest.TestCase):
    def test_google_numpy_and_rest_document_the_parameters(self) -> None:
        def google(path: str, limit: int = 3) -> None:
            """Reads.

            Args:
                path (str): Which file,
                    and where.
                limit: How much.

            Returns:
                nothing.
            """

        def numpy(path: str, limit: int = 3) -> None:
            """Reads.

            Parameters
            ----------
            path : str
                Which file,
                and where.
            limit : int
                How much.
            """

        def rest(path: str, limit: int = 3) -> None:
            """Reads.

            :param path: Which file,
                and where.
            :param int limit: How much.
            """

        for function in (google, numpy, rest):
            found = schema.of_parameters(function)
            self.assertEqual(found["properties"]["path"]["description"], "Which file, and where.", function.__name__)
            self.assertEqual(
                found["properties"]["limit"], {"type": "integer", "description": "How much.", "default": 3}
            )
            self.assertEqual(found["required"], ["path"])
            self.assertTrue(schema.docstring(function.__doc__)[0].startswith("Reads."))

    def test_a_parameter_without_a_hint_is_named(self) -> None:
        def f(a: int, b): ...  # noqa: ANN001

        with self.assertRaisesRegex(Unsuitable, "the parameter 'b' has no type hint"):
            schema.of_parameters(f)

    def test_open_ended_parameters_are_unsuitable(self) -> None:
        for f in (lambda *a: 0, lambda **k: 0):
            with self.assertRaisesRegex(Unsuitable, "name each argument"):
                schema.of_parameters(f)

    def test_what_is_returned_is_an_object_or_wrapped_or_text(self) -> None:
        def numbers() -> list[int]: ...
        def point() -> Point: ...
        def text() -> str: ...
        def nothing() -> None: ...
        def silent(): ...

        self.assertEqual(
            schema.of_return(numbers)[0]["properties"]["result"], {"type": "array", "items": {"type": "integer"}}
        )
        self.assertEqual(schema.of_return(numbers)[1], True)
        self.assertEqual(schema.of_return(point)[0]["properties"].keys(), {"x", "y", "tags"})
        for function in (text, nothing, silent):
            self.assertEqual(schema.of_return(function), (None, False))


class Arguments(unittest.TestCase):
    @staticmethod
    def draw(
        at: Point, colour: Colour = Colour.RED, on: date | None = None, price: Decimal = Decimal(1), n: int = 1
    ) -> None: ...

    def test_they_are_decoded_by_the_hints(self) -> None:
        args = {"at": {"x": 1, "y": 2}, "colour": "blue", "on": "2025-02-01", "price": "1.10", "n": 2.0}
        self.assertEqual(
            schema.arguments(self.draw, args),
            {"at": Point(1, 2.0), "colour": Colour.BLUE, "on": date(2025, 2, 1), "price": Decimal("1.10"), "n": 2},
        )

    def test_what_does_not_fit_is_named_with_what_fits(self) -> None:
        for args, expected in [
            ({}, "arguments of 'draw': missing 'at'; it takes {at, colour?, on?, price?, n?}"),
            ([], "arguments of 'draw': must be a JSON object; it takes {at, colour?, on?, price?, n?}"),
            ({"att": 1}, "arguments of 'draw': unknown 'att'; it takes"),
            ({"at": {"x": "1"}}, "'at.x' must be an integer, not '1'"),
            ({"at": {"x": True}}, "'at.x' must be an integer, not true"),
            ({"at": {}}, "'at' lacks 'x'"),
            ({"at": {"x": 1, "z": 1}}, "'at' has an unknown 'z'; it takes {x, y, tags}"),
            ({"at": {"x": 1, "tags": ["a", 3]}}, "'at.tags[1]' must be a string, not 3"),
            ({"at": {"x": 1}, "colour": "green"}, "'colour' must be one of 'red', 'blue', not 'green'"),
            ({"at": {"x": 1}, "on": "soon"}, "'on' must be a date or time in ISO 8601 or null, not 'soon'"),
            ({"at": {"x": 1}, "price": "much"}, "'price' must be the text of a Decimal, not 'much'"),
        ]:
            with self.assertRaises(Invalid) as caught:
                schema.arguments(self.draw, args)
            self.assertIn(expected, str(caught.exception))

    def test_a_union_takes_the_type_that_the_value_has(self) -> None:
        self.assertEqual(schema.decode(float | int | bool, True, "x"), True)
        self.assertIs(type(schema.decode(float | int, 1, "x")), int)
        self.assertEqual(schema.decode(Point | None, {"x": 1}, "x"), Point(1))
        with self.assertRaisesRegex(Invalid, "'x.x' must be an integer"):
            schema.decode(Point | None, {"x": "a"}, "x")


if __name__ == "__main__":
    unittest.main()
