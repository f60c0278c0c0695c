"""Training's settings as flags: one for each field of `Settings`, with its help and default."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_origin

from segformer_edu.commands.parser import Parser, class_names, missing_package
from segformer_edu.training.settings import TYPES, Settings

MANY = "config"  # the field that is set piece by piece, with --set


def check_packages() -> None:
    """Refuse, before any work is done, if a package is missing."""
    try:
        import accelerate  # noqa: F401
        import yaml  # noqa: F401
    except ModuleNotFoundError as error:
        raise missing_package(error, "To train or evaluate", "train") from None


def add_settings(parser: Parser, names: Collection[str] = ()) -> None:
    """A flag for each of these settings, or for all. The options hold only those that are given."""
    parser.add_argument(
        "--config", dest="config_file", type=Path, metavar="YAML", help="a file of settings"
    )
    groups: dict[str, Any] = {}
    for each in fields(Settings):
        if not names or each.name in names:
            name = each.metadata["group"]
            group = groups.get(name) or groups.setdefault(name, parser.add_argument_group(name))
            _add_setting(group, each.name, TYPES[each.name], each.metadata["help"])


def _add_setting(group: Any, name: str, hint: Any, text: str) -> None:
    default = getattr(Settings(), name)
    flag = f"--{name.replace('_', '-')}"
    if name == MANY:
        group.add_argument(
            "--set",
            dest=name,
            action="append",
            default=argparse.SUPPRESS,
            metavar="FIELD=VALUE",
            help=f"{text}; may be repeated; for example --set depths=[1,1,1,1]",
        )
        return
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    help = f"{text} [{shown}]" if shown != "" else text
    options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": help}
    if hint is bool:
        options["action"] = argparse.BooleanOptionalAction
    else:
        options["metavar"] = "A,B,…" if get_origin(hint) is tuple else hint.__name__[0].upper()
    group.add_argument(flag, **options)


def read_settings(options: argparse.Namespace, base: Settings | None = None) -> Settings:
    """The settings of --config, or `base`, changed as the flags say.

    Raises:
        ValueError: a file that cannot be read, or an impossible setting.
    """
    if options.config_file:
        base = Settings.from_yaml(options.config_file)
    base = base or Settings()
    given = vars(options)
    changes = {name: value_of(hint, given[name]) for name, hint in TYPES.items() if name in given}
    if given.get("classes"):
        changes["classes"] = class_names(given["classes"])
    if MANY in changes:
        changes[MANY] = {**base.config, **changes[MANY]}
    return base.replace(**changes)


def value_of(hint: Any, given: Any) -> Any:
    """What was typed, in the setting's type; what cannot be converted is left for it to refuse."""
    kind = get_origin(hint) or hint
    if kind is tuple:
        part = get_args(hint)[0]
        return [value_of(part, each.strip()) for each in given.split(",") if each.strip()]
    if kind is dict:
        return dict(_field(text) for text in given)
    if kind is int and given.removeprefix("-").isdecimal():
        return int(given)
    return given


def _field(text: str) -> tuple[str, Any]:
    import yaml

    name, _, value = text.partition("=")
    try:
        content = yaml.safe_load(value)
    except yaml.YAMLError:
        content = None
    if not name.strip() or content is None:
        raise ValueError(f"--set {text}: write FIELD=VALUE, such as --set depths=[1,1,1,1].")
    return name.strip(), content
