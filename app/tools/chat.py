"""Tools for channels, with the seed's names, arguments and results."""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.hub import Hub
from app.schemas import messages_json
from app.tools.tool import Answer, Progress, Tool


class PostIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    target: str = Field(description='Channel, such as "proj-x".')
    sender: str = Field(description='Who you are: "claude", "codex", …')
    text: str = Field(description="Markdown.")


class FetchIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    target: str = Field(description="Channel.")
    since_id: int = Field(0, description="The latest_id of your last fetch.")
    limit: int = Field(50, description="1 to 200.")


class NothingIn(BaseModel):
    model_config = ConfigDict(extra="forbid")


def tools(hub: Hub) -> list[Tool]:
    """The channel tools of a hub."""

    async def post(given: PostIn, _: Progress) -> Answer:
        message = await hub.chat.post(target=given.target, sender=given.sender, text=given.text, source="mcp")
        return _answer({"ok": True, "posted": message.id})

    async def fetch(given: FetchIn, _: Progress) -> Answer:
        messages = await hub.chat.fetch(given.target, given.since_id, given.limit)
        latest = messages[-1].id if messages else given.since_id
        return _answer({"messages": messages_json(messages), "latest_id": latest})

    async def channels(_given: NothingIn, _: Progress) -> Answer:
        return _answer({"channels": await hub.chat.channels()})

    return [
        Tool(
            "post_message",
            'Post a message to a shared channel. Typical ones: "codex", "claude", or one per project like "proj-x".',
            PostIn,
            post,
        ),
        Tool(
            "fetch_messages",
            "Read a channel's messages after since_id, oldest first. Pass the returned latest_id as the next since_id; "
            "reading takes nothing away.",
            FetchIn,
            fetch,
            read_only=True,
        ),
        Tool("list_channels", "List all channels.", NothingIn, channels, read_only=True),
    ]


def _answer(payload: dict[str, Any]) -> Answer:
    return Answer(payload, json.dumps(payload, ensure_ascii=False, indent=2))
