"""`/api/messages` and `/api/channels`: the seed's routes, for curl, jq and the page."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from app.api.body import integer, json_object
from app.api.openapi import errors, json_body, query
from app.hub import Hub
from app.schemas import MessageOut, message_json, messages_json


class PostIn(BaseModel):
    target: str = Field(description="The channel; made if it is new.")
    sender: str
    text: str = Field(description="Markdown, kept to the letter.")


class PostedOut(BaseModel):
    ok: bool
    posted: int = Field(description="The message's id.")
    message: MessageOut


class MessagesOut(BaseModel):
    target: str
    messages: list[MessageOut]


class ChannelsOut(BaseModel):
    channels: list[str]


def routes(hub: Hub) -> APIRouter:
    router = APIRouter(prefix="/api", tags=["channels"])

    @router.get(
        "/messages",
        summary="The newest messages of a channel, oldest first",
        responses={200: {"model": MessagesOut}, **errors(400)},
        openapi_extra={
            "parameters": [
                query("target", "string", "The channel.", "proj-x"),
                query("limit", "integer", "How many, clamped to 1 to 500.", 200),
            ]
        },
    )
    async def get_messages(request: Request) -> JSONResponse:
        target = request.query_params.get("target", "proj-x")
        messages = await hub.chat.newest(target, integer(request, "limit", 200))
        return JSONResponse({"target": target, "messages": messages_json(messages)})

    @router.post(
        "/messages",
        summary="Post a message",
        status_code=201,
        responses={201: {"model": PostedOut}, **errors(400, 413, 415)},
        openapi_extra=json_body(PostIn),
    )
    async def post_message(request: Request) -> JSONResponse:
        body: dict[str, Any] = await json_object(request)
        message = await hub.chat.post(
            target=body.get("target"), sender=body.get("sender"), text=body.get("text"), source="web-ui"
        )
        return JSONResponse({"ok": True, "posted": message.id, "message": message_json(message)}, 201)

    @router.get("/channels", summary="All channels", responses={200: {"model": ChannelsOut}, **errors()})
    async def get_channels() -> JSONResponse:
        return JSONResponse({"channels": await hub.chat.channels()})

    return router
