"""The manual: one page from the OpenAPI document, without scripts, so that it works offline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from typing import Any, Final

from fastapi import APIRouter, Request, Response

manual: Final = APIRouter(include_in_schema=False)

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 3rem; border-bottom: 1px solid #ccc } summary { cursor: pointer; padding: .3rem 0 }
code { background: #8882; padding: 0 .2rem } pre { white-space: pre-wrap }
table { border-collapse: collapse; width: 100% } td { border-top: 1px solid #8884; padding: .2rem }
td { vertical-align: top } .method { display: inline-block; width: 4rem; font-weight: bold }
:root { color-scheme: light dark }
"""


@manual.get("/docs")
async def page(request: Request) -> Response:
    """All routes, with what they take and what they answer."""
    return Response("".join(_page(request.app.openapi())), media_type="text/html")


def _page(document: dict[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{info['title']}</title>"
    yield f"<style>{_STYLE}</style><h1>{info['title']} {info['version']}</h1>"
    yield f"<pre>{escape(info['description'])}</pre>"
    yield "<p>For programs: <a href=openapi.json>openapi.json</a>"
    by_tag: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).append((method, path, operation))
    for tag, listed in by_tag.items():
        yield f"<h2>{escape(tag)}</h2>"
        for method, path, operation in listed:
            yield from _operation(document, method, path, operation)


def _operation(
    document: dict[str, Any], method: str, path: str, operation: dict[str, Any]
) -> Iterator[str]:
    yield (
        f"<details><summary><span class=method>{method.upper()}</span> <code>{escape(path)}</code>"
        f" {escape(operation['summary'])}</summary><p>{escape(operation.get('description', ''))}"
    )
    for needed in operation.get("security", ()):
        scopes = ", ".join(scope for scopes in needed.values() for scope in scopes)
        yield f"<p>Needs a key with the scope <code>{escape(scopes)}</code>."
    if parameters := operation.get("parameters"):
        yield "<h4>Parameters</h4>"
        yield from _table(
            (f"{item['name']} ({item['in']})", item["schema"], item.get("required", False))
            for item in parameters
        )
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield "<h4>Body</h4>"
        yield from _fields(document, content["schema"])
    yield "<h4>Answers</h4><table>"
    for status, response in operation["responses"].items():
        yield f"<tr><td>{status}<td>{escape(response['description'])}"
    yield "</table></details>"


def _fields(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    model = _resolve(document, schema)
    required = model.get("required", ())
    properties = model.get("properties", {})
    yield from _table((name, field, name in required) for name, field in properties.items())


def _resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        found: dict[str, Any] = document["components"]["schemas"][name]
        return found
    return schema


def _table(fields: Iterable[tuple[str, dict[str, Any], bool]]) -> Iterator[str]:
    yield "<table>"
    for name, schema, required in fields:
        default = f" = {escape(str(schema['default']))}" if schema.get("default") else ""
        said = schema.get("description") or _described(schema)
        yield (
            f"<tr><td><code>{escape(name)}</code>{' (required)' if required else ''}"
            f"<td>{_type(schema)}{default}<td>{escape(said)}"
        )
    yield "</table>"


def _described(schema: dict[str, Any]) -> str:
    return next(
        (kind["description"] for kind in schema.get("anyOf", ()) if "description" in kind), ""
    )


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(kind) for kind in schema["anyOf"])
    if "enum" in schema:
        return escape(", ".join(str(value) for value in schema["enum"]))
    if "$ref" in schema:
        return escape(schema["$ref"].rpartition("/")[2])
    return escape(str(schema.get("format") or schema.get("type", "any")))
