"""The types of numbers that a query or a form may have, where they are text. It imports little: every start does."""

from typing import Annotated, Any

from pydantic import BeforeValidator


def _in_digits(value: Any) -> Any:
    # Pydantic, like Python, takes "1_0" for 10.
    if isinstance(value, str) and "_" in value:
        raise ValueError("write a number in digits")
    return value


WholeNumber = Annotated[int, BeforeValidator(_in_digits)]
Number = Annotated[float, BeforeValidator(_in_digits)]
