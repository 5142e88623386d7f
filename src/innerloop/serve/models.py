"""What requests and answers are, for FastAPI to check and to describe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

KindName = Literal["images", "drawings", "text", "rows", "vectors"]


def _word(text: str) -> str:
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("it has a NUL or half a character: give text that is Unicode")
    if text != text.strip() or not text:
        raise ValueError("it is empty, or has blanks around it")
    return text


Word = Annotated[StrictStr, Field(min_length=1, max_length=200), AfterValidator(_word)]
Number = StrictInt | StrictFloat
Cell = StrictBool | StrictInt | StrictFloat | StrictStr | None


class Checked(BaseModel):
    """What a client sends: nothing beside the fields."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Options(Checked):
    """How a task learns."""

    head: Word | None = Field(
        default=None, description="a head by name, or auto; default by the kind", examples=["ridge"]
    )
    class_names: StrictBool | Literal["auto"] = Field(
        default="auto", description="whether labels of texts are words to read"
    )


class TaskIn(Checked):
    """A new task."""

    name: Word | None = Field(default=None, examples=["my letters"])
    kind: KindName = Field(examples=["drawings"])
    options: Options = Field(default_factory=Options)


class Item(Checked):
    """An input: one of the fields, that of the task's kind."""

    image: StrictStr | None = Field(default=None, description="base64 of an image file, also as a data URL")
    text: StrictStr | None = None
    row: dict[StrictStr, Cell] | list[Cell] | None = None
    vector: list[Number] | None = None


class ExampleIn(Item):
    """A labelled example."""

    label: Word


class ExamplesIn(Checked):
    """Examples to add."""

    examples: list[ExampleIn] = Field(
        min_length=1,
        examples=[[{"label": "cat", "vector": [0.9, 0.1]}, {"label": "dog", "vector": [0.1, 0.8]}]],
    )


class LabelIn(Checked):
    """Another label."""

    label: Word


class PredictIn(Checked):
    """Queries."""

    items: list[Item] = Field(min_length=1, examples=[[{"vector": [0.8, 0.2]}]])
    evidence: StrictBool = False
    coverage: Annotated[float, Field(gt=0, lt=1)] | None = None


class Task(BaseModel):
    """A task."""

    id: str
    name: str
    kind: KindName
    options: dict[str, Any]
    version: int
    digest: str = Field(description="sha256 of kind, options and examples: the same content, the same answers")
    examples: int
    classes: dict[str, int] = Field(description="examples of each class")
    created: str
    updated: str


class Tasks(BaseModel):
    """Tasks of a tenant."""

    tasks: list[Task]
    next: str | None = Field(description="give it as `after` for further ones")


class Example(BaseModel):
    """An example of a task."""

    id: str
    label: str
    digest: str


class Listed(Example):
    """An example in a list."""

    media: str


class Examples(BaseModel):
    """The examples of a task."""

    version: int
    examples: list[Listed]


class Added(Task):
    """A task after examples came to it."""

    added: list[Example]


class Deleted(BaseModel):
    """A task that is no more."""

    id: str
    deleted: bool


class Evidence(BaseModel):
    """What an example did to an answer."""

    example: str
    amount: float | None = Field(description="log odds; null where the class goes with it")
    probability: float


class Prediction(BaseModel):
    """What is said of a query."""

    label: str
    probabilities: dict[str, float]
    set: list[str]
    none_of_these: bool | None = Field(description="null where so few examples cannot tell")
    unknown: float = Field(description="near 1: like no class")
    evidence: list[Evidence] | None = None


class Predictions(BaseModel):
    """What is said of queries."""

    id: str
    version: int
    items: list[Prediction]
    coverage: float
    error: float | None


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    request: str


class Refused(BaseModel):
    """What went wrong, in the words of the Open Inference Protocol."""

    error: str
    request: str
