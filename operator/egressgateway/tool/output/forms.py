"""The values of `-o`."""

from __future__ import annotations

from enum import StrEnum


class Form(StrEnum):
    """Forms of an answer; a command has some of them."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"
    MARKDOWN = "markdown"
    SARIF = "sarif"
    GITHUB = "github"
    JUNIT = "junit"
