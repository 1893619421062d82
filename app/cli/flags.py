"""Flags that commands share: the settings."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.config import Loaded, load
from app.settings import Settings


def settings_flags() -> argparse.ArgumentParser:
    """A parent for the parser of every command that looks at the settings."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings file (default: ./config.json)")
    for setting, field in Settings.model_fields.items():
        parser.add_argument(f"--{setting.replace('_', '-')}", metavar="VALUE", help=field.description)
    return parser


def add_command(
    commands: Any, settings_flags: argparse.ArgumentParser, name: str, purpose: str, run: Callable[..., int]
) -> argparse.ArgumentParser:
    """Add a command that takes the settings as flags; returns its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, parents=[settings_flags], help=purpose, description=purpose, allow_abbrev=False
    )
    parser.set_defaults(run=run)
    return parser


def load_settings(given: argparse.Namespace) -> Loaded:
    """The settings with these flags; warnings go to standard error.

    Raises:
        SettingsError: a key is unknown or a value does not fit.
    """
    loaded = load(flags=vars(given), config=given.config)
    for warning in loaded.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    return loaded
