"""What every JSON document shares: frozen facts, a schema line, and reading them back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeprune.errors import EdgepruneError

D = TypeVar("D", bound="Document")


class Facts(BaseModel):
    """A frozen group of facts; unknown keys are refused when it is read from a file."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Document(Facts):
    """A JSON document with a schema line, such as ``edgeprune/bench@1``."""

    SCHEMA: ClassVar[str]

    schema_line: str = Field(default="", alias="schema")

    def model_post_init(self, context: Any) -> None:
        """Fill in the schema line of a document made in this process."""
        if not self.schema_line:
            object.__setattr__(self, "schema_line", self.SCHEMA)

    def to_json(self) -> str:
        """Return the document as indented JSON text with a final newline."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=2) + "\n"


def read_document(path: Path, kind: type[D], error: type[EdgepruneError]) -> D:
    """Read and validate one document.

    Raises:
        error: if the file is missing, is no JSON, or has another or a newer schema.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{str(path)!r} does not exist") from None
    except IsADirectoryError:
        raise error(f"{str(path)!r} is a directory; a JSON file was expected") from None
    except ValueError as problem:  # JSONDecodeError, UnicodeDecodeError, an endless integer
        raise error(f"{str(path)!r} is not valid JSON: {problem}") from None
    return parse_document(raw, str(path), kind, error)


def parse_document(raw: Any, name: str, kind: type[D], error: type[EdgepruneError]) -> D:
    """Validate a decoded JSON value as a document of ``kind``; ``name`` is for messages.

    Raises:
        error: if it has another or a newer schema, or does not fit it.
    """
    found = raw.get("schema") if isinstance(raw, dict) else None
    if found != kind.SCHEMA:
        raise error(
            f"{name!r} has schema {found!r}; this version reads {kind.SCHEMA!r}",
            hint=_newer_hint(found, kind.SCHEMA),
        )
    try:
        return kind.model_validate(raw)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise error(f"{name!r} is damaged: {where}: {first['msg']}") from None


def _newer_hint(found: object, expected: str) -> str | None:
    name, _, version = str(found).partition("@")
    expected_name, _, expected_version = expected.partition("@")
    if name == expected_name and version.isdigit() and int(version) > int(expected_version):
        return "it was written by a newer edgeprune; upgrade with: pip install -U edgeprune"
    return None
